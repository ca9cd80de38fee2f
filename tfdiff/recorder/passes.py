"""Gradient calls and optimizer calls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tfdiff.recorder import attributes, optimizers
from tfdiff.recorder.items import GraphApply, GraphBackpropagated, GraphOp
from tfdiff.recorder.recording import safe
from tfdiff.recorder.stream import ApplyEvent, Code, GradientBegin, GradientEnd
from tfdiff.recorder.tensors import captured, gradient_tokens, handle_token, tensors_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tfdiff.recorder.recording import Recording

_SETTINGS = ("iteration", "iterations", "learning_rate")


class Passes:
    """Turns tapes, gradient calls and optimizer calls into events."""

    def __init__(self, recording: Recording) -> None:
        self.recording = recording

    @safe
    def open_tape(self, tape: Any, *, eager: bool) -> None:
        """A gradient tape starts to record."""
        if eager and not self.recording.tapes:
            self.recording.start()
            if self.recording.builder.updated:
                self.recording.builder.finish()
                self.recording.check_stop()
            self.recording.begin_isolated()
        self.recording.tapes.append(tape)

    def close_tape(self, tape: Any) -> None:
        """A gradient tape stops."""
        self.recording.tapes[:] = [other for other in self.recording.tapes if other is not tape]

    @safe
    def out_of_sight(self, graph: Any) -> bool:
        """Whether a gradient call stands in a function that tf.data runs; named as not recorded."""
        if graph is None or not attributes.under_dataset():
            return False
        why = "tf.data runs it in threads of its own; loop over the dataset instead (`for batch in dataset`)"
        place = self.recording.frames.here().called
        self.recording.output.not_recorded(f"training step inside a function of tf.data ({place})", why)
        return True

    @safe
    def is_step(self, tape: Any, sources: Sequence[Any]) -> bool:
        """Whether a gradient call is a step's: of variables, no part of another one, and watched by no outer tape.

        What an outer tape watches is part of a forward pass.
        """
        recording = self.recording
        if not recording.active or recording.in_gradient or any(other is not tape for other in recording.tapes):
            return False
        return any(recording.variables.of(source) is not None for source in sources)

    @safe
    def gradient_begin(
        self,
        targets: Sequence[Any],
        sources: Sequence[Any],
        graph: Any,
        *,
        given: Sequence[Any] = (),
        loss: bool = True,
    ) -> list[Any]:
        """A gradient call on variables begins; returns the activations to ask gradients of as well."""
        self.recording.close_call()
        code = self.recording.context.code(self.recording.frames.here())
        handles = [h for s in sources if (h := handle_token(s))]
        outer = [g._id for g in given]
        event = GradientBegin([t._id for t in targets], code, handles, outer, loss=loss and not outer)
        if graph is None:
            activations = self.recording.builder.activations(event.targets)
            self.recording.builder.gradient_begin(event)
            return [tensor for _, tensor in activations]
        program = self.recording.programs.of(graph)
        tensors = program.activations(event.targets)
        program.begin(event)
        return tensors

    @safe
    def gradient_end(
        self,
        sources: Sequence[Any],
        gradients: Sequence[Any],
        activations: Sequence[Any],
        extra: Sequence[Any],
        graph: Any,
    ) -> None:
        """The gradients are there."""
        for source in sources:
            entry = self.recording.variables.of(source)
            if entry is not None:
                entry.kind = "weight"
        pairs = [
            (handle_token(s), gradient_tokens(g)) for s, g in zip(sources, gradients, strict=True) if handle_token(s)
        ]
        found = [(a._id, g) for a, g in zip(activations, extra, strict=True) if hasattr(g, "_id")]
        end = GradientEnd(pairs, [(a, g._id) for a, g in found])
        if graph is None:
            self.recording.builder.gradient_end(end)
            return
        program = self.recording.programs.of(graph)
        for tensor in [t for g in gradients for t in tensors_of(g)] + [g for _, g in found]:
            self._tap_result(tensor, program)
        program.items.append(end)

    def _tap_result(self, tensor: Any, program: Any) -> None:
        """Gradients are tapped even where the op that made them was not (a result of an inner function)."""
        if tensor.op.type != "Placeholder" and not program.is_tapped(tensor._id):
            with self.recording.quiet():
                tag = self.recording.taps.emit(tensor)
            item = GraphOp("Gradient", Code(), [tensor._id], [tensor._id], [tag], [None])
            program.items.append(item)
            program.makers[tensor._id] = item

    @safe
    def backpropagated(self, op: Any, gradients: Sequence[Any], graph: Any) -> None:
        """The backward graph of a compiled function gets the gradients of a forward op's outputs."""
        forward, program = self.recording.programs.of(op.graph), self.recording.programs.of(graph)
        for output, gradient in zip(op.outputs, gradients, strict=False):
            maker = forward.makers.get(output._id)
            if (
                maker is None
                or not maker.boundary
                or maker.joint
                or output._id not in forward.dependent
                or not hasattr(gradient, "_id")
            ):
                continue
            self._tap_result(gradient, program)
            program.items.append(GraphBackpropagated(op.graph, output._id, gradient._id))

    @safe
    def apply(self, optimizer: Any, gradients: Sequence[Any], variables: Sequence[Any], graph: Any) -> None:
        """An optimizer is handed gradients."""
        if graph is not None and attributes.under_dataset():
            return
        call = self.recording.frames.here()
        info = optimizers.describe(optimizer, self.recording.context.source_of(optimizer), call.called)
        self.recording.configurations.told(optimizer, info)
        with self.recording.quiet():
            if graph is not None:
                gradients = [captured(g, graph) for g in gradients]
            found = zip(gradients, variables, strict=False)
            pairs = [(gradient_tokens(g), h) for g, v in found if (h := handle_token(v))]
            rate, iterations = optimizers.rate_and_iterations(optimizer)
            if graph is None:
                event = ApplyEvent(info, pairs, rate, iterations)
            else:
                tags = [None if v is None else self.recording.taps.emit(v) for v in (rate, iterations)]
        if graph is None:
            self.recording.builder.add(event)
        else:
            self.recording.programs.of(graph).items.append(GraphApply(info, pairs, *tags))

    @safe
    def optimizer_variables(self, optimizer: Any) -> None:
        """An optimizer has its variables now: slots and settings."""
        for variable in optimizers.settings_of(optimizer):
            self.recording.variables.declare(variable, "hyper")
        for variable in optimizers.variables_of(optimizer):
            entry = self.recording.variables.of(variable)
            if entry is not None and entry.kind == "other":
                entry.kind = "hyper" if not entry.shape and entry.name.rpartition("/")[2] in _SETTINGS else "slot"
