"""Sketches: 256 numbers per tensor from which norms of differences can be estimated.

Every element goes with a random sign into one of 256 buckets (Charikar, Chen and Farach-Colton's count sketch, with one
row). Both depend on the position in C order only, so sketches of equally long tensors can be subtracted:
``sketch(a) - sketch(b)`` is the sketch of ``a - b``, and ``||sketch(a) - sketch(b)|| / ||sketch(a)||`` estimates
``||a - b|| / ||a||``. The estimate of a norm has a standard deviation of about sqrt(1 / (2 * 256)) = 4.4 %, that of the
ratio about 6 %; up to 256 elements both are exact, because each element has a bucket of its own. Below 1e-7 the
rounding of the float32 sketch itself is what is seen.

Non-finite elements count as 0 (the statistics count them). Complex numbers count as pairs of real numbers.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from tfdiff.trace.flat import CHUNK, Pack, chunks, flat, split
from tfdiff.trace.schema import BUCKETS

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Sketches = npt.NDArray[np.float32]

_POSITIONS_SEED = 0x7466_6469_6666_0001
_CHUNKS_SEED = 0x7466_6469_6666_0002
_LARGEST = float(np.finfo(np.float32).max)


def splitmix64(numbers: npt.NDArray[np.uint64], seed: int) -> npt.NDArray[np.uint64]:
    """Steele, Lea and Flood's mixer: our own random bits, so that no release of NumPy can change a sketch."""
    mixed = numbers * np.uint64(0x9E3779B97F4A7C15) + np.uint64(seed)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


@cache
def _tables() -> tuple[npt.NDArray[np.intp], Floats]:
    """Bucket and sign of each position in a chunk.

    Each run of 256 positions is a permutation of the buckets: short tensors meet no collision, and a tensor whose
    energy sits in one column does not end up in one bucket, as it would with ``position % 256``.
    """
    mixed = splitmix64(np.arange(CHUNK, dtype=np.uint64), _POSITIONS_SEED)
    buckets = np.argsort(mixed.reshape(-1, BUCKETS), axis=1, kind="stable").astype(np.intp)
    # The order came from the high bits; the lowest bit is as good as independent of it.
    return buckets.reshape(-1), np.where(mixed & np.uint64(1), 1.0, -1.0)


@cache
def _turn(number: int) -> tuple[int, float]:
    """How far the buckets of chunk `number` are turned, and its sign."""
    mixed = int(splitmix64(np.array([number], np.uint64), _CHUNKS_SEED)[0])
    return mixed >> 56, 1.0 if mixed & 1 else -1.0


def numbers(size: int, dtype: str) -> int:
    """How many numbers are sketched of a tensor with `size` elements: a complex one is a pair."""
    return 2 * size if dtype.startswith("complex") else size


def exact(values: npt.NDArray[Any]) -> Sketches:
    """float32[n]: a tensor's numbers as its sketch sees them; up to `BUCKETS` of them have the tensor's sketch."""
    line = flat(values).astype(np.float64)
    return np.clip(_finite(line), -_LARGEST, _LARGEST).astype(np.float32)


def sketch(values: npt.NDArray[Any]) -> Sketches:
    """float32[256] for a tensor of any numeric dtype and shape; summed in float64."""
    found: Sketches = sketches([values])[0]
    return found


def sketches(arrays: Sequence[npt.NDArray[Any]]) -> Sketches:
    """float32[n, 256]: the same for many tensors at once."""
    lines = [flat(array) for array in arrays]
    sums = np.zeros((len(lines), BUCKETS))
    with np.errstate(all="ignore"):
        packs, large = split(lines)
        for pack in packs:
            sums[pack.rows] = _small(pack)
        for row in large:
            sums[row] = _large(lines[row])
        return np.clip(sums, -_LARGEST, _LARGEST).astype(np.float32)


def _small(pack: Pack) -> Floats:
    buckets, signs = _tables()
    turn, sign = _turn(0)
    count = pack.rows.size
    position = np.arange(pack.values.size) - np.repeat(pack.starts, pack.lengths)
    row = np.repeat(np.arange(count) * BUCKETS, pack.lengths)
    weights = signs[position] * _finite(pack.values)
    sums = np.bincount(buckets[position] + row, weights, minlength=count * BUCKETS)
    return np.asarray(np.roll(sums.reshape(-1, BUCKETS), turn, axis=1) * sign, np.float64)


def _large(line: npt.NDArray[Any]) -> Floats:
    buckets, signs = _tables()
    total = np.zeros(BUCKETS)
    for number, chunk in enumerate(chunks(line)):
        turn, sign = _turn(number)
        weights = _finite(chunk) * signs[: chunk.size]
        total += np.roll(np.bincount(buckets[: chunk.size], weights, minlength=BUCKETS), turn) * sign
    return total


def _finite(values: Floats) -> Floats:
    """The values with 0 for NaN and infinities; the same array where there are none."""
    finite = np.isfinite(values)
    return values if finite.all() else np.where(finite, values, 0.0)
