"""Which forward observations of one step are the same on both sides: by value, by variable, the losses by role."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tfdiff.comparison.findings import Match
from tfdiff.comparison.graph import PARAMETERS
from tfdiff.comparison.metrics import pair_error, pair_order
from tfdiff.pairing.sites import MIN_ELEMENTS, is_float, is_informative, value_pairs

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
    return Matching(_grouped(found, "a"), _grouped(found, "b"), tolerance)


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
