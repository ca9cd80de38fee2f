"""Part of a side's graph computed again from other values, in NumPy: what a chain of ops would have given."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tfdiff.causes import replay
from tfdiff.causes.scene import LINEAR_OPS
from tfdiff.comparison.metrics import into_layout
from tfdiff.pairing.distance import relative_error

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tfdiff.causes.scene import Floats, Scene, Side

MAX_OPS = 600
"""Ops that are computed again for one question."""
MAX_WORK = 1 << 28
"""Multiplications that are done again for one question."""
REGION = 120
"""Ops behind the equal tensor that are looked at: two layers next to each other."""
MIN_SIZE = 8
"""Elements; of smaller tensors any may be like any other."""
CHANGES = 1e-3
"""Relative error from which on a transformation changes a tensor for certain."""


def recompute(side: Side, changed: Mapping[int, Floats], target: int) -> Floats | None:
    """What `target` would be if the observations in `changed` had those values; None where an op on the way cannot be
    computed again or an operand is not known.

    A changed value may have another shape than what was recorded: what follows from it then has its natural one.
    """
    return recomputed(side, changed, (target,)).get(target)


def recomputed(
    side: Side, changed: Mapping[int, Floats], targets: Iterable[int], limit: int = MAX_OPS
) -> dict[int, Floats]:
    """The same for several targets; what cannot be computed again is left out."""
    affected = _affected(side, changed, targets)
    if len(affected) > limit or sum(_work(side, i) for i in affected) > MAX_WORK:
        return {}
    values = dict(changed)
    for index in sorted(affected):
        seen = side.observations[index]
        if any(operand in affected and operand not in values for operand in seen.inputs):
            continue
        operands = [values[i] if i in values else side.array(i) for i in seen.inputs]
        known = [operand for operand in operands if operand is not None]
        natural = any(values[i].shape != side.observations[i].shape for i in seen.inputs if i in values)
        found = _applied(side, index, known, None if natural else seen.shape) if len(known) == len(operands) else None
        if found is not None:
            values[index] = found
    return values


def effort(side: Side, changed: Iterable[int], target: int) -> int:
    """About how many multiplications it takes."""
    return sum(_work(side, i) for i in _affected(side, changed, (target,)))


def _affected(side: Side, changed: Iterable[int], targets: Iterable[int]) -> set[int]:
    """What follows from the changed observations and leads to a target."""
    behind: set[int] = set()
    for index in changed:
        behind |= side.descendants(index)
    return (behind & side.ancestors(targets)).difference(changed)


def _work(side: Side, index: int) -> int:
    seen = side.observations[index]
    if seen.site.op not in LINEAR_OPS or len(seen.inputs) < 2 or not seen.shape:
        return seen.size
    kernel = side.observations[seen.inputs[1]]
    return seen.size * max(1, kernel.size // max(1, seen.shape[-1]))


def _applied(side: Side, index: int, operands: list[Floats], shape: tuple[int, ...] | None) -> Floats | None:
    seen = side.observations[index]
    if shape is None and seen.site.op in ("Reshape", "Squeeze", "ExpandDims"):
        return None  # where the elements go is said by numbers that were made for the other shape
    if seen.site.op in ("Split", "SplitV"):
        return _part(side, index, operands)
    return replay.apply(seen.site.op, seen.site.attrs, operands, shape)


def _part(side: Side, index: int, operands: list[Floats]) -> Floats | None:
    """One output of an op that cuts a tensor in pieces: its outputs stand next to each other, in order."""
    seen = side.observations[index]
    x, axis = (operands[1], operands[0]) if seen.site.op == "Split" else (operands[0], operands[-1])
    along = int(np.ravel(axis)[0]) % max(x.ndim, 1)
    if along >= len(seen.shape):
        return None
    begin = 0
    before = index - 1
    while before >= 0 and _together(side, before, index):
        begin += side.observations[before].shape[along]
        before -= 1
    found = np.take(x, range(begin, min(begin + seen.shape[along], x.shape[along])), axis=along)
    return found if found.shape[along] == seen.shape[along] else None


def _together(side: Side, index: int, other: int) -> bool:
    first, second = side.observations[index], side.observations[other]
    return first.site.op == second.site.op and first.inputs == second.inputs


def find(
    scene: Scene, side: Side, value: Floats, permutation: tuple[int, ...] | None, behind: int | None = None
) -> int | None:
    """The side's first observation without an equal that has these values, None where there is none."""
    if not np.isfinite(value).all():
        return None
    norm = float(np.linalg.norm(value))
    among = side.bad if behind is None else sorted(side.descendants(behind).intersection(side.bad))
    for index in among:
        seen = side.observations[index]
        if seen.size != value.size or "float" not in seen.dtype or norm == 0.0:
            continue
        if abs(seen.stats.norm - norm) > 2 * scene.tolerance * max(norm, seen.stats.norm):
            continue
        turned = into_layout(value, seen.shape, permutation)
        if turned is not None and side.error(index, turned) <= scene.tolerance:
            return index
    return None


def tells(side: Side, index: int) -> bool:
    """Whether a tensor is large enough, and of enough axes, to be told from others by its values."""
    seen = side.observations[index]
    return seen.size >= MIN_SIZE and len(seen.shape) > 1 and "float" in seen.dtype and seen.site.role == "activation"


def dominators(side: Side, start: int) -> dict[int, tuple[int, ...]]:
    """By observation behind the start: those behind the start through which every way from there leads."""
    behind = side.descendants(start)
    region = [i for i in sorted(behind) if side.observations[i].site.phase == "forward"][:REGION]
    found: dict[int, tuple[int, ...]] = {}
    for index in region:
        sources = [i for i in side.observations[index].inputs if i == start or i in behind]
        ways = [set() if i == start else {*found.get(i, ()), i} for i in sources]
        found[index] = tuple(sorted(set.intersection(*ways))) if ways else ()
    return found


def inverse(permutation: tuple[int, ...] | None) -> tuple[int, ...] | None:
    """The order of axes that leads back."""
    return None if permutation is None else tuple(int(i) for i in np.argsort(permutation))


def differ(x: Floats, y: Floats) -> bool:
    """Whether two tensors differ for certain: in size, or in values."""
    return x.size != y.size or relative_error(x, y.reshape(x.shape)) > CHANGES
