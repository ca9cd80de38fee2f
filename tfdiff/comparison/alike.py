"""Tensors that are counterparts by what is computed of them.

Followed back from where both sides are known to meet, the same ops in the same order lead to tensors that stand for
one another, whatever their values: there a's can be put in the place of b's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfdiff.pairing.sites import is_float

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tfdiff.comparison.graph import StepGraph
    from tfdiff.comparison.matching import Matching
    from tfdiff.comparison.runs import Runs, StepView

MAX_PAIRS = 2000
SUMS = frozenset({"AddV2", "Add", "AddN"})
COMMUTATIVE = frozenset({"AddV2", "Add", "AddN", "Mul", "Maximum", "Minimum"})


class Alike:
    """Follows both sides of a step back together."""

    def __init__(self, runs: Runs, view: StepView, matching: Matching) -> None:
        self._view, self._matching = view, matching
        self._of_b = {pair.b: pair.a for pair in runs.pairs}
        self._paired = {pair.a for pair in runs.pairs}
        self._weights: tuple[dict[int, frozenset[int]], dict[int, frozenset[int]]] = ({}, {})

    def behind(self, roots: tuple[int, int]) -> set[tuple[int, int]]:
        """The pairs of tensors that differ from which the same ops lead to the two roots (themselves included)."""
        found: set[tuple[int, int]] = set()
        todo = [roots]
        while todo and len(found) < MAX_PAIRS:
            pair = todo.pop()
            if pair in found:
                continue
            found.add(pair)
            first, second = self._view.a.observations[pair[0]], self._view.b.observations[pair[1]]
            if first.site.op == second.site.op and first.size == second.size:
                todo += [(i, j) for i, j in self._operands(pair, first.site.op) if not self._equal(i, j)]
        return found

    def branches(self, roots: tuple[int, int]) -> Iterator[tuple[int, int]]:
        """Of these the pairs that go on into several ops on both sides and are made with the same weights.

        An error goes around a joint by such a way (a residual connection).
        """
        for a, b in sorted(self.behind(roots)):
            users = [len(self._users(graph, index)) for graph, index in ((self._view.a, a), (self._view.b, b))]
            if min(users) > 1 and self.same_weights(a, b):
                yield a, b

    def sums(self) -> Iterator[tuple[int, int]]:
        """Where branches of the batch meet and part again (a residual connection) behind the same paired weights.

        Told by these alone: weights without a counterpart may stand before one of the two.
        """
        found = self._meeting(0), self._meeting(1)
        for key, indices in found[0].items():
            others = found[1].get(key, [])
            if len(indices) == len(others) == 1 and not self._equal(indices[0], others[0]):
                yield indices[0], others[0]

    def _meeting(self, side: int) -> dict[tuple[tuple[int, ...], frozenset[int]], list[int]]:
        graph = (self._view.a, self._view.b)[side]
        found: dict[tuple[tuple[int, ...], frozenset[int]], list[int]] = {}
        for index in graph.order:
            seen = graph.observations[index]
            if seen.site.op not in SUMS or len(_moving_floats(graph, index)) < 2 or len(self._users(graph, index)) < 2:
                continue
            known = frozenset(weight for weight in self._made_with(side, index) if weight in self._paired)
            found.setdefault((seen.shape, known), []).append(index)
        return found

    def same_weights(self, a: int, b: int) -> bool:
        """Whether two tensors were computed with the same weights."""
        return self._made_with(0, a) == self._made_with(1, b)

    def _operands(self, pair: tuple[int, int], op: str) -> list[tuple[int, int]]:
        a, b = _moving_floats(self._view.a, pair[0]), _moving_floats(self._view.b, pair[1])
        if len(a) != len(b):
            return []
        if len(a) < 2 or op not in COMMUTATIVE:
            return list(zip(a, b, strict=True))
        partners = [[j for j in b if self.same_weights(i, j)] for i in a]
        return [(i, found[0]) for i, found in zip(a, partners, strict=True) if len(found) == 1]

    def _made_with(self, side: int, index: int) -> frozenset[int]:
        """A's variables that a tensor hangs on; those of b's without a counterpart count as themselves."""
        known = self._weights[side]
        if index not in known:
            graph = (self._view.a, self._view.b)[side]
            found = graph.weights_behind(index)
            known[index] = found if side == 0 else frozenset(self._of_b.get(v, -1 - v) for v in found)
        return known[index]

    def _users(self, graph: StepGraph, index: int) -> list[int]:
        return [user for user in graph.consumers[index] if is_float(graph.observations[user])]

    def _equal(self, a: int, b: int) -> bool:
        return any(match.b == b for match in self._matching.from_a.get(a, ()))


def _moving_floats(graph: StepGraph, index: int) -> list[int]:
    """Operands that depend on the batch and hold floating point numbers."""
    return [i for i in graph.operands(index) if i in graph.data and is_float(graph.observations[i])]
