"""One recording: the state that all hooks share, and what happens when TensorFlow reports something.

Hooks only translate (`tf_hooks`, `keras_hooks`); this is where an op, a traced op, a function call, a gradient call and an
optimizer call become events, where the start of a reference run is written over, and where the recording stops.
"""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from tfdiff.recorder import attributes
from tfdiff.recorder.collect import LEAF
from tfdiff.recorder.context import Context
from tfdiff.recorder.graphs import GraphAlias, GraphApply, GraphBackpropagated, GraphCall, GraphGradient, GraphOp, Programs
from tfdiff.recorder.script import StopRecording
from tfdiff.recorder.steps import StepBuilder
from tfdiff.recorder.stream import (
    ALIAS_OPS,
    NEXT_OPS,
    RANDOM_OPS,
    READ_OP,
    ApplyEvent,
    Code,
    GradientBegin,
    GradientEnd,
    OpEvent,
    Slices,
    Token,
    is_update,
)
from tfdiff.recorder.taps import Taps, replace_in_graph
from tfdiff.recorder.variables import Variables

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tfdiff.recorder.frames import Call, Frames
    from tfdiff.recorder.output import Output
    from tfdiff.recorder.rowsource import RowSources
    from tfdiff.recorder.share import Share

CONTROL = frozenset({"If", "StatelessIf", "Case", "StatelessCase", "While", "StatelessWhile", "PartitionedCall", "StatefulPartitionedCall"})
_SETTINGS = ("iteration", "iterations", "learning_rate")
_SKIPPED = frozenset({"Placeholder", "PlaceholderWithDefault", "NoOp", "VarHandleOp", "Assert", "_Arg", "_Retval"})


class Recording:
    """The one recording that is going on in this process."""

    def __init__(self, frames: Frames, output: Output, share: Share, rows: RowSources) -> None:
        self.frames = frames
        self.context = Context(frames)
        self.variables = Variables()
        self.programs = Programs()
        self.taps = Taps()
        self.output = output
        self.share = share
        self.rows = rows
        self.builder = StepBuilder(self.variables, self._emit)
        self.thread = threading.get_ident()
        self.busy = False
        """True while tfdiff itself runs TensorFlow ops, which are nobody's business."""
        self.tapes: list[Any] = []
        self.started = False
        self.training_call = False
        self.feeds: dict[Token, tuple[int, np.ndarray[Any, Any] | None]] = {}
        """Tensors made from NumPy arrays: occurrence of their line in this step, and own value if replaced."""
        self._op_arguments: list[tuple[tuple[int, ...], Callable[[Any], None]]] = []
        self._last_call: tuple[Any, Any] = (None, None)
        self._dataset_graphs: dict[int, bool] = {}

    # -- helpers ---------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def quiet(self) -> Iterator[None]:
        """Ops of our own: neither recorded nor on the user's tapes."""
        before, self.busy = self.busy, True
        try:
            yield
        finally:
            self.busy = before

    @property
    def active(self) -> bool:
        """Whether what happens now is to be recorded."""
        return not self.busy and not self.output.done and threading.get_ident() == self.thread

    def _emit(self, step: Any) -> None:
        if not self.output.done:
            self.share.check(self.output.steps, step.records)
        self.output.step(step, self.variables, self.rows)

    def check_stop(self) -> None:
        """End the script once its steps are recorded."""
        if self.output.done:
            self.finish()
            if self.output.stops:
                raise StopRecording

    def finish(self, *, complete: bool = True) -> None:
        """Close what is pending; of a run that failed, only a step whose update had begun."""
        if not complete and not self.builder.updated:
            self.builder.drop()
        if self.builder.waiting and not self.output.done:
            self.builder.finish()

    # -- eager ops -------------------------------------------------------------------------------------------------

    def eager_op(self, op_type: str, inputs: Sequence[Any], attrs: Any, outputs: list[Any]) -> None:
        """An op has run; `outputs` may be changed in place."""
        if op_type.startswith("__") or op_type in _SKIPPED:
            return  # functions are replayed from their graphs
        if op_type in ALIAS_OPS and inputs and outputs:
            for output, tensor in zip(outputs, inputs, strict=False):
                self.builder.alias(output._id, tensor._id)
            return
        call = self.frames.here()
        code = self.context.code(call)
        self._leaves(inputs, code, op_type)
        self._op_arguments.clear()
        if op_type == "ResourceGather":
            self._read_before_gather(inputs[0], code)
        own = self._replace(op_type, code, outputs)
        event = OpEvent(
            op_type, code, [t._id for t in inputs], [t._id for t in outputs], list(outputs),
            attributes.useful(attrs), taped=bool(self.tapes), own=own,
        )
        if op_type in NEXT_OPS:
            event.attrs["feed"] = self.builder.occurrence((op_type, code.called))
        if is_update(op_type):
            event.after = self._value_of(inputs[0])
        self._mark_boundary(event, call)
        self.builder.add(event)

    def _leaves(self, inputs: Sequence[Any], code: Code, op_type: str = "") -> None:
        """Note tensors that come from outside (arrays, constants) when they are first used."""
        for position, tensor in enumerate(inputs):
            if not hasattr(tensor, "_id") or self.builder.knows(tensor._id) or not _numeric(tensor):
                continue
            attrs: dict[str, Any] = {}
            own = None
            self._claim(tensor)
            if tensor._id in self.feeds and not attributes.is_setting(op_type, position):
                occurrence, replaced = self.feeds[tensor._id]
                attrs["feed"] = occurrence
                own = [replaced] if replaced is not None else None
            self.builder.add(
                OpEvent(LEAF, code, [], [tensor._id], [tensor], attrs, taped=bool(self.tapes), own=own)
            )

    def _claim(self, tensor: Any) -> None:
        """The tensor TensorFlow made of a NumPy argument of this op, known by its shape."""
        for place, (shape, note) in enumerate(self._op_arguments):
            if tensor._id not in self.feeds and tuple(tensor.shape) == shape:
                note(tensor)
                del self._op_arguments[place]
                return

    def _read_before_gather(self, handle: Any, code: Code) -> None:
        value = self._value_of(handle)
        if value is not None:
            self.builder.add(OpEvent(READ_OP, code, [handle._id], [value._id], [value]))

    def _value_of(self, handle: Any) -> Any:
        entry = self.variables.by_handle(handle._id)
        variable = entry.variable() if entry is not None else None
        if variable is None:
            return None
        with self.quiet():
            return variable.read_value()

    def _replace(self, op_type: str, code: Code, outputs: list[Any]) -> list[Any] | None:
        """Write the reference's noise or batch over what an eager op drew; returns its own outputs if so."""
        if not self.share.active or (op_type not in RANDOM_OPS and op_type not in NEXT_OPS):
            return None
        own = list(outputs)
        feed = self.builder.occurrence((op_type, code.called, "share")) if op_type in NEXT_OPS else 0
        for index, tensor in enumerate(own):
            if not _numeric(tensor):
                continue
            if op_type in RANDOM_OPS:
                value = self.share.noise((op_type, code.layer, code.called, code.api), tensor.numpy())
            else:
                value = self.share.feed((op_type, code.called, feed, index), tensor.numpy(), self.builder.begun)
            if value is not None:
                with self.quiet():
                    import tensorflow as tf

                    outputs[index] = tf.constant(value, tensor.dtype)
        return own if any(a is not b for a, b in zip(own, outputs, strict=True)) else None

    def _mark_boundary(self, event: OpEvent, call: Call) -> None:
        """The last op of an API call outside layers is worth keeping in full: known when the next call begins."""
        key = (call.key, event.code)
        last, last_key = self._last_call
        if last is not None and last_key != key:
            last.boundary = last.boundary or last.code.layer is None
        self._last_call = (event, key)

    def close_call(self) -> None:
        """A gradient call or the end of a function also ends the last API call."""
        last, _ = self._last_call
        if last is not None:
            last.boundary = last.boundary or last.code.layer is None
        self._last_call = (None, None)

    def layer_output(self, tensors: Sequence[Any]) -> None:
        """These tensors are what a layer returned."""
        for tensor in tensors:
            token = getattr(tensor, "_id", None)
            if token is None:
                continue
            graph = getattr(tensor, "graph", None) if not hasattr(tensor, "numpy") else None
            maker: Any
            if graph is not None:
                maker = self.programs.of(graph).makers.get(token)
            else:
                maker = self.builder.maker(token)
            if maker is not None:
                maker.boundary = True

    def array(self, value: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any], Callable[[Any], None]]:
        """A NumPy array becomes a tensor: what to take instead, and whom to tell of the tensor."""
        place = self.frames.here().called
        self.rows.slice(value, place)
        occurrence = self.builder.occurrence((LEAF, place, "feed"))
        found = self.share.feed((LEAF, place, occurrence, 0), value, self.builder.begun)

        def note(tensor: Any) -> None:
            self.feeds[tensor._id] = (occurrence, None if found is None else value)

        return (value if found is None else found), note

    def op_argument(self, value: np.ndarray[Any, Any]) -> Any:
        """A NumPy array was handed to an op itself: what to hand over instead."""
        replaced, note = self.array(value)
        self._op_arguments.append((value.shape, note))
        return replaced

    def optimizer_variables(self, optimizer: Any) -> None:
        """An optimizer has its variables now: slots and settings."""
        for variable in getattr(optimizer, "variables", []):
            entry = self.variables.of(variable)
            if entry is not None and entry.kind == "other":
                entry.kind = "hyper" if not entry.shape and entry.name.rpartition("/")[2] in _SETTINGS else "slot"

    # -- traced ops ------------------------------------------------------------------------------------------------

    def graph_op(
        self, op_type: str, inputs: Sequence[Any], attrs: Any, outputs: Sequence[Any], name: str, graph: Any
    ) -> Any:
        """An op was added to a graph; a returned list replaces its outputs."""
        if op_type in _SKIPPED or self._is_dataset_graph(graph):
            return None
        program = self.programs.of(graph)
        ids = [t._id for t in inputs]
        if op_type in CONTROL:
            program.items.append(GraphCall(None, ids, [t._id for t in outputs], graph.get_operation_by_name(name)))
            return None
        if op_type in ALIAS_OPS and inputs and outputs:
            program.items += [GraphAlias(output._id, token) for output, token in zip(outputs, ids, strict=False)]
            return None
        call = self.frames.here()
        code = self.context.code(call)
        with self.quiet():
            item, replaced = self._tap(op_type, code, inputs, attrs, list(outputs), graph)
        self._mark_boundary(item, call)  # type: ignore[arg-type]
        program.items.append(item)
        program.makers.update((token, item) for token in item.outputs)
        for tensor in replaced or outputs:
            program.tensors[tensor._id] = tensor
        if _depends(op_type, inputs, program):
            program.dependent.update(item.outputs)
        return replaced

    def _tap(
        self, op_type: str, code: Code, inputs: Sequence[Any], attrs: Any, outputs: list[Any], graph: Any
    ) -> tuple[GraphOp, list[Any] | None]:
        own_tags, replaced = None, None
        program = self.programs.of(graph)
        if op_type == "ResourceGather":
            self._tap_gather(inputs[0], code, program)
        if op_type in RANDOM_OPS or op_type in NEXT_OPS:
            own_tags, replaced = self._override(op_type, code, outputs)
        tensors = replaced or outputs
        item = GraphOp(
            op_type, code, [t._id for t in inputs], [t._id for t in tensors], [], [], attributes.useful(attrs),
            own_tags=own_tags,
        )
        if op_type in NEXT_OPS:
            item.attrs["feed"] = 0
        from_shapes = attributes.is_shape_arithmetic(op_type, inputs, program.shapes)
        for tensor in tensors:
            shapes_only = from_shapes and not tensor.dtype.is_floating
            if shapes_only:
                program.shapes.add(tensor._id)
            static = _static(op_type, tensor)
            tapped = static is None and not shapes_only and _numeric(tensor)
            item.tags.append(self.taps.emit(tensor) if tapped else None)
            item.statics.append(static)
        if is_update(op_type):
            item.after_tag = self._tap_after(inputs[0])
        return item, replaced

    def _override(self, op_type: str, code: Code, outputs: list[Any]) -> tuple[list[int | None] | None, list[Any] | None]:
        """Let the host decide the values of a random op or of a batch."""
        if not self.share.active:
            return None, None
        tags: list[int | None] = []
        replaced = list(outputs)
        for index, tensor in enumerate(outputs):
            tags.append(None)
            key = (op_type, code.layer, code.called, code.api)
            wanted = self.share.wants_noise(key) if op_type in RANDOM_OPS else self.share.wants_feed(op_type, code.called)
            if not wanted or not _numeric(tensor):
                continue
            if op_type in NEXT_OPS:
                tags[index] = self.taps.emit(tensor)
            replaced[index] = replace_in_graph(tensor, self._host_value(op_type, code, index))
        changed = any(a is not b for a, b in zip(replaced, outputs, strict=True))
        return (tags, replaced) if changed else (None, None)

    def _host_value(self, op_type: str, code: Code, index: int) -> Any:
        def value(own: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
            if not self.training_call:
                return own
            if op_type in RANDOM_OPS:
                found = self.share.noise((op_type, code.layer, code.called, code.api), own)
            else:
                found = self.share.feed((op_type, code.called, 0, index), own, self.builder.begun)
            return own if found is None else found

        return value

    def _tap_gather(self, handle: Any, code: Code, program: Any) -> None:
        value = self._read_handle(handle)
        if value is not None:
            tag = self.taps.emit(value)
            program.items.append(GraphOp(READ_OP, code, [handle._id], [value._id], [tag], [None]))

    def _tap_after(self, handle: Any) -> int | None:
        value = self._read_handle(handle)
        return self.taps.emit(value) if value is not None and value.dtype.is_floating else None

    def _read_handle(self, handle: Any) -> Any:
        from tensorflow.python.ops import gen_resource_variable_ops, handle_data_util

        data = handle_data_util.get_resource_handle_data(handle)
        if not data.is_set or not data.shape_and_type:
            return None
        return gen_resource_variable_ops.read_variable_op(handle, data.shape_and_type[0].dtype)

    def _is_dataset_graph(self, graph: Any) -> bool:
        """Functions of tf.data run in its own threads and may not be tapped."""
        known = self._dataset_graphs.get(id(graph))
        if known is None:
            known = self._dataset_graphs[id(graph)] = attributes.under_dataset()
            self.programs.of(graph)  # keeps the graph, and so its id, alive
        return known

    # -- function calls --------------------------------------------------------------------------------------------

    def traced_call(self, name: str, arguments: Sequence[Any], results: Sequence[Any], graph: Any) -> None:
        """A compiled function was called while another graph is traced."""
        op = results[0].op if results else None
        self.programs.of(graph).items.append(
            GraphCall(name, [t._id for t in arguments], [t._id for t in results], op)
        )

    def before_call(self, name: str) -> None:
        """A compiled function is about to run."""
        trains = self.programs.trains(name)
        self.training_call = trains or bool(self.tapes)
        if trains:
            self.start()
            if self.builder.updated:
                self.builder.finish()
                self.check_stop()
        if self.programs.get(name) is None:
            self.output.not_recorded(name, "it was traced before recording began; call it for the first time inside")

    def after_call(self, name: str, arguments: Sequence[Any], results: Sequence[Any]) -> None:
        """A compiled function has run: replay it."""
        with self.quiet():
            values = self.taps.drain()
        function = self.programs.get(name)
        if function is None:
            return
        trains, self.training_call = self.programs.trains(name), False
        self.close_call()
        self._leaves(arguments, self.context.code(self.frames.here()))
        outputs = self.programs.replay(function, [t._id for t in arguments], values, self.builder.add)
        for tensor, token in zip(results, outputs, strict=False):
            self._result(tensor, token)
        if trains:
            self.builder.reset_occurrences()
            if self.builder.updated:
                self.builder.finish()
            self.check_stop()

    def _result(self, tensor: Any, token: Token) -> None:
        """What a function returned is what an op in it made; where that one could not be tapped, its value is seen here."""
        if self.builder.has_value(token):
            self.builder.alias(tensor._id, token)
        elif _numeric(tensor):
            code = self.context.code(self.frames.here())
            self.builder.add(OpEvent("Result", code, [token], [tensor._id], [tensor]))

    # -- tapes and optimizers --------------------------------------------------------------------------------------

    def start(self) -> None:
        """The first training step is about to begin: note the initial values, or write the reference's over them."""
        if self.started:
            return
        self.started = True
        with self.quiet():
            self.share.start(self.variables, self.output)

    def late_variable(self, entry: Any, variable: Any) -> None:
        """A variable created after training began."""
        if self.started:
            with self.quiet():
                self.share.one(entry, variable, self.output)

    def open_tape(self, tape: Any, *, eager: bool) -> None:
        """A gradient tape starts to record."""
        if eager and not self.tapes:
            self.start()
            if self.builder.updated:
                self.builder.finish()
                self.check_stop()
        self.tapes.append(tape)

    def close_tape(self, tape: Any) -> None:
        """A gradient tape stops."""
        self.tapes[:] = [other for other in self.tapes if other is not tape]

    def gradient_begin(self, targets: Sequence[Any], graph: Any) -> list[Any]:
        """A gradient call on variables begins; returns the activations to ask gradients of as well."""
        self.close_call()
        event = GradientBegin([t._id for t in targets], self.context.code(self.frames.here()))
        if graph is None:
            activations = self.builder.activations()
            self.builder.gradient_begin(event)
            return [tensor for _, tensor in activations]
        program = self.programs.of(graph)
        tensors = program.activations()
        program.items.append(event)
        return tensors

    def gradient_end(
        self, sources: Sequence[Any], gradients: Sequence[Any], activations: Sequence[Any], extra: Sequence[Any], graph: Any
    ) -> None:
        """The gradients are there."""
        for source in sources:
            entry = self.variables.of(source)
            if entry is not None:
                entry.kind = "weight"
        pairs = [(_handle_id(s), _gradient_tokens(g)) for s, g in zip(sources, gradients, strict=True) if _handle_id(s)]
        found = [(a._id, g) for a, g in zip(activations, extra, strict=True) if hasattr(g, "_id")]
        if graph is None:
            self.builder.gradient_end(GradientEnd(pairs, [(a, g._id) for a, g in found]))
            return
        program = self.programs.of(graph)
        for tensor in [t for g in gradients for t in _tensors(g)] + [g for _, g in found]:
            self._tap_result(tensor, program)
        program.items.append(GraphGradient(pairs, [(a, g._id) for a, g in found]))

    def _tap_result(self, tensor: Any, program: Any) -> None:
        """Gradients are tapped even where the op that made them was not (a result of an inner function)."""
        maker = program.makers.get(tensor._id)
        if maker is None and tensor.op.type not in ("Placeholder",) and not program.is_alias(tensor._id):
            with self.quiet():
                tag = self.taps.emit(tensor)
            item = GraphOp("Gradient", Code(), [], [tensor._id], [tag], [None])
            program.items.append(item)
            program.makers[tensor._id] = item

    def backpropagated(self, op: Any, gradients: Sequence[Any], graph: Any) -> None:
        """The backward graph of a compiled function gets the gradients of a forward op's outputs."""
        forward, program = self.programs.of(op.graph), self.programs.of(graph)
        for output, gradient in zip(op.outputs, gradients, strict=False):
            maker = forward.makers.get(output._id)
            if maker is None or not maker.boundary or output._id not in forward.dependent or not hasattr(gradient, "_id"):
                continue
            self._tap_result(gradient, program)
            program.items.append(GraphBackpropagated(op.graph, output._id, gradient._id))

    def apply(self, optimizer: Any, gradients: Sequence[Any], variables: Sequence[Any], graph: Any) -> None:
        """An optimizer is handed gradients."""
        call = self.frames.here()
        info = {
            "name": str(getattr(optimizer, "name", "")),
            "class": type(optimizer).__name__,
            "config": attributes.plain_config(optimizer),
            "source": self.context.source_of(optimizer) or call.called,
            "called": call.called,
        }
        pairs = [(_gradient_tokens(g), h) for g, v in zip(gradients, variables, strict=False) if (h := _handle_id(v))]
        with self.quiet():
            rate, iterations = attributes.rate_and_iterations(optimizer)
            if graph is None:
                event = ApplyEvent(info, pairs, rate, iterations)
            else:
                tags = [None if v is None else self.taps.emit(v) for v in (rate, iterations)]
        if graph is None:
            self.builder.add(event)
        else:
            self.programs.of(graph).items.append(GraphApply(info, pairs, *tags))


def _numeric(tensor: Any) -> bool:
    dtype = getattr(tensor, "dtype", None)
    return dtype is not None and (getattr(dtype, "is_floating", False) or getattr(dtype, "is_integer", False) or getattr(dtype, "is_bool", False))


def _static(op_type: str, tensor: Any) -> Any:
    if op_type != "Const" or not _numeric(tensor):
        return None
    from tensorflow.python.framework import tensor_util

    return tensor_util.constant_value(tensor)


def _depends(op_type: str, inputs: Sequence[Any], program: Any) -> bool:
    if op_type in NEXT_OPS or op_type in RANDOM_OPS:
        return False
    return any(t.dtype.name == "resource" or t._id in program.dependent for t in inputs)


def _handle_id(variable: Any) -> Token:
    handle = getattr(variable, "handle", None)
    return int(getattr(handle, "_id", 0)) if handle is not None else 0


def _gradient_tokens(gradient: Any) -> Token | Slices | None:
    if gradient is None:
        return None
    if hasattr(gradient, "indices") and hasattr(gradient, "values"):
        return Slices(gradient.values._id, gradient.indices._id)
    return getattr(gradient, "_id", None)


def _tensors(gradient: Any) -> list[Any]:
    if gradient is None:
        return []
    return [gradient.values, gradient.indices] if hasattr(gradient, "indices") else [gradient]
