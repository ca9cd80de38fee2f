"""Where two tensors that are equal but for the order of their axes came to be so, if that order is the difference.

Channels first against channels last is another way of writing, as long as the ops behind know of it. Where the same op
with the same attributes takes the tensor on both sides, nothing does: then the difference begins at the transpose.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tfdiff.comparison.findings import Match
    from tfdiff.comparison.graph import StepGraph
    from tfdiff.comparison.localize import Located
    from tfdiff.comparison.runs import StepView

ORDERED = frozenset({"Conv2D", "Conv3D", "DepthwiseConv2dNative", "MatMul", "Reshape"})
"""Ops that tell the axes of their operand apart by their place."""
FARTHEST = 12


def where_turned(view: StepView, located: Located) -> tuple[int, int] | None:
    """The ops of A and B at which the order of the axes parts; None where that is not what the sides differ in."""
    cut, a, b = located.cut, located.a, located.b
    if cut is None or a is None or b is None or not _is_turned(cut):
        return None
    first, second = view.a.observations[a].site, view.b.observations[b].site
    alike = first.op == second.op and first.op in ORDERED and first.attrs == second.attrs
    if not alike and {first.op, second.op} != {"Reshape", "MatMul"}:  # what one side reshapes the other has flat
        return None
    ways = [(a, *_way(view.a, cut.a)), (b, *_way(view.b, cut.b))]
    for own, other, matches, flipped in (
        (ways[1], ways[0], located.matching.from_b, False),
        (ways[0], ways[1], located.matching.from_a, True),
    ):
        found = _entered(view.a if flipped else view.b, own, matches)
        if found is None:
            continue
        op, match = found
        source = match.b if flipped else match.a
        place = next((user for user, operand in pairwise(other) if operand == source), other[0])
        return (op, place) if flipped else (place, op)
    return None


def _is_turned(match: Match) -> bool:
    return match.permutation is not None and match.permutation != tuple(range(len(match.permutation)))


def _way(graph: StepGraph, index: int) -> Iterator[int]:
    """A tensor and those in front of it, each the first operand that depends on the batch."""
    for _ in range(FARTHEST):
        yield index
        before = next((operand for operand in graph.operands(index) if operand in graph.data), None)
        if before is None:
            return
        index = before


def _entered(graph: StepGraph, way: tuple[int, ...], matches: dict[int, tuple[Match, ...]]) -> tuple[int, Match] | None:
    """The op that transposes a tensor which is the same on both sides, and the match of that tensor."""
    for index, before in pairwise(way[1:]):
        if any(not _is_turned(match) for match in matches.get(index, ())):
            return None
        straight = next((match for match in matches.get(before, ()) if not _is_turned(match)), None)
        if straight is not None:
            return (index, straight) if graph.observations[index].site.op == "Transpose" else None
    return None
