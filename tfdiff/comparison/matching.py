"""Which forward observations of one step are the same on both sides: by value, by variable, the losses by role."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tfdiff.comparison.findings import Match
from tfdiff.comparison.metrics import observation_error, pair_error, pair_order
from tfdiff.pairing.given import USER, barred
from tfdiff.pairing.layouts import permutations_between
from tfdiff.pairing.sites import MIN_ELEMENTS, PARAMETERS, is_float, is_informative, value_pairs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from collections.abc import Set as AbstractSet

    import numpy as np
    import numpy.typing as npt

    from tfdiff.comparison.graph import StepGraph
    from tfdiff.comparison.runs import Runs, StepView

VALUE_ROLES = frozenset({"activation", "input", "noise", "forced"})


@dataclass(frozen=True)
class Matching:
    """Equal observations of one step: every B candidate of each A observation, the best first, and the other way
    round.
    """

    from_a: dict[int, tuple[Match, ...]]
    from_b: dict[int, tuple[Match, ...]]
    tolerance: float

    def within(self, a: AbstractSet[int], b: AbstractSet[int]) -> Matching:
        """Only the pairs of these observations."""
        kept = [match for index in self.from_a.keys() & a for match in self.from_a[index] if match.b in b]
        kept.sort(key=lambda match: match.a)
        return Matching(_grouped(kept, "a"), _grouped(kept, "b"), self.tolerance)

    def table(
        self, cost: Callable[[Match], tuple[float, ...]] | None = None, *, once: bool = False
    ) -> tuple[Match, ...]:
        """One B observation for each A observation, each of B once where there is a choice; the cheapest pairs go
        first.

        Without `cost` the order of the candidates decides (equal op and shape, nearest place). With `once`,
        observations of A whose counterparts are all taken are left out.
        """
        ranked = [(rank, match) for index in sorted(self.from_a) for rank, match in enumerate(self.from_a[index])]
        ranked.sort(key=lambda entry: (cost(entry[1]) if cost else (), entry[0], entry[1].a))
        chosen: dict[int, Match] = {}
        taken: set[int] = set()
        for _, match in ranked:
            if match.a not in chosen and match.b not in taken:
                chosen[match.a] = match
                taken.add(match.b)
        for index, candidates in () if once else self.from_a.items():
            chosen.setdefault(index, candidates[0])
        return tuple(chosen[index] for index in sorted(chosen))


def match_forward(runs: Runs, view: StepView, tolerance: float) -> Matching:
    """Match the forward observations of one step that agree within `tolerance`, or within what noise does there."""
    limits = view.tolerances.limits(len(view.a.observations), tolerance)
    found = [
        *view.forced,
        *_by_variable(runs, view, tolerance),
        *_by_value(view, _same_role(view.a, "input"), _same_role(view.b, "input"), limits),
        *_by_value(view, _same_role(view.a, "noise"), _same_role(view.b, "noise"), limits),
        *_by_value(view, _telling(view.a), _telling(view.b), limits),
    ]
    found = _as_given(runs, view, found, tolerance)
    return Matching(_grouped(found, "a"), _grouped(found, "b"), tolerance)


def given_sites(runs: Runs, view: StepView) -> dict[int, int]:
    """The user's pairs of sites in this step, as indices of observations."""
    if not runs.given.sites:
        return {}
    a, b = ({seen.site.id: seen.index for seen in reversed(graph.observations)} for graph in (view.a, view.b))
    return {a[i]: b[j] for i, j in runs.given.sites if i in a and j in b}


def _as_given(runs: Runs, view: StepView, found: list[Match], tolerance: float) -> list[Match]:
    """The user's pairs first, then what was found: of a pair that agrees there may be copies, as of any other.

    Where one disagrees and both of its sites have equals elsewhere, these equals are none.
    """
    pairs, bars = given_sites(runs, view), runs.given.barred_sites
    if not pairs and not bars:
        return found
    agree: list[Match] = []
    apart: tuple[set[int], set[int]] = (set(), set())
    for a, b in pairs.items():
        error, order = given_error(view, a, b, tolerance)
        if error <= tolerance:
            agree.append(Match(a, b, error, tolerance, USER, order))
        elif any(match.a == a for match in found) and any(match.b == b for match in found):
            apart[0].add(a)
            apart[1].add(b)
    sites = [[seen.site.id for seen in graph.observations] for graph in (view.a, view.b)]
    kept = [
        match
        for match in found
        if match.a not in apart[0]
        and match.b not in apart[1]
        and not barred(bars, sites[0][match.a], sites[1][match.b])
    ]
    return [*agree, *kept]


def given_error(view: StepView, a: int, b: int, tolerance: float) -> tuple[float, tuple[int, ...] | None]:
    """Error of a pair that the user gave, and how b's axes are turned where that makes it smaller."""
    best: tuple[float, tuple[int, ...] | None] = (observation_error(view.a.block, a, view.b.block, b), None)
    first, second = view.a.observations[a], view.b.observations[b]
    if best[0] > tolerance and first.stored and second.stored:
        for order in permutations_between(second.shape, first.shape):
            error = observation_error(view.a.block, a, view.b.block, b, order)
            if error < best[0]:
                best = error, order
    return best


def _grouped(matches: Iterable[Match], side: str) -> dict[int, tuple[Match, ...]]:
    groups: dict[int, dict[int, Match]] = {}
    for match in matches:
        key, other = (match.a, match.b) if side == "a" else (match.b, match.a)
        groups.setdefault(key, {}).setdefault(other, match)
    return {key: tuple(group.values()) for key, group in groups.items()}


def _same_role(graph: StepGraph, role: str) -> list[int]:
    return [seen.index for seen in graph.observations if seen.site.role == role and seen.size > 0]


def _telling(graph: StepGraph) -> list[int]:
    """Activations whose value identifies them: informative tensors, and small ones with a fraction that depend on the
    batch.
    """
    return [
        seen.index
        for seen in graph.observations
        if seen.site.role in VALUE_ROLES
        and (
            is_informative(seen)
            or (
                is_float(seen)
                and 0 < seen.size < MIN_ELEMENTS
                and seen.index in graph.data
                and not float(seen.stats.norm).is_integer()
            )
        )
    ]


def _by_value(view: StepView, a: list[int], b: list[int], limits: npt.NDArray[np.float64]) -> list[Match]:
    pairs = value_pairs(view.a.block, view.b.block, a, b, limits)
    return [Match(pair.a, pair.b, pair.error, float(limits[pair.a]), "value", pair.permutation) for pair in pairs]


def _by_variable(runs: Runs, view: StepView, tolerance: float) -> list[Match]:
    found = []
    b_reads: dict[int, list[int]] = {}
    for seen in view.b.observations:
        if seen.site.role in PARAMETERS and seen.site.variable is not None and seen.site.phase == "forward":
            b_reads.setdefault(seen.site.variable, []).append(seen.index)
    for seen in view.a.observations:
        if seen.site.role not in PARAMETERS or seen.site.phase != "forward" or seen.site.variable not in runs.by_a:
            continue
        pair = runs.by_a[seen.site.variable]
        if pair.offset:
            continue
        for index in b_reads.get(pair.b, ()):
            error = pair_error(view.a.block, seen.index, view.b.block, index, pair)
            if error <= tolerance:
                found.append(Match(seen.index, index, error, tolerance, "weight", pair_order(pair)))
    return found
