"""Errors between recorded tensors: exact where both arrays are in the traces, estimated from sketches elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tfdiff.pairing.distance import SCALE_FLOOR, relative_error, sketch_errors
from tfdiff.pairing.layouts import inverse, permutations_between
from tfdiff.pairing.pairs import convert_back, taken

if TYPE_CHECKING:
    import numpy.typing as npt

    from tfdiff.pairing.pairs import VariablePair
    from tfdiff.trace.block import Block

    Array = npt.NDArray[Any]

__all__ = [
    "SCALE_FLOOR",
    "best_permutation",
    "into_layout",
    "layout_error",
    "observation_error",
    "own_values",
    "pair_error",
    "pair_order",
    "pair_values",
    "relative_error",
]

MAX_EXACT = 1 << 22
"""Elements up to which arrays are read where a sketch would do: beyond, the sketch's 8 % matter less than the time."""


def into_layout(values: Array, shape: tuple[int, ...], permutation: tuple[int, ...] | None) -> Array | None:
    """Transpose `values` by `permutation` (where it has as many axes) and reshape to `shape`; None: sizes differ."""
    if permutation is not None and len(permutation) == values.ndim:
        values = np.transpose(values, permutation)
    if values.shape == shape:
        return values
    return values.reshape(shape) if values.size == int(np.prod(shape, dtype=np.int64)) else None


def layout_error(a: Array, b: Array, permutation: tuple[int, ...] | None = None) -> float:
    """Relative error after bringing `b` into A's layout; infinite where the sizes differ."""
    turned = into_layout(b, a.shape, permutation)
    return float("inf") if turned is None else relative_error(a, turned)


def observation_error(
    a: Block, i: int, b: Block, j: int, permutation: tuple[int, ...] | None = None, *, exact: bool = True
) -> float:
    """Relative error between observation `i` of `a` and `j` of `b`; not `exact`: from sketches, without reading arrays.

    Infinite where sizes differ or NaN/Inf stand on one side only. A permuted tensor of which only a sketch was kept is
    judged by its norm (sketches depend on the order of the elements).
    """
    first, second = a.observations[i], b.observations[j]
    if first.size != second.size:
        return float("inf")
    if first.size == 1 and not (first.stats.nans or first.stats.infs or second.stats.nans or second.stats.infs):
        return relative_error(np.array(first.stats.mean), np.array(second.stats.mean))
    if exact and first.stored and second.stored and first.size <= MAX_EXACT:
        return layout_error(a.array(i), b.array(j), permutation)
    if (first.stats.nans, first.stats.infs) != (second.stats.nans, second.stats.infs):
        return float("inf")
    norms = np.array([first.stats.norm]), np.array([second.stats.norm])
    if permutation is not None and permutation != tuple(range(len(permutation))):
        scale = max(first.stats.norm, second.stats.norm, SCALE_FLOOR)
        return abs(first.stats.norm - second.stats.norm) / scale
    return float(sketch_errors(a.sketch(i)[None], b.sketch(j)[None], *norms, first.size)[0])


def best_permutation(a: Array, b: Array) -> tuple[int, ...] | None:
    """The axis order of `b` with the smallest error against `a`; None where the order it has is as good."""
    best, error = None, layout_error(a, b)
    for order in permutations_between(b.shape, a.shape):
        found = relative_error(a, np.transpose(b, order))
        if found < 0.5 * error:
            best, error = order, found
    return best


def pair_order(pair: VariablePair) -> tuple[int, ...] | None:
    """The axis order that brings B's variable into A's layout (before any reshape)."""
    return None if pair.permutation is None else inverse(pair.permutation)


def own_values(pair: VariablePair, values: Array) -> Array | None:
    """The part of a value of A's variable that a pair is about; None for a value of another size."""
    try:
        return taken(values, pair.a_part)
    except ValueError:
        return None


def pair_values(pair: VariablePair, values: Array, shape: tuple[int, ...]) -> Array | None:
    """A value of B's variable in A's layout (of the pair's part of it); None where the sizes differ."""
    try:
        return into_layout(convert_back(values, pair), shape, None)
    except ValueError:
        return into_layout(values, shape, None) if pair.whole else None


def pair_error(a: Block, i: int, b: Block, j: int, pair: VariablePair, *, values: bool = False) -> float:
    """Relative error between observations that have the shape of a paired variable: gradients, or its `values`."""
    first, second = a.observations[i], b.observations[j]
    stored = first.stored and second.stored
    if not pair.whole:
        own = own_values(pair, a.array(i)) if stored else None
        turned = None if own is None else pair_values(pair, b.array(j), own.shape)
        if own is None or turned is None:
            return float("inf")
        return relative_error(own, turned - pair.offset if values and pair.offset else turned)
    if pair.permutation is None or not stored:
        return observation_error(a, i, b, j, pair_order(pair))
    turned = pair_values(pair, b.array(j), first.shape)
    return float("inf") if turned is None else relative_error(a.array(i), turned)
