"""One `Session.run` written out as events, from the values it was asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from tfdiff.recorder.items import GraphCall, GraphOp
from tfdiff.recorder.selections import SELECTIONS
from tfdiff.recorder.session.closure import (
    ENTRIES,
    EXITS,
    MERGES,
    SWITCHES,
    is_fixed,
    is_ref_update,
    stands_for_variable,
    variable_of,
)
from tfdiff.recorder.stream import (
    ALIAS_OPS,
    LEAF,
    NEXT_OPS,
    READ_OP,
    SKIPPED_OPS,
    UNKNOWN,
    ApplyEvent,
    Code,
    Event,
    GradientBegin,
    GradientEnd,
    OpEvent,
    Slices,
    Token,
    fresh,
    is_update,
)
from tfdiff.recorder.tensors import gradient_tokens

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tfdiff.recorder.recording import Recording
    from tfdiff.recorder.session.building import ApplyCall, Building, GradientCall
    from tfdiff.recorder.session.closure import Execution

    Array = np.ndarray[Any, Any]
    _Mark = Callable[[Callable[[Event], None]], None]


SOURCES = NEXT_OPS | SELECTIONS
"""Ops that may hand out a batch."""


@dataclass(slots=True)
class Feed:
    """A tensor that was fed."""

    token: Token
    value: Any
    attrs: dict[str, Any]
    own: Any = None
    """What the script fed, where sharing fed something else."""


@dataclass(slots=True)
class Ran:
    """What is known of a run after it."""

    execution: Execution
    dead: set[Token]
    feeds: list[Feed]
    code: Code
    """The user's line that runs the session."""
    values: dict[Token, Any]
    """By tensor: what was fetched (or fed)."""
    before: dict[Token, Array]
    """Variables before the run, by handle: those that are read without an op of their own."""
    after: dict[Token, Array]
    """Variables after the run, by handle: those it wrote."""
    numbers: dict[str, int]
    """Number of each op that hands out a batch, by its name."""
    draws: dict[str, int]
    """Of an evaluation: number of each draw among those of its place in the run, by the op's name."""
    own: dict[Token, Any] = field(default_factory=dict)
    """What ops inside the graph (a dataset's next batch) gave before sharing replaced it."""
    gradients: list[GradientCall] = field(default_factory=list)
    applies: list[ApplyCall] = field(default_factory=list)


class Replay:
    """Turns a run into events."""

    def __init__(self, recording: Recording, building: Building, ran: Ran) -> None:
        self._recording = recording
        self._building = building
        self._ran = ran
        self._names: dict[Token, Token] = {}
        self._reads: dict[Token, Token] = {}
        self._taps = recording.taps.drain_host()

    def send(self, sink: Callable[[Event], None]) -> None:
        """Hand the events of the run to `sink`, in order."""
        for feed in self._ran.feeds:
            self._feed(feed, sink)
        marks = self._marks()
        order = self._ran.execution.order
        upcoming = next(marks, None)
        for op in self._ran.execution.ops:
            while upcoming is not None and upcoming[0] <= order[op.name]:
                upcoming[1](sink)
                upcoming = next(marks, None)
            self._op(op, sink)
        while upcoming is not None:
            upcoming[1](sink)
            upcoming = next(marks, None)

    def token(self, tensor: Token) -> Token:
        """The token of a graph's tensor in this run."""
        return self._names.get(tensor, tensor)

    def _marks(self) -> Iterator[tuple[int, _Mark]]:
        """Gradient and optimizer calls by the number of ops that were built before them."""
        marks: list[tuple[int, int, _Mark]] = []
        for number, call in enumerate(self._ran.gradients):
            marks.append((call.begin, 2 * number, partial(self._gradient_begin, call)))
            marks.append((call.end, 2 * number + 1, partial(self._gradient_end, call)))
        last = 2 * len(self._ran.gradients)
        for number, apply in enumerate(self._ran.applies):
            marks.append((apply.begin, last + number, partial(self._apply, apply)))
        return iter([(place, send) for place, _, send in sorted(marks, key=lambda mark: mark[:2])])

    def _feed(self, feed: Feed, sink: Callable[[Event], None]) -> None:
        self._names[feed.token] = fresh()
        own = None if feed.own is None else [feed.own]
        outputs = [self._names[feed.token]]
        sink(OpEvent(LEAF, self._ran.code, [], outputs, [feed.value], dict(feed.attrs), boundary=True, own=own))

    def _op(self, op: Any, sink: Callable[[Event], None]) -> None:
        fed = self._ran.execution.fed
        looping = op.name in self._ran.execution.looping
        if not looping and not self._ran.execution.runs(op, self._ran.dead):
            return
        if op.type in ALIAS_OPS or op.type == "PlaceholderWithDefault":
            for output, tensor in zip(op.outputs, op.inputs, strict=False):
                if output._id not in fed:
                    self._names[output._id] = self._input(tensor, sink)
        elif op.type in SWITCHES and not looping:
            for output in op.outputs:
                if output._id not in self._ran.dead:
                    self._names[output._id] = self.token(op.inputs[0]._id)
        elif op.type in MERGES and not looping:
            alive = [t for t in op.inputs if t._id not in self._ran.dead]
            self._names[op.outputs[0]._id] = self.token(alive[0]._id) if alive else UNKNOWN
        elif op.type not in SKIPPED_OPS and op.type != "VariableV2":
            self._plain(op, sink)

    def _plain(self, op: Any, sink: Callable[[Event], None]) -> None:
        item = self._building.item(op)
        if isinstance(item, GraphCall):
            self._call(item, op, sink)
        elif is_update(op.type) or is_ref_update(op):
            self._update(op, item, sink)
        else:
            inputs = [self._input(t, sink) for t in op.inputs]
            if op.type in EXITS:
                inputs += self._entering(op)
            if op.type == "ResourceGather":
                inputs[0] = self._read(variable_of(op.inputs[0]), item.code, sink)
            if item.taken is not None and not _taken(item):
                self._names[op.outputs[0]._id] = inputs[0]
                return
            self._emit(item.type, item, inputs, op, sink)

    def _entering(self, leaving: Any) -> list[Token]:
        """All that enters the loop: what leaves it comes from there, by steps that a session does not show."""
        loop = leaving._get_control_flow_context()
        entering = [
            op for op in self._ran.execution.ops if op.type in ENTRIES and op.name in self._ran.execution.looping
        ]
        tokens = [op.outputs[0]._id for op in entering if op._get_control_flow_context() is loop]
        return [self._names[token] for token in tokens if token in self._names]

    def _emit(self, kind: str, item: GraphOp, inputs: list[Token], op: Any, sink: Callable[[Event], None]) -> None:
        fed = self._ran.execution.fed
        outputs = [fresh() for _ in op.outputs]
        values = [self._ran.values.get(t._id, static) for t, static in zip(op.outputs, item.statics, strict=False)]
        own = (
            [self._ran.own.get(t._id) for t in op.outputs] if any(t._id in self._ran.own for t in op.outputs) else None
        )
        self._names.update((t._id, token) for t, token in zip(op.outputs, outputs, strict=True) if t._id not in fed)
        attrs = dict(item.attrs)
        trains = bool(self._ran.gradients)
        if op.name in self._ran.numbers:
            attrs |= {"feed": self._ran.numbers[op.name], "taped": trains}
        if op.name in self._ran.draws:
            attrs |= {"draw": self._ran.draws[op.name], "taped": False}
        event = OpEvent(kind, item.code, inputs, outputs, values, attrs, item.boundary, taped=trains, own=own)
        event.fixed = is_fixed(op)
        sink(event)

    def _input(self, tensor: Any, sink: Callable[[Event], None]) -> Token:
        """The token of an input; a variable of the old kind is read by the op that takes it."""
        token = self.token(tensor._id)
        if tensor.dtype._is_ref_dtype and self._recording.variables.by_handle(token) is not None:
            return self._read(token, self._code_of(token), sink)
        return token

    def _code_of(self, handle: Token) -> Code:
        entry = self._recording.variables.by_handle(handle)
        return Code(source=entry.source, called=entry.source) if entry is not None else Code()

    def _read(self, handle: Token, code: Code, sink: Callable[[Event], None]) -> Token:
        if handle not in self._reads:
            token = self._reads[handle] = fresh()
            sink(OpEvent(READ_OP, code, [handle], [token], [self._ran.before.get(handle)]))
        return self._reads[handle]

    def _update(self, op: Any, item: GraphOp, sink: Callable[[Event], None]) -> None:
        """An op that writes variables; old kinds go by the names of the new ones."""
        inputs = [variable_of(t) if stands_for_variable(t) else self._input(t, sink) for t in op.inputs]
        handles = [variable_of(t) for t in op.inputs if stands_for_variable(t)]
        after = {handle: self._ran.after.get(handle) for handle in handles}
        sink(OpEvent(modern(op.type), item.code, inputs, [fresh()], [None], dict(item.attrs), after=after))
        if op.outputs:  # the variable itself, as it is now
            self._names[op.outputs[0]._id] = inputs[0]
            self._reads.pop(inputs[0], None)
            self._ran.before.update((h, v) for h, v in after.items() if v is not None)

    def _call(self, item: GraphCall, op: Any, sink: Callable[[Event], None]) -> None:
        """A condition, a loop or a function of the new kind: replayed from its own graphs."""
        item.op = op
        self._recording.programs.call(item, self._names, self._taps, sink, self._taken(op))
        for tensor in op.outputs:
            value = self._ran.values.get(tensor._id)
            token = self.token(tensor._id)
            if value is not None and not self._recording.builder.known.has_value(token):
                self._names[tensor._id] = fresh()
                sink(OpEvent("Result", self._ran.code, [token], [self._names[tensor._id]], [value]))

    def _taken(self, op: Any) -> int | None:
        """Number of the branch that a condition took; None for what is no condition, or not known."""
        value = self._ran.values.get(op.inputs[0]._id) if op.inputs else None
        if value is None or np.ndim(value) or op.type not in ("If", "StatelessIf", "Case", "StatelessCase"):
            return None
        if op.type in ("If", "StatelessIf"):
            return 0 if value else 1
        branches = len(op.get_attr("branches"))
        return int(value) if 0 <= int(value) < branches else branches - 1

    def _gradient_begin(self, call: GradientCall, sink: Callable[[Event], None]) -> None:
        targets = [self._names.get(t._id, UNKNOWN) for t in call.targets if hasattr(t, "_id")]
        sink(GradientBegin(targets, call.code, [handle for handle, _ in call.gradients]))

    def _gradient_end(self, call: GradientCall, sink: Callable[[Event], None]) -> None:
        pairs = [(handle, self._renamed(gradient_tokens(gradient))) for handle, gradient in call.gradients]
        activations = [
            (self._names[token], self._names[gradient._id])
            for token, gradient in call.activations
            if token in self._names and gradient._id in self._names
        ]
        sink(GradientEnd(pairs, activations))

    def _renamed(self, gradient: Token | Slices | None) -> Token | Slices | None:
        if isinstance(gradient, Slices):
            known = gradient.values in self._names and gradient.indices in self._names
            return Slices(self._names[gradient.values], self._names[gradient.indices]) if known else None
        return None if gradient is None else self._names.get(gradient)

    def _apply(self, call: ApplyCall, sink: Callable[[Event], None]) -> None:
        pairs = [(self._renamed(gradient), handle) for gradient, handle in call.pairs]
        rate, iterations = (self._setting(value) for value in (call.rate, call.iterations))
        sink(ApplyEvent(call.optimizer, pairs, rate, iterations))

    def _setting(self, value: Any) -> Any:
        return self._ran.values.get(value._id) if hasattr(value, "_id") else value


def _taken(item: GraphOp) -> bool:
    """Whether the reference's tensor went on in the place of its input in this run (the last that was made)."""
    went = bool(item.taken and item.taken[-1])
    if item.taken is not None:
        item.taken.clear()
    return went


def modern(op_type: str) -> str:
    """The op on resource variables that does what one on variables of the old kind does."""
    if op_type in ("Assign", "AssignAdd", "AssignSub"):
        return f"{op_type}VariableOp"
    return (
        op_type
        if op_type.startswith(("Resource", "AssignVariable", "AssignAddV", "AssignSubV"))
        else f"Resource{op_type}"
    )
