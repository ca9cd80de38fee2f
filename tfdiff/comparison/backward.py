"""Gradients of the weights of one step: equal, noise around zero, missing, or different; and where a difference
begins.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from tfdiff.comparison.findings import Finding, Match
from tfdiff.comparison.forward import pairing_of
from tfdiff.comparison.metrics import observation_error, pair_error, pair_order
from tfdiff.comparison.places import optimizer_lines, place_of, place_of_variable
from tfdiff.comparison.runs import norm, of_variable
from tfdiff.comparison.stops import all_stopped, stopping_ops
from tfdiff.comparison.tolerance import epsilon
from tfdiff.model import Divergence, Place
from tfdiff.pairing.pairs import taken
from tfdiff.pairing.sites import is_float

if TYPE_CHECKING:
    from tfdiff.comparison.graph import StepGraph
    from tfdiff.comparison.matching import Matching
    from tfdiff.comparison.runs import Runs, StepView
    from tfdiff.model import Observation
    from tfdiff.pairing.pairs import Part, VariablePair
    from tfdiff.trace.reader import Trace

NOISE_UNITS = 64.0
"""A gradient below this many rounding errors of the sum it comes from is zero in theory, and a difference below them is
none."""
SUMMING = frozenset({"Sum", "BiasAddGrad"})
HALF_UNITS = 4.0
"""The same in half precision, of all terms together: 1 to 2 were seen, however many the terms."""


@dataclass(frozen=True)
class Gradient:
    """The gradients of one pair of weights in one step."""

    pair: VariablePair
    a: Observation | None
    b: Observation | None
    error: float
    """Infinite where one side has none."""
    tolerance: float
    noise: bool
    """Zero in theory on both sides (a bias in front of a normalization): its rounding means nothing."""
    factor: float = 1.0
    """B's is so many times A's where one of the losses is scaled; the error is what differs besides."""

    @property
    def missing(self) -> bool:
        """Whether exactly one side has a gradient."""
        return (self.a is None) != (self.b is None)

    @property
    def different(self) -> bool:
        """Whether both sides have one and these differ by more than the tolerance."""
        return not self.missing and not self.noise and self.error > self.tolerance


def gradients(runs: Runs, view: StepView) -> list[Gradient]:
    """The gradients of all paired weights that have one on a side, as the tape returned them."""
    a, b = (of_variable(graph.block, "weight gradient") for graph in (view.a, view.b))
    if (view.a.target is None) != (view.b.target is None) and not (a and b):
        return []  # one side makes its gradients of a Jacobian: only the updates can be compared
    found = []
    for pair in runs.weights:
        first, second = (entries[0] if entries else None for entries in (a.get(pair.a), b.get(pair.b)))
        if first is None and second is None:
            continue
        error, noise = float("inf"), False
        tolerance = view.tolerances.at(first.index if first else None, "gradient")
        if first is not None and second is not None:
            error = pair_error(view.a.block, first.index, view.b.block, second.index, pair)
            sizes = _size(view.a, first, pair.a_part), _size(view.b, second, pair.b_part)
            limits = _rounding(view.a, first), _rounding(view.b, second)
            noise = all(size <= limit for size, limit in zip(sizes, limits, strict=True))
            if error * max(sizes) <= max(limits):  # terms that nearly cancel leave little but what they are rounded by
                tolerance = max(error, tolerance)
        found.append(Gradient(pair, first, second, error, tolerance, noise))
    return [_allowing_terms(view, gradient) for gradient in found]


def loosened(view: StepView, found: list[Gradient]) -> list[Gradient]:
    """Gradients of a step whose tolerance has grown."""
    grown = [replace(gradient, tolerance=max(gradient.tolerance, view.tolerances.gradient)) for gradient in found]
    return [_allowing_terms(view, gradient) for gradient in grown]


def _allowing_terms(view: StepView, gradient: Gradient) -> Gradient:
    """The gradient with its error allowed where it is a sum over tensors that agree, and differs by no more than these
    make it differ: of terms that nearly cancel the error is left (in half precision as much as all of the sum).
    """
    if not gradient.different or gradient.a is None or gradient.b is None:
        return gradient
    first, second = _sum(view.a, gradient.a), _sum(view.b, gradient.b)
    if first is None or second is None:
        return gradient
    (total_a, terms_a), (total_b, terms_b) = first, second
    if terms_a.shape != terms_b.shape or not (terms_a.stored and terms_b.stored):
        return gradient
    error = observation_error(view.a.block, terms_a.index, view.b.block, terms_b.index)
    # Cauchy and Schwarz: n terms that differ by d_i make a sum that differs by at most sqrt(n) ||d||.
    most = error * max(terms_a.stats.norm, terms_b.stats.norm) * (terms_a.size / total_a.size) ** 0.5
    explained = gradient.error * max(total_a.stats.norm, total_b.stats.norm) <= most
    return replace(gradient, tolerance=gradient.error) if explained and error <= gradient.tolerance else gradient


def _sum(graph: StepGraph, gradient: Observation) -> tuple[Observation, Observation] | None:
    """The sum over the batch that a gradient is, perhaps scaled or in another shape, and its terms; None for others."""
    seen = gradient
    for _ in range(8):
        operands = [graph.observations[i] for i in seen.inputs if i >= 0 and is_float(graph.observations[i])]
        if not operands:
            return None
        larger = max(operands, key=lambda operand: operand.size)
        if seen.site.op in SUMMING and larger.size > seen.size:
            return seen, larger
        if larger.size != seen.size:
            return None
        seen = larger
    return None


def _size(graph: StepGraph, gradient: Observation, part: Part | None) -> float:
    """The norm of the part of a gradient that a pair is about."""
    if part is None or not gradient.stored:
        return gradient.stats.norm
    try:
        return norm(taken(graph.block.array(gradient.index), part))
    except ValueError:
        return gradient.stats.norm


def _rounding(graph: StepGraph, gradient: Observation) -> float:
    """By how much a gradient may be off that is a sum over a larger tensor: its terms are rounded; 0 for others.

    They are rounded to the dtype in which they are summed, whatever the gradient is cast to in the end.
    """
    seen, fine = gradient, epsilon("float32")
    for _ in range(8):
        operands = [graph.observations[i] for i in seen.inputs if i >= 0 and is_float(graph.observations[i])]
        if not operands:
            return 0.0
        larger = max(operands, key=lambda operand: operand.size)
        if larger.size > gradient.size:
            terms, unit = larger.size / gradient.size, max(epsilon(larger.dtype), epsilon(gradient.dtype))
            units = NOISE_UNITS * float(terms**0.5) if unit <= fine else HALF_UNITS
            return units * unit * larger.stats.norm
        seen = operands[0]
    return 0.0


def backward_findings(
    runs: Runs, view: StepView, found: list[Gradient], matching: Matching, *, forward_equal: bool
) -> list[Finding]:
    """Divergences of the backward pass: missing gradients always, different ones only behind an equal forward pass."""
    findings = []
    missing = [gradient for gradient in found if gradient.missing and _none(runs, view, gradient)]
    if not forward_equal:
        missing = [gradient for gradient in missing if not _unused(view, gradient)]
    different = [gradient for gradient in found if gradient.different]
    stopped = bool(missing) and all(_asked_for(runs, view, gradient) for gradient in missing)
    if stopped:
        different = [gradient for gradient in different if not _in_front(view, matching, missing, gradient)]
    if forward_equal and different:
        findings.append(_different(runs, view, different, matching))
    if missing:
        findings.append(_missing(runs, view, missing, matching, "missing-gradient" if stopped else "frozen"))
    return findings


def _asked_for(runs: Runs, view: StepView, gradient: Gradient) -> bool:
    """Whether the side without a gradient has none because it is not trained: a gradient does arrive where it is
    used.
    """
    graph, variable = (view.a, gradient.pair.a) if gradient.a is None else (view.b, gradient.pair.b)
    trace: Trace = runs.a if gradient.a is None else runs.b
    if not trace.variables[variable].trainable:
        return False
    reached = {seen.of for seen in graph.observations if seen.site.role == "activation gradient"}
    users = _users(graph, variable)
    return not any(at in reached for user in users for at in (user, *graph.consumers.get(user, ())))


def _none(runs: Runs, view: StepView, gradient: Gradient) -> bool:
    """Whether the side without a gradient has none, and it was not only not recorded: it never moves the weight, or
    what it makes with it is stopped (then decay may move it).
    """
    graph, variable = (view.a, gradient.pair.a) if gradient.a is None else (view.b, gradient.pair.b)
    return _still(runs, gradient) or all_stopped(graph, _users(graph, variable))


def _still(runs: Runs, gradient: Gradient) -> bool:
    """Whether the side without a gradient never moves the weight."""
    trace, variable = (runs.a, gradient.pair.a) if gradient.a is None else (runs.b, gradient.pair.b)
    first, last = (runs.value_after(trace, variable, step) for step in (-1, runs.compared - 1))
    return first is not None and last is not None and np.array_equal(first, last)


def _unused(view: StepView, gradient: Gradient) -> bool:
    """Whether the side without a gradient does not use the variable at all (a layer is missing there)."""
    graph, variable = (view.a, gradient.pair.a) if gradient.a is None else (view.b, gradient.pair.b)
    return not any(graph.observations[index].site.variable == variable for index in graph.order)


def _users(graph: StepGraph, variable: int) -> list[int]:
    """Ops that take a variable together with the batch."""

    def uses(index: int) -> bool:
        reads = graph.ancestors(operand for operand in graph.operands(index) if operand in graph.parameters)
        return any(graph.observations[read].site.variable == variable for read in reads)

    return [index for index in sorted(graph.weighted) if uses(index)]


def _in_order(view: StepView, found: list[Gradient]) -> list[Gradient]:
    """Nearest to the loss first."""

    def last_use(gradient: Gradient) -> int:
        return max(_users(view.a, gradient.pair.a), default=-1)

    return sorted(found, key=last_use, reverse=True)


def _different(runs: Runs, view: StepView, found: list[Gradient], matching: Matching) -> Finding:
    ordered = _in_order(view, found)
    worst = ordered[0]
    a, b = worst.a, worst.b
    a_at, b_at = _beginning(view, matching, worst)
    if a is not None and b is not None and 0.0 in (a.stats.norm, b.stats.norm):  # stopped, and zeros put in its place
        a_at, b_at = _stopping(view, matching, worst.pair, in_a=a.stats.norm == 0.0) or (a_at, b_at)
    places = [
        place_of(graph.observations[at]) if at is not None else place_of_variable(trace.variables[variable], seen)
        for graph, at, trace, variable, seen in (
            (view.a, a_at, runs.a, worst.pair.a, a),
            (view.b, b_at, runs.b, worst.pair.b, b),
        )
    ]
    names = _names(runs, ordered)
    divergence = Divergence(
        step=view.step,
        phase="backward",
        a=places[0],
        b=places[1],
        error=worst.error,
        tolerance=worst.tolerance,
        summary=f"{len(ordered)} of the weights' gradients differ although the forward pass agrees: {names}",
        a_index=a.index if a else None,
        b_index=b.index if b else None,
    )
    return _wrap(runs, view, divergence, matching, ordered, "")


def _names(runs: Runs, found: list[Gradient]) -> str:
    return ", ".join(list(dict.fromkeys(runs.a.variables[gradient.pair.a].name for gradient in found))[:3])


def _beginning(view: StepView, matching: Matching, first: Gradient) -> tuple[int | None, int | None]:
    """Forward ops whose gradient differs first on the way back from the loss: the consumers of the last equal
    activation.
    """
    a_of, b_of = (
        {
            seen.of: seen.index
            for seen in graph.observations
            if seen.site.role == "activation gradient" and seen.of is not None
        }
        for graph in (view.a, view.b)
    )
    a_users, b_users = _users(view.a, first.pair.a), _users(view.b, first.pair.b)
    for match in reversed(matching.table()):
        if match.a not in a_of or match.b not in b_of or (a_users and match.a < max(a_users)):
            continue
        error = observation_error(view.a.block, a_of[match.a], view.b.block, b_of[match.b], match.permutation)
        if error > view.tolerances.at(a_of[match.a], "gradient"):
            return _consumer(view.a, match.a), _consumer(view.b, match.b)
    return (max(a_users, default=None), max(b_users, default=None))


def _consumer(graph: StepGraph, index: int) -> int | None:
    return next(iter(graph.consumers.get(index, ())), None)


def _missing(runs: Runs, view: StepView, found: list[Gradient], matching: Matching, kind: str) -> Finding:
    ordered = _in_order(view, found)
    first = ordered[0]
    side = "a" if first.a is None else "b"
    names = _names(runs, ordered)
    what = "is not trained" if kind == "frozen" else "gets no gradient"
    places = [
        _missing_place(trace, graph, variable, view.step)
        for trace, graph, variable in ((runs.a, view.a, first.pair.a), (runs.b, view.b, first.pair.b))
    ]
    stops = _stopping(view, matching, first.pair, in_a=side == "a") if kind == "missing-gradient" else None
    if stops is not None:
        places = [place_of(graph.observations[at]) for graph, at in zip((view.a, view.b), stops, strict=True)]
    divergence = Divergence(
        step=view.step,
        phase="update" if kind == "frozen" else "backward",
        a=places[0],
        b=places[1],
        error=1.0,
        tolerance=view.tolerances.gradient,
        summary=f"{names} {what} in {side}",
        a_index=first.a.index if first.a else None,
        b_index=first.b.index if first.b else None,
    )
    return _wrap(runs, view, divergence, matching, ordered, kind)


def _stopping(view: StepView, matching: Matching, pair: VariablePair, *, in_a: bool) -> tuple[int, int] | None:
    """The forward ops of both sides behind which a weight's gradient is lost."""
    users = _users(view.a, pair.a) if in_a else _users(view.b, pair.b)
    a, b = stopping_ops(view, matching, users, stopped_in_a=in_a)
    return None if a is None or b is None else (a, b)


def _in_front(view: StepView, matching: Matching, missing: list[Gradient], gradient: Gradient) -> bool:
    """Whether a weight lies in front of what stops the gradients of others: a penalty alone is left of its gradient."""
    for other in missing:
        in_a = other.a is None
        stops = _stopping(view, matching, other.pair, in_a=in_a)
        graph, variable = (view.a, gradient.pair.a) if in_a else (view.b, gradient.pair.b)
        if stops is not None and not graph.ancestors((stops[not in_a],)).isdisjoint(_users(graph, variable)):
            return True
    return False


def _missing_place(trace: Trace, graph: StepGraph, variable: int, step: int) -> Place:
    """Where the weight is used; the layer's or variable's line, and the optimizer's where there is none."""
    users = _users(graph, variable)
    place = place_of_variable(trace.variables[variable], graph.observations[users[0]] if users else None)
    if place.source is None:
        source, called = optimizer_lines(trace, step)
        return Place(place.layer, place.site, source or called, called)
    return place


def _wrap(
    runs: Runs, view: StepView, divergence: Divergence, matching: Matching, found: list[Gradient], kind: str
) -> Finding:
    more = tuple(
        Match(g.a.index, g.b.index, g.error, g.tolerance, "weight", pair_order(g.pair))
        for g in found
        if g.a is not None and g.b is not None
    )
    return Finding(
        divergence,
        runs.a,
        runs.b,
        runs.pairs,
        pairing=pairing_of(view, matching, more),
        variable=found[0].pair,
        also=tuple(gradient.pair for gradient in found),
        kind=kind,
    )
