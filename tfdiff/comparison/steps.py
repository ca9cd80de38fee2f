"""Goes through the steps of both runs in causal order and collects what was introduced where."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import isfinite
from typing import TYPE_CHECKING

from tfdiff.comparison.backward import backward_findings, gradients, loosened
from tfdiff.comparison.draws import draw_findings
from tfdiff.comparison.floor import Horizon, find_horizon, step_noise
from tfdiff.comparison.forward import ForwardResult, judge_forward
from tfdiff.comparison.kinks import flip_error
from tfdiff.comparison.layers import layer_findings, weight_finding
from tfdiff.comparison.loss_scale import without_scale
from tfdiff.comparison.matching import Matching, match_forward
from tfdiff.comparison.metrics import relative_error
from tfdiff.comparison.nonfinite import (
    NON_FINITE,
    Appearance,
    appearance,
    appearance_finding,
    both_note,
    lost_losses,
    one_note,
)
from tfdiff.comparison.own_batches import BatchWatch, batch_rows, other_rows
from tfdiff.comparison.precision import coarser, rounded
from tfdiff.comparison.runs import StepView, norm, view_step
from tfdiff.comparison.state import state_findings
from tfdiff.comparison.tolerance import Tolerances, epsilon, step_tolerances
from tfdiff.comparison.update import UpdateHistory, by_total_norm, update_findings, updates
from tfdiff.model import PHASES

if TYPE_CHECKING:
    from tfdiff.comparison.backward import Gradient
    from tfdiff.comparison.findings import Finding
    from tfdiff.comparison.runs import Runs
    from tfdiff.pairing.pairs import VariablePair

START_LIMIT = 1e-4
"""Largest difference of the weights before step 0 with which the steps can still be judged."""
DRIFT_LIMIT = 1e-2
"""Drift of the weights from which on every tolerance is at its ceiling: later steps cannot be judged."""
BEYOND = 1e-4
"""The same behind the horizon: where A differs from itself, a step tells something only if both begin it alike."""
ENDING = frozenset({"forward", "loss", "backward", "update"})
"""After a divergence in one of these phases the weights differ: later steps carry it."""


@dataclass
class StepsResult:
    """What going through the steps found."""

    findings: list[Finding] = field(default_factory=list)
    """In causal order."""
    ended: int | None = None
    """Step after which everything is carried, None where the runs agree to the end."""
    drifted: int | None = None
    """Step before which rounding had grown so far that it and the later ones were not judged."""
    parted: int | None = None
    """Step from which on the two used other batches: what follows is no evidence."""
    parted_by: str = "of another size"
    tolerances: list[Tolerances] = field(default_factory=list)
    """Per compared step; behind `ended` that step's."""
    matching: Matching | None = None
    """Of step 0, for the rows."""
    horizon: Horizon | None = None
    """Where A begins to differ from itself."""
    start_error: float = 0.0
    """Largest relative difference of a paired weight before step 0."""
    noise: set[VariablePair] = field(default_factory=set)
    """Pairs whose true gradient is zero."""
    batches: BatchWatch = field(default_factory=BatchWatch)
    """Whether both were fed the same."""
    scaled: bool = False
    """Whether a side scales its loss and takes the scale out of the gradients again."""
    lost: int | None = None
    """Step from which on both sides' weights are NaN or infinite: it and what follows are no evidence."""
    nonfinite: list[str] = field(default_factory=list)
    """Where NaN or infinity appear that are no divergence by themselves, one sentence each."""

    @property
    def equal_start(self) -> bool:
        """Whether both began with the same weights, up to rounding."""
        return self.start_error <= START_LIMIT

    def take(self, step: int, found: list[Finding]) -> None:
        """Note what a step shows, and whether it is the last one that says anything."""
        self.findings += found
        if any(finding.divergence.phase in ENDING for finding in found) or self.lost is not None:
            self.ended = step


def judge_steps(runs: Runs) -> StepsResult:
    """Judge step by step until something diverges that moves the weights."""
    result = StepsResult(horizon=find_horizon(runs))
    history = UpdateHistory()
    states: set[int] = set()
    for step in range(runs.compared):
        result.batches.take(runs.a.step(step), runs.b.step(step))
        if result.ended is not None:
            result.tolerances.append(_behind(result))
            continue
        rows = batch_rows(runs.a.step(step), runs.b.step(step))
        parted = rows is not None and rows[0] != rows[1]
        if step and parted:
            result.ended, result.parted = step - 1, step
            result.tolerances.append(_behind(result))
            continue
        drift = drift_before(runs, step, history.noise)
        if step == 0:
            result.start_error = drift
        elif drift > (BEYOND if result.horizon is not None and step >= result.horizon.step else DRIFT_LIMIT):
            result.ended, result.drifted = step - 1, step
            result.tolerances.append(_behind(result))
            continue
        graphs = view_step(runs, step)
        noise = step_noise(runs, step, history.noise)
        view = StepView(step, *graphs, step_tolerances(*graphs, drift, noise))
        result.tolerances.append(view.tolerances)
        if parted:
            result.ended, result.parted = -1, 0
            continue
        found = _judge_step(runs, view, history, states, result)
        if found and fed_otherwise(runs, view):
            result.ended, result.parted, result.parted_by = step - 1, step, "of other rows"
        else:
            states |= {pair.a for finding in found if finding.divergence.phase == "state" for pair in finding.also}
            result.take(step, found)
    result.noise = history.noise
    if result.ended is not None and result.lost is None and not any(f.kind == NON_FINITE for f in result.findings):
        result.nonfinite += lost_losses(runs, result.ended + 1)
    return result


def _behind(result: StepsResult) -> Tolerances:
    """Those of the last step, for a later one that is not judged; what noise did in that step says nothing of it."""
    return replace(result.tolerances[-1], noise=None)


def fed_otherwise(runs: Runs, view: StepView) -> bool:
    """Whether nothing made of the features agrees, in batches that were not made equal and have no row in common.

    What differs then is what went in: it is told of the batches (`own_data`), and no op is to blame for it.
    """
    if runs.b.header.shared.get("batches") is True or not other_rows(view.a.block, view.b.block):
        return False
    matching = match_forward(runs, view, view.tolerances.forward)
    features = view.a.data & (view.a.before_weights | view.a.weighted)
    return not any(index in features for index in matching.from_a)


def _judge_step(
    runs: Runs, view: StepView, history: UpdateHistory, states: set[int], result: StepsResult
) -> list[Finding]:
    odd = appearance(runs, view)
    # What both sides have in common is no difference, and what it spoils no evidence.
    spoiled = PHASES.index(odd.phase) if odd is not None and odd.both else len(PHASES)
    forward = judge_forward(runs, view, near=view.step == 0)
    gradient_list = gradients(runs, view) if PHASES.index("backward") < spoiled else []
    lazy = _LazyMatching(runs, view, forward)
    if view.step == 0:
        result.matching = lazy.get()
    if forward.equal and suspicious(gradient_list):
        view = allowing_flips(view, flip_error(view, lazy.get()))
        gradient_list = loosened(view, gradient_list)
        result.tolerances[-1] = view.tolerances
    plain = without_scale(runs, view, forward, gradient_list, history) if suspicious(gradient_list) else None
    if plain is not None:
        gradient_list, forward, result.scaled = plain, replace(forward, findings=()), True
    history.take(view, gradient_list)
    measured = updates(runs, view, gradient_list, history) if PHASES.index("update") < spoiled else []
    found = list(forward.findings)
    if view.step == 0 and forward.located is not None and not forward.equal:
        # What does not hang on how the two were fed can be told behind the place where they part, too.
        found += draw_findings(runs, view, forward.located) + layer_findings(runs, view, forward.located)
    if suspicious(gradient_list):
        found += backward_findings(runs, view, gradient_list, lazy.get(), forward_equal=forward.equal)
    if any(update.different for update in measured):
        # Clipping by the global norm carries a gradient that one side lacks, or has otherwise, over to every weight.
        clipped = by_total_norm(view, measured)
        lacking = weight_finding(runs, view, lazy.get()) if clipped and forward.equal else None
        if lacking is not None:
            found.append(lacking)
        elif not (clipped and suspicious(gradient_list)):
            found += _without_known(found, update_findings(runs, view, measured, history, lazy.get()))
    located = forward.located if not forward.equal else None
    matching = lazy.get() if located else Matching({}, {}, 0.0)
    if PHASES.index("state") < spoiled:
        found += state_findings(runs, view, matching, located, states, history.noise)
    found.sort(key=lambda finding: PHASES.index(finding.divergence.phase))
    return found if odd is None else _with_appearance(runs, view, found, odd, lazy, result)


def _with_appearance(
    runs: Runs, view: StepView, found: list[Finding], odd: Appearance, lazy: _LazyMatching, result: StepsResult
) -> list[Finding]:
    """The findings of a step in which NaN or infinity appear.

    On one side only they are the divergence, and the cause of whatever differs from their phase on; unless something
    differs before them.
    """
    if odd.both:
        result.nonfinite.append(both_note(view, odd))
        result.lost = view.step if odd.lasting else result.lost
        return found
    reached = PHASES.index(odd.phase)
    before = [f for f in found if PHASES.index(f.divergence.phase) <= reached and isfinite(f.divergence.error)]
    if before:
        result.nonfinite.append(one_note(view, odd))
        return found
    return [appearance_finding(runs, view, odd, lazy.get())]


def allowing_flips(view: StepView, explained: float) -> StepView:
    """The step with the tolerance of gradients that flipped elements ask for."""
    gradient = max(view.tolerances.gradient, explained)
    return replace(view, tolerances=replace(view.tolerances, gradient=gradient))


def _without_known(known: list[Finding], new: list[Finding]) -> list[Finding]:
    """Leave out updates of variables whose gradient was reported: they follow from it."""
    reported = {pair for finding in known for pair in finding.also}
    return [finding for finding in new if not set(finding.also) <= reported]


def suspicious(found: list[Gradient]) -> bool:
    """Whether a gradient is missing on one side, or differs by more than its tolerance."""
    return any(gradient.missing or gradient.different for gradient in found)


def drift_before(runs: Runs, step: int, noise: set[VariablePair]) -> float:
    """Largest relative difference among the paired weights before a step."""
    worst = 0.0
    for pair in runs.weights:
        values = None if pair in noise else runs.values(pair, step - 1)
        if values is not None and (norm(values[0]) or norm(values[1])):
            kinds = [trace.variables[i].dtype for trace, i in ((runs.a, pair.a), (runs.b, pair.b))]
            if kinds[0] != kinds[1] and epsilon(coarser(*kinds)) > epsilon("float32"):
                values = rounded(values[0], coarser(*kinds)), rounded(values[1], coarser(*kinds))
            worst = max(worst, relative_error(*values))
    return worst


class _LazyMatching:
    """The forward matching of a step, made when something asks for it."""

    def __init__(self, runs: Runs, view: StepView, forward: ForwardResult) -> None:
        self._runs, self._view = runs, view
        self._found = forward.located.matching if forward.located else None

    def get(self) -> Matching:
        """Match now, unless that was done."""
        if self._found is None:
            self._found = match_forward(self._runs, self._view, self._view.tolerances.forward)
        return self._found
