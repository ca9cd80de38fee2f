"""Several equal tensors in one step: which is which by neighbours and order, and what nothing tells apart."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from tfdiff.pairing.given import USER

if TYPE_CHECKING:
    from collections.abc import Callable

    from tfdiff.comparison.findings import Match
    from tfdiff.comparison.graph import StepGraph
    from tfdiff.comparison.matching import Matching
    from tfdiff.comparison.runs import StepView


class Equals:
    """Chooses one of several equal candidates.

    `cost` is what counts before their neighbours do; it begins with whether the two grow apart in a later step.
    """

    def __init__(self, view: StepView, matching: Matching, cost: Callable[[Match], tuple[float, ...]]) -> None:
        self._view, self._matching, self._first = view, matching, cost
        self._known: dict[Match, tuple[float, ...]] = {}

    @cached_property
    def table(self) -> tuple[Match, ...]:
        """One pair for each, as `Matching.table` chooses them; none of two that only agreed while a bias was zero."""
        return tuple(match for match in self._matching.table(self._cost, once=True) if not self._parts_later(match))

    def _parts_later(self, match: Match) -> bool:
        """Whether the two grow apart, and another candidate of one of them does not."""
        others = (*self._matching.from_a[match.a], *self._matching.from_b.get(match.b, ()))
        return (
            match.evidence != USER
            and bool(self._first(match)[0])
            and not all(self._first(other)[0] for other in others)
        )

    @cached_property
    def _taken(self) -> frozenset[int]:
        return frozenset(match.b for match in self.table)

    def _cost(self, match: Match) -> tuple[float, ...]:
        if match.evidence == USER:
            return (-1.0,)
        if match not in self._known:
            several = len(self._matching.from_a[match.a]) > 1 or len(self._matching.from_b.get(match.b, ())) > 1
            self._known[match] = (*self._first(match), self._strange(match) if several else 0.0)
        return self._known[match]

    def _strange(self, match: Match) -> float:
        """Share of the neighbours in the dataflow, of both sides, that have no equal among those of the other."""
        a, b = _neighbours(self._view.a, match.a), _neighbours(self._view.b, match.b)
        strange = total = 0
        for ours, theirs in zip(a, b, strict=True):
            strange += sum(not any(m.b in theirs for m in self._matching.from_a.get(i, ())) for i in ours)
            strange += sum(not any(m.a in ours for m in self._matching.from_b.get(j, ())) for j in theirs)
            total += len(ours) + len(theirs)
        return round(strange / total, 6) if total else 0.0

    def rivals(self, match: Match) -> tuple[int, ...]:
        """Sites of b that lead to the loss, are no other's counterpart, and would have done as well."""
        return tuple(
            other.b
            for other in self._matching.from_a[match.a]
            if other.b not in self._taken
            and other.b in self._view.b.members
            and other.evidence == match.evidence
            and self._shape(other.b) == self._shape(match.b)
            and self._cost(other) <= self._cost(match)
        )

    def _shape(self, b: int) -> tuple[int, ...]:
        return self._view.b.observations[b].shape


def _neighbours(graph: StepGraph, index: int) -> tuple[frozenset[int], frozenset[int]]:
    """Operands and consumers on the way to the loss."""
    return frozenset(graph.operands(index)), frozenset(graph.consumers.get(index, ()))
