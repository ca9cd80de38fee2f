"""One map cell: a mark for its status and a bar for its size, each readable without colour."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tfdiff.model import Cell, Status

MARKS: dict[Status, str] = {"equal": "·", "introduced": "◆", "carried": "▒", "unpaired": "?", "absent": " "}
MEANINGS: dict[Status, str] = {
    "equal": "equal within tolerance",
    "introduced": "introduced here: inputs agree, outputs do not",
    "carried": "carried: the inputs differ already",
    "unpaired": "unpaired: no counterpart on the other side",
    "absent": "absent in this step",
}
BARS = " ▁▂▃▄▅▆▇█"
SEEN, NOT_FINITE = "•", "!"
"""Marks of a single trace: a site that was recorded, and one that holds NaN or Inf."""
ORDER: tuple[Status, ...] = ("introduced", "carried", "unpaired", "equal", "absent")
"""Most telling first: a row's own mark is that of its most telling cell."""


def level(error: float, tolerance: float) -> int:
    """0 to 8 by log10(error / tolerance): 1 just below the tolerance, 2 above it, 8 from a million times on."""
    if math.isnan(error):
        return 8
    if error <= 0:
        return 0
    if tolerance <= 0 or math.isinf(error):
        return 8
    decades = math.log10(error / tolerance)
    if decades <= 0:
        return 1 if decades > -1 else 0
    return min(8, 2 + int(decades))


def glyph(cell: Cell, *, single: bool = False) -> str:
    """Two characters: the mark, and the bar where there is an error to show."""
    if single:
        return "  " if cell.status == "absent" else (NOT_FINITE if math.isnan(cell.error) else SEEN) + " "
    if cell.status in ("unpaired", "absent"):
        return MARKS[cell.status] + " "
    return MARKS[cell.status] + BARS[level(cell.error, cell.tolerance)]


def tone(cell: Cell, *, single: bool = False) -> str:
    """Name of the cell's style in viewer.tcss; carried cells have three, by size."""
    if single and cell.status != "absent":
        return "introduced" if math.isnan(cell.error) else "equal"
    if cell.status == "carried":
        return ("low", "low", "low", "low", "middle", "middle", "high", "high", "high")[
            level(cell.error, cell.tolerance)
        ]
    return cell.status
