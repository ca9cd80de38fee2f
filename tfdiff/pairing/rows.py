"""Rows of batches and whole arrays, known by order-free hashes; the order in which a run visits them."""

from __future__ import annotations

import hashlib
import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from tfdiff.errors import TfdiffError

if TYPE_CHECKING:
    from collections.abc import Sequence

OrderKind = Literal["sequential", "shuffled", "unknown"]
Array = npt.NDArray[Any]

# Scalars hashed at once: bounds the temporary memory to about 100 MB.
_CHUNK = 1 << 22
# Fewer rows than these may be in order by chance.
_ENOUGH_ROWS = 8
# Share of steps from one row to the next that may break the order: equal rows are found at one another's places.
_TOLERATED_BREAKS = 0.02


def _splitmix64(bits: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Finaliser of SplitMix64 (Steele, Lea, Flood 2014), in place; arithmetic modulo 2^64."""
    bits += np.uint64(0x9E3779B97F4A7C15)
    bits ^= bits >> np.uint64(30)
    bits *= np.uint64(0xBF58476D1CE4E5B9)
    bits ^= bits >> np.uint64(27)
    bits *= np.uint64(0x94D049BB133111EB)
    bits ^= bits >> np.uint64(31)
    return bits


def _scalar_hashes(values: Array) -> npt.NDArray[np.uint64]:
    """One hash per scalar: of its float32 bits, or of the bytes of a string."""
    if values.dtype.kind in "OSU":
        texts = (item if isinstance(item, bytes) else str(item).encode() for item in values.ravel().tolist())
        digests = b"".join(hashlib.blake2b(text.rstrip(b"\0"), digest_size=8).digest() for text in texts)
        return np.frombuffer(digests, dtype="<u8").astype(np.uint64).reshape(values.shape)
    with np.errstate(over="ignore", invalid="ignore"):
        rounded = values.astype(np.float32)
    rounded += np.float32(0.0)  # -0.0 becomes 0.0
    rounded[np.isnan(rounded)] = np.nan  # one bit pattern for every NaN
    return _splitmix64(rounded.view(np.uint32).astype(np.uint64))


def is_one_hot(part: Array) -> bool:
    """Whether `part` is a matrix of at least one row and two columns with a single 1 and zeros in every row."""
    if part.ndim != 2 or part.shape[0] == 0 or part.shape[1] < 2 or part.dtype.kind in "OSUc":
        return False
    ones = part == 1
    return bool(np.all(ones.sum(axis=1) == 1) and np.all((part == 0) | ones))


def _part_hashes(part: Array) -> npt.NDArray[np.uint64]:
    """Sum of the scalar hashes of every row of one part."""
    if part.dtype.kind == "c":
        part = np.stack([part.real, part.imag], axis=-1)
    flat = part.reshape(part.shape[0], -1)
    total = np.zeros(flat.shape[0], dtype=np.uint64)
    rows = max(1, _CHUNK // max(1, flat.shape[1]))
    for start in range(0, flat.shape[0], rows):
        chunk = flat[start : start + rows]
        total[start : start + rows] = _scalar_hashes(chunk).sum(axis=1, dtype=np.uint64)
    return total


def row_signatures(parts: Sequence[Array], one_hot: Sequence[bool] | None = None) -> npt.NDArray[np.uint64]:
    """uint64[n]: one joint signature per row of several arrays with n rows each (features, labels, weights).

    A multiset hash over all scalars of a row, rounded to float32: the same example gives the same signature however its
    scalars are arranged ((n,), (n,) against (n, 2); NHWC against NCHW; flattened or not; any numeric dtype). -0 is 0.
    One-hot parts count as their class index. Whether a part is one-hot is judged on the rows given; for a batch too
    small to tell pass `one_hot`, one flag per part, as judged on more rows (`is_one_hot`).

    Raises TfdiffError when the parts have no rows in common length.
    """
    arrays = [np.asarray(part) for part in parts]
    lengths = {array.shape[0] if array.ndim else -1 for array in arrays}
    if len(lengths) != 1 or -1 in lengths:
        shapes = ", ".join(str(array.shape) for array in arrays) or "none"
        raise TfdiffError(f"rows need parts of equal first dimension, found shapes {shapes}; compare them part by part")
    total = np.zeros(lengths.pop(), dtype=np.uint64)
    for number, array in enumerate(arrays):
        classes = one_hot[number] if one_hot is not None else is_one_hot(array)
        if array.size:
            total += _part_hashes(array.argmax(axis=1) if classes else array)
    return total


def _occurrences(signatures: npt.NDArray[np.uint64], order: npt.NDArray[np.intp]) -> npt.NDArray[np.int64]:
    """For every signature how many equal ones stand before it; `order` is its stable argsort."""
    ranked = signatures[order]
    starts = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]])
    run = np.repeat(starts, np.diff(np.r_[starts, len(ranked)]))
    counts = np.empty(len(ranked), dtype=np.int64)
    counts[order] = np.arange(len(ranked)) - run
    return counts


def find_rows(
    needles: npt.NDArray[np.uint64], haystack: npt.NDArray[np.uint64], *, reuse: bool = True
) -> npt.NDArray[np.int64]:
    """int64[len(needles)]: the position of each needle in `haystack`, -1 where it is missing.

    Equal rows are taken in order: the k-th needle of a kind gets the k-th place. When the places run out they start
    over (the next epoch), or with `reuse=False` the needle counts as missing.
    """
    found = np.full(len(needles), -1, dtype=np.int64)
    if not len(needles) or not len(haystack):
        return found
    order = np.argsort(haystack, kind="stable")
    ranked = haystack[order]
    first = np.searchsorted(ranked, needles, side="left")
    places = np.searchsorted(ranked, needles, side="right") - first
    occurrence = _occurrences(needles, np.argsort(needles, kind="stable"))
    known = places > 0 if reuse else occurrence < places
    found[known] = order[first[known] + occurrence[known] % places[known]]
    return found


def find_steps(
    steps: Sequence[npt.NDArray[np.uint64]], haystack: npt.NDArray[np.uint64]
) -> list[npt.NDArray[np.int64]]:
    """`find_rows` for the row signatures of successive steps: what `row_order` wants.

    All steps are looked up together, so that equal rows of later steps get the later places; a step equal to the one
    before (two optimizers, one batch) takes no places of its own.
    """
    fresh = [n for n, step in enumerate(steps) if n == 0 or not np.array_equal(step, steps[n - 1])]
    if not fresh:
        return []
    found = find_rows(np.concatenate([steps[n] for n in fresh]), haystack)
    parts = np.split(found, np.cumsum([len(steps[n]) for n in fresh])[:-1])
    places = dict(zip(fresh, parts, strict=True))
    indices: list[npt.NDArray[np.int64]] = []
    for n in range(len(steps)):
        indices.append(places[n] if n in places else indices[-1])
    return indices


@dataclass(frozen=True)
class RowOrder:
    """The order in which the steps of a run visit the rows of a whole array."""

    kind: OrderKind
    """Natural order, another one, or too little seen."""
    batch_size: int
    """The largest number of rows of a step, 0 without steps."""
    epochs: tuple[int, ...]
    """Steps at which a pass over the rows begins; the first is 0 where there are steps."""
    dropped_last: bool | None
    """Whether rows that do not fill a batch are left out; None when no pass was seen to its end or all batches fill."""
    reshuffled: bool | None
    """Whether the second pass has another order than the first; None when only one was seen."""
    missing: int
    """Rows of the steps that the whole array does not have."""


def _kind(steps: Sequence[npt.NDArray[np.int64]], rows: int) -> OrderKind:
    visited = np.concatenate(steps) if steps else np.zeros(0, dtype=np.int64)
    known = int((visited >= 0).sum())
    if known < min(_ENOUGH_ROWS, max(rows, 2)) or known < 0.9 * len(visited):
        return "unknown"
    before, after = visited[:-1], visited[1:]
    usable = (before >= 0) & (after >= 0)
    # A pass may end before the last row (a batch dropped, rows kept for validation) and starts again at 0.
    natural = (after == before + 1) | (after == 0)
    seams = np.cumsum([len(step) for step in steps])[:-1] - 1
    seam = np.zeros(len(before), dtype=bool)
    seam[seams] = True
    return "shuffled" if _broken(natural, usable & ~seam) or _broken(natural, usable & seam) else "sequential"


def _broken(natural: npt.NDArray[np.bool_], where: npt.NDArray[np.bool_]) -> bool:
    count = int(where.sum())
    breaks = int((~natural & where).sum())
    return breaks > max(_TOLERATED_BREAKS * count, 0 if count < 50 else 1)


def _passes(steps: Sequence[npt.NDArray[np.int64]]) -> tuple[list[int], list[bool]]:
    """Numbers of the steps that begin a pass, and for each whether that step also has rows of the pass before."""
    starts: list[int] = []
    mixed: list[bool] = []
    seen: set[int] = set()
    for number, step in enumerate(steps):
        indices = {int(index) for index in step if index >= 0}
        again = indices & seen
        if not starts or again:
            starts.append(number)
            mixed.append(bool(again) and again != indices)
            seen = set()
        seen |= indices
    return starts, mixed


def row_order(steps: Sequence[Sequence[int] | npt.NDArray[np.int64]], rows: int) -> RowOrder:
    """What the indices of each step (`find_steps`, -1 missing) into a whole array of `rows` rows tell of its order.

    A step that repeats the rows of the one before (two optimizers, one batch) counts once for order and epochs.
    """
    arrays = [np.asarray(step, dtype=np.int64) for step in steps]
    kept = [n for n, array in enumerate(arrays) if n == 0 or not np.array_equal(array, arrays[n - 1])]
    distinct = [arrays[n] for n in kept]
    if rows <= max((len(array) for array in arrays), default=0):
        kept, distinct = list(range(len(arrays))), arrays  # full batches: every step is a pass
    batch_size = max((len(array) for array in arrays), default=0)
    starts, mixed = _passes(distinct)
    passes = [distinct[start:stop] for start, stop in itertools.pairwise([*starts, len(distinct)])]
    return RowOrder(
        kind=_kind(distinct, rows),
        batch_size=batch_size,
        epochs=tuple(kept[start] for start in starts),
        dropped_last=_dropped_last(passes, mixed, rows, batch_size),
        reshuffled=_reshuffled(passes, mixed),
        missing=int(sum((array < 0).sum() for array in arrays)),
    )


def _dropped_last(
    passes: Sequence[Sequence[npt.NDArray[np.int64]]], mixed: Sequence[bool], rows: int, batch_size: int
) -> bool | None:
    """Judged on the first pass; it was seen to its end when another one follows or when every row was in it."""
    if not passes or not batch_size or rows % batch_size == 0 or rows < batch_size:
        return None
    covered = sum(len(step) for step in passes[0])
    if covered >= rows:
        return False
    ended = len(passes) > 1 and not mixed[1]
    return True if ended and 0 < rows - covered < batch_size else None


def _reshuffled(passes: Sequence[Sequence[npt.NDArray[np.int64]]], mixed: Sequence[bool]) -> bool | None:
    if len(passes) < 2 or mixed[1]:
        return None
    first, second = np.concatenate(passes[0]), np.concatenate(passes[1])
    common = min(len(first), len(second))
    if common < 2:
        return None
    return not np.array_equal(first[:common], second[:common])


def order_kind(steps: Sequence[Sequence[int] | npt.NDArray[np.int64]], rows: int) -> OrderKind:
    """`sequential` (natural order, epoch after epoch), `shuffled` (any other) or `unknown` (too few rows known)."""
    return row_order(steps, rows).kind
