"""Pair the tensors of two steps by their values.

Under an equal start everything before the first divergence has equal values, whatever the two programs are called
inside. Sketches find the pairs (a reshaped tensor has the same sketch); order-free statistics propose permuted ones,
which the arrays then have to confirm.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tfdiff.pairing.distance import relative_error, sketch_errors
from tfdiff.pairing.layouts import permutations_between

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from tfdiff.model import Observation
    from tfdiff.trace.block import Block

    Limits = npt.NDArray[np.float64]

PARAMETERS = frozenset({"weight", "state"})
"""Roles of variables as they are read."""
FILL = 1e5
"""Least value that may be one filled in under a mask."""
MIN_ELEMENTS = 4
"""Smaller tensors agree too often by chance."""
SKETCHED = 1e-6
"""Errors below this are lost in the float32 of the sketches."""
MAX_TRIED = 8
"""How many permuted candidates of one tensor are looked at in full."""


@dataclass(frozen=True)
class SitePair:
    """Two observations with equal values."""

    a: int
    """Index in A's step."""
    b: int
    error: float
    permutation: tuple[int, ...] | None = None
    """`np.transpose(b, permutation)` has A's layout; None: same order of elements."""


def is_float(observation: Observation) -> bool:
    """Whether the tensor holds floating point numbers."""
    return "float" in observation.dtype


def is_mask(observation: Observation) -> bool:
    """Whether all non-zero elements have the same magnitude: constants, masks, one-hot rows, signs."""
    stats = observation.stats
    nonzero = observation.size - stats.zeros - stats.nans - stats.infs
    top = max(abs(stats.minimum), abs(stats.maximum))
    if nonzero <= 0 or top == 0.0:
        return True
    return abs(stats.norm**2 - top**2 * nonzero) <= 1e-6 * stats.norm**2


def is_informative(observation: Observation) -> bool:
    """Whether equal values say that two tensors are the same one: float, several values, no mask, none filled in."""
    several = is_float(observation) and observation.size >= MIN_ELEMENTS
    return several and not is_mask(observation) and not _is_filled(observation)


def _is_filled(observation: Observation) -> bool:
    """Whether one huge value that stands in places (-1e9 under a mask) is all that a relative error would see."""
    stats = observation.stats
    top = max(abs(stats.minimum), abs(stats.maximum))
    if not FILL <= top < float("inf"):
        return False
    places = round(stats.norm**2 / top**2)
    return places < observation.size and abs(stats.norm**2 - top**2 * places) <= 1e-5 * stats.norm**2


def value_pairs(
    a: Block, b: Block, a_indices: Sequence[int], b_indices: Sequence[int], tolerance: float | Limits
) -> list[SitePair]:
    """Return every pair of the given observations whose values agree within `tolerance` (relative error; one for all,
    or one per observation of `a`).

    Shapes may differ by a reshape or by a permutation of axes; permuted ones are only looked for where nothing agrees
    in the order of the elements. Sorted by A's index; of several candidates the one of equal op and nearest place comes
    first.
    """
    limits = np.broadcast_to(np.asarray(tolerance, np.float64), (len(a.observations),))
    direct = _direct_pairs(a, b, a_indices, b_indices, limits)
    found = {pair.a for pair in direct}
    permuted = permuted_pairs(a, b, [i for i in a_indices if i not in found], b_indices, limits)
    return sorted(direct + permuted, key=lambda pair: _preference(a, b, pair))


def _preference(a: Block, b: Block, pair: SitePair) -> tuple[int, bool, bool, float]:
    first, second = a.observations[pair.a], b.observations[pair.b]
    distance = abs(pair.a / len(a.observations) - pair.b / len(b.observations))
    return (pair.a, first.shape != second.shape, first.site.op != second.site.op, distance)


def _by_size(block: Block, indices: Sequence[int]) -> dict[int, list[int]]:
    groups: dict[int, list[int]] = defaultdict(list)
    for index in indices:
        groups[block.observations[index].size].append(index)
    return groups


def _direct_pairs(
    a: Block, b: Block, a_indices: Sequence[int], b_indices: Sequence[int], limits: Limits
) -> list[SitePair]:
    pairs: list[SitePair] = []
    b_groups = _by_size(b, b_indices)
    for size, a_group in _by_size(a, a_indices).items():
        b_group = b_groups.get(size)
        if not b_group:
            continue
        a_norms = np.array([a.observations[i].stats.norm for i in a_group])
        b_norms = np.array([b.observations[i].stats.norm for i in b_group])
        # By the triangle inequality tensors closer than the tolerance have norms closer than the tolerance.
        scale = np.maximum(a_norms[:, None], b_norms[None, :])
        rows, columns = np.nonzero(
            np.abs(a_norms[:, None] - b_norms[None, :]) <= 1.5 * limits[a_group][:, None] * scale
        )
        a_at, b_at = np.array(a_group)[rows], np.array(b_group)[columns]
        errors = sketch_errors(a.sketches()[a_at], b.sketches()[b_at], a_norms[rows], b_norms[columns], size)
        for i, j, sketched in zip(a_at.tolist(), b_at.tolist(), errors.tolist(), strict=True):
            error = sketched if limits[i] >= SKETCHED or sketched > SKETCHED else _exact(a, i, b, j, sketched)
            if error <= limits[i] and _same_oddities(a.observations[i], b.observations[j]):
                pairs.append(SitePair(i, j, error))
    return pairs


def _exact(a: Block, i: int, b: Block, j: int, sketched: float) -> float:
    """The error between two arrays of one size; what their sketches say where the arrays are not in the trace."""
    if not (a.observations[i].stored and b.observations[j].stored):
        return sketched
    return relative_error(a.array(i).reshape(-1), b.array(j).reshape(-1))


def _same_oddities(a: Observation, b: Observation) -> bool:
    return (a.stats.nans, a.stats.infs) == (b.stats.nans, b.stats.infs)


def permuted_pairs(
    a: Block, b: Block, a_indices: Sequence[int], b_indices: Sequence[int], limits: Limits
) -> list[SitePair]:
    """Pairs whose values agree after a transpose: `np.transpose(b, permutation)` is a's tensor."""
    pairs = []
    b_groups = _by_size(b, b_indices)
    for i in a_indices:
        first = a.observations[i]
        if len(first.shape) < 2:
            continue
        tolerance = float(limits[i])
        near = [j for j in b_groups.get(first.size, ()) if _permuted_alike(first, b.observations[j], tolerance)]
        for j in near[:MAX_TRIED]:
            pair = _permuted_pair(a, b, i, j, tolerance)
            if pair is not None:
                pairs.append(pair)
    return pairs


def _permuted_alike(a: Observation, b: Observation, tolerance: float) -> bool:
    """Whether statistics that do not depend on the order of elements agree."""
    if sorted(a.shape) != sorted(b.shape) or not _same_oddities(a, b) or a.stats.zeros != b.stats.zeros:
        return False
    spread = max(a.stats.norm, b.stats.norm) / max(a.size, 1) ** 0.5
    top = max(abs(a.stats.minimum), abs(a.stats.maximum), abs(b.stats.minimum), abs(b.stats.maximum))
    return (
        abs(a.stats.norm - b.stats.norm) <= tolerance * max(a.stats.norm, b.stats.norm)
        and abs(a.stats.mean - b.stats.mean) <= 2 * tolerance * spread
        and abs(a.stats.maximum - b.stats.maximum) <= 10 * tolerance * top
        and abs(a.stats.minimum - b.stats.minimum) <= 10 * tolerance * top
    )


def _permuted_pair(a: Block, b: Block, i: int, j: int, tolerance: float) -> SitePair | None:
    first, second = a.observations[i], b.observations[j]
    orders = permutations_between(second.shape, first.shape)
    if first.stored and second.stored:
        x, y = a.array(i), b.array(j)
        for order in orders:
            error = relative_error(x, np.transpose(y, order))
            if error <= tolerance:
                return SitePair(i, j, error, order)
        return None
    if first.shape == second.shape or not orders:
        return None  # without the arrays an equal shape gives no hint that the elements are in another order
    error = abs(first.stats.norm - second.stats.norm) / max(first.stats.norm, second.stats.norm)
    return SitePair(i, j, error, orders[0])
