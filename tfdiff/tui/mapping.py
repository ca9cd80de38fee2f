"""The map as lines and columns, without a widget: what stands where, and where the next divergence is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from tfdiff.model import PHASES
from tfdiff.tui.glyphs import ORDER
from tfdiff.tui.words import fit, middle, plain

if TYPE_CHECKING:
    from tfdiff.model import Divergence, Phase, Result, Row, Site, Status
    from tfdiff.tui.data import ViewData

CELL = 2
"""Terminal cells per step."""


@dataclass(frozen=True)
class Columns:
    """Where things stand in a map of some width: mark, A's name, B's name, cells."""

    name: int
    """Cells of one name column."""
    start: int
    """First terminal cell of the steps."""
    steps: int
    """Steps that are visible at once."""

    @classmethod
    def of(cls, width: int, steps: int, sides: int) -> Columns:
        """Names get what the steps leave over, at least a quarter of the width each; a step always stays visible."""
        fixed = 3 + 2 * sides
        name = max(16, min(32, width * 27 // 100), min(56, (width - fixed - CELL * steps) // sides))
        name = max(4, min(name, (width - fixed - CELL) // sides))
        start = fixed + sides * name
        return cls(name, start, max(1, min(steps, (width - start) // CELL)))


def lines_of(rows: tuple[Row, ...]) -> list[Phase | int]:
    """The map's lines: a phase where a section starts, otherwise the number of a row."""
    lines: list[Phase | int] = []
    phase = None
    for number, row in enumerate(rows):
        if row.phase != phase:
            phase = row.phase
            lines.append(phase)
        lines.append(number)
    return lines


def titles_of(rows: tuple[Row, ...], lines: list[Phase | int]) -> dict[int, str]:
    """`3 forward · 12 sites · 1 introduced` for each line where a section starts; the digit is the key."""
    titles = {}
    ends = [at for at, line in enumerate(lines) if isinstance(line, str)] + [len(lines)]
    for at, end in pairwise(ends):
        phase = lines[at]
        section = [rows[line] for line in lines[at:end] if isinstance(line, int)]
        introduced = sum(status_of(row) == "introduced" for row in section)
        told = f" · {introduced} introduced" if introduced else ""
        titles[at] = f"{PHASES.index(phase) + 1} {phase} · {len(section)} site{'s' * (len(section) != 1)}{told}"
    return titles


def status_of(row: Row) -> Status:
    """The most telling status among a row's cells."""
    found = {cell.status for cell in row.cells}
    return next((status for status in ORDER if status in found), "absent")


def name_cell(name: str, site: Site | None, width: int) -> tuple[str, str]:
    """Name and line of one side, together exactly `width` cells, the line at the right."""
    line = plain((site.source or site.called or "") if site else "")
    line = middle(line, max(width // 2, width - len(plain(name)) - 1))
    left = width - len(line)
    return fit(middle(plain(name), left - 1), left), line


def divergences_of(data: ViewData) -> list[tuple[int, int]]:
    """(step, row) of every introduced cell and every divergence of the result, in causal order.

    A single trace has none; what is worth jumping to there is NaN and Inf.
    """
    found = {
        (step, number)
        for number, row in enumerate(data.rows)
        for step, cell in enumerate(row.cells)
        if (math.isnan(cell.error) if data.single else cell.status == "introduced")
    }
    if data.result is not None:
        found |= {spot for divergence in _told(data.result) if (spot := locate(data.rows, divergence)) is not None}
    return sorted(found)


def first_of(data: ViewData) -> tuple[int, int] | None:
    """(step, row) of the result's first divergence, else of the earliest introduced cell."""
    first = data.result.first if data.result else None
    spot = locate(data.rows, first) if first else None
    if spot is not None:
        return spot
    found = divergences_of(data)
    return found[0] if found else None


def _told(result: Result) -> tuple[Divergence, ...]:
    return result.divergences + ((result.first,) if result.first else ())


def locate(rows: tuple[Row, ...], divergence: Divergence) -> tuple[int, int] | None:
    """The (step, row) of a divergence: the row that holds its observations, both sides before one."""
    best: tuple[int, tuple[int, int]] | None = None
    for number, row in enumerate(rows):
        if divergence.step >= len(row.cells) or row.phase != divergence.phase:
            continue
        cell = row.cells[divergence.step]
        hits = sum(
            wanted is not None and wanted == found
            for wanted, found in ((divergence.a_index, cell.a_index), (divergence.b_index, cell.b_index))
        )
        if hits and (best is None or hits > best[0]):
            best = (hits, (divergence.step, number))
    return best[1] if best else None
