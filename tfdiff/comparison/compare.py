"""The entry point: two traces in, the verdict and everything behind it out."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from tfdiff.comparison.ambiguous import ambiguities
from tfdiff.comparison.evals import EvalsResult, judge_evals
from tfdiff.comparison.floor import LEVEL, noise_of
from tfdiff.comparison.isolated import judge_isolated
from tfdiff.comparison.merge import as_of_run, mended_once, merged
from tfdiff.comparison.own_data import data_findings
from tfdiff.comparison.own_init import init_findings
from tfdiff.comparison.precision import precision_notes
from tfdiff.comparison.rows import build_rows
from tfdiff.comparison.runs import pair_runs, view_step
from tfdiff.comparison.steps import StepsResult, judge_steps
from tfdiff.errors import IncomparableError
from tfdiff.model import Result
from tfdiff.pairing.given import resolve

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tfdiff.comparison.findings import Finding
    from tfdiff.comparison.runs import Runs
    from tfdiff.model import Cause
    from tfdiff.orders import PairMap
    from tfdiff.trace.reader import Trace


def compare(
    a: Trace, b: Trace, explain: Callable[[Finding], Sequence[Cause]] | None = None, pairs: PairMap | None = None
) -> Result:
    """Compare two traces, a being the reference.

    `explain` names the causes of one finding, most likely first; without it the result has none. `pairs` are the user's
    and hold against everything found.

    Raises:
        UsageError: a name in `pairs` that a trace does not have, or shapes that do not fit.
        IncomparableError: a trace has no complete step.
        TraceError: a trace is damaged.
    """
    for trace in (a, b):
        if trace.steps == 0:
            raise IncomparableError(
                f"{trace.path.name}: expected at least one complete step, found none; record it again with more steps"
            )
    forward_only = [trace.step(0).info.forward_only for trace in (a, b)]
    if forward_only[0] != forward_only[1]:
        trains, predicts = (b, a) if forward_only[0] else (a, b)
        raise IncomparableError(
            f"expected two programs that train or two that only predict, found that {trains.path.name} trains and "
            f"{predicts.path.name} never does"
        )
    runs = pair_runs(a, b, resolve(pairs, a, b))
    steps = judge_steps(runs)
    notes: list[str] = []
    isolated = judge_isolated(runs, steps) if steps.equal_start else []
    training = merged(steps.findings, isolated)
    # where nothing trains the passes are the steps
    judged = steps.equal_start and not all(forward_only)
    evals = judge_evals(runs, steps) if judged else EvalsResult(a=a.evals, b=b.evals)
    if not steps.equal_start:
        notes.append(
            f"the weights differ before step 0 (relative error {steps.start_error:.2g}): the steps were not judged; "
            "record b with --reference to start both runs equal"
        )
    data, data_notes = data_findings(runs, steps.batches)
    own = [*data, *init_findings(runs)]
    training = [_with_noise(runs, finding) for finding in training]
    behind = [_with_noise(runs, finding) for finding in _not_of_training(evals.findings, data)]
    findings = [*training, *behind] if steps.equal_start else []
    notes += [*data_notes, *evals.notes]
    causes = [cause for finding in (*own, *findings) for cause in (explain(finding) if explain else ())]
    told = [as_of_run(runs, finding) for finding in (*training, *behind)]
    divergences = tuple(told) if steps.equal_start else ()
    shown = replace(steps, findings=[replace(f, divergence=d) for f, d in zip(training, told, strict=False)])
    rows = build_rows(runs, shown)
    return Result(
        verdict="diverged" if findings or own else _without_difference(runs, steps),
        a_trace=a.path.name,
        b_trace=b.path.name,
        a_header=a.header,
        b_header=b.header,
        a_steps=a.steps,
        b_steps=b.steps,
        compared=runs.compared,
        first=divergences[0] if divergences else None,
        divergences=divergences,
        own=tuple(finding.divergence for finding in own),
        causes=tuple(mended_once(causes)),
        rows=(*rows, *evals.rows),
        shared=dict(b.header.shared),
        not_shared=b.header.not_shared,
        not_recorded=(*a.header.not_recorded, *b.header.not_recorded),
        tolerance_source="calibrated" if a.calibrated else "analytic",
        not_calibrated=_not_calibrated(runs),
        observer=a.observed,
        horizon=steps.horizon.step if steps.horizon is not None else None,
        evaluations=evals.counts,
        forward_only=all(forward_only),
        isolation=b.isolation,
        judged=_judged(runs, steps),
        notes=(*notes, *_limits(runs, steps), *ambiguities(runs, rows, parted=_parted(findings))),
        variable_pairs=tuple(pair.to_json() for pair in runs.pairs),
    )


def _with_noise(runs: Runs, finding: Finding) -> Finding:
    """With what noise does at its place."""
    variable = finding.variable.a if finding.variable is not None else None
    noise = noise_of(runs, finding.divergence, variable)
    return replace(finding, divergence=replace(finding.divergence, noise=noise))


def _not_calibrated(runs: Runs) -> str:
    """Why noise is not known of all compared steps."""
    if runs.a.calibrated >= runs.compared:
        return ""
    name = runs.a.path.name
    if runs.a.not_calibrated is None:
        why = "--no-calibrate, --passes 1, `tfdiff.record`, a script that failed, or an interrupted run"
        return f"{name} was recorded without measuring noise ({why})"
    return f"{name}: {runs.a.not_calibrated}"


def _parted(findings: Sequence[Finding]) -> bool:
    """Whether the first step's forward passes part: wrongly paired weights would show there."""
    return any(f.divergence.step == 0 and f.divergence.phase in ("forward", "loss") for f in findings)


def _not_of_training(findings: list[Finding], data: list[Finding]) -> list[Finding]:
    """Without test data that are scaled as b's training data are: that was said of these."""
    scales = [float(finding.numbers["scale"]) for finding in data if finding.kind == "data-scale"]
    return [
        finding
        for finding in findings
        if finding.kind != "eval-data"
        or not any(abs(float(finding.numbers["scale"]) - scale) <= 0.02 * abs(scale) for scale in scales)
    ]


def _without_difference(runs: Runs, steps: StepsResult) -> Literal["equivalent", "incomparable"]:
    """Nothing differs: is that because everything agrees, or because nothing could be compared?"""
    nothing = (not runs.pairs and not (steps.matching and steps.matching.from_a)) or not _judged(runs, steps)
    return "incomparable" if nothing or not steps.equal_start else "equivalent"


def _judged(runs: Runs, steps: StepsResult) -> int:
    """How many steps were judged; those that carry a divergence count."""
    if not steps.equal_start:
        return 0
    ends = [step for step in (steps.drifted, steps.parted, steps.lost) if step is not None]
    return min([runs.compared, *ends])


def _limits(runs: Runs, steps: StepsResult) -> list[str]:
    """What could not be judged."""
    notes = [*precision_notes(runs, view_step(runs, 0)), *steps.nonfinite]
    if runs.unused:
        names = ", ".join(dict.fromkeys(runs.a.variables[pair.a].name for pair in runs.unused))
        notes.append(f"{names}: paired, but only one of the two programs uses it")
    for side, trace in (("a", runs.a), ("b", runs.b)):
        alone = runs.unpaired(trace)
        if alone:
            notes.append(f"{', '.join(alone)} ({side}): no counterpart, so neither shared nor compared")
    if steps.noise:
        names = ", ".join(runs.a.variables[variable].name for variable in sorted({pair.a for pair in steps.noise}))
        notes.append(f"the true gradient of {names} is zero: what rounding makes of it was not judged")
    if steps.parted is not None:
        notes.append(
            f"from step {steps.parted} on the two were fed batches {steps.parted_by}, which could not be made equal: "
            "that step and the later ones were not judged"
        )
    if steps.horizon is not None:
        notes.append(
            f"from step {steps.horizon.step} on a differs from itself by more than {LEVEL:.0%} (its "
            f"{steps.horizon.what} by {steps.horizon.error:.2g}) when its weights begin one unit in the last place "
            "beside their values: steps from there on are judged only where both runs begin them alike"
        )
    if steps.drifted is not None and steps.horizon is not None and steps.drifted >= steps.horizon.step:
        notes.append(f"step {steps.drifted} and the later ones were not judged: noise alone drives the two apart there")
    elif steps.drifted is not None:
        notes.append(
            f"before step {steps.drifted} rounding had driven the weights apart by more than 1 %, without any one step "
            "that introduces a difference: that step and the later ones were not judged"
            f"{' but in isolation' if runs.b.isolated_steps > steps.drifted else ''}"
        )
    return notes
