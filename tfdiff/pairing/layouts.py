"""How the axes of one array map onto those of another: permutations and flattened axes.

A *layout* is the permutation that brings a variable into the axis order in which the mathematics uses it: for a matrix
the axes it is contracted over first, then its output axes. `None` means that the layout is not known.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

Shape = tuple[int, ...]
Permutation = tuple[int, ...]

# Permutations are enumerated; beyond this rank (720 of them) nobody lays out tensors differently.
MAX_RANK = 6


@dataclass(frozen=True)
class Fit:
    """How an array of one shape becomes one of another: transpose by `permutation`, then reshape."""

    permutation: Permutation | None = None
    reshape: Shape | None = None
    """The other shape, None where transposing is enough."""
    restore: Shape | None = None
    """The shape before `reshape` (after transposing); the way back needs it."""
    certain: bool = True
    """False where several permutations give the shape and nothing told which one."""


def inverse(permutation: Sequence[int]) -> Permutation:
    """The permutation that undoes `permutation`."""
    undone = [0] * len(permutation)
    for position, axis in enumerate(permutation):
        undone[axis] = position
    return tuple(undone)


def permuted(shape: Sequence[int], permutation: Sequence[int]) -> Shape:
    """`shape` after a transpose by `permutation`."""
    return tuple(shape[axis] for axis in permutation)


def inversions(permutation: Sequence[int]) -> int:
    """Number of axis pairs that `permutation` puts the other way round; 0 for the identity."""
    return sum(first > second for first, second in itertools.combinations(permutation, 2))


def permutations_between(shape: Shape, target: Shape, *, fixed: int = 0) -> list[Permutation]:
    """All permutations that turn `shape` into `target`, fewest inversions first (NHWC to NCHW keeps H before W).

    The first `fixed` axes stay where they are.
    """
    if sorted(shape) != sorted(target) or len(shape) > MAX_RANK or shape[:fixed] != target[:fixed]:
        return []
    if shape == target and len(set(shape[fixed:])) == len(shape[fixed:]):
        return [tuple(range(len(shape)))]
    head = tuple(range(fixed))
    tails = itertools.permutations(range(fixed, len(shape)))
    found = [head + tail for tail in tails if permuted(shape, head + tail) == target]
    return sorted(found, key=lambda permutation: (inversions(permutation), permutation))


def merged_axes(fine: Shape, coarse: Shape) -> list[list[int]] | None:
    """Which neighbouring axes of `fine` make up each axis of `coarse`; None when no such grouping exists.

    Axes of extent 1 may be added or dropped: (8, 2, 4) against (8, 8) is [[0], [1, 2]].
    """
    groups: list[list[int]] = []
    axis = 0
    for extent in coarse:
        group: list[int] = []
        product = 1
        while product < extent and axis < len(fine):
            product *= fine[axis]
            group.append(axis)
            axis += 1
        if product != extent:
            return None
        groups.append(group)
    rest = range(axis, len(fine))
    if any(fine[left] != 1 for left in rest):
        return None
    if rest and groups:
        groups[-1].extend(rest)
    return groups


def _mergeable(shape: Shape, target: Shape) -> bool:
    return merged_axes(shape, target) is not None or merged_axes(target, shape) is not None


def _known(shape: Shape, target: Shape, layout: Permutation, target_layout: Permutation) -> Fit | None:
    """The one way that respects both layouts."""
    canonical, canonical_target = permuted(shape, layout), permuted(target, target_layout)
    back = inverse(target_layout)
    if canonical == canonical_target:
        permutation = tuple(layout[axis] for axis in back)
        return Fit(None if permutation == tuple(range(len(shape))) else permutation)
    straight = tuple(range(len(target))) == target_layout
    groups = merged_axes(canonical, canonical_target)
    if straight and _mergeable(canonical, canonical_target):
        permutation = layout
    elif groups is not None:
        permutation = tuple(layout[axis] for position in back for axis in groups[position])
    else:
        return None
    plain = permutation == tuple(range(len(shape)))
    return Fit(None if plain else permutation, target, permuted(shape, permutation))


def fit(
    shape: Shape, target: Shape, layout: Permutation | None = None, target_layout: Permutation | None = None
) -> Fit | None:
    """How an array of `shape` becomes one of `target`, None when it cannot.

    With both layouts known there is one answer. Otherwise equal shapes stay as they are, then come flattened axes
    ((D, heads, dk) against (D, heads * dk)), then permutations; `certain` says whether there was a choice.
    """
    if prod(shape) != prod(target):
        return None
    if layout is not None and target_layout is not None:
        return _known(shape, target, layout, target_layout)
    if shape == target:
        return Fit()
    if 0 not in shape and _mergeable(shape, target):
        return Fit(None, target, shape)
    choices = permutations_between(shape, target)
    return Fit(choices[0], certain=len(choices) == 1) if choices else None
