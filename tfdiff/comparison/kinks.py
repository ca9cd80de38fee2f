"""Elements that rounding puts on the other side of a kink: activations agree, the gradient jumps.

The slope of a relu, an absolute value, a comparison or a maximum changes from one element to the next. A value of 1e-8
that has another sign on the two sides is equal within rounding, yet its gradient is there on one side only. The fewer
elements share a gradient, the more one of them changes it.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from tfdiff.comparison.metrics import MAX_EXACT, into_layout
from tfdiff.comparison.tolerance import MOST
from tfdiff.pairing.layouts import inverse

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from tfdiff.comparison.findings import Match
    from tfdiff.comparison.graph import StepGraph
    from tfdiff.comparison.matching import Matching
    from tfdiff.comparison.runs import StepView
    from tfdiff.trace.block import Block

    Array = npt.NDArray[Any]

AT_ZERO = frozenset({"Relu", "Relu6", "LeakyRelu", "Elu", "Selu", "Abs", "Sign"})
BETWEEN = frozenset({"Greater", "GreaterEqual", "Less", "LessEqual", "Maximum", "Minimum"})
REDUCED = frozenset({"Max", "Min"})
POOLED = frozenset({"MaxPool", "MaxPoolV2", "MaxPool3D"})
WEIGHT_OF_FLIP = 10.0
"""Error of a gradient in units of sqrt(flipped elements / elements): the elements' gradients are not all alike."""


def flip_error(view: StepView, matching: Matching) -> float:
    """The relative error of gradients that flipped elements of an equal forward pass explain; 0 without any.

    Where the arrays of a kinked op are not in the traces one flipped element is assumed.
    """
    share = sum(_shares(view.a, view.b.block, matching.from_a, forth=True))
    share += sum(_shares(view.b, view.a.block, matching.from_b, forth=False))
    return min(WEIGHT_OF_FLIP * float(share**0.5), MOST)


def _shares(graph: StepGraph, other: Block, matches: Mapping[int, tuple[Match, ...]], *, forth: bool) -> list[float]:
    """Per kinked op of one side the share of its decisions that the equal operands of the other side turn over."""
    found = []
    for index in graph.order:
        seen = graph.observations[index]
        operands = graph.operands(index)
        if index not in graph.data or seen.site.op not in AT_ZERO | BETWEEN | REDUCED | POOLED:
            continue
        moving = [operand for operand in operands if operand in graph.data]
        if "float" not in graph.observations[moving[0]].dtype or any(operand not in matches for operand in moving):
            continue
        own = [_array(graph.block, operand) for operand in operands]
        across = [
            _across(graph.block, operand, other, matches[operand][0], forth=forth) if operand in moving else value
            for operand, value in zip(operands, own, strict=True)
        ]
        known = _decisions(seen.site.op, seen.site.attrs, own), _decisions(seen.site.op, seen.site.attrs, across)
        if known[0] is None or known[1] is None:
            found.append(1 / max(seen.size, 1))
        elif known[0].shape == known[1].shape:
            found.append(float(np.count_nonzero(known[0] != known[1])) / max(known[0].size, 1))
    return found


def _array(block: Block, index: int) -> Array | None:
    seen = block.observations[index]
    if seen.stored and seen.size <= MAX_EXACT:
        return block.array(index)
    return np.full(seen.shape, seen.stats.mean) if seen.size == 1 else None


def _across(block: Block, index: int, other: Block, match: Match, *, forth: bool) -> Array | None:
    """The other side's counterpart of an operand in this side's layout."""
    values = _array(other, match.b if forth else match.a)
    order = match.permutation
    if order is not None and not forth:
        order = inverse(order)
    return None if values is None else into_layout(values, block.observations[index].shape, order)


def _decisions(op: str, attrs: Mapping[str, Any], operands: list[Array | None]) -> Array | None:
    """On which side of its kink each element lies; None where an operand is not known."""
    values = [operand for operand in operands if operand is not None]
    if len(values) < len(operands):
        return None
    if op in AT_ZERO:
        return values[0] > 0
    if op in BETWEEN:
        return np.asarray(values[0] > values[1])
    if op in REDUCED:
        axes = tuple(int(axis) % values[0].ndim for axis in np.asarray(values[1]).ravel()) if len(values) > 1 else ()
        kept = [axis for axis in range(values[0].ndim) if axis not in axes]
        turned = np.transpose(values[0], (*kept, *axes))
        flat = turned.reshape(prod(values[0].shape[axis] for axis in kept), -1)
        return np.asarray(flat.argmax(1) if op == "Max" else flat.argmin(1))
    return _pooled(values[0], attrs.get("ksize"))


def _pooled(values: Array, window: Any) -> Array | None:
    """Where the maximum of every window is, whatever the stride."""
    fits = isinstance(window, list) and len(window) == values.ndim
    if (
        not fits
        or prod(window) * values.size > MAX_EXACT
        or any(w > n for w, n in zip(window, values.shape, strict=True))
    ):
        return None
    windows = np.lib.stride_tricks.sliding_window_view(values, tuple(window))
    return np.asarray(windows.reshape(-1, prod(window)).argmax(1))
