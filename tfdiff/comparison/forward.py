"""Forward pass and loss of one step: whether the losses agree, and if not, where the two sides part."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tfdiff.comparison.domains import is_finite
from tfdiff.comparison.findings import Finding, StepPairing
from tfdiff.comparison.graph import says_cross_entropy
from tfdiff.comparison.localize import Located, locate, may_begin
from tfdiff.comparison.matching import given_error, given_sites, match_forward
from tfdiff.comparison.metrics import MAX_EXACT, best_permutation, layout_error, observation_error
from tfdiff.comparison.penalties import at_penalty, beyond_penalties, penalty_finding
from tfdiff.comparison.places import describe, place_of
from tfdiff.comparison.tolerance import GROWTH
from tfdiff.comparison.turned import where_turned
from tfdiff.model import Divergence
from tfdiff.pairing.sites import SKETCHED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tfdiff.comparison.findings import Match
    from tfdiff.comparison.graph import StepGraph
    from tfdiff.comparison.matching import Matching
    from tfdiff.comparison.runs import Runs, StepView
    from tfdiff.model import Phase

SQUASHING = frozenset({"Softmax", "Sigmoid", "LogSoftmax"})
NEAR = 0.05
"""Largest error at which the outputs of one weight are still taken for the same tensor with something slightly
different."""


@dataclass(frozen=True)
class ForwardResult:
    """What one step's forward pass and loss say."""

    loss_error: float
    findings: tuple[Finding, ...]
    located: Located | None = None

    @property
    def equal(self) -> bool:
        """Whether nothing diverged."""
        return not self.findings


def loss_error(view: StepView) -> float:
    """Relative error between the losses; infinite where only one side has one, 0 where none has or tells it."""
    a, b = view.a.loss, view.b.loss
    if _untold(view):
        return 0.0
    if a is None or b is None:
        return 0.0 if a is b else float("inf")
    return observation_error(view.a.block, a, view.b.block, b)


def _untold(view: StepView) -> bool:
    """Whether one side's loss is not known: it hands the gradients of its outputs over, or makes them of a Jacobian; or
    it is NaN or infinite, so that only what lies before it can be compared.
    """
    odd = any(g.loss is not None and not is_finite(g.observations[g.loss]) for g in (view.a, view.b))
    return odd or (view.a.target is None) != (view.b.target is None)


def judge_forward(runs: Runs, view: StepView, *, near: bool) -> ForwardResult:
    """Compare the losses and find where the paths to them part.

    `near` also looks for small differences that the loss hides: outputs of the same weight that differ a little.
    """
    error = loss_error(view)
    found = None
    trained = view.a.target is not None or view.b.target is not None
    limit = view.tolerances.at(view.a.loss, "loss" if trained else "forward")
    if error > limit and view.a.loss is not None and view.b.loss is not None:
        found = _at_roots(runs, view, (view.a.loss, view.b.loss))
    for roots in _roots(runs, view, near=near):
        # What lies in front of the place found so far came first; what lies behind it is carried.
        if found is not None and found.located.a is not None and roots[0] >= found.located.a:
            break
        earlier = _at_roots(runs, view, roots)
        if earlier is not None:
            found = earlier
            break
    if found is None:
        return ForwardResult(error, ())
    main = located_finding(runs, view, found.located, found.roots)
    if main.divergence.phase == "forward" or beyond_penalties(view):
        extra = penalty_finding(runs, view, pairing_of(view, found.located.matching))
        return ForwardResult(error, (main, extra) if extra else (main,), found.located)
    return ForwardResult(error, (at_penalty(runs, view, main),), found.located)


@dataclass(frozen=True)
class _Parting:
    """Where the paths to two tensors part."""

    roots: tuple[int, int]
    located: Located


def _at_roots(runs: Runs, view: StepView, roots: tuple[int, int]) -> _Parting | None:
    located = locate(runs, view, *roots)
    if located is None or (located.a is None and located.b is None):
        return None
    return _Parting(roots, located)


def _roots(runs: Runs, view: StepView, *, near: bool) -> list[tuple[int, int]]:
    """Pairs of tensors besides the losses that are to agree and do not, in order of execution."""
    tolerance = view.tolerances.forward
    given = [(a, b) for a, b in given_sites(runs, view).items() if given_error(view, a, b, tolerance)[0] > tolerance]
    return sorted({*given, *(_near_roots(runs, view) if near else ())})


def _near_roots(runs: Runs, view: StepView) -> Iterator[tuple[int, int]]:
    """Counterparts that differ by more than rounding, in order of execution.

    A difference of `NEAR` and more is left to the search from the losses, where both are known.
    """
    limit = float("inf") if _untold(view) else NEAR
    for index, other in sorted({*_output_pairs(runs, view), *_alike_pairs(runs, view)}):
        if view.tolerances.at(index) < _output_error(view, index, other) < limit:
            yield index, other


def _output_pairs(runs: Runs, view: StepView) -> Iterator[tuple[int, int]]:
    """Outputs of paired weights."""
    outputs = weight_outputs(view.a), weight_outputs(view.b)
    for variable, indices in outputs[0].items():
        pair = runs.by_a.get(variable)
        others = outputs[1].get(pair.b, []) if pair is not None else []
        # A weight that is used several times (both branches of a siamese net) is used in one order on both sides.
        if len(indices) == len(others):
            yield from zip(indices, others, strict=True)


def _alike_pairs(runs: Runs, view: StepView) -> Iterator[tuple[int, int]]:
    """Ops of one type without an equal that take the same tensors of the batch, and whose difference lives on.

    Another way of writing ends in tensors that agree within rounding again; a difference that a residual connection or
    a mean only waters down does not, though it may fall below the tolerance.
    """
    matching = match_forward(runs, view, view.tolerances.forward)
    for index in view.a.order:
        if index in matching.from_a or not may_begin(view.a, index):
            continue
        for other in _consumers_alike(view, matching, index):
            fed = max(matching.from_a[operand][0].error for operand in _moving(view.a, index))
            if _lasting(view.a, index, matching) > GROWTH * fed:
                yield index, other


def _consumers_alike(view: StepView, matching: Matching, index: int) -> Iterator[int]:
    """B's ops without an equal of the same type and shape whose batch-dependent operands equal those of A's op."""
    operands = _moving(view.a, index)
    if not operands or any(operand not in matching.from_a for operand in operands):
        return
    first = view.a.observations[index]
    partners = [{match.b for match in matching.from_a[operand]} for operand in operands]
    users = {user for partner in partners[0] for user in view.b.consumers.get(partner, ())}
    for user in sorted(users - matching.from_b.keys()):
        second = view.b.observations[user]
        others = _moving(view.b, user)
        alike = (first.site.op, first.shape, len(operands)) == (second.site.op, second.shape, len(others))
        if alike and all(other in known for other, known in zip(others, partners, strict=True)):
            yield user


def _moving(graph: StepGraph, index: int) -> list[int]:
    """Operands that depend on the batch."""
    return [operand for operand in graph.operands(index) if operand in graph.data]


def _lasting(graph: StepGraph, index: int, matching: Matching) -> float:
    """The largest error of the equal tensors in which the paths from an op end; infinite where one ends in none."""
    worst = 0.0
    reached, todo = {index}, [index]
    while todo:
        users = graph.consumers[todo.pop()]
        if not users:
            return float("inf")
        for user in users:
            if user in matching.from_a:
                worst = max(worst, matching.from_a[user][0].error)
            elif user not in reached:
                reached.add(user)
                todo.append(user)
    return worst


def _output_error(view: StepView, a: int, b: int) -> float:
    first, second = view.a.observations[a], view.b.observations[b]
    precise = view.tolerances.forward < SKETCHED
    error = observation_error(view.a.block, a, view.b.block, b, exact=precise)
    permuted = first.shape != second.shape and sorted(first.shape) == sorted(second.shape)
    if error < NEAR or not (permuted and first.stored and second.stored and first.size <= MAX_EXACT):
        return error
    one, other = view.a.block.array(a), view.b.block.array(b)
    return layout_error(one, other, best_permutation(one, other))


def weight_outputs(graph: StepGraph) -> dict[int, list[int]]:
    """By variable: the ops in which a matrix or kernel meets the batch, in order of execution."""
    found: dict[int, list[int]] = {}
    for index in sorted(graph.weighted):
        for operand in graph.operands(index):
            variable = _matrix(graph, operand)
            if variable is not None:
                found.setdefault(variable, []).append(index)
    return found


def _matrix(graph: StepGraph, operand: int) -> int | None:
    """The weight of two or more axes that an operand is, as read or rearranged."""
    while operand in graph.parameters:
        seen = graph.observations[operand]
        if seen.site.role == "weight":
            return seen.site.variable if len(seen.shape) > 1 else None
        operand = next((source for source in graph.operands(operand) if source in graph.parameters), -1)
    return None


def _error(view: StepView, located: Located, phase: str, roots: tuple[int, int]) -> float:
    """The error at the place; from the arrays where both are there, since the search goes by sketches.

    Ops of two kinds may have nothing to do with each other: then it is that of the two tensors they lead to.
    """
    if not located.comparable:
        return loss_error(view) if phase == "loss" else located.error
    a, b = located.a, located.b
    if a is None or b is None or view.a.observations[a].shape != view.b.observations[b].shape:
        return located.error
    error = observation_error(view.a.block, a, view.b.block, b)
    if error < NEAR or view.a.observations[a].site.op == view.b.observations[b].site.op:
        return error
    led_to = observation_error(view.a.block, roots[0], view.b.block, roots[1])
    return led_to if led_to < NEAR else error


def located_finding(runs: Runs, view: StepView, located: Located, roots: tuple[int, int]) -> Finding:
    """The divergence at a place that was found on the way to two tensors, with everything around it."""
    turned = where_turned(view, located)
    if turned is not None:
        located = replace(located, a=turned[0], b=turned[1])
    a = located.a if located.a is not None else roots[0]
    b = located.b if located.b is not None else roots[1]
    places = [place_of(graph.observations[index]) for graph, index in ((view.a, a), (view.b, b))]
    words = [
        describe(graph, i) if i is not None else "nothing" for graph, i in ((view.a, located.a), (view.b, located.b))
    ]
    phase = _phase(view, located)
    divergence = Divergence(
        step=view.step,
        phase=phase,
        a=places[0],
        b=places[1],
        error=_error(view, located, phase, roots),
        tolerance=view.tolerances.at(located.a),
        summary=f"a: {words[0]}; b: {words[1]}",
        a_index=a,
        b_index=b,
    )
    return Finding(
        divergence,
        runs.a,
        runs.b,
        runs.pairs,
        pairing=pairing_of(view, located.matching),
        cut=located.cut,
        cuts=located.cuts,
        a_bad=located.a_side.bad,
        b_bad=located.b_side.bad,
        kind="absent" if located.a is None or located.b is None else "",
    )


def _phase(view: StepView, located: Located) -> Phase:
    """Loss where both sides part in the loss, or where one squashes the logits that the other's cross-entropy takes
    raw.
    """
    sides = [(graph, index) for graph, index in ((view.a, located.a), (view.b, located.b)) if index is not None]
    inside = [index in graph.loss_part or index in graph.labels for graph, index in sides]
    if all(inside):
        return "loss"
    if any(inside) and len(sides) == 2:
        (loss_graph, loss_index), (other_graph, other_index) = sides if inside[0] else sides[::-1]
        squashed = other_graph.observations[other_index].site.op in SQUASHING
        if squashed and says_cross_entropy(loss_graph.observations[loss_index].site):
            return "loss"
    return "forward"


def pairing_of(view: StepView, matching: Matching, more: tuple[Match, ...] = ()) -> StepPairing:
    """The match table of a step, with the pairs that other phases found."""
    matches = tuple(sorted((*matching.table(), *more), key=lambda match: match.a))
    return StepPairing(
        step=view.step,
        a=view.a.block,
        b=view.b.block,
        matches=matches,
        a_to_b={match.a: match for match in matches},
        b_to_a={match.b: match for match in reversed(matches)},
        a_loss=view.a.loss,
        b_loss=view.b.loss,
    )
