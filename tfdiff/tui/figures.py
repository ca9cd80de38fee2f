"""Pictures of two tensors as plain data: histograms over common bins, and the elements that differ most.

Made in the thread that read the tensors, so that a large one does not hold up the keys.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from tfdiff.tui.data import Detail

    Doubles = npt.NDArray[np.float64]

BINS = 48
WORST = 12


@dataclass(frozen=True)
class Histogram:
    """Counts of the finite elements in `BINS` equal bins from `low` to `high`."""

    low: float
    high: float
    counts: tuple[int, ...]


@dataclass(frozen=True)
class Element:
    """One element of both sides."""

    index: tuple[int, ...]
    a: float
    b: float


@dataclass(frozen=True)
class Figures:
    """Pictures of one cell; None or empty where an array is missing or the shapes differ."""

    a: Histogram | None = None
    b: Histogram | None = None
    difference: Histogram | None = None
    worst: tuple[Element, ...] = ()
    unequal: int = 0
    """Number of elements that are not bit for bit alike."""


def picture(detail: Detail) -> Figures:
    """Histograms of A and B over their common range, of A - B, and the worst elements, worst first."""
    a, b = (_doubles(side.array) if side and side.array is not None else None for side in (detail.a, detail.b))
    present = [values for values in (a, b) if values is not None]
    if not present:
        return Figures()
    low, high = _range(present)
    pictured_a = None if a is None else _histogram(a, low, high)
    pictured_b = None if b is None else _histogram(b, low, high)
    if a is None or b is None or a.shape != b.shape:
        return Figures(pictured_a, pictured_b)
    with np.errstate(invalid="ignore", over="ignore"):
        difference = a - b
    worst, unequal = _worst(a, b, difference)
    return Figures(pictured_a, pictured_b, _histogram(difference, *_range([difference])), worst, unequal)


def _doubles(values: npt.NDArray[np.generic]) -> Doubles:
    """Complex numbers are shown by their magnitude."""
    return np.asarray(np.abs(values) if np.iscomplexobj(values) else values).astype(np.float64)


def _range(arrays: list[Doubles]) -> tuple[float, float]:
    finite = [values[np.isfinite(values)] for values in arrays]
    finite = [values for values in finite if values.size]
    if not finite:
        return 0.0, 0.0
    return float(min(values.min() for values in finite)), float(max(values.max() for values in finite))


def _histogram(values: Doubles, low: float, high: float) -> Histogram:
    finite = values[np.isfinite(values)]
    # Half a range first: high - low overflows for values near the largest double.
    half = high / 2 - low / 2
    if half == 0 or not finite.size:
        counts = np.zeros(BINS, np.int64)
        counts[BINS // 2] = finite.size
    else:
        position = ((finite / 2 - low / 2) / half * BINS).astype(np.int64)
        counts = np.bincount(np.clip(position, 0, BINS - 1), minlength=BINS)
    return Histogram(low, high, tuple(int(count) for count in counts))


def _worst(a: Doubles, b: Doubles, difference: Doubles) -> tuple[tuple[Element, ...], int]:
    """NaN against a number is worst of all; NaN against NaN and Inf against the same Inf are equal."""
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    size = np.where(np.isnan(difference), np.inf, np.abs(difference))
    size = np.where(same, -1.0, size).reshape(-1)
    unequal = int(size.size - np.count_nonzero(same))
    count = min(WORST, unequal)
    if not count:
        return (), 0
    top = np.argpartition(size, -count)[-count:]
    top = top[np.lexsort((top, -size[top]))]
    elements = []
    for flat in top:
        index = tuple(int(axis) for axis in np.unravel_index(int(flat), a.shape))
        elements.append(Element(index, float(a[index]), float(b[index])))
    return tuple(elements), unequal


def sparkline(histogram: Histogram) -> str:
    """One character per bin, linear in the count; a bin that is not empty is never blank."""
    most = max(histogram.counts, default=0) or 1
    return "".join(" ▁▂▃▄▅▆▇█"[0 if not count else max(1, round(8 * count / most))] for count in histogram.counts)
