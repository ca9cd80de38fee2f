"""Updates of the weights: value after the step minus value before, compared where the gradients agree."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from tfdiff.comparison.findings import Finding, Match
from tfdiff.comparison.forward import pairing_of
from tfdiff.comparison.handed import handed
from tfdiff.comparison.metrics import own_values, pair_error, pair_order, pair_values, relative_error
from tfdiff.comparison.places import layer_name, optimizer_lines, place_of
from tfdiff.comparison.runs import norm, of_variable
from tfdiff.comparison.tolerance import CEILING, GROWTH, epsilon
from tfdiff.model import Divergence, Place
from tfdiff.orders import FORCED

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy.typing as npt

    from tfdiff.comparison.backward import Gradient
    from tfdiff.comparison.graph import StepGraph
    from tfdiff.comparison.matching import Matching
    from tfdiff.comparison.runs import Runs, StepView
    from tfdiff.model import Observation, Phase
    from tfdiff.pairing.variables import VariablePair
    from tfdiff.trace.block import Block
    from tfdiff.trace.reader import Trace

    Array = npt.NDArray[Any]

TRUSTED = 1e-3
"""Elements whose gradients agree this well: the others are near zero, and an adaptive optimizer magnifies their
rounding."""
ROUNDING_UNITS = 4.0
REMEMBERED = 4.0
"""An update may err this many times more than the worst gradient of an earlier step, which slots remember."""


@dataclass(frozen=True)
class Update:
    """The updates of one pair of weights in one step, in A's layout."""

    pair: VariablePair
    a: Array
    b: Array
    error: float
    tolerance: float

    @property
    def different(self) -> bool:
        """Whether they differ by more than the tolerance."""
        return self.error > self.tolerance


@dataclass
class UpdateHistory:
    """What earlier steps say about the updates: mutable, one for a comparison."""

    trusted: dict[VariablePair, npt.NDArray[np.bool_]] = field(default_factory=dict)
    """By pair: elements whose gradients agreed in every step so far."""
    noise: set[VariablePair] = field(default_factory=set)
    """Pairs whose true gradient is zero: never judged."""
    worst: dict[VariablePair, float] = field(default_factory=dict)
    """By pair: the largest error that a gradient had within its tolerance so far. An optimizer with memory
    carries it on."""
    largest: dict[VariablePair, float] = field(default_factory=dict)
    """By pair: the largest norm of an update so far."""
    unapplied: set[str] = field(default_factory=set)
    """Sides on which a step handed no gradients to an optimizer (accumulation, hand-written updates)."""

    def take(self, view: StepView, found: list[Gradient]) -> None:
        """Note the gradients of one step."""
        self.noise |= {gradient.pair for gradient in found if gradient.noise}
        for side, graph in (("a", view.a), ("b", view.b)):
            if not of_variable(graph.block, "applied gradient"):
                self.unapplied.add(side)
        for gradient in found:
            if gradient.error <= gradient.tolerance:
                known_error = self.worst.get(gradient.pair, 0.0)
                self.worst[gradient.pair] = max(known_error, gradient.error)
            mask = _agreeing(view, gradient)
            if mask is not None:
                known = self.trusted.get(gradient.pair)
                self.trusted[gradient.pair] = mask if known is None else known & mask


def _agreeing(view: StepView, gradient: Gradient) -> npt.NDArray[np.bool_] | None:
    if gradient.a is None or gradient.b is None or not (gradient.a.stored and gradient.b.stored):
        return None
    own = own_values(gradient.pair, view.a.block.array(gradient.a.index))
    b = None if own is None else pair_values(gradient.pair, view.b.block.array(gradient.b.index), own.shape)
    if own is None or b is None:
        return None
    a = gradient.factor * own.astype(np.float64, copy=False)
    with np.errstate(invalid="ignore"):
        agreeing: npt.NDArray[np.bool_] = np.abs(a - b) <= TRUSTED * np.maximum(np.abs(a), np.abs(b))
    return agreeing


def updates(runs: Runs, view: StepView, found: list[Gradient], history: UpdateHistory) -> list[Update]:
    """The updates of all paired weights whose gradients agree in this step (or are recorded on neither side)."""
    by_pair = {gradient.pair: gradient for gradient in found}
    measured = []
    for pair in runs.weights:
        gradient = by_pair.get(pair)
        if pair in history.noise or (gradient and gradient.error > gradient.tolerance):
            continue
        if history.worst.get(pair, 0.0) > CEILING:  # of terms that nearly cancel: their rounding is most of the update
            continue
        before, after = runs.values(pair, view.step - 1), runs.values(pair, view.step)
        if before is None or after is None:
            continue
        measured.append(_measure(view, pair, before, after, gradient, history))
    return measured


def _measure(
    view: StepView,
    pair: VariablePair,
    before: tuple[Array, Array],
    after: tuple[Array, Array],
    gradient: Gradient | None,
    history: UpdateHistory,
) -> Update:
    a, b = (
        np.asarray(late, np.float64) - np.asarray(early, np.float64) for late, early in zip(after, before, strict=True)
    )
    x, y = a, b
    mask = history.trusted.get(pair)
    if mask is not None and mask.shape == a.shape and mask.any():
        x, y = a[mask], b[mask]
    # Values are rounded when written: half a unit of the weight each, whatever the size of the update.
    rounding = ROUNDING_UNITS * epsilon(str(after[0].dtype)) * norm(after[0]) / max(norm(x), norm(y), 1e-300)
    carried = GROWTH * (gradient.error if gradient and np.isfinite(gradient.error) else 0.0)
    # What slots remember may cancel: the errors of larger updates stay in a small one.
    size = max(norm(x), norm(y), 1e-300)
    largest = history.largest[pair] = max(size, history.largest.get(pair, 0.0))
    carried = max(carried, REMEMBERED * history.worst.get(pair, 0.0) * largest / size)
    tolerance = max(view.tolerances.of_change(pair.a, "update"), min(carried, CEILING), rounding)
    return Update(pair, a, b, relative_error(x, y), tolerance)


def update_findings(
    runs: Runs, view: StepView, measured: list[Update], history: UpdateHistory, matching: Matching
) -> list[Finding]:
    """Different updates behind equal gradients: one finding for those that differ, one for weights that never move."""
    different = [update for update in measured if update.different]
    still = [update for update in different if (norm(update.a) == 0.0) != (norm(update.b) == 0.0)]
    some_move = any(norm(update.a) > 0.0 and norm(update.b) > 0.0 for update in measured)
    frozen = still if some_move else []
    changed = [update for update in different if update not in frozen]
    findings = []
    if changed:
        findings.append(_finding(runs, view, _ordered(view, changed), history, matching, ""))
    if frozen:
        findings.append(_finding(runs, view, _ordered(view, frozen), history, matching, "frozen"))
    return findings


def by_total_norm(view: StepView, measured: list[Update], given: Iterable[VariablePair] = ()) -> bool:
    """Whether the norms of all gradients explain how the different updates differ.

    The gradients of these weights agree, so the norms differ by other gradients, which one side lacks or has otherwise.
    Clipping by the global norm passes up to their whole ratio on to every weight; an adaptive optimizer takes some of
    it back, of each element another part. In an isolated step the gradients of the pairs that were `given` a's agree,
    whatever b's tape gave, and what went on for weights without a counterpart counts.
    """
    a, b = (of_variable(graph.block, "weight gradient") for graph in (view.a, view.b))
    forced = {seen.inputs[0]: seen for seen in view.b.observations if seen.site.op == FORCED and seen.inputs}
    instead = {
        variable: [forced.get(seen.inputs[0], seen) if seen.inputs else seen for seen in found]
        for variable, found in b.items()
    }
    instead |= {pair.b: a[pair.a] for pair in given if pair.a in a and pair.b in b}
    totals = [sum(seen.stats.norm**2 for found in side.values() for seen in found) ** 0.5 for side in (a, instead)]
    slack = 1.0 + view.tolerances.gradient
    if min(totals) == 0.0 or 1.0 / slack <= totals[0] / totals[1] <= slack:
        return False
    least, most = min(1.0, totals[0] / totals[1]) / slack, max(1.0, totals[0] / totals[1]) * slack
    return all(_between(update, least, most) for update in measured if update.different)


def _between(update: Update, least: float, most: float) -> bool:
    """Whether each element of B's update is one of A's times a factor between the two, up to the tolerance."""
    bounds = least * update.a, most * update.a
    nearest = np.clip(update.b, np.minimum(*bounds), np.maximum(*bounds))
    return relative_error(nearest, update.b) <= update.tolerance


def _ordered(view: StepView, found: list[Update]) -> list[Update]:
    """In the order in which A writes them."""
    written = {variable: entries[0].index for variable, entries in of_variable(view.a.block, "assign").items()}
    return sorted(found, key=lambda update: written.get(update.pair.a, len(view.a.observations)))


@dataclass(frozen=True)
class _Shown:
    """How a different update is shown: by what the optimizers were handed, or by what they wrote."""

    phase: Phase
    sites: tuple[Observation | None, Observation | None]
    places: tuple[Place, Place]
    error: float
    tolerance: float
    norms: tuple[float, float]
    words: str


def _finding(
    runs: Runs, view: StepView, found: list[Update], history: UpdateHistory, matching: Matching, kind: str
) -> Finding:
    first = found[0]
    shown = (None if kind else _by_applied(view, first.pair, history)) or _by_writes(runs, view, first)
    divergence = Divergence(
        step=view.step,
        phase=shown.phase,
        a=shown.places[0],
        b=shown.places[1],
        error=shown.error,
        tolerance=shown.tolerance,
        summary=f"{shown.words}, for {len(found)} variable{'s' * (len(found) > 1)}, "
        f"{runs.a.variables[first.pair.a].name} first: norm {shown.norms[0]:.4g} in a, {shown.norms[1]:.4g} in b",
        a_index=shown.sites[0].index if shown.sites[0] else None,
        b_index=shown.sites[1].index if shown.sites[1] else None,
    )
    return Finding(
        divergence,
        runs.a,
        runs.b,
        runs.pairs,
        pairing=pairing_of(view, matching, gradient_matches(runs, view)),
        variable=first.pair,
        also=tuple(update.pair for update in found),
        kind=kind,
        numbers={"a_norm": norm(first.a), "b_norm": norm(first.b)},
    )


def _by_applied(view: StepView, pair: VariablePair, history: UpdateHistory) -> _Shown | None:
    """What the optimizers were handed, where both were handed something in every step and it differs, after the
    optimizers' own clipping too.
    """
    if history.unapplied:
        return None
    found = handed(view, pair)
    if found is None:
        return None
    a, b, error = found
    tolerance = view.tolerances.at(a.index, "gradient")
    if error <= tolerance:
        return None
    return _Shown(
        "backward",
        (a, b),
        (place_of(a), place_of(b)),
        error,
        tolerance,
        (a.stats.norm, b.stats.norm),
        "the tapes' gradients agree, what the optimizers are handed and clip does not",
    )


def _by_writes(runs: Runs, view: StepView, update: Update) -> _Shown:
    sites = _writing_sites(runs, view, update)
    places = (
        _place(runs.a, view.a, update.pair.a, view.step, sites[0]),
        _place(runs.b, view.b, update.pair.b, view.step, sites[1]),
    )
    norms = norm(update.a), norm(update.b)
    return _Shown("update", sites, places, update.error, update.tolerance, norms, "equal gradients, different updates")


def gradient_matches(runs: Runs, view: StepView) -> tuple[Match, ...]:
    """Pairs of weight and applied gradients by their variables."""
    found = []
    for role in ("weight gradient", "applied gradient"):
        a, b = (of_variable(graph.block, role) for graph in (view.a, view.b))
        for pair in runs.weights:
            if a.get(pair.a) and b.get(pair.b):
                i, j = a[pair.a][0].index, b[pair.b][0].index
                error = pair_error(view.a.block, i, view.b.block, j, pair)
                found.append(Match(i, j, error, view.tolerances.at(i, "gradient"), "weight", pair_order(pair)))
    return tuple(found)


def _writing_sites(runs: Runs, view: StepView, update: Update) -> tuple[Observation | None, Observation | None]:
    """On each side the first write whose resulting value the other side never has."""
    before = runs.values(update.pair, view.step - 1)
    if before is None:
        return None, None
    scale = max(norm(update.a), norm(update.b), 1e-300)
    a = _written(view.a.block, update.pair, before[0], of_a=True)
    b = _written(view.b.block, update.pair, before[1], of_a=False)
    limit = update.tolerance * scale

    def lonely(own: list[tuple[Observation, Array]], other: list[tuple[Observation, Array]]) -> Observation | None:
        for site, value in own:
            if not any(norm(value - known) <= limit for _, known in other):
                return site
        return own[0][0] if own else None

    return lonely(a, b), lonely(b, a)


def _written(block: Block, pair: VariablePair, before: Array, *, of_a: bool) -> list[tuple[Observation, Array]]:
    """The value of a pair's variable of one side after each of its writes in one step."""
    variable = pair.a if of_a else pair.b
    value = np.asarray(before, np.float64)
    values = []
    for seen in of_variable(block, "assign").get(variable, []):
        if not seen.stored:
            continue
        written = block.array(seen.index)
        turned = own_values(pair, written) if of_a else pair_values(pair, written, before.shape)
        if turned is None or turned.shape != before.shape:
            continue
        change = np.asarray(turned, np.float64)
        value = value + change if "Add" in seen.site.op else value - change if "Sub" in seen.site.op else change
        values.append((seen, value))
    return values


def _place(trace: Trace, graph: StepGraph, variable: int, step: int, site: Observation | None) -> Place:
    """The write's place; an optimizer's own writes are where the optimizer was made.

    Without a recorded write: the optimizer, else the line that takes the gradient up (into an accumulator), else the
    line that asks for the gradients.
    """
    source, called = optimizer_lines(trace, step)
    if site is not None:
        place = place_of(site)
        return Place(place.layer, place.site, place.source or source or called, place.called or called, place.op)
    known = trace.variables[variable]
    if source is None and called is None:
        taken = _taken_up(graph, variable)
        if taken is not None:
            return place_of(taken)
        source = known.source
    return Place(layer_name(known.layer), known.name, source or called, called)


def _taken_up(graph: StepGraph, variable: int) -> Observation | None:
    """The first write that takes the variable's gradient, else the gradient itself."""
    gradient = next(iter(of_variable(graph.block, "weight gradient").get(variable, [])), None)
    if gradient is None:
        return None
    producers = {index for index in gradient.inputs if index >= 0} | {gradient.index}
    writes = (seen for seen in graph.observations if seen.site.role == "assign" and producers & set(seen.inputs))
    return next(writes, gradient)
