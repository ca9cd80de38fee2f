"""Where two tensors that are equal but for the order of their axes came to be so, if that order is the difference.

Channels first against channels last is another way of writing, as long as the ops behind know of it. Where the same op
with the same attributes takes the tensor on both sides, nothing does: then the difference begins at the transpose.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from tfdiff.comparison.findings import Match
from tfdiff.pairing.layouts import inverse
from tfdiff.pairing.sites import is_informative, permuted_pairs

if TYPE_CHECKING:
    from tfdiff.comparison.graph import StepGraph
    from tfdiff.comparison.localize import Located
    from tfdiff.comparison.matching import Matching
    from tfdiff.comparison.runs import StepView

SHAPING = frozenset({"Reshape", "Squeeze", "ExpandDims", "Transpose", "Cast", "Identity", "StopGradient"})
ORDERED = frozenset({"Conv2D", "Conv3D", "DepthwiseConv2dNative", "MatMul", "BatchMatMulV2", "Reshape"})
"""Ops that tell the axes of their operand apart by their place."""
BLIND = SHAPING | frozenset({"Relu", "Elu", "Selu", "Tanh", "Sigmoid", "Softplus", "LeakyRelu", "StridedSlice"})
"""Ops that do not: of a tensor that came through others, somebody knew how it lies."""
AXES = ("data_format", "transpose_a", "transpose_b", "adj_x", "adj_y")
"""Attributes that say which axis is which."""
FARTHEST = 12


def with_turned(view: StepView, matching: Matching) -> Matching:
    """The equal tensors, and with them those of either side that are equal but for the order of their axes.

    By value these are looked for on A's side only, and where nothing agrees with a tensor in the order of the elements.
    """
    found = [*_transposes(view, matching.from_a, "a"), *_transposes(view, matching.from_b, "b")]
    known = matching.from_b.keys() | {match.b for match in found}
    left = [index for index in view.b.order if index not in known and is_informative(view.b.observations[index])]
    limits = view.tolerances.limits(len(view.a.observations), matching.tolerance)
    for pair in permuted_pairs(view.a.block, view.b.block, list(view.a.order), left, limits) if left else ():
        turned = pair.permutation is not None and is_informative(view.a.observations[pair.a])
        if turned and view.a.observations[pair.a].site.role == view.b.observations[pair.b].site.role:
            found.append(Match(pair.a, pair.b, pair.error, float(limits[pair.a]), "value", pair.permutation))
    from_a, from_b = dict(matching.from_a), dict(matching.from_b)
    for match in found:
        from_a[match.a] = (*from_a.get(match.a, ()), match)
        from_b[match.b] = (*from_b.get(match.b, ()), match)
    return replace(matching, from_a=from_a, from_b=from_b)


def _transposes(view: StepView, matches: dict[int, tuple[Match, ...]], side: str) -> list[Match]:
    graph, found = view.a if side == "a" else view.b, []
    for index in graph.order:
        seen = graph.observations[index]
        if seen.site.op != "Transpose" or index in matches or len(seen.inputs) < 2:
            continue
        straight = next((match for match in matches.get(seen.inputs[0], ()) if _one_shape(view, match)), None)
        axes = _permutation(graph, seen.inputs[1])
        if straight is not None and sorted(axes) == list(range(len(seen.shape))):
            turned = replace(straight, permutation=axes if side == "a" else inverse(axes))
            found.append(replace(turned, a=index) if side == "a" else replace(turned, b=index))
    return found


def _one_shape(view: StepView, match: Match) -> bool:
    shapes = view.a.observations[match.a].shape, view.b.observations[match.b].shape
    return match.permutation is None and shapes[0] == shapes[1]


def _permutation(graph: StepGraph, index: int) -> tuple[int, ...]:
    """What a constant holds, empty where it is not kept."""
    known = index >= 0 and graph.observations[index].stored
    return tuple(int(axis) for axis in np.ravel(graph.block.array(index))) if known else ()


def where_turned(view: StepView, located: Located) -> tuple[int | None, int | None] | None:
    """The ops of A and B at which the order of the axes parts; None where that is not what the sides differ in.

    Where a side has nothing behind the cut (it goes on with the tensor as it is) it has no op.
    """
    if not _take_alike(view, located.a, located.b):
        return None
    wide = with_turned(view, located.matching)
    way_a = _way(view.a, located.a, None if located.cut is None else located.cut.a)
    way_b = _way(view.b, located.b, None if located.cut is None else located.cut.b)
    found = _entered(view.b, way_b, wide.from_b)
    if found is not None:
        op, straight = found
        return _user(way_a, {match.a for match in straight}), op
    found = _entered(view.a, way_a, wide.from_a)
    if found is not None:
        op, straight = found
        return op, _user(way_b, {match.b for match in straight})
    return None


def _take_alike(view: StepView, a: int | None, b: int | None) -> bool:
    """Whether two ops take the axes of their operand in the same order."""
    pairs = ((view.a, a), (view.b, b))
    sites = [graph.observations[index].site for graph, index in pairs if index is not None]
    ops = {site.op for site in sites}
    if len(sites) < 2 or ops == {"Reshape", "MatMul"}:  # what one side reshapes the other has flat
        return "Reshape" in ops
    alike = all(sites[0].attrs.get(name) == sites[1].attrs.get(name) for name in AXES)
    return len(ops) == 1 and ops <= ORDERED and alike


def _user(way: tuple[int, ...], sources: set[int]) -> int | None:
    """The op on a way that takes one of the tensors, the one in front where several do."""
    users = [user for user, operand in pairwise(way) if operand in sources]
    return users[-1] if users else next(iter(way), None)


def _is_turned(match: Match) -> bool:
    return match.permutation is not None and match.permutation != tuple(range(len(match.permutation)))


def _way(graph: StepGraph, op: int | None, operand: int | None) -> tuple[int, ...]:
    """An op, the given operand of it, and the tensors in front, each the first operand that depends on the batch."""
    if op is None:
        return ()
    found = [op]
    if operand is not None and operand in graph.operands(op):
        found.append(operand)
    while len(found) < FARTHEST and (len(found) == 1 or _is_blind(graph, found[-1])):
        before = next((operand for operand in graph.operands(found[-1]) if operand in graph.data), None)
        if before is None:
            break
        found.append(before)
    return tuple(found)


def _is_blind(graph: StepGraph, index: int) -> bool:
    """Whether an op does the same whatever the order of the axes."""
    return graph.observations[index].site.op in BLIND


def _entered(
    graph: StepGraph, way: tuple[int, ...], matches: dict[int, tuple[Match, ...]]
) -> tuple[int, list[Match]] | None:
    """The op that transposes a tensor which is the same on both sides, and the matches of that tensor."""
    for index, before in pairwise(way[1:]):
        if any(not _is_turned(match) for match in matches.get(index, ())):
            return None
        straight = [match for match in matches.get(before, ()) if not _is_turned(match)]
        if straight:
            return (index, straight) if graph.observations[index].site.op == "Transpose" else None
    return None
