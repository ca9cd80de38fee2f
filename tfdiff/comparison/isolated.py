"""Judges the steps of b's isolated pass: every part of the network, every gradient, every update on a's inputs.

An error goes no further than the next tensor that a's was written over, no gradient further than that towards the
inputs, and no step hands anything on to the next one. So whatever differs was introduced where it shows.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from tfdiff.comparison.backward import backward_findings, gradients, loosened
from tfdiff.comparison.findings import Match
from tfdiff.comparison.floor import step_noise
from tfdiff.comparison.forward import judge_forward, located_finding
from tfdiff.comparison.joints import key_of
from tfdiff.comparison.kinks import flip_error
from tfdiff.comparison.localize import Located, Side, locate
from tfdiff.comparison.lockstep import lockstep_runs, not_set
from tfdiff.comparison.matching import Matching, match_forward
from tfdiff.comparison.metrics import observation_error, pair_error
from tfdiff.comparison.own_batches import batch_rows
from tfdiff.comparison.penalties import beyond_penalties, of_unpaired_weights
from tfdiff.comparison.runs import StepView, of_variable, view_step
from tfdiff.comparison.segments import Segments
from tfdiff.comparison.state import state_findings
from tfdiff.comparison.steps import START_LIMIT, allowing_flips, suspicious
from tfdiff.comparison.tolerance import step_tolerances
from tfdiff.comparison.update import REMEMBERED, UpdateHistory, by_total_norm, update_findings, updates
from tfdiff.model import PHASES
from tfdiff.orders import GRADIENTS, Isolated, gradient_of
from tfdiff.pairing.layouts import inverse

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tfdiff.comparison.backward import Gradient
    from tfdiff.comparison.findings import Finding
    from tfdiff.comparison.graph import StepGraph
    from tfdiff.comparison.lockstep import LockstepRuns
    from tfdiff.comparison.runs import Runs
    from tfdiff.comparison.steps import StepsResult
    from tfdiff.model import Observation, Role
    from tfdiff.orders import Joint
    from tfdiff.pairing.pairs import VariablePair
    from tfdiff.trace.block import Block

SLOTS = 1e-3
"""Up to which error a slot is held to be what it was."""
OWN = 1e-6
"""Up to which error a gradient that was handed on is the tape's own."""


@dataclass(frozen=True)
class Found:
    """A finding of an isolated step and what is needed to tell whether it was known before."""

    finding: Finding
    around: frozenset[int] = frozenset()
    """Of one of the forward pass: a's sites of the part of the network that was judged, its ends included."""


@dataclass
class Past:
    """What earlier isolated steps leave to the later ones."""

    history: UpdateHistory
    told: set[int | None] = field(default_factory=set)
    """Joints (by a's site; None: the loss) in front of which a difference was told: it will be there again."""
    states: set[int] = field(default_factory=set)
    """A's variables whose change was told."""
    refuted: set[tuple[str, int]] = field(default_factory=set)
    """Joints (by a's site) and gradients (by a's variable) that the free run has shown to be none, or none of b's."""
    clipped: float = 0.0
    """By how much updates differ because of a norm in which gradients without a counterpart take part."""
    scaled: bool = False
    """Whether the free run shows a loss scale that is taken out of the gradients again."""


def judge_isolated(free: Runs, result: StepsResult) -> list[Found]:
    """What the isolated steps of b show, step by step in causal order, repeats of a fault in later steps left out."""
    past = Past(UpdateHistory(noise=set(result.noise)), scaled=result.scaled)
    found: list[Found] = []
    done = free.b.isolation
    for step in range(min(free.a.steps, free.b.steps, free.b.isolated_steps)):
        if done is None or step in done.unset:
            continue
        rows = batch_rows(free.a.step(step), free.b.isolated(step))
        if rows is not None and rows[0] != rows[1]:
            break
        found += _Step(lockstep_runs(free, step), free.b.step(step), step, past).judge()
    return found


@dataclass(frozen=True)
class Forced:
    """A joint in one step, as indices of observations."""

    joint: Joint
    a: int
    own: int
    """What b computed."""
    onward: int
    """What went on in its place."""


class _Step:
    """One isolated step while it is judged."""

    def __init__(self, runs: LockstepRuns, free: Block, step: int, past: Past) -> None:
        graphs = view_step(runs, step)
        noise = step_noise(runs, step, past.history.noise)
        view = StepView(step, *graphs, step_tolerances(*graphs, 0.0, noise))
        done = runs.b.isolation or Isolated(0)
        self.left = {note["what"] for note in done.left}
        self.hands = GRADIENTS not in self.left
        self.joints = _forced(view, done.joints)
        self.view = replace(view, forced=tuple(_match(view, forced) for forced in self.joints))
        self.runs, self.past = runs, past
        ends = [(forced.a, forced.own, forced.onward) for forced in self.joints]
        self.segments = Segments(self.view, ends, backward=self.hands)
        self.unset = not_set(runs, step, START_LIMIT)
        for pair in self.unset:
            self.segments.spoil_around(pair.a, pair.b)
        self._matchings: dict[float, Matching] = {}
        self._free = free
        self._known = {seen.site.id: seen.index for seen in free.observations}

    def judge(self) -> list[Found]:
        """All findings of the step, in causal order."""
        # A scale that one side takes out again is in the loss and in what comes out of the tape, here as well.
        found = [*self._forward(), *([] if self.past.scaled else self._loss())]
        rest = [*([] if self.past.scaled else self._backward()), *self._updates()]
        state = self._states()
        self.past.states |= {pair.a for finding in state for pair in finding.also}
        found += [Found(finding) for finding in (*rest, *state)]
        return sorted(found, key=lambda one: PHASES.index(one.finding.divergence.phase))

    def _matched(self, tolerance: float) -> Matching:
        if tolerance not in self._matchings:
            self._matchings[tolerance] = match_forward(self.runs, self.view, tolerance)
        return self._matchings[tolerance]

    def _forward(self) -> list[Found]:
        """What was computed at each joint from what was given at the ones before."""
        found = []
        for forced in self.joints:
            order = _back(forced.joint)
            error = observation_error(self.view.a.block, forced.a, self.view.b.block, forced.own, order)
            if error <= self.view.tolerances.at(forced.a):
                continue
            self.segments.spoil(forced.a, forced.own)
            if self._refuted(forced):
                self.segments.doubt(forced.a, forced.onward)
                continue
            if self._doubtful(forced.own) or forced.joint.a in self.past.told:
                continue
            located = self._locate(forced)
            if located is None:
                # The same values in another order: what was written over them was not what belongs there.
                self.segments.doubt(forced.a, forced.onward)
                continue
            self.past.told.add(forced.joint.a)
            finding = located_finding(self.runs, self.view, located, (forced.a, forced.own))
            found.append(Found(finding, self._around(forced.a)))
        return found

    def _refuted(self, forced: Forced) -> bool:
        """Whether b by itself comes to a's values there: then something that was written over does not belong there."""
        index = self._known.get(self.view.b.observations[forced.own].site.id)
        if index is not None and self._free.observations[index].stored:
            error = observation_error(self.view.a.block, forced.a, self._free, index, _back(forced.joint))
            if error <= self.view.tolerances.at(forced.a):
                self.past.refuted.add(("joint", forced.joint.a))
        return ("joint", forced.joint.a) in self.past.refuted

    def _locate(self, forced: Forced) -> Located | None:
        """Where the two part on the way to a joint: what comes behind it may be equal to what comes before."""
        within = self.view.a.ancestors((forced.a,)), self.view.b.ancestors((forced.own,))
        return locate(
            self.runs, self.view, forced.a, forced.own, lambda tolerance: self._matched(tolerance).within(*within)
        )

    def _around(self, index: int) -> frozenset[int]:
        return frozenset(self.view.a.observations[i].site.id for i in self.segments.around(index))

    def _doubtful(self, index: int) -> bool:
        return self.segments.doubtful(index, {pair.b for pair in self.unset})

    def _loss(self) -> list[Found]:
        a, b = self.view.a.loss, self.view.b.loss
        if a is None or b is None:
            return []
        result = judge_forward(self.runs, self.view, near=False)
        if result.equal:
            return []
        self.segments.spoil(a, b)
        if self._doubtful(b) or None in self.past.told:
            return []
        if not beyond_penalties(self.view) and of_unpaired_weights(self.runs, self.view):
            return []
        self.past.told.add(None)
        return [Found(finding, self._around(a)) for finding in result.findings]

    def _backward(self) -> list[Finding]:
        """Gradients that came out of b's tape: a finding for each part of the network."""
        view = self.view
        found = gradients(self.runs, view)
        if not suspicious(found):
            return []
        matching = self._matched(view.tolerances.forward)
        view = allowing_flips(view, flip_error(view, matching))
        found = [gradient for gradient in loosened(view, found) if not self._refuted_gradient(gradient)]
        missing = [gradient for gradient in found if gradient.missing]
        findings = backward_findings(self.runs, view, missing, matching, forward_equal=not self.segments.spoiled)
        stopped = [one for finding in findings if finding.kind == "missing-gradient" for one in finding.also]
        lost = {part for pair in stopped for part in self.segments.of_variable(pair.b)}
        parts: dict[frozenset[int], list[Gradient]] = {}
        for gradient in found:
            part = self.segments.of_variable(gradient.pair.b)
            if (
                self.segments.sound(gradient.pair.a, gradient.pair.b) and not gradient.missing and not part & lost
            ):  # but for a penalty, there is none left of those
                parts.setdefault(part, []).append(gradient)
        for gradient_list in parts.values():
            if suspicious(gradient_list):
                findings += backward_findings(self.runs, view, gradient_list, matching, forward_equal=True)
        return findings

    def _refuted_gradient(self, gradient: Gradient) -> bool:
        """The same of a gradient that differs."""
        if not gradient.different or gradient.a is None:
            return False
        own = next(iter(of_variable(self._free, "weight gradient").get(gradient.pair.b, ())), None)
        if own is not None and own.stored:
            error = pair_error(self.view.a.block, gradient.a.index, self._free, own.index, gradient.pair)
            if error <= gradient.tolerance:
                self.past.refuted.add(("gradient", gradient.pair.a))
        return ("gradient", gradient.pair.a) in self.past.refuted

    def _updates(self) -> list[Finding]:
        """What became of a's gradients, beginning with a's weights and slots."""
        if not self.hands:
            return []
        history = self.past.history
        history.take(self.view, [])
        untrained = {gradient.pair for gradient in gradients(self.runs, self.view) if gradient.missing}
        measured = [
            update
            for update in updates(self.runs, self.view, [], history)
            if update.pair not in self.unset | untrained and self._handed_on(update.pair)
        ]
        slots = self.runs.slot_error if any(update.different for update in measured) else 0.0
        least = REMEMBERED * max(self.past.clipped, slots if slots > SLOTS else 0.0)
        measured = [replace(update, tolerance=max(update.tolerance, least)) for update in measured]
        different = [update.error for update in measured if update.different]
        if not different:
            return []
        if by_total_norm(self.view, measured, given=self.runs.weights):
            self.past.clipped = max(self.past.clipped, *different)
            return []
        matching = self._matched(self.view.tolerances.forward)
        return update_findings(self.runs, self.view, measured, history, matching)

    def _handed_on(self, pair: VariablePair) -> bool:
        return gradient_of(self.runs.b.variables[pair.b].name) not in self.left and _handed_on(self.view, pair)

    def _states(self) -> list[Finding]:
        """What was made of the batch, where that was equal."""
        excluded = self.past.states | {pair.a for pair in self.unset}
        noise = self.past.history.noise
        if not state_findings(self.runs, self.view, Matching({}, {}, 0.0), None, excluded, noise):
            return []
        matching = self._matched(self.view.tolerances.forward)
        side = Side((), (), root_matched=False)
        behind = Located(None, None, None, (), side, side, matching, 0.0, comparable=False)
        located = behind if self.segments.spoiled else None
        return state_findings(self.runs, self.view, matching, located, excluded, noise)


def _forced(view: StepView, joints: Sequence[Joint]) -> list[Forced]:
    """The joints at which a's tensors went on, in b's order of execution."""
    planned = {joint.b: joint for joint in joints}
    a_at = {seen.site.id: seen.index for seen in view.a.observations if seen.site.role == "activation"}
    found = []
    for seen in view.b.observations:
        if seen.site.role != "forced" or not seen.inputs or seen.inputs[0] < 0:
            continue
        joint = planned.get(key_of(view.b.observations[seen.inputs[0]].site))
        if joint is not None and joint.a in a_at:
            found.append(Forced(joint, a_at[joint.a], seen.inputs[0], seen.index))
    return found


def _back(joint: Joint) -> tuple[int, ...] | None:
    """How the axes of b's tensor turn to those of a's."""
    return None if joint.permutation is None else inverse(joint.permutation)


def _match(view: StepView, forced: Forced) -> Match:
    return Match(forced.a, forced.onward, 0.0, view.tolerances.forward, "forced", _back(forced.joint))


def _handed_on(view: StepView, pair: VariablePair) -> bool:
    """Whether it was a's gradient that went on: not if the optimizer was handed just what b's own tape gave, and that
    is another one.
    """
    wanted = _gradient(view.a, "weight gradient", pair.a)
    tape, applied = _gradient(view.b, "weight gradient", pair.b), _gradient(view.b, "applied gradient", pair.b)
    if tape is None or applied is None or wanted is None:
        return True
    own = observation_error(view.b.block, tape.index, view.b.block, applied.index)
    return own > OWN or pair_error(view.a.block, wanted.index, view.b.block, tape.index, pair) <= OWN


def _gradient(graph: StepGraph, role: Role, variable: int) -> Observation | None:
    return next(iter(of_variable(graph.block, role).get(variable, ())), None)
