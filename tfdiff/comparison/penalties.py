"""Penalties on the weights in the loss: which weight's is another one, or is on one side only."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tfdiff.comparison.findings import Finding
from tfdiff.comparison.places import layer_name, place_of
from tfdiff.model import Divergence, Place
from tfdiff.pairing.sites import is_float

if TYPE_CHECKING:
    from tfdiff.comparison.findings import StepPairing
    from tfdiff.comparison.graph import StepGraph
    from tfdiff.comparison.runs import Runs, StepView
    from tfdiff.trace.reader import Trace

TOTALS = frozenset({"AddV2", "Add", "AddN", "Sum", "Pack", "Identity"})
"""Ops of a total whose operands are its terms."""


@dataclass(frozen=True)
class Term:
    """What a side adds to its loss for some weights, usually for one."""

    index: int
    variables: frozenset[int]
    """Of this side."""
    value: float


@dataclass(frozen=True)
class Unequal:
    """The first weight whose penalties differ; None where a side has none for it."""

    a: Term | None
    b: Term | None

    @property
    def error(self) -> float:
        """Relative error between the two; 1 where a side has none."""
        values = [abs(term.value) if term else 0.0 for term in (self.a, self.b)]
        if self.a is None or self.b is None or max(values) == 0.0:
            return 1.0
        return abs(self.a.value - self.b.value) / max(values)


def penalty_finding(runs: Runs, view: StepView, pairing: StepPairing) -> Finding | None:
    """A penalty on the weights that only one side adds to its loss, or that differs; told by its value, whatever the
    forward pass does.
    """
    a, b = _totals(view.a), _totals(view.b)
    total_a, total_b = (sum(g.observations[i].stats.mean for i in found) for g, found in ((view.a, a), (view.b, b)))
    scale = max(abs(total_a), abs(total_b))
    a_at, b_at = _join_point(view.a, a), _join_point(view.b, b)
    if scale == 0.0 or a_at is None or b_at is None:
        return None
    if a and b:
        return _unequal_finding(runs, view, pairing)
    divergence = Divergence(
        step=view.step,
        phase="loss",
        a=place_of(view.a.observations[a_at]),
        b=place_of(view.b.observations[b_at]),
        error=abs(total_a - total_b) / scale,
        tolerance=view.tolerances.loss,
        summary=f"penalty on the weights in the loss: {total_a:.5g} in a, {total_b:.5g} in b",
        a_index=a_at,
        b_index=b_at,
    )
    numbers = {"a": total_a, "b": total_b}
    return Finding(divergence, runs.a, runs.b, runs.pairs, pairing=pairing, kind="absent", numbers=numbers)


def at_penalty(runs: Runs, view: StepView, finding: Finding) -> Finding:
    """A difference of the losses that is all in the penalties of both, told where the first unequal one is made.

    Where the penalties meet the rest of the loss, all of them have become one number.
    """
    unequal = _unequal(runs, view) if _totals(view.a) and _totals(view.b) else None
    if unequal is None:
        return finding
    return replace(finding, divergence=_told(runs, view, unequal, finding.divergence))


def _unequal_finding(runs: Runs, view: StepView, pairing: StepPairing) -> Finding | None:
    """The first weight whose penalties differ, if both sides have one: what is missing may be the weight."""
    unequal = _unequal(runs, view)
    if unequal is None or unequal.a is None or unequal.b is None:
        return None
    nowhere = Divergence(view.step, "loss", None, None, 0.0, 0.0)
    return Finding(_told(runs, view, unequal, nowhere), runs.a, runs.b, runs.pairs, pairing=pairing)


def _told(runs: Runs, view: StepView, unequal: Unequal, told: Divergence) -> Divergence:
    """A divergence at the unequal penalties; what a side has none of is where `told` has it."""
    values = [f"{term.value:.5g}" if term else "none" for term in (unequal.a, unequal.b)]
    summary = f"penalty on {_names(runs, unequal)}: {values[0]} in a, {values[1]} in b"
    return replace(
        told,
        a=_place(runs.a, view.a, unequal.a) or told.a,
        b=_place(runs.b, view.b, unequal.b) or told.b,
        error=unequal.error,
        tolerance=view.tolerances.at(unequal.a.index if unequal.a else None, "loss"),
        summary=f"{summary}; {told.summary}" if told.summary else summary,
        a_index=unequal.a.index if unequal.a else told.a_index,
        b_index=unequal.b.index if unequal.b else told.b_index,
    )


def _names(runs: Runs, unequal: Unequal) -> str:
    term, trace = (unequal.a, runs.a) if unequal.a else (unequal.b, runs.b)
    return ", ".join(trace.variables[variable].name for variable in sorted(term.variables)) if term else ""


def beyond_penalties(view: StepView) -> bool:
    """Whether the losses differ by more than their penalties: then a difference inside the loss is another one."""
    graphs = view.a, view.b
    losses = [graph.observations[graph.loss].stats.mean if graph.loss is not None else 0.0 for graph in graphs]
    rest = [
        loss - sum(graph.observations[i].stats.mean for i in _totals(graph))
        for graph, loss in zip(graphs, losses, strict=True)
    ]
    return abs(rest[0] - rest[1]) > view.tolerances.at(view.a.loss, "loss") * max(abs(loss) for loss in losses)


def of_unpaired_weights(runs: Runs, view: StepView) -> bool:
    """Whether the penalties of both sides differ only by those on weights that are no pairs, as many on either side: a
    layer of another width is penalized as it was.
    """
    terms = _terms(view.a), _terms(view.b)
    unpaired = [
        [term for term in side if term.variables.isdisjoint(known)]
        for side, known in zip(terms, ({pair.a for pair in runs.pairs}, {pair.b for pair in runs.pairs}), strict=True)
    ]
    if not unpaired[0] or len(unpaired[0]) != len(unpaired[1]):
        return False
    paired = [[term for term in side if term not in rest] for side, rest in zip(terms, unpaired, strict=True)]
    return _first_unequal(runs, view, *paired) is None


def _totals(graph: StepGraph) -> list[int]:
    """Floats made of weights alone, one number each, that meet the data path in the loss."""
    if graph.loss is None:
        return []
    found = []
    for index in graph.order:
        moving, seen = index in graph.data or index in graph.noise, graph.observations[index]
        if moving or seen.size != 1 or seen.site.role != "activation" or not is_float(seen):
            continue
        joins = any(user in graph.data or user in graph.noise for user in graph.consumers[index])
        # The shape of an activation is no penalty, though weights are among its ancestors: so is the batch.
        roles = {graph.observations[i].site.role for i in graph.ancestors((index,))} if joins else set()
        if "weight" in roles and not roles & {"input", "noise"}:
            found.append(index)
    return found


def _join_point(graph: StepGraph, totals: list[int]) -> int | None:
    """Where the first penalty meets the data path; the loss where there is none."""
    for total in totals:
        for user in graph.consumers[total]:
            if user in graph.data or user in graph.noise:
                return user
    return graph.loss


def _terms(graph: StepGraph) -> list[Term]:
    """The penalties, sums of several taken apart."""
    found, todo = [], _totals(graph)
    while todo:
        index = todo.pop(0)
        seen = graph.observations[index]
        variables = graph.weights_behind(index)
        made = [operand for operand in graph.operands(index) if graph.weights_behind(operand)]
        if len(variables) > 1 and seen.site.op in TOTALS and made:
            todo = [*made, *todo]
        elif seen.size == 1:
            found.append(Term(index, variables, seen.stats.mean))
    return found


def _unequal(runs: Runs, view: StepView) -> Unequal | None:
    """The first weights, in A's order, whose penalties differ by more than rounding."""
    return _first_unequal(runs, view, _terms(view.a), _terms(view.b))


def _first_unequal(runs: Runs, view: StepView, a: list[Term], b: list[Term]) -> Unequal | None:
    others = {term.variables: term for term in b}
    for term in a:
        partners = frozenset(runs.by_a[variable].b for variable in term.variables if variable in runs.by_a)
        other = others.pop(partners, None)
        values = [abs(one.value) for one in (term, other) if one is not None]
        limit = view.tolerances.at(term.index, "loss") * max(values)
        if other is None or abs(term.value - other.value) > limit:
            return Unequal(term, other)
    return next((Unequal(None, other) for other in others.values()), None)


def _place(trace: Trace, graph: StepGraph, term: Term | None) -> Place | None:
    """The layer that has the penalty, else the line that computes it."""
    if term is None:
        return None
    place = place_of(graph.observations[term.index])
    known = trace.variables[min(term.variables)]
    if known.layer is None or known.source is None or len(term.variables) > 1:
        return place
    return Place(layer_name(known.layer), place.site, known.source, place.called, place.op)
