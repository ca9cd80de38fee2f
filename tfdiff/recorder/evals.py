"""Evaluation and prediction passes: which forward passes make one, and what of them goes into the trace.

Of a pass's first batch everything is recorded that is recorded of a training step's forward pass; of all batches the
inputs, the outputs and the numbers they ended in, one behind the other. Nothing here is ever a step - unless the run
ends without one: then its first forward passes become the steps (`forwards`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from tfdiff.model import EvalInfo, StepInfo
from tfdiff.recorder.batches import STATISTICS, Column, shortened
from tfdiff.recorder.collect import Collector, SiteTable, StepRecords
from tfdiff.recorder.strays import Finder, ForwardPass, shape_of, size_of, value_of
from tfdiff.recorder.stream import LEAF, Code, EvalBegin, EvalEnd, OpEvent, to_array

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from tfdiff.model import Role
    from tfdiff.recorder.known import Known
    from tfdiff.recorder.variables import Variables
    from tfdiff.trace.records import Record

    Key = tuple[Any, ...]

MOST_PASSES = 500
"""Passes of one run beyond which no further ones are written."""
_FIRST_SITE = 1 << 23
_FORWARD_BYTES = 256 << 20
"""Of the forward passes of a run that has not trained yet, as many bytes are held at most."""


@dataclass(frozen=True)
class EvalRecords:
    """What goes into the trace for one pass; `info.index` is set by the output."""

    info: EvalInfo
    records: list[Record]


@dataclass
class _Pass:
    """A pass whose batches are still coming."""

    kind: str
    code: Code
    after: int
    records: list[Record] = field(default_factory=list)
    columns: dict[str, list[Column]] = field(default_factory=dict)
    """Per part (input, output, number) what all batches have of it."""
    outputs: tuple[int, ...] = ()
    batches: int = 0
    rows: int = 0
    batch_rows: int = 0
    metrics: dict[str, float] = field(default_factory=dict)
    measured: int = 0
    """Rows that the metrics are of."""

    def measure(self, metrics: dict[str, float]) -> None:
        """Numbers of the batches since the last ones: means over all rows."""
        rows = self.rows - self.measured
        for name, value in metrics.items():
            known = self.metrics.get(name, 0.0) * self.measured
            self.metrics[name] = (known + value * rows) / self.rows if self.measured else value
        self.measured = self.rows

    def finished(self) -> EvalRecords:
        """With the columns behind the first batch."""
        records = list(self.records)
        for part in ("input", "output", "number"):
            records += [column.record() for column in self.columns.get(part, [])]
        info = EvalInfo(
            -1,
            self.kind,
            self.after,
            self.batches,
            self.rows,
            self.batch_rows,
            self.outputs,
            self.metrics,
            self.code.source,
            self.code.called,
        )
        return EvalRecords(info, records)


class EvalBuilder:
    """Takes ops that belong to no step, hands out passes."""

    def __init__(self, variables: Variables, known: Known, emit: Callable[[EvalRecords], None]) -> None:
        self._variables = variables
        self._known = known
        # sites of their own: the same line may feed a training step and an evaluation with different arrays
        self._sites = SiteTable(_FIRST_SITE)
        self._emit = emit
        self._open: dict[Key, _Pass] = {}
        self._scope: tuple[EvalBegin, int] | None = None
        self.ops: list[OpEvent] = []
        """What ran since the pass began, as long as no batch was made of it."""
        self.forwards: list[StepRecords] | None = []
        """The first forward passes of a run that has not trained yet; None once it has."""
        self.most_forwards = 0
        """How many of them are wanted, 0 for all."""
        self._held = 0

    @property
    def inside(self) -> bool:
        """Whether a pass was begun explicitly and has not ended."""
        return self._scope is not None

    def begin(self, event: EvalBegin, after: int) -> None:
        """A pass begins; `after` steps were trained before."""
        for key in [
            key
            for key in self._open
            if not event.stack or key[: len(_scope_key(event, after))] != _scope_key(event, after)
        ]:
            self._emit(self._open.pop(key).finished())
        self._scope = (event, after)
        self.ops = []

    def flush(self) -> None:
        """A batch of the open pass is complete: a compiled function has run."""
        if self._scope is not None:
            event, after = self._scope
            for found in self._finder(self.ops).passes():
                self._take(_scope_key(event, after), event.kind, event.code, after, found)
            self.ops = []

    def end(self, event: EvalEnd) -> None:
        """The pass has ended."""
        if self._scope is None:
            return
        begin, after = self._scope
        if event.targets:
            finder = self._finder(self.ops)
            roots = [maker for token in event.targets if (maker := self._known.makers.get(token)) is not None]
            found = finder.whole(roots)
            known = [token for token in event.targets if token in self._known.makers]
            rows = [t for t in known if (shape_of(self._known.makers[t], t) or (0,))[0] == found.rows > 0]
            found.outputs = rows or found.outputs or known
            found.scalars = list(
                dict.fromkeys(
                    [*found.scalars, *(t for t in known if size_of(self._known.makers[t], t) == 1 and t not in rows)]
                )
            )
            if found.ops and any(finder.dependent(token) for token in known):
                self._take(_scope_key(begin, after), begin.kind, begin.code, after, found)
        else:
            self.flush()
        self._scope, self.ops = None, []
        for each in self._open.values():
            each.measure({name: float(value) for name, value in event.metrics.items() if _is_number(value)})
        if not begin.stack:
            self.close()

    def strays(
        self,
        ops: Sequence[OpEvent],
        after: int,
        *,
        all_but_last: bool = False,
        beside: Collection[tuple[str | None, str | None]] = (),
    ) -> list[OpEvent]:
        """Look for passes among ops that no step needs; returns those that were made into passes.

        `beside`: layers, and the lines that call them, of the step that the ops ran in. One of these by itself is no
        pass: Keras asks a recurrent layer for the shape of its output so.
        """
        found = [each for each in self._finder(ops).passes() if not _is_of_layer(each, beside)]
        if all_but_last and found:  # the last one may not be over
            newest = {id(op): place for place, op in enumerate(ops)}
            found.sort(key=lambda each: newest.get(id(each.last), -1))
            found.pop()
        for each in found:
            code = next((op.code for op in each.ops if op.code.called), Code())
            self._take((each.stack, after), "forward", Code(source=code.called, called=code.called), after, each)
        return [op for each in found for op in each.ops]

    def trained(self) -> None:
        """A training step has come: what went before was no step."""
        self.forwards = None

    def close(self) -> None:
        """The open passes are complete."""
        passes, self._open = self._open, {}
        for each in passes.values():
            self._emit(each.finished())

    def _finder(self, ops: Sequence[OpEvent]) -> Finder:
        return Finder(ops, self._known.makers, self._known.dependent, self._known.data)

    def _take(self, key: Key, kind: str, code: Code, after: int, found: ForwardPass) -> None:
        """One more batch of the pass that `key` names."""
        known = self._open.get((*key, len(found.outputs), len(found.inputs)))
        if known is None:
            known = self._open[(*key, len(found.outputs), len(found.inputs))] = _Pass(kind, code, after)
            self._first(known, found)
        elif self.forwards is not None and self._wants_forward():
            self._keep_forward(self._collected(found)[0])
        self._columns(known, found)
        known.batches += 1
        known.rows += found.rows

    def _first(self, known: _Pass, found: ForwardPass) -> None:
        collector, records = self._collected(found)
        self._keep_forward(collector)
        known.outputs = tuple(i for t in found.outputs if (i := collector.position(t)) >= 0)
        full = {
            place: shape[0] for op in found.ops for t, shape in op.full.items() if (place := collector.position(t)) >= 0
        }
        known.records, known.batch_rows = shortened(records, found.rows, full)
        for part, tokens in (("input", found.inputs), ("output", found.outputs), ("number", found.scalars)):
            columns = known.columns[part] = []
            for token in tokens:
                place = collector.position(token)
                if place >= 0:
                    columns.append(Column(part, token, records[place].site, place))
        for columns in known.columns.values():
            for column in columns:
                like = column.like
                code = Code(*(getattr(like, name) for name in Code._fields))
                role: Role = "input" if column.part == "input" else "activation"
                column.site = self._sites.get(role, "eval", like.op, code, output=like.output)
                if column.part == "input":
                    column.summary = self._sites.get(role, "eval", STATISTICS, code, output=like.output)

    def _collected(self, found: ForwardPass) -> tuple[Collector, list[Record]]:
        self._sites.begin_step()
        collector = Collector(self._known.makers, self._variables, self._sites, cut=True)
        for op in found.ops:
            collector.operation(op, "activation", "forward")
        return collector, collector.records

    def _columns(self, known: _Pass, found: ForwardPass) -> None:
        for part, tokens in (("input", found.inputs), ("output", found.outputs), ("number", found.scalars)):
            columns = known.columns.get(part, [])
            if len(columns) != len(tokens):
                continue
            for column, token in zip(columns, tokens, strict=True):
                maker = self._known.makers.get(token)
                array = to_array(value_of(maker, token)) if maker is not None else None
                if array is not None:
                    column.add(array)

    def _wants_forward(self) -> bool:
        return (
            self.forwards is not None
            and (not self.most_forwards or len(self.forwards) < self.most_forwards)
            and self._held < _FORWARD_BYTES
        )

    def _keep_forward(self, collector: Collector) -> None:
        if self.forwards is None or not self._wants_forward():
            return
        self._held += sum(record.value.nbytes for record in collector.records)
        feeds, draws = tuple(collector.feeds), tuple(collector.draws)
        info = StepInfo(-1, applied=False, forward_only=True, feeds=feeds, draws=draws)
        self.forwards.append(StepRecords(info, list(collector.records)))


def _scope_key(event: EvalBegin, after: int) -> Key:
    return (event.kind, event.stack, after)


def _is_of_layer(found: ForwardPass, layers: Collection[tuple[str | None, str | None]]) -> bool:
    """Whether all of a pass is the work of one call of a layer among `layers`."""
    codes = {op.code for op in found.ops if op.type not in (LEAF, "Const")}
    tops = {((code.layer or "").partition("/")[0], code.called) for code in codes}
    return len(tops) == 1 and all(code.layer and (code.layer, code.called) in layers for code in codes)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, np.number)) or (getattr(value, "size", 0) == 1 and hasattr(value, "item"))
