"""Statistics of tensors, as `model.Stats` has them: over the finite elements; magnitudes of complex numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tfdiff.model import Stats
from tfdiff.trace.flat import CHUNK, Pack, chunks, split

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

STATS_DTYPE = np.dtype(
    [
        ("minimum", "<f8"),
        ("maximum", "<f8"),
        ("mean", "<f8"),
        ("norm", "<f8"),
        ("zeros", "<u8"),
        ("nans", "<u8"),
        ("infs", "<u8"),
    ]
)


def stats(values: npt.NDArray[Any]) -> Stats:
    """Statistics of one tensor of any numeric dtype."""
    return all_stats(table([values]))[0]


def all_stats(rows: npt.NDArray[np.void]) -> list[Stats]:
    """Rows with the fields of `STATS_DTYPE` (and perhaps others) as nouns."""
    columns = (rows[name].tolist() for name in STATS_DTYPE.names or ())
    return [Stats(*numbers) for numbers in zip(*columns, strict=True)]


def table(arrays: Sequence[npt.NDArray[Any]]) -> npt.NDArray[np.void]:
    """Statistics of many tensors: one row of `STATS_DTYPE` each; empty tensors have all 0."""
    rows = np.zeros(len(arrays), STATS_DTYPE)
    with np.errstate(all="ignore"):
        lines = [_real(array) for array in arrays]
        packs, large = split(lines)
        for pack in packs:
            _fill(rows, pack)
        for row in large:
            rows[row : row + 1] = _large(lines[row])
    return rows


def _real(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    line = np.ascontiguousarray(array).reshape(-1)
    return np.abs(line) if line.dtype.kind == "c" else line


def _large(line: npt.NDArray[Any]) -> npt.NDArray[np.void]:
    """One row from the rows of a large tensor's chunks."""
    sizes = np.array([min(CHUNK, line.size - start) for start in range(0, line.size, CHUNK)], np.float64)
    rows = np.zeros(sizes.size, STATS_DTYPE)
    for number, chunk in enumerate(chunks(line)):
        where = np.array([number], np.intp)
        _fill(rows, Pack(where, chunk, np.zeros(1, np.intp), np.array([chunk.size], np.intp)))
    finite = sizes - rows["nans"] - rows["infs"]
    whole = np.zeros(1, STATS_DTYPE)
    if finite.any():
        seen = rows[finite > 0]
        whole["minimum"], whole["maximum"] = seen["minimum"].min(), seen["maximum"].max()
        whole["mean"] = np.average(rows["mean"], weights=finite)
        peak = max(float(rows["norm"].max()), np.finfo(np.float64).tiny)
        whole["norm"] = peak * np.sqrt(np.square(rows["norm"] / peak).sum())
    for name in ("zeros", "nans", "infs"):
        whole[name] = rows[name].sum()
    return whole


def _fill(rows: npt.NDArray[np.void], pack: Pack) -> None:
    """Statistics of the tensors of a pack, into their rows."""
    values, starts, counts = pack.values, pack.starts, pack.lengths.astype(np.float64)
    low, high = values, values
    finite = np.isfinite(values)
    if not finite.all():
        rows["nans"][pack.rows] = np.add.reduceat(np.isnan(values).astype(np.uint64), starts)
        rows["infs"][pack.rows] = np.add.reduceat(np.isinf(values).astype(np.uint64), starts)
        counts = np.add.reduceat(finite.astype(np.float64), starts)
        low, high = np.where(finite, values, np.inf), np.where(finite, values, -np.inf)
        values = np.where(finite, values, 0.0)
        zeros = (values == 0.0) & finite
    else:
        zeros = values == 0.0
    some = counts > 0
    minimum = np.where(some, np.minimum.reduceat(low, starts), 0.0)
    maximum = np.where(some, np.maximum.reduceat(high, starts), 0.0)
    rows["minimum"][pack.rows], rows["maximum"][pack.rows] = minimum, maximum
    # A mean lies between the extremes; the sum of huge elements may not fit, and rounding may push it out.
    mean = np.add.reduceat(values, starts) / np.maximum(counts, 1.0)
    rows["mean"][pack.rows] = np.clip(mean, minimum, maximum)
    rows["zeros"][pack.rows] = np.add.reduceat(zeros, starts, dtype=np.uint64)
    rows["norm"][pack.rows] = _norms(values, starts, pack.lengths, np.maximum(np.abs(minimum), np.abs(maximum)))


def _norms(values: Floats, starts: npt.NDArray[np.intp], lengths: npt.NDArray[np.intp], peak: Floats) -> Floats:
    """Norms by segment, also where squares leave the range of float64."""
    squares = np.add.reduceat(values * values, starts)
    norms: Floats = np.sqrt(squares)
    for row in np.flatnonzero((peak > 0) & ((squares > 1e300) | (squares < 1e-280))).tolist():
        segment = values[starts[row] : starts[row] + lengths[row]] / peak[row]
        norms[row] = peak[row] * np.sqrt(np.dot(segment, segment))
    return norms
