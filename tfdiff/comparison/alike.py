"""The ops behind a divergence, followed back from where both sides are known to meet again.

An op that is not a counterpart by its value may be one by what is computed of it: where the same ops in the same order
lead from it to a pair of tensors that stand for one another, a's tensor can be put in the place of b's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfdiff.pairing.sites import is_float

if TYPE_CHECKING:
    from tfdiff.comparison.graph import StepGraph
    from tfdiff.comparison.matching import Matching
    from tfdiff.comparison.runs import StepView

MAX_PAIRS = 2000


def alike_behind(view: StepView, matching: Matching, roots: tuple[int, int]) -> set[tuple[int, int]]:
    """The pairs of tensors without an equal from which the same ops lead to the two roots (themselves included)."""
    found: set[tuple[int, int]] = set()
    todo = [roots]
    while todo and len(found) < MAX_PAIRS:
        pair = todo.pop()
        if pair in found:
            continue
        found.add(pair)
        first, second = (graph.observations[index] for graph, index in zip((view.a, view.b), pair, strict=True))
        if first.site.op != second.site.op or first.size != second.size:
            continue
        operands = _moving(view.a, pair[0]), _moving(view.b, pair[1])
        if len(operands[0]) == len(operands[1]):
            todo += [(i, j) for i, j in zip(*operands, strict=True) if not _equal(matching, i, j)]
    return found


def _moving(graph: StepGraph, index: int) -> list[int]:
    return [i for i in graph.operands(index) if i in graph.data and is_float(graph.observations[i])]


def _equal(matching: Matching, a: int, b: int) -> bool:
    return any(match.b == b for match in matching.from_a.get(a, ()))
