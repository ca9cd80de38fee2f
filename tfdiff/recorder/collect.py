"""A finished step as records for the trace: sites named, dataflow numbered, values on the host."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tfdiff.model import Phase, Role, Site, StepInfo
from tfdiff.orders import FORCED
from tfdiff.recorder.selections import find_selections
from tfdiff.recorder.stream import (
    ASSIGN_OPS,
    LEAF,
    NEXT_OPS,
    RANDOM_OPS,
    READ_OP,
    UNKNOWN,
    Code,
    GradientBegin,
    GradientEnd,
    OpEvent,
    Slices,
    Token,
    to_array,
)
from tfdiff.trace.records import Record

if TYPE_CHECKING:
    from collections.abc import Callable

    from tfdiff.recorder.steps import Pending
    from tfdiff.recorder.variables import Entry, Variables

    Array = np.ndarray[Any, Any]

SMALL = 64 << 10
"""Bytes up to which inner tensors of layers are kept in full too."""
_SCATTERED = frozenset({"ResourceScatterAdd", "ResourceScatterSub", "ResourceScatterNdAdd", "ResourceScatterNdSub"})
_CONSTANT = 16
"""Elements up to which a tensor that no recorded op made, and that is no batch, counts as a constant."""


@dataclass(frozen=True)
class StepRecords:
    """What goes into the trace for one step; `info.index` is set by the recorder."""

    info: StepInfo
    records: list[Record]


class SiteTable:
    """Gives equal places in different steps the same `Site`."""

    def __init__(self, first: int = 0) -> None:
        self._first = first
        self._sites: dict[Any, Site] = {}
        self._counts: Counter[Any] = Counter()

    def begin_step(self) -> None:
        """Occurrences are counted within a step."""
        self._counts.clear()

    def get(self, role: Role, phase: Phase, op: str, code: Code, **more: Any) -> Site:
        """The site of that role, place and occurrence."""
        attrs, boundary = more.pop("attrs", {}), more.pop("boundary", True)
        key = _key(role, phase, op, code, more)
        occurrence = self._counts[key]
        self._counts[key] += 1
        full = (*key, occurrence)
        site = self._sites.get(full)
        if site is None:
            site = Site(
                self._first + len(self._sites),
                role,
                phase,
                op,
                occurrence=occurrence,
                boundary=boundary,
                attrs=attrs,
                **code._asdict(),
                **more,
            )
            self._sites[full] = site
        return site

    def passed(self, role: Role, phase: Phase, op: str, code: Code, **more: Any) -> None:
        """The place came up and has no record."""
        self._counts[_key(role, phase, op, code, more)] += 1


def _key(role: Role, phase: Phase, op: str, code: Code, more: dict[str, Any]) -> tuple[Any, ...]:
    return (role, phase, op, code, *sorted(more.items()))


class Collector:
    """Collects the records of one step."""

    def __init__(
        self, makers: dict[Token, OpEvent], variables: Variables, sites: SiteTable, *, cut: bool = False
    ) -> None:
        self._makers = makers
        self._cut = cut
        """Whether tensors of which only the first rows were kept are wanted."""
        self._variables = variables
        self._sites = sites
        self.records: list[Record] = []
        self._index: dict[Token, int] = {}
        self._arrays: dict[Token, Array | None] = {}
        self._through: dict[Token, tuple[int, ...]] = {}
        self.feeds: list[int] = []
        """Pairs: the index of an input and its number among the arrays that were made on its line."""
        self.draws: list[int] = []
        """Pairs: the index of an eager draw outside every tape and its number among those of its place in the run."""
        self._selections: set[int] = set()
        self._wholes: set[int] = set()

    def forward(self, events: list[OpEvent], idle: frozenset[int]) -> None:
        """The forward pass; a data set that the batch is cut out of is no input of it. Ops whose ids are in `idle` only
        count: an isolated pass, which meets them too, cannot know yet that nothing will come of them.
        """
        used = [event for event in events if id(event) not in idle]
        self._selections, self._wholes = find_selections(used, self._makers)
        for event in events:
            if id(event) in idle:
                for output in range(len(event.outputs)):
                    self._sites.passed("activation", "forward", event.type, event.code, output=output)
            elif id(event) not in self._wholes:
                self.operation(event, "activation", "forward")

    def operation(self, event: OpEvent, role: Role, phase: Phase) -> None:
        """All outputs of an op (or the value an assign wrote)."""
        if event.type == READ_OP:
            self._read(event, phase)
            return
        if event.after:
            for handle in event.after:
                self._assign(event, handle, phase)
            return
        inputs = self._inputs(event)
        own = [to_array(value) for value in event.own] if event.own else None
        for output, token in enumerate(event.outputs):
            array = self._value(token)
            if array is None:
                # what cannot be shown (the tensor list of a loop) still hands on what went into it
                self._through[token] = tuple(sorted({i for i in inputs if i != UNKNOWN}))
            if array is None or (phase in ("backward", "update") and array.dtype.kind in "biu"):
                continue  # shapes and axes of the backward pass tell nobody anything
            kind = "input" if id(event) in self._selections else _role(event, array, role, phase)
            if event.type == FORCED and kind == "activation":
                kind = "forced"
            before = own[output] if own is not None else None
            if kind == "input" and before is not None:
                self._put(self._site("own input", "data", event, output), before)
            self._index[token] = self._put(self._site(kind, phase, event, output), array, inputs)
            self._number(kind, event, self._index[token])

    def _number(self, kind: Role, event: OpEvent, index: int) -> None:
        """Note which of its place's arrays or draws this is."""
        if kind == "input" and "feed" in event.attrs:
            self.feeds += [index, int(event.attrs["feed"])]
        elif kind == "noise" and "draw" in event.attrs:
            self.draws += [index, int(event.attrs["draw"])]

    def _inputs(self, event: OpEvent) -> tuple[int, ...]:
        found: list[int] = []
        for token in event.inputs:
            if token in self._index or token not in self._through:
                found.append(self._index.get(token, UNKNOWN))
            else:
                found += self._through[token]
        return tuple(found)

    def _site(self, role: Role, phase: Phase, event: OpEvent, output: int) -> Site:
        kept = (event.boundary and role != "operation") or role in ("input", "own input", "noise", "constant")
        return self._sites.get(role, phase, event.type, event.code, output=output, boundary=kept, attrs=event.attrs)

    def _read(self, event: OpEvent, phase: Phase) -> None:
        entry, array = self._variables.by_handle(event.inputs[0]), self._value(event.outputs[0])
        if array is None:
            return
        if entry is not None and phase == "forward" and entry.kind == "other" and entry.dtype.startswith("float"):
            entry.kind = "weight" if entry.trainable else "state"
        role: Role = _variable_role(entry) if entry is not None else "constant"
        site = self._sites.get(role, phase, READ_OP, event.code, variable=entry.index if entry is not None else None)
        self._index[event.outputs[0]] = self._put(site, array)

    def _assign(self, event: OpEvent, handle: Token, phase: Phase) -> None:
        entry = self._variables.by_handle(handle)
        array = self._written(event, handle, entry)
        if array is not None:
            index = entry.index if entry is not None else None
            site = self._sites.get("assign", phase, event.type, event.code, variable=index, attrs=event.attrs)
            self._put(site, array, tuple(self._index.get(token, UNKNOWN) for token in event.operands))

    def _written(self, event: OpEvent, handle: Token, entry: Entry | None) -> Array | None:
        """What is assigned, added or subtracted (rows of a scatter in their places); of a fused step the outcome."""
        if event.type in ASSIGN_OPS:
            return self._value(event.operands[0]) if event.operands else None
        if event.type not in _SCATTERED or entry is None:
            return self._after(event, handle)
        rows, values = (self._value(token) for token in event.operands)
        if rows is None or values is None:
            return None
        dense = np.zeros(entry.shape, values.dtype)
        np.add.at(dense, tuple(np.moveaxis(rows, -1, 0)) if "Nd" in event.type else rows, values)
        return dense

    @staticmethod
    def _after(event: OpEvent, handle: Token) -> Array | None:
        """The variable's value right after, made an array once."""
        array = event.after[handle] = to_array(event.after[handle])
        return array

    def position(self, token: Token) -> int:
        """Where the tensor stands among the records, -1 where it has none."""
        return self._index.get(token, UNKNOWN)

    def _value(self, token: Token) -> Array | None:
        """The tensor on the host; the same array for every role it plays, so that it is written once."""
        if token not in self._arrays:
            maker = self._makers.get(token)
            cut = maker is not None and token in maker.full and not self._cut
            value = maker.values[maker.outputs.index(token)] if maker is not None and not cut else None
            self._arrays[token] = to_array(value)
        return self._arrays[token]

    def derived(self, token: Token, role: Role, phase: Phase, code: Code, **more: Any) -> None:
        """A tensor in a further role (loss, gradient): the same value, pointing at the op that made it."""
        array = self._value(token)
        if array is None:
            return
        of = more.pop("of", None)
        maker = self._makers[token]
        site = self._sites.get(role, phase, maker.type, code, **more)
        self._put(site, array, (self._index.get(token, UNKNOWN),), of)

    def gradient(self, gradient: Token | Slices, entry: Entry | None, role: Role, phase: Phase, code: Code) -> None:
        """A gradient of a variable; a sparse one is written out densely, repeated rows added up, behind its ids."""
        index = entry.index if entry is not None else None
        if not isinstance(gradient, Slices):
            array = self._value(gradient)
            if array is not None and entry is not None and array.shape != entry.shape and -1 not in entry.shape:
                return  # a Jacobian, of which the program makes its own gradient
            self.derived(gradient, role, phase, code, variable=index)
            return
        values, rows = self._value(gradient.values), self._value(gradient.indices)
        if values is None or rows is None or entry is None:
            return
        dense = np.zeros(entry.shape, values.dtype)
        np.add.at(dense, rows.reshape(-1), values.reshape(-1, *entry.shape[1:]))
        inputs = self._rows(gradient, phase, code, rows)
        self._put(self._sites.get(role, phase, "IndexedSlices", code, variable=index), dense, inputs)

    def _rows(self, gradient: Slices, phase: Phase, code: Code, ids: Array) -> tuple[int, int]:
        """Where the rows and the ids of a sparse gradient are: kept, for not all optimizers add up repeated rows."""
        if gradient.indices not in self._index:
            self._index[gradient.indices] = self._put(self._sites.get("constant", phase, "ids", code), ids)
        at = self._index.get(gradient.values, UNKNOWN)
        if at >= 0 and np.unique(ids).size < ids.size:
            self.records[at] = replace(self.records[at], keep=True)
        return at, self._index[gradient.indices]

    def loss(self, begin: GradientBegin) -> None:
        """What is minimized: the target of the gradient call, the sum of several."""
        if not begin.loss:
            return
        if len(begin.targets) == 1:
            (token,) = begin.targets
            maker = self._makers.get(token)
            self.derived(token, "loss", "loss", maker.code if maker is not None else begin.code)
            return
        arrays = [array for token in begin.targets if (array := self._value(token)) is not None]
        if arrays:
            total = np.asarray(sum(array.sum(dtype=np.float64) for array in arrays), arrays[0].dtype)
            inputs = tuple(self._index.get(token, UNKNOWN) for token in begin.targets)
            self._put(self._sites.get("loss", "loss", "AddN", begin.code), total, inputs)

    def activation_gradient(self, activation: Token, gradient: Token) -> None:
        """d loss / d activation."""
        of, maker = self._index.get(activation), self._makers.get(activation)
        if of is None or maker is None:
            return
        self.derived(gradient, "activation gradient", "backward", maker.code, of=of)

    def snapshots(self, events: list[OpEvent]) -> None:
        """The last value each variable was given in this step."""
        last = {handle: event for event in events for handle, value in event.after.items() if value is not None}
        for handle, event in last.items():
            entry, array = self._variables.by_handle(handle), self._after(event, handle)
            if entry is None or array is None or entry.kind in ("metric", "seed"):
                continue
            role = _variable_role(entry)
            phase: Phase = "state" if role == "state" else "update"
            code = Code(layer=entry.describe().layer, source=entry.source)
            self._put(self._sites.get(role, phase, "", code, variable=entry.index), array)

    def _put(self, site: Site, value: Array, inputs: tuple[int, ...] = (), of: int | None = None) -> int:
        keep = site.boundary or value.nbytes <= SMALL
        self.records.append(Record(site, value, inputs, of, keep))
        return len(self.records) - 1


def _role(event: OpEvent, array: Array, role: Role, phase: Phase) -> Role:
    if event.type in RANDOM_OPS:
        return "noise"
    if event.type == "Const":
        return "constant"
    if event.type in (LEAF, "OptionalGetValue") and phase in ("backward", "update"):
        # arrays that the script computes its update with are no batch, nor is what a branch leaves for its gradient
        return role
    if event.type in NEXT_OPS:
        return "input"
    if event.type == LEAF and "carried" not in event.attrs:  # what the step before gave back is no batch
        return "input" if array.ndim and (array.size > _CONSTANT or "feed" in event.attrs) else "constant"
    return role


def _variable_role(entry: Entry) -> Role:
    if entry.kind == "weight" or (entry.kind == "other" and entry.trainable and entry.dtype.startswith("float")):
        return "weight"
    if entry.kind == "slot":
        return "slot"
    return "state" if entry.kind in ("state", "other") else "constant"


def collect(
    pending: Pending,
    makers: dict[Token, OpEvent],
    variables: Variables,
    sites: SiteTable,
    resolve: Callable[[Token], Token],
) -> StepRecords:
    """The records of one step, producers before consumers."""
    sites.begin_step()
    end = pending.end or GradientEnd([], [])
    collector = Collector(makers, variables, sites)
    _mark_states(pending, variables)
    collector.forward(pending.forward, pending.idle)
    for event in pending.side:
        collector.operation(event, "activation", "state")
    collector.loss(pending.begin)
    for event in pending.backward:
        collector.operation(event, "operation", "backward")
    for activation, gradient in end.activations:
        collector.activation_gradient(activation, gradient)
    for handle, found in end.gradients:
        if found is not None:
            collector.gradient(found, variables.by_handle(handle), "weight gradient", "backward", pending.begin.code)
    _collect_update(collector, pending, variables, resolve)
    collector.snapshots(pending.side + pending.after)
    optimizers = tuple(_optimizer(event) for event in pending.applies)
    applied = any(variables.is_trainable(handle) for event in pending.after for handle in event.after)
    return StepRecords(StepInfo(-1, optimizers, applied, draws=tuple(collector.draws)), collector.records)


def _collect_update(
    collector: Collector, pending: Pending, variables: Variables, resolve: Callable[[Token], Token]
) -> None:
    for event in pending.applies:
        code = Code(source=event.optimizer.get("source"), called=event.optimizer.get("called"))
        for found, handle in event.pairs:
            if isinstance(found, Slices):
                found = Slices(resolve(found.values), resolve(found.indices))  # noqa: PLW2901
            elif found is not None:
                found = resolve(found)  # noqa: PLW2901
            if found is not None:
                collector.gradient(found, variables.by_handle(resolve(handle)), "applied gradient", "update", code)
    for op in pending.after:
        collector.operation(op, "operation", "update")


def _mark_states(pending: Pending, variables: Variables) -> None:
    for event in pending.side:
        for handle in event.after:
            entry = variables.by_handle(handle)
            if entry is not None and variables.is_state(handle) and not entry.trainable:
                entry.kind = "state"


def _optimizer(event: Any) -> dict[str, Any]:
    info = dict(event.optimizer)
    for name, value in (("learning_rate", event.learning_rate), ("iterations", event.iterations)):
        array = to_array(value)
        if array is not None and array.size == 1:
            info[name] = array.reshape(()).item()
    return info
