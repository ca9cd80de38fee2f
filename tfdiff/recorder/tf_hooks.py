"""Every touch of TensorFlow's private parts; `tests/recorder/test_tensorflow_relied_on.py` says what is relied on.

The hooks only translate into calls of `Recording`.
"""

from __future__ import annotations

import gc
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np

from tfdiff.orders import FORCED
from tfdiff.recorder import dataset_hooks, gradient_hooks, loop_hooks, v1_optimizers
from tfdiff.recorder.idle import mark_idle
from tfdiff.recorder.session import hooks as session_hooks
from tfdiff.recorder.stream import ALIAS_OPS
from tfdiff.recorder.tensors import handle_token

if TYPE_CHECKING:
    from collections.abc import Callable

    from tfdiff.recorder.parts import Parts
    from tfdiff.recorder.patching import Patches
    from tfdiff.recorder.recording import Recording


def install(parts: Parts, patches: Patches) -> None:
    """Hook into the imported TensorFlow."""
    recording = parts.recording
    _note_version(recording)
    _find_variables(recording)
    _hook_ops(parts, patches)
    _hook_functions(parts, patches)
    _hook_tapes(parts, patches)
    if recording.isolating is not None:
        _hook_tape_records(parts, patches)
    _hook_variables(recording, patches)
    _hook_arrays(parts, patches)
    _hook_switches(recording, patches)
    dataset_hooks.install(recording, patches)
    session_hooks.install(parts, patches)
    v1_optimizers.install(parts, patches)
    loop_hooks.install(parts, patches)
    gradient_hooks.install(parts, patches)


def _note_version(recording: Recording) -> None:
    import tensorflow as tf

    versions = {**recording.output.header.versions, "tensorflow": tf.__version__}
    recording.output.update(versions=versions)


def _find_variables(recording: Recording) -> None:
    """Variables that exist already, in the order of their creation: `tfdiff.record` may begin late."""
    from tensorflow.python.ops import ref_variable, resource_variable_ops

    kinds = (resource_variable_ops.BaseResourceVariable, ref_variable.RefVariable)
    found = [v for v in gc.get_objects() if isinstance(v, kinds)]
    with recording.quiet():
        for variable in sorted(found, key=handle_token):
            recording.variables.register(variable, None, None)


def _hook_ops(parts: Parts, patches: Patches) -> None:
    """`callback(op_type, inputs, attrs, outputs, op_name, graph)` after every op, eager or traced, of this thread."""
    from tensorflow.python.framework import op_callbacks

    recording = parts.recording

    def callback(op_type: Any, inputs: Any, attrs: Any, outputs: Any, op_name: Any = None, graph: Any = None) -> Any:
        kind = op_type.decode() if isinstance(op_type, bytes) else op_type
        if graph is None and recording.watching:
            recording.beats.op(kind, inputs, counts=recording.active)
        if not recording.active:
            return None
        if graph is None:
            parts.eager.op(kind, inputs, attrs, outputs)
            return None
        name = op_name.decode() if isinstance(op_name, bytes) else op_name
        if not hasattr(graph, "captures"):  # a graph of TensorFlow 1, not one of a tf.function
            return parts.building.op(kind, inputs, attrs, outputs, name, graph)
        return parts.tracing.op(kind, inputs, attrs, outputs, name, graph)

    op_callbacks.add_op_callback(callback)
    patches.on_undo(lambda: op_callbacks.remove_op_callback(callback))


def _hook_functions(parts: Parts, patches: Patches) -> None:
    from tensorflow.python.eager import context
    from tensorflow.python.eager.polymorphic_function import atomic_function
    from tensorflow.python.framework import ops

    recording = parts.recording

    def make_named(original: Callable[..., Any]) -> Callable[..., Any]:
        def from_func_graph(name: Any, graph: Any, *args: Any, **kwargs: Any) -> Any:
            if not recording.output.done:
                recording.close_call()  # before a backward graph asks which tensors are boundaries
                recording.taps.keep(graph)
                recording.programs.name(name.decode() if isinstance(name, bytes) else name, graph)
                mark_idle(recording.programs.of(graph), [t._id for t in graph.outputs])
            return original(name, graph, *args, **kwargs)

        return from_func_graph

    def make_call(original: Callable[..., Any]) -> Callable[..., Any]:
        def call_flat(self: Any, *args: Any) -> Any:
            if not recording.active:
                return original(self, *args)
            name = self.name.decode()
            if not context.executing_eagerly():
                results = original(self, *args)
                parts.tracing.call(name, args, results or (), ops.get_default_graph())
                return results
            parts.calls.before(name)
            results = original(self, *args)
            recording.beats.run()
            parts.calls.after(name, args, results or ())
            return results

        return call_flat

    patches.wrap(atomic_function, "from_func_graph", make_named)
    patches.wrap(atomic_function.AtomicFunction, "call_flat", make_call)


def _hook_tapes(parts: Parts, patches: Patches) -> None:
    import tensorflow as tf
    from tensorflow.python.eager import backprop, context
    from tensorflow.python.framework import ops

    recording = parts.recording

    def make_push(original: Callable[..., Any]) -> Callable[..., Any]:
        def _push_tape(self: Any) -> None:
            if recording.active:
                parts.passes.open_tape(self, eager=context.executing_eagerly())
            original(self)

        return _push_tape

    def make_pop(original: Callable[..., Any]) -> Callable[..., Any]:
        def _pop_tape(self: Any) -> None:
            parts.passes.close_tape(self)
            original(self)

        return _pop_tape

    def make_gradient(original: Callable[..., Any]) -> Callable[..., Any]:
        def gradient(self: Any, target: Any, sources: Any, output_gradients: Any = None, **kwargs: Any) -> Any:
            if not parts.passes.is_step(self, tf.nest.flatten(sources)):
                return original(self, target, sources, output_gradients, **kwargs)
            graph = None if context.executing_eagerly() else ops.get_default_graph()
            if parts.passes.out_of_sight(graph):
                return original(self, target, sources, output_gradients, **kwargs)
            return _gradient(parts, original, self, graph, target, sources, output_gradients, kwargs)

        return gradient

    def make_lookup(original: Callable[..., Any]) -> Callable[..., Any]:
        def get_gradient_function(op: Any) -> Any:
            function = original(op)
            if function is None or not recording.active:
                return function

            def grad_fn(op: Any, *gradients: Any) -> Any:
                if hasattr(op.graph, "captures"):
                    parts.passes.backpropagated(op, gradients, ops.get_default_graph())
                else:
                    parts.building.backpropagated(op, gradients)
                return function(op, *gradients)

            return grad_fn

        return get_gradient_function

    patches.wrap(ops, "get_gradient_function", make_lookup)
    patches.wrap(backprop.GradientTape, "_push_tape", make_push)
    patches.wrap(backprop.GradientTape, "_pop_tape", make_pop)
    patches.wrap(backprop.GradientTape, "gradient", make_gradient)


def _hook_tape_records(parts: Parts, patches: Patches) -> None:
    """What ops hand to a tape behind their callbacks: their own outputs, and what goes on as made of these."""
    from tensorflow.python.eager import execute, record

    def make_record(original: Callable[..., Any]) -> Callable[..., Any]:
        def record_gradient(op_name: Any, inputs: Any, attrs: Any, outputs: Any) -> Any:
            exchanged = parts.joints.recorded(outputs)
            if not exchanged:
                return original(op_name, inputs, attrs, outputs)
            owns = {other._id: own for other, own, _ in exchanged}
            original(op_name, inputs, attrs, [owns.get(output._id, output) for output in outputs])
            for other, own, back in exchanged:
                record.record_operation(FORCED, [other], [own], back)
            return None

        return record_gradient

    patches.wrap(execute, "record_gradient", make_record)


def _gradient(
    parts: Parts,
    original: Callable[..., Any],
    tape: Any,
    graph: Any,
    target: Any,
    sources: Any,
    output_gradients: Any,
    kwargs: dict[str, Any],
) -> Any:
    """The user's gradient call, asked for the activations' gradients as well; only what the user wanted is returned.

    Zeros for what is not connected are filled in afterwards, for the user's sources alone: the tape follows no tensor
    that no watched one leads to, and an activation that the loss does hang on would get zeros, too.
    """
    import tensorflow as tf

    zeros = tf.UnconnectedGradients(kwargs.pop("unconnected_gradients", "none")) is tf.UnconnectedGradients.ZERO
    flat = tf.nest.flatten(sources)
    targets = [t for t in tf.nest.flatten(target) if hasattr(t, "_id")]
    given = [g for g in tf.nest.flatten(output_gradients) if hasattr(g, "_id")]
    activations = parts.passes.gradient_begin(targets, flat, graph, given=given) or []
    with parts.recording.differentiating():
        results = original(tape, target, [*flat, *activations], output_gradients, **kwargs)
    wanted, extra = list(results[: len(flat)]), results[len(flat) :]
    if zeros:
        with parts.recording.quiet():
            wanted = [tf.zeros_like(x) if g is None else g for x, g in zip(flat, wanted, strict=True)]
    parts.passes.gradient_end(flat, wanted, activations, extra, graph)
    wanted = parts.handing.on(flat, wanted, graph) or wanted
    return tf.nest.pack_sequence_as(sources, wanted)


def _hook_variables(recording: Recording, patches: Patches) -> None:
    from tensorflow.python.ops import ref_variable, resource_variable_ops

    def make_init(original: Callable[..., Any]) -> Callable[..., Any]:
        def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
            original(self, *args, **kwargs)
            if not recording.output.done:
                call = recording.frames.here()
                with recording.quiet():
                    entry = recording.variables.register(
                        self, recording.context.layer, recording.context.code(call).source
                    )
                if entry is not None:
                    recording.late_variable(entry, self)

        return __init__

    patches.wrap(resource_variable_ops.BaseResourceVariable, "__init__", make_init)
    patches.wrap(ref_variable.RefVariable, "__init__", make_init)


def _hook_arrays(parts: Parts, patches: Patches) -> None:
    """NumPy arrays that become tensors: explicitly, as an argument of a Python function, or of an op itself."""
    from tensorflow.python import pywrap_tfe
    from tensorflow.python.framework import constant_op

    recording = parts.recording

    def make_convert(original: Callable[..., Any]) -> Callable[..., Any]:
        def convert_to_eager_tensor(value: Any, ctx: Any, dtype: Any = None) -> Any:
            if not (isinstance(value, np.ndarray) and value.ndim and recording.active):
                return original(value, ctx, dtype)
            found = parts.eager.array(value)
            if found is None:
                return original(value, ctx, dtype)
            replaced, note = found
            tensor = original(replaced, ctx, dtype)
            note(tensor)
            return tensor

        return convert_to_eager_tensor

    def make_execute(original: Callable[..., Any]) -> Callable[..., Any]:
        def TFE_Py_FastPathExecute(ctx: Any, op_name: Any, name: Any, *args: Any) -> Any:  # noqa: N802 - its name
            if recording.active and op_name not in ALIAS_OPS:
                args = tuple(_argument(parts, argument) for argument in args)
            return original(ctx, op_name, name, *args)

        return TFE_Py_FastPathExecute

    patches.wrap(constant_op, "convert_to_eager_tensor", make_convert)
    patches.wrap(pywrap_tfe, "TFE_Py_FastPathExecute", make_execute)


def _argument(parts: Parts, argument: Any) -> Any:
    """What to hand to an op instead of this argument.

    A variable is read by TensorFlow's C++ code without any callback: read it here, so that the read is seen.
    """
    from tensorflow.python.framework import ops
    from tensorflow.python.ops import resource_variable_ops

    if isinstance(argument, np.ndarray) and argument.ndim:
        replaced = parts.eager.op_argument(argument)
        return argument if replaced is None else replaced
    if isinstance(argument, resource_variable_ops.BaseResourceVariable):
        return ops.convert_to_tensor(argument)
    if type(argument) in (list, tuple) and any(
        isinstance(a, resource_variable_ops.BaseResourceVariable) for a in argument
    ):
        return [_argument(parts, a) for a in argument]
    return argument


def _hook_switches(recording: Recording, patches: Patches) -> None:
    """XLA cannot carry taps: off while recording, and said so of the functions that are really used."""
    from tensorflow.python.eager.polymorphic_function import polymorphic_function

    compiled: weakref.WeakSet[Any] = weakref.WeakSet()

    def make_init(original: Callable[..., Any]) -> Callable[..., Any]:
        def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
            original(self, *args, **kwargs)
            if self._jit_compile and not recording.output.done:
                self._jit_compile = None
                compiled.add(self)

        return __init__

    def make_call(original: Callable[..., Any]) -> Callable[..., Any]:
        def __call__(self: Any, *args: Any, **kwargs: Any) -> Any:
            if self in compiled and recording.active:
                compiled.discard(self)
                why = "XLA cannot carry the taps of a recording"
                recording.output.switched_off(f"jit_compile of {self._name}", why)
            return original(self, *args, **kwargs)

        return __call__

    patches.wrap(polymorphic_function.Function, "__init__", make_init)
    patches.wrap(polymorphic_function.Function, "__call__", make_call)
