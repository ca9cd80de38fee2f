"""What the recorder relies on in TensorFlow's sessions and graphs: a new TensorFlow breaks a test with a clear name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tfdiff.recorder.patching import Patches
from tfdiff.recorder.taps import is_of_session

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def patches() -> Iterator[Patches]:
    """Patches that are taken back."""
    made = Patches()
    yield made
    made.undo()


def spy(patches: Patches, owner: Any, name: str, seen: list[Any]) -> None:
    """Note each call."""

    def make(original):
        def call(*args, **kwargs):
            seen.append((args, kwargs))
            return original(*args, **kwargs)

        return call

    patches.wrap(owner, name, make)


@pytest.fixture
def v1(tf) -> Iterator[Any]:
    """TensorFlow 1's names, in a graph of the test's own."""
    with tf.Graph().as_default():
        yield tf.compat.v1


def test_every_run_ends_in_do_run(v1, tf, patches):
    """`_do_run(handle, targets, fetches, feeds by reference, options, metadata)` does `run`, `eval` and callables."""
    from tensorflow.python.client import session

    seen: list[Any] = []
    spy(patches, session.BaseSession, "_do_run", seen)
    x = v1.placeholder(tf.float32, [])
    y = x + 1.0
    op = v1.group(y)
    with v1.Session() as running:
        assert running.run([y, op], {x: 2.0}) == [3.0, None]
        assert y.eval({x: 3.0}) == 4.0
    (_, handle, targets, fetches, feeds, _, _), options = seen[0]
    assert (handle, options) == (None, {})
    assert targets == [op]
    assert [t._id for t in fetches] == [y._id]
    assert [key.deref()._id for key in feeds] == [x._id]
    assert isinstance(next(iter(feeds.values())), np.ndarray)
    assert len(seen) == 2


def test_do_run_feeds_and_fetches_inside_branches(v1, tf):
    """Below the checks of `run`, a tensor of the taken branch of control flow v1 can be fetched, and a draw be fed."""
    v1.disable_control_flow_v2()
    try:
        p = v1.placeholder(tf.bool, [])
        y = v1.cond(p, lambda: tf.random.uniform([3]) * 2.0, lambda: tf.zeros([3]))
    finally:
        v1.enable_control_flow_v2()
    graph = v1.get_default_graph()
    draw = next(op for op in graph.get_operations() if op.type == "RandomUniform").outputs[0]
    assert not graph.is_fetchable(draw.op)
    twice = next(t for op in graph.get_operations() if op.type == "Mul" for t in op.outputs if draw.op in _above(op))
    with v1.Session() as running:
        feeds = {p.ref(): np.array(True), draw.ref(): np.full(3, 0.25, "float32")}
        found = running._do_run(None, [], [y, twice], feeds, None, None)
    assert [value.tolist() for value in found] == [[0.5] * 3] * 2


def _above(op: Any) -> list[Any]:
    found, stack = [], [op]
    while stack:
        found.append(stack.pop())
        stack.extend(t.op for t in found[-1].inputs)
    return found


def test_op_callbacks_see_graphs_of_sessions(v1, tf):
    """The callback is called for every op of a graph that is no function's, constants included, with their outputs."""
    from tensorflow.python.framework import op_callbacks

    seen: list[Any] = []

    def note(op_type, inputs, attrs, outputs, op_name=None, graph=None):  # noqa: ARG001
        seen.append((outputs[0].op.name if outputs else op_name, graph))

    op_callbacks.add_op_callback(note)
    try:
        w = v1.get_variable("w", [3], use_resource=False)
        v1.train.AdamOptimizer(0.1).minimize(tf.reduce_sum(w * 2.0))
    finally:
        op_callbacks.remove_op_callback(note)
    graph = v1.get_default_graph()
    assert {name for name, _ in seen} >= {op.name for op in graph.get_operations() if op.type != "NoOp"}
    assert all(found is graph and not hasattr(found, "captures") for _, found in seen)


def test_operations_come_in_order_of_creation(v1, tf):
    """`Graph.get_operations` appends: the number of an op never changes, names are its identity."""
    tf.constant(1.0)
    before = [op.name for op in v1.get_default_graph().get_operations()]
    tf.constant(3.0)
    after = [op.name for op in v1.get_default_graph().get_operations()]
    assert before == ["Const"]
    assert after == ["Const", "Const_1"]


def test_gradients_end_in_the_helper(v1, tf, patches):
    """`tf.gradients` and `compute_gradients` look `gradients_util._GradientsHelper(ys, xs, ...)` up in its module."""
    from tensorflow.python.ops import gradients_util

    seen: list[Any] = []
    spy(patches, gradients_util, "_GradientsHelper", seen)
    w = v1.get_variable("w", [3])
    loss = tf.reduce_sum(w * w)
    v1.gradients(loss, [w])
    v1.train.GradientDescentOptimizer(0.1).compute_gradients(loss)
    assert len(seen) == 2
    assert [call[0] is loss or call[0] == [loss] for call, _ in seen] == [True, True]


def test_gradient_functions_get_whole_gradients(v1, tf, patches):
    """`ops.get_gradient_function(op)` is looked up by name; what it returns gets the summed gradients of op.outputs."""
    from tensorflow.python.framework import ops

    seen: dict[str, Any] = {}

    def make(original):
        def look_up(op):
            function = original(op)

            def gradient(op, *gradients):
                seen[op.name] = gradients
                return function(op, *gradients)

            return gradient if function else function

        return look_up

    patches.wrap(ops, "get_gradient_function", make)
    w = v1.get_variable("w", [2])
    h = tf.tanh(w)
    v1.gradients(tf.reduce_sum(h) + tf.reduce_sum(3.0 * h), [w])
    with v1.Session() as running:
        running.run(v1.global_variables_initializer())
        assert running.run(seen[h.op.name][0]).tolist() == [4.0, 4.0]


@pytest.mark.parametrize("resource", [False, True])
def test_variables_are_read_and_written_through_their_own_ops(v1, tf, resource):
    """Fetching `_graph_element` (or `_as_graph_element()`) reads; running the initializer with its input fed writes."""
    from tfdiff.recorder.session.variables import SessionVariables, reading
    from tfdiff.recorder.tensors import handle_of

    w = v1.get_variable("w", [2], initializer=tf.zeros_initializer(), use_resource=resource)
    assert handle_of(w).op.type == ("VarHandleOp" if resource else "VariableV2")
    assert handle_of(w).dtype._is_ref_dtype is not resource
    with v1.Session() as running:
        raw = lambda targets, fetches, feeds: running._do_run(None, targets, fetches, feeds, None, None)  # noqa: E731
        before = len(v1.get_default_graph().get_operations())
        SessionVariables(None, v1.get_default_graph(), raw).write(w, np.array([1.0, 2.0], "float32"))
        assert running.run(reading(w)).tolist() == [1.0, 2.0]
        assert len(v1.get_default_graph().get_operations()) == before


def test_functions_know_whether_a_session_runs_them(tf):
    """A function's graph stands in the global graph in eager code, and in the session's graph otherwise."""
    found = []

    @tf.function
    def function(x):
        found.append(is_of_session(tf.compat.v1.get_default_graph()))
        return x + 1.0

    function(tf.constant(1.0))
    with tf.Graph().as_default():
        function(tf.compat.v1.placeholder(tf.float32, [4]))
    assert found == [False, True]


def test_host_functions_run_in_branches_of_a_session(v1, tf):
    """A host function among a branch's control outputs runs with the branch when the condition itself is a target."""
    from tensorflow.python.eager.polymorphic_function import atomic_function

    seen: list[Any] = []
    patches = Patches()

    def make(original):
        def from_func_graph(name, graph, *args, **kwargs):
            graph.control_outputs.extend(op for op in graph.get_operations() if op.type == "PyFunc")
            return original(name, graph, *args, **kwargs)

        return from_func_graph

    def taken():
        tf.numpy_function(lambda value: seen.append(float(value)), [x], [])
        return x + 1.0

    patches.wrap(atomic_function, "from_func_graph", make)
    try:
        x = v1.placeholder(tf.float32, [])
        y = v1.cond(x > 0, taken, lambda: x)
    finally:
        patches.undo()
    with v1.Session() as running:
        for value, wanted in ((1.0, 2.0), (-1.0, -1.0)):
            feeds = {x.ref(): np.array(value, "float32")}
            found = running._do_run(None, [y.op.inputs[0].op], [y], feeds, None, None)
            assert float(found[0]) == wanted
    assert seen == [1.0]
