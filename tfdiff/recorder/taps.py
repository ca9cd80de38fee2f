"""Taps: how tensors leave a compiled graph (FIFO queues that the host drains) and how values get in (host functions).

One queue per dtype, each element a tag and a tensor. Enqueueing hangs on the side of the user's graph: no consumer of
the tapped tensor sees another op than before.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable


class Taps:
    """The queues of one recording."""

    def __init__(self) -> None:
        self._queues: dict[Any, Any] = {}
        self._operations: dict[int, list[Any]] = {}
        self._host: dict[int, deque[np.ndarray[Any, Any]]] = {}
        self._tag = 0

    def emit(self, tensor: Any) -> int:
        """Add a tap on `tensor` to the graph under construction and return its tag."""
        import tensorflow as tf

        self._tag += 1
        if is_of_session(tensor.graph):
            operation = self._hand_over(tensor, self._tag)
        else:
            operation = _enqueue(self._queue(tensor.dtype), [tf.constant(self._tag, tf.int64), tensor])
        self._operations.setdefault(id(operation.graph), []).append(operation)
        return self._tag

    def _hand_over(self, tensor: Any, tag: int) -> Any:
        """Within a graph of a session, where eager queues do not exist: a host function takes the value."""
        import tensorflow as tf

        def host(value: np.ndarray[Any, Any]) -> None:
            self._host.setdefault(tag, deque()).append(np.array(value))

        return tf.numpy_function(host, [tensor], [])

    def drain_host(self) -> dict[int, deque[np.ndarray[Any, Any]]]:
        """All values that host functions took since the last call."""
        values, self._host = self._host, {}
        return values

    def keep(self, graph: Any) -> None:
        """Make the taps of a finished graph run: where nothing else does (backward graphs) they would be dropped."""
        known = {id(operation) for operation in graph.control_outputs}
        missing = [op for op in self._operations.get(id(graph), []) if id(op) not in known and op.graph is graph]
        graph.control_outputs.extend(missing)

    def _queue(self, dtype: Any) -> Any:
        import tensorflow as tf

        if dtype not in self._queues:
            with tf.init_scope(), tf.device("/CPU:0"):
                # -1: no limit; a full queue would block a loop inside a tf.function for ever
                self._queues[dtype] = tf.queue.FIFOQueue(-1, [tf.int64, dtype], shapes=None)
        return self._queues[dtype]

    def drain(self) -> dict[int, deque[np.ndarray[Any, Any]]]:
        """All values that left since the last call, per tag in order of execution."""
        values: dict[int, deque[np.ndarray[Any, Any]]] = {}
        for queue in self._queues.values():
            for _ in range(int(queue.size())):
                tag, tensor = queue.dequeue()
                values.setdefault(int(tag), deque()).append(tensor.numpy())
        return values


def is_of_session(graph: Any) -> bool:
    """Whether a function's graph stands, in the end, in a graph of TensorFlow 1, which a session runs."""
    from tensorflow.python.eager import context
    from tensorflow.python.framework import ops

    while hasattr(graph, "outer_graph"):
        graph = graph.outer_graph
    # functions of eager code stand in the global graph, which is empty there
    return (
        context.default_execution_mode != context.EAGER_MODE
        or graph is not ops._default_graph_stack._global_default_graph
    )


def _enqueue(queue: Any, values: list[Any]) -> Any:
    """Gradients of loop bodies and branches may not capture an eager resource themselves: hand it in graph by graph."""
    import tensorflow as tf
    from tensorflow.python.ops import gen_data_flow_ops

    inside = [tf.compat.v1.get_default_graph()]
    while type(inside[-1]).__name__ in _INNER_GRAPHS:
        inside.append(inside[-1].outer_graph)
    handle = queue.queue_ref
    if any(type(graph).__name__ in _GRADIENTS for graph in inside):
        for graph in reversed(inside):
            handle = graph.capture(handle)
    return gen_data_flow_ops.queue_enqueue_v2(handle, values)


_GRADIENTS = ("_WhileBodyGradFuncGraph", "_CondGradFuncGraph")
_INNER_GRAPHS = (*_GRADIENTS, "WhileBodyFuncGraph", "CondBranchFuncGraph")


def is_closed_branch(graph: Any) -> bool:
    """Whether a condition's branch has been traced already: what TensorFlow adds then (a cast of the indices of a
    sparse gradient) can be given nothing from outside any more, and so no queue.
    """
    return type(graph).__name__ == "CondBranchFuncGraph" and bool(graph.outputs)


def replace_in_graph(tensor: Any, value: Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]]) -> Any:
    """A tensor like `tensor` whose value the host function `value(own)` decides at each execution."""
    import tensorflow as tf

    def host(own: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        own = np.asarray(own)
        return np.asarray(value(own), dtype=own.dtype)

    replaced = tf.numpy_function(host, [tensor], tensor.dtype)
    replaced.set_shape(tensor.shape)
    return replaced


def replace_beside(
    tensor: Any, beside: Any, value: Callable[[np.ndarray[Any, Any], np.ndarray[Any, Any]], np.ndarray[Any, Any]]
) -> Any:
    """A tensor like `tensor` that the host function `value(own, beside)` decides at each execution."""
    import tensorflow as tf

    def host(own: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        own = np.asarray(own)
        return np.asarray(value(own, np.asarray(other)), dtype=own.dtype)

    replaced = tf.numpy_function(host, [tensor, beside], tensor.dtype)
    replaced.set_shape(tensor.shape)
    return replaced
