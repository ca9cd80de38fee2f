"""Loops inside compiled functions: what has to be otherwise while recording, with the same numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from tfdiff.recorder.parts import Parts
    from tfdiff.recorder.patching import Patches
    from tfdiff.recorder.recording import Recording


def install(parts: Parts, patches: Patches) -> None:
    """Hook into autograph's loops, into `while_v2` and into the loop of `dynamic_rnn`."""
    _hook_dataset_loops(parts.recording, patches)
    _hook_while(parts.recording, patches)
    _hook_dynamic_rnn(parts.recording, patches)


def _hook_dataset_loops(recording: Recording, patches: Patches) -> None:
    """`for batch in dataset` becomes functions that tf.data runs in threads of its own, where nothing can be tapped.

    Over the dataset's iterator the same statement is a while loop of the function.
    """
    from tensorflow.python.autograph.operators import control_flow
    from tensorflow.python.data.ops import dataset_ops
    from tensorflow.python.framework import ops

    def make_lookup(original: Callable[..., Any]) -> Callable[..., Any]:
        def lookup(obj: Any) -> Any:
            statement = original(obj)
            graph = ops.get_default_graph()
            if not (isinstance(obj, dataset_ops.DatasetV2) and recording.active and hasattr(graph, "captures")):
                return statement

            def over_iterator(dataset: Any, *arguments: Any) -> None:
                why = "tf.data runs it in threads of its own; over the dataset's iterator while recording"
                recording.output.switched_off(f"loop over a dataset at {recording.frames.here().called}", why)
                control_flow._tf_iterator_for_stmt(iter(dataset), *arguments)

            return over_iterator

        return lookup

    patches.wrap(control_flow.for_loop_registry, "lookup", make_lookup)


def _hook_while(recording: Recording, patches: Patches) -> None:
    """One iteration after the other: values leave and enter in the order of the steps."""
    from tensorflow.python.ops import while_v2

    def make_loop(original: Callable[..., Any]) -> Callable[..., Any]:
        def while_loop(*args: Any, **kwargs: Any) -> Any:
            if recording.active and "parallel_iterations" in kwargs:
                kwargs["parallel_iterations"] = 1
            return original(*args, **kwargs)

        return while_loop

    patches.wrap(while_v2, "while_loop", make_loop)


def _hook_dynamic_rnn(recording: Recording, patches: Patches) -> None:
    """Its loop is built as one of control flow v2, of whose iterations a session can tell what was computed."""
    from tensorflow.python.framework import ops
    from tensorflow.python.ops import control_flow_util, rnn

    def make_loop(original: Callable[..., Any]) -> Callable[..., Any]:
        def _dynamic_rnn_loop(*args: Any, **kwargs: Any) -> Any:
            if not recording.active or control_flow_util.EnableControlFlowV2(ops.get_default_graph()):
                return original(*args, **kwargs)
            why = "a session cannot hand out tensors of single iterations of control flow v1; built as one of v2"
            recording.output.switched_off(f"loop of tf.nn.dynamic_rnn at {recording.frames.here().called}", why)
            control_flow_util.ENABLE_CONTROL_FLOW_V2 = True
            try:
                return original(*args, **kwargs)
            finally:
                control_flow_util.ENABLE_CONTROL_FLOW_V2 = False

        return _dynamic_rnn_loop

    patches.wrap(rnn, "_dynamic_rnn_loop", make_loop)
