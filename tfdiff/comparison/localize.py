"""Find the last cut of the forward pass at which both sides agree, and the first op behind it on either side."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tfdiff.comparison.matching import match_forward
from tfdiff.comparison.metrics import observation_error
from tfdiff.comparison.tolerance import CEILING, GROWTH
from tfdiff.comparison.turned import with_turned
from tfdiff.pairing.sites import MIN_ELEMENTS, is_float, is_mask

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from tfdiff.comparison.findings import Match
    from tfdiff.comparison.graph import StepGraph
    from tfdiff.comparison.matching import Matching
    from tfdiff.comparison.runs import Runs, StepView
    from tfdiff.model import Observation

ROUNDS = 6
"""How often the tolerance is raised to follow an error that grows without being introduced anywhere."""


@dataclass(frozen=True)
class Side:
    """What lies behind the cut on one side."""

    bad: tuple[int, ...]
    """Observations that lead to the root without passing through an equal one, in order of execution."""
    frontier: tuple[int, ...]
    """Those of `bad` at which a difference can begin: batch-dependent floats with nothing of their kind before them."""
    root_matched: bool
    """Whether the root itself has an equal on the other side: this side has nothing behind the cut."""


@dataclass(frozen=True)
class Located:
    """The first ops behind the cut."""

    a: int | None
    b: int | None
    cut: Match | None
    cuts: tuple[Match, ...]
    a_side: Side
    b_side: Side
    matching: Matching
    error: float
    """Between the two frontier tensors, or, where these have different sizes, between the nearest comparable ones."""
    comparable: bool
    """Whether the two frontier tensors have the same size."""


def locate(
    runs: Runs, view: StepView, a_root: int, b_root: int, matched: Callable[[float], Matching] | None = None
) -> Located | None:
    """Find where the paths to the two roots part; None when the difference grows from rounding and is introduced
    nowhere.

    `matched` gives the equal tensors within a tolerance, by default those of the whole step.
    """
    tolerance = view.tolerances.forward
    for _ in range(ROUNDS):
        matching = matched(tolerance) if matched else match_forward(runs, view, tolerance)
        wide = with_turned(view, matching)
        a_side = _side(view.a, a_root, wide.from_a.keys())
        b_side = _side(view.b, b_root, wide.from_b.keys())
        if a_side.root_matched and b_side.root_matched:
            return None
        located = replace(_join(view, a_side, b_side, wide), matching=matching)
        if located.a is None or located.b is None or located.error > min(GROWTH * _fed(view, located), CEILING):
            return located
        tolerance = 1.5 * located.error
    return None


def _fed(view: StepView, located: Located) -> float:
    """The largest error among the equal tensors that the two frontier ops consume.

    Others behind the cut say nothing of these ops: means over a batch agree better than what they are taken from.
    """
    errors = [0.0 if located.cut is None else located.cut.error]
    for graph, index, matches in (
        (view.a, located.a, located.matching.from_a),
        (view.b, located.b, located.matching.from_b),
    ):
        operands = graph.operands(index) if index is not None else ()
        errors += [matches[operand][0].error for operand in operands if operand in matches]
    return max(errors)


def _side(graph: StepGraph, root: int, matched: Iterable[int]) -> Side:
    equal = frozenset(matched)
    if root in equal:
        return Side((), (), True)
    bad = sorted(index for index in graph.ancestors((root,), equal) if index not in equal)
    starts = _starts(graph, root, bad, graph.rearranged)
    # A difference of the sums themselves (a bias on one side only) shows behind them, where they are taken apart.
    return Side(tuple(bad), tuple(starts), False)


def _starts(graph: StepGraph, root: int, bad: Sequence[int], silent: frozenset[int]) -> list[int]:
    """Those of `bad` at which a difference can begin, but for the `silent` ones."""
    starts: list[int] = []
    behind: set[int] = set()
    for index in bad:
        operands = graph.operands(index)
        if any(operand in behind for operand in operands):
            behind.add(index)
        elif index == root or (may_begin(graph, index) and not (index in silent and _of_parts(graph, index, bad))):
            behind.add(index)
            starts.append(index)
    return starts


def _of_parts(graph: StepGraph, index: int, bad: Sequence[int]) -> bool:
    """Whether an op takes a variable that is paired part by part, or a tensor made of one that has no equal."""
    unequal = frozenset(bad)
    return any(operand in graph.rearranged and operand in unequal for operand in graph.operands(index)) or any(
        operand in graph.rearranged and operand not in graph.data for operand in graph.operands(index)
    )


def may_begin(graph: StepGraph, index: int) -> bool:
    """Whether a difference can begin at an op: a float that depends on the batch or on noise, no mask or label."""
    seen = graph.observations[index]
    if not is_float(seen) or seen.site.role != "activation" or index not in graph.data | graph.noise:
        return False
    if seen.site.op == "Cast" and not any(is_float(graph.observations[operand]) for operand in graph.operands(index)):
        return False  # labels, masks and counts made into numbers
    return _tells(seen)


def _tells(seen: Observation) -> bool:
    return seen.size < MIN_ELEMENTS or not is_mask(seen)


def _join(view: StepView, a_side: Side, b_side: Side, matching: Matching) -> Located:
    """Choose one frontier op on each side, hanging on the same pair of equal tensors where there is one."""
    chosen: tuple[int | None, int | None, Match | None] | None = None
    b_operands = {index: set(view.b.operands(index)) for index in b_side.frontier}
    for index in _ranked(view.a, a_side.frontier, matching.from_a.keys()):
        for operand in _ranked_operands(view.a, index):
            for match in matching.from_a.get(operand, ()):
                partner = next((j for j in b_side.frontier if match.b in b_operands[j]), None)
                if partner is not None:
                    chosen = (index, partner, match)
                    break
            if chosen:
                break
        if chosen:
            break
    if chosen is None:
        chosen = _unjoined(view, a_side, b_side, matching)
    a, b, cut = chosen
    cuts = _cuts(view, a_side, matching, cut)
    sizes = [graph.observations[i].size for graph, i in ((view.a, a), (view.b, b)) if i is not None]
    comparable = len(sizes) == 2 and sizes[0] == sizes[1]
    return Located(a, b, cut, cuts, a_side, b_side, matching, _error(view, a, b), comparable)


def _ranked(graph: StepGraph, frontier: tuple[int, ...], matched: Iterable[int]) -> list[int]:
    """Ops that consume an equal batch-dependent tensor directly come first; then the order of execution."""
    equal = frozenset(matched)

    def direct(index: int) -> bool:
        return any(
            operand in equal and operand in graph.data and is_float(graph.observations[operand])
            for operand in graph.operands(index)
        )

    return sorted(frontier, key=lambda index: (not direct(index), index))


def _ranked_operands(graph: StepGraph, index: int) -> list[int]:
    """Operands, those first that say most of where the op hangs in the dataflow."""

    def rank(operand: int) -> tuple[bool, bool, bool]:
        seen = graph.observations[operand]
        return (operand not in graph.data, not is_float(seen), operand in graph.labels)

    return sorted(graph.operands(index), key=rank)


def _first_cut(graph: StepGraph, index: int | None, matches: dict[int, tuple[Match, ...]]) -> Match | None:
    if index is None:
        return None
    return next((matches[operand][0] for operand in _ranked_operands(graph, index) if operand in matches), None)


def _unjoined(
    view: StepView, a_side: Side, b_side: Side, matching: Matching
) -> tuple[int | None, int | None, Match | None]:
    at_labels = _at_labels(view, a_side, b_side, matching)
    if at_labels is not None:
        return at_labels
    a = next(iter(_ranked(view.a, a_side.frontier, matching.from_a.keys())), None)
    b = next(iter(_ranked(view.b, b_side.frontier, matching.from_b.keys())), None)
    return a, b, _first_cut(view.a, a, matching.from_a) or _first_cut(view.b, b, matching.from_b)


def _at_labels(
    view: StepView, a_side: Side, b_side: Side, matching: Matching
) -> tuple[int | None, int | None, Match | None] | None:
    """Where one side changes its labels: the op that does, and the other side's that takes them unchanged.

    That one need not be where a difference can begin: the output may already be written otherwise (a softmax of its
    own, against one inside the loss).
    """
    for graph, own, other_graph, other, matches in (
        (view.a, a_side, view.b, b_side, matching.from_a),
        (view.b, b_side, view.a, a_side, matching.from_b),
    ):
        for index in (i for i in own.frontier if _of_labels(graph, i)):
            equal = graph.ancestors((index,)) & matches.keys() & graph.data
            for match in (match for i in sorted(equal, reverse=True) for match in matches[i]):
                partner = match.b if graph is view.a else match.a
                user = next((i for i in other.bad if partner in other_graph.operands(i)), None)
                if user is not None:
                    return (index, user, match) if graph is view.a else (user, index, match)
    return None


def _of_labels(graph: StepGraph, index: int) -> bool:
    """Whether an op takes nothing of the batch but labels."""
    reached = graph.ancestors((index,)) & graph.data
    return all(graph.observations[i].site.role != "input" or i in graph.labels for i in reached)


def _cuts(view: StepView, a_side: Side, matching: Matching, cut: Match | None) -> tuple[Match, ...]:
    found: dict[int, Match] = {} if cut is None else {cut.a: cut}
    for index in a_side.bad:
        for operand in view.a.operands(index):
            if operand in matching.from_a and operand in view.a.data:
                found.setdefault(operand, matching.from_a[operand][0])
    return tuple(found.values())


def _error(view: StepView, a: int | None, b: int | None) -> float:
    if a is None or b is None:
        return 1.0
    first, second = view.a.observations, view.b.observations
    if first[a].size == second[b].size:
        return observation_error(view.a.block, a, view.b.block, b)
    # The ops differ in kind: compare the nearest tensors of one shape that both sides compute behind the cut.
    for i in view.a.order:
        for j in view.b.order if i >= a else ():
            alike = first[i].shape == second[j].shape and is_float(first[i]) and is_float(second[j])
            if j >= b and alike and i in view.a.data and j in view.b.data and _tells(first[i]):
                return observation_error(view.a.block, i, view.b.block, j)
    return 1.0
