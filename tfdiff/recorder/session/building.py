"""What is noted of a TensorFlow 1 graph while the script builds it: ops with their code, gradient and optimizer calls.

Nothing is added to the graph: a session is asked for more tensors than the script wants, and fed what is shared. (An
isolated pass is the exception, see `joints.py`.)
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tfdiff.recorder import attributes, optimizers
from tfdiff.recorder.items import GraphCall, GraphOp
from tfdiff.recorder.recording import safe
from tfdiff.recorder.session.closure import ancestors
from tfdiff.recorder.stream import CONTROL_OPS, SKIPPED_OPS, Code, Slices, Token
from tfdiff.recorder.tensors import gradient_tokens, handle_token, static_value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tfdiff.recorder.recording import Recording
    from tfdiff.recorder.session.joints import SessionJoints


@dataclass(slots=True)
class GradientCall:
    """A call of `tf.gradients` (or of an optimizer's `compute_gradients`) on variables."""

    begin: int
    """Number of ops in the graph before it."""
    targets: list[Any]
    code: Code
    end: int = 0
    """Number of ops after it."""
    gradients: list[tuple[Token, Any]] = field(default_factory=list)
    """Variable handle and gradient: a tensor, IndexedSlices or None."""
    activations: list[tuple[Token, Any]] = field(default_factory=list)
    """Tensor of the forward pass and its gradient."""


@dataclass(slots=True)
class ApplyCall:
    """An optimizer was handed gradients."""

    begin: int
    optimizer: dict[str, Any]
    pairs: list[tuple[Token | Slices | None, Token]]
    rate: Any = None
    """Tensor, number or None."""
    iterations: Any = None
    end: int = 0


@dataclass(slots=True)
class Notes:
    """What is known of one graph."""

    graph: Any
    items: dict[str, GraphOp | GraphCall] = field(default_factory=dict)
    """By the op's name."""
    gradients: list[GradientCall] = field(default_factory=list)
    applies: list[ApplyCall] = field(default_factory=list)
    order: dict[str, int] = field(default_factory=dict)
    """Creation number by the op's name, as far as it was asked for."""

    def numbered(self) -> dict[str, int]:
        """The creation number of every op there is now."""
        ops = self.graph.get_operations()
        for op in ops[len(self.order) :]:
            self.order[op.name] = len(self.order)
        return self.order

    def count(self) -> int:
        """How many ops there are now."""
        return len(self.numbered())


class Building:
    """Notes the graphs of one recording."""

    def __init__(self, recording: Recording, joints: SessionJoints) -> None:
        self.recording = recording
        self._joints = joints
        self._notes: dict[int, Notes] = {}
        self._open: list[GradientCall] = []

    def of(self, graph: Any) -> Notes:
        """The notes of a graph (which they keep alive, so that its id stays its own)."""
        known = self._notes.get(id(graph))
        if known is None:
            known = self._notes[id(graph)] = Notes(graph)
        return known

    @safe
    def op(
        self, op_type: str, inputs: Sequence[Any], attrs: Any, outputs: Sequence[Any], name: str, graph: Any
    ) -> list[Any] | None:
        """An op was added to a graph of TensorFlow 1; a returned list replaces its outputs."""
        if op_type in SKIPPED_OPS:
            return None
        name = outputs[0].op.name if outputs else name
        call = self.recording.frames.here()
        item = GraphOp(
            op_type,
            self.recording.context.code(call),
            [t._id for t in inputs],
            [t._id for t in outputs],
            [],
            [static_value(op_type, t) for t in outputs],
            attributes.useful(attrs),
        )
        self.recording.mark_boundary(item, call)
        self.recording.programs.of(graph).makers.update((t, item) for t in item.outputs)
        notes = self.of(graph)
        if op_type in CONTROL_OPS:
            operation = graph.get_operation_by_name(name)
            notes.items[name] = GraphCall(None, item.inputs, item.outputs, operation)
            return None
        notes.items[name] = item
        return self._joints.built(item, outputs, notes.items)

    def item(self, op: Any) -> GraphOp | GraphCall:
        """What was noted of the op; one that was built unseen (imported, or before recording) is asked itself."""
        notes = self.of(op.graph)
        if op.name not in notes.items:
            place = self.recording.frames.of_traceback(op.traceback)
            inputs, outputs = [t._id for t in op.inputs], [t._id for t in op.outputs]
            if op.type in CONTROL_OPS:
                notes.items[op.name] = GraphCall(None, inputs, outputs, op)
            else:
                attrs = [part for key in op.node_def.attr for part in (key, op.node_def.attr[key])]
                statics = [static_value(op.type, t) for t in op.outputs]
                code = Code(source=place, called=place)
                notes.items[op.name] = GraphOp(
                    op.type, code, inputs, outputs, [], statics, attributes.useful(attrs), boundary=True
                )
        return notes.items[op.name]

    def code(self, op: Any) -> Code:
        """Where in the program the op stands."""
        item = self.item(op)
        return item.code if isinstance(item, GraphOp) else Code()

    @safe
    def gradient_begin(self, targets: Sequence[Any], graph: Any) -> GradientCall:
        """`tf.gradients` is about to be built."""
        self.recording.close_call()
        code = self.recording.context.code(self.recording.frames.here())
        call = GradientCall(self.of(graph).count(), list(targets), code)
        self._open.append(call)
        return call

    def gradient_failed(self, call: GradientCall) -> None:
        """It raised an exception."""
        self._open = [other for other in self._open if other is not call]

    @safe
    def backpropagated(self, op: Any, gradients: Sequence[Any]) -> None:
        """The gradients of an op's outputs are handed to its gradient function."""
        if not self._open:
            return
        makers = self.recording.programs.of(op.graph).makers
        for output, gradient in zip(op.outputs, gradients, strict=False):
            maker = makers.get(output._id)
            if maker is not None and maker.boundary and not maker.joint and hasattr(gradient, "_id"):
                self._open[-1].activations.append((output._id, gradient))

    @safe
    def gradient_end(self, call: GradientCall, sources: Sequence[Any], gradients: Sequence[Any], graph: Any) -> None:
        """`tf.gradients` has been built; it counts when it asked for gradients of variables."""
        self.gradient_failed(call)
        self.recording.close_call()  # none of the ops of the backward pass ends an API call
        for source, gradient in zip(sources, gradients, strict=False):
            handle = self._handle(source)
            entry = self.recording.variables.by_handle(handle)
            if entry is not None:
                entry.kind = "weight"
                call.gradients.append((handle, gradient))
        if not call.gradients:
            return
        notes = self.of(graph)
        call.end = notes.count()
        dependent = _dependent(call, notes.order)
        call.activations = [(token, gradient) for token, gradient in call.activations if token in dependent]
        notes.gradients.append(call)

    def hand_on(self, call: GradientCall, sources: Sequence[Any], gradients: Sequence[Any]) -> list[Any]:
        """What the call gives back: in an isolated pass tensors that are the reference's gradients."""
        entries = [self.recording.variables.by_handle(self._handle(source)) for source in sources]
        indices = [None if entry is None else entry.index for entry in entries]
        return self._joints.hand_on(call, indices, gradients) or list(gradients)

    def _handle(self, source: Any) -> Token:
        """The handle of the variable that the source is, or was read from."""
        handle = handle_token(source)
        if not handle and hasattr(source, "_id"):
            handle = source._id
            if self.recording.variables.by_handle(handle) is None and source.op.type in ("ReadVariableOp", "Identity"):
                handle = source.op.inputs[0]._id
        return handle

    @contextlib.contextmanager
    def applying(
        self, optimizer: Any, grads_and_vars: Sequence[tuple[Any, Any]], rate: Callable[[], Any] = lambda: None
    ) -> Iterator[None]:
        """Around a call that builds an optimizer's update into the default graph.

        `rate` gives the tensor of the rate as the call has built it, where that is known.
        """
        from tensorflow.python.framework import ops

        notes = self.of(ops.get_default_graph())
        call = self._apply(optimizer, grads_and_vars, notes)
        yield
        if call is not None:
            self._applied(call, optimizer, notes, rate())

    @safe
    def _apply(self, optimizer: Any, grads_and_vars: Sequence[tuple[Any, Any]], notes: Notes) -> ApplyCall:
        call = self.recording.frames.here()
        info = optimizers.describe(optimizer, self.recording.context.source_of(optimizer), call.called)
        self.recording.configurations.told(optimizer, info)
        return ApplyCall(
            notes.count(), info, [(gradient_tokens(g), h) for g, v in grads_and_vars if (h := handle_token(v))]
        )

    @safe
    def _applied(self, call: ApplyCall, optimizer: Any, notes: Notes, rate: Any) -> None:
        call.end = notes.count()
        declared, iterations = optimizers.declared(optimizer)
        settings = (declared if rate is None else rate, iterations)
        call.rate, call.iterations = (getattr(value, "_graph_element", value) for value in settings)
        notes.applies.append(call)


def _dependent(call: GradientCall, order: dict[str, int]) -> set[Token]:
    """Tensors between the variables and the targets of a gradient call."""
    handles = {handle for handle, _ in call.gradients}
    ops = ancestors([t.op for t in call.targets if hasattr(t, "op")], frozenset())
    found: set[Token] = set()
    for op in sorted(ops, key=lambda op: order.get(op.name, len(order))):
        if any(t._id in found or t._id in handles for t in op.inputs):
            found.update(t._id for t in op.outputs)
    return found
