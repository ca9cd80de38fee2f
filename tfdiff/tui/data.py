"""What the panes show: rows, steps, and a way to ask for one cell's tensors."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

from tfdiff.model import PHASES, Cell, Row, Stats
from tfdiff.trace.reader import open_trace

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt

    from tfdiff.comparison.findings import Finding
    from tfdiff.model import Cause, Header, Observation, Result, Site
    from tfdiff.trace.block import Block
    from tfdiff.trace.reader import Trace

    Array = npt.NDArray[np.generic]
    Explain = Callable[[Finding], Sequence[Cause]]


class Side(Protocol):
    """One side of a cell."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape as recorded."""

    @property
    def dtype(self) -> str:
        """NumPy name of the recorded type."""

    @property
    def stats(self) -> Stats:
        """Statistics over all elements."""

    @property
    def array(self) -> Array | None:
        """The elements (B's in A's layout where the pairing knows how), None where only statistics exist."""


class Detail(Protocol):
    """What is known of one cell; a side is None where nothing was recorded there."""

    @property
    def a(self) -> Side | None:
        """A's tensor."""

    @property
    def b(self) -> Side | None:
        """B's tensor."""

    @property
    def note(self) -> str:
        """One sentence to show with it, or ""."""


class DetailSource(Protocol):
    """Reads one cell; called in a thread, one call at a time. Raises TfdiffError for a damaged trace."""

    def __call__(self, row: Row, step: int) -> Detail:
        """The tensors of `row` at compared step `step`."""


@dataclass(frozen=True)
class SideData:
    """A `Side` made of plain values."""

    shape: tuple[int, ...]
    dtype: str
    stats: Stats
    array: Array | None


@dataclass(frozen=True)
class CellDetail:
    """A `Detail` made of plain values."""

    a: SideData | None
    b: SideData | None
    note: str = ""


@dataclass(frozen=True)
class ViewData:
    """Everything the viewer shows. `result` is None where one trace alone is browsed."""

    rows: tuple[Row, ...]
    steps: int
    detail: DetailSource
    header_a: Header
    header_b: Header | None = None
    result: Result | None = None
    end: str = ""
    """How the recording ended, for a single trace."""
    close: Callable[[], None] = field(default=lambda: None)

    @property
    def single(self) -> bool:
        """Whether one trace is browsed."""
        return self.result is None


def of_result(result: Result, detail: DetailSource, close: Callable[[], None] = lambda: None) -> ViewData:
    """A comparison, ready to be shown."""
    return ViewData(result.rows, result.compared, detail, result.a_header, result.b_header, result, close=close)


def load(a: Path, b: Path | None, explain: Explain | None = None) -> ViewData:
    """Open one trace, or two and compare them, with `explain` naming causes. Raises TfdiffError."""
    if b is None:
        trace = open_trace(a)
        return of_trace(trace)
    # Imported when needed: SciPy comes with it, and the first paint should not wait for it.
    from tfdiff.comparison.compare import compare

    first, second = open_trace(a), open_trace(b)

    def close() -> None:
        first.close()
        second.close()

    return of_result(compare(first, second, explain=explain), TraceDetail(first, second), close)


@dataclass(frozen=True)
class TraceDetail:
    """Reads a cell's tensors out of the traces (a `DetailSource`)."""

    a: Trace
    b: Trace | None = None

    def __call__(self, row: Row, step: int) -> CellDetail:
        """See `DetailSource`."""
        if row.phase == "eval":
            return _evaluated(self.a, self.b, row, step)
        cell, block_a = row.cells[step], self.a.step(step)
        if self.b is None:
            seen = _observation(block_a, cell.a_index)
            return CellDetail(_side(seen, block_a.array(seen.index) if seen and seen.stored else None), None)
        # Imported when needed, as in load.
        from tfdiff.comparison.detail import detail

        block_b = self.b.step(step)
        seen_a, seen_b = _observation(block_a, cell.a_index), _observation(block_b, cell.b_index)
        array_a, array_b, _ = detail(block_a, block_b, cell)
        turned = seen_b is not None and array_b is not None and array_b.shape != seen_b.shape
        return CellDetail(
            _side(seen_a, array_a), _side(seen_b, array_b), "B's elements are shown in A's layout" if turned else ""
        )


def _evaluated(a: Trace, b: Trace | None, row: Row, step: int) -> CellDetail:
    """A cell of an evaluation: its tensors are not those of a step."""
    sides = [_seen_in_evaluation(trace, site, step) for trace, site in ((a, row.a), (b, row.b))]
    return CellDetail(sides[0], sides[1], "an evaluation or prediction after this step")


def _seen_in_evaluation(trace: Trace | None, site: Site | None, step: int) -> SideData | None:
    """The first tensor of that site in a pass that came after `step`."""
    if trace is None or site is None:
        return None
    for number in range(trace.evals):
        block = trace.eval(number)
        if block.evaluation is None or step_of(block.evaluation.after) != step:
            continue
        seen = next((seen for seen in block.observations if seen.site.id == site.id), None)
        if seen is not None:
            return _side(seen, block.array(seen.index) if seen.stored else None)
    return None


def step_of(after: int) -> int:
    """The column of a pass that came after so many steps: that of the last one (passes before training: the first)."""
    return max(after - 1, 0)


def _observation(block: Block, index: int | None) -> Observation | None:
    return None if index is None else block.observations[index]


def _side(seen: Observation | None, array: Array | None) -> SideData | None:
    return None if seen is None else SideData(seen.shape, seen.dtype, seen.stats, array)


def of_trace(trace: Trace) -> ViewData:
    """One trace alone: a row per site, in the order of phases and of first execution."""
    cells: dict[int, dict[int, Cell]] = {}
    sites: dict[int, Site] = {}
    for step in range(trace.steps):
        for seen in trace.step(step).observations:
            sites.setdefault(seen.site.id, seen.site)
            cells.setdefault(seen.site.id, {})[step] = _seen(seen)
    for number in range(trace.evals):
        block = trace.eval(number)
        if block.evaluation is not None and step_of(block.evaluation.after) < trace.steps:
            for seen in block.observations:
                if seen.site.phase == "eval":
                    sites.setdefault(seen.site.id, seen.site)
                    cells.setdefault(seen.site.id, {})[step_of(block.evaluation.after)] = _seen(seen)
    absent = Cell("absent", 0.0, 0.0)
    rows = [
        Row(
            site.phase,
            site,
            None,
            _name(trace, site),
            "",
            "",
            tuple(cells[key].get(step, absent) for step in range(trace.steps)),
        )
        for key, site in sites.items()
    ]
    rows.sort(key=lambda row: PHASES.index(row.phase))
    end = trace.end.why if trace.end else "ended early"
    return ViewData(tuple(rows), trace.steps, TraceDetail(trace), trace.header, end=end, close=trace.close)


def _name(trace: Trace, site: Site) -> str:
    """The variable's name and what of it is seen, else layer or API call, with the op where that says more."""
    variable = trace.variables.get(site.variable) if site.variable is not None else None
    if variable is not None:
        return variable.name if site.role == "weight" else f"{variable.name} {site.role}"
    return site.name if site.boundary or not site.op or site.op in site.name else f"{site.name} {site.op}"


def _seen(seen: Observation) -> Cell:
    """A recorded site; its error is NaN where its tensor holds NaN or Inf, so that the map can mark it."""
    finite = not (seen.stats.nans or seen.stats.infs)
    return replace(Cell("unpaired", 0.0, 0.0), error=0.0 if finite else math.nan, a_index=seen.index)
