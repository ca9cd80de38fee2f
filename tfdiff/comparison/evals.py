"""Evaluation and prediction passes: judged where the weights are still equal, outputs first, then the numbers.

A pass whose counterpart ran with other weights says nothing new: what drove the weights apart was said before.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from tfdiff.comparison.cut_block import CutBlock
from tfdiff.comparison.eval_metrics import metric_finding, uneven_note
from tfdiff.comparison.eval_pairing import evaluations, pair_evaluations
from tfdiff.comparison.findings import Finding, StepPairing
from tfdiff.comparison.forward import located_finding
from tfdiff.comparison.graph import StepGraph
from tfdiff.comparison.localize import locate
from tfdiff.comparison.matching import Matching, match_forward
from tfdiff.comparison.metrics import into_layout, pair_error, relative_error
from tfdiff.comparison.places import place_of
from tfdiff.comparison.runs import StepView
from tfdiff.comparison.steps import DRIFT_LIMIT, drift_before
from tfdiff.comparison.tolerance import step_tolerances
from tfdiff.model import Cell, Divergence, Row
from tfdiff.pairing.sites import PARAMETERS

if TYPE_CHECKING:
    from tfdiff.comparison.eval_pairing import EvalPair
    from tfdiff.comparison.localize import Located
    from tfdiff.comparison.runs import Runs
    from tfdiff.comparison.steps import StepsResult
    from tfdiff.model import Observation, Status
    from tfdiff.trace.block import Block


@dataclass
class EvalsResult:
    """What the passes say."""

    findings: list[Finding] = field(default_factory=list)
    a: int = 0
    b: int = 0
    compared: int = 0
    """Pairs that were judged."""
    notes: list[str] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)

    @property
    def counts(self) -> dict[str, int]:
        """For the reports."""
        return {"a": self.a, "b": self.b, "compared": self.compared}


@dataclass(frozen=True)
class Judged:
    """What one pair of passes says."""

    finding: Finding | None
    status: Status
    error: float
    tolerance: float
    place: tuple[Observation, Observation]


def judge_evals(runs: Runs, steps: StepsResult) -> EvalsResult:
    """Judge every pair of passes; of divergences alike in all passes the first is reported."""
    a, b = evaluations(runs.a), evaluations(runs.b)
    result = EvalsResult(a=len(a), b=len(b))
    if not a or not b:
        _alone(result, len(a), len(b))
        return result
    pairs = pair_evaluations(a, b)
    carried = noisy = 0
    known: set[tuple[object, ...]] = set()
    cells: dict[tuple[int, int], dict[int, Judged]] = {}
    for pair in pairs.pairs:
        drift = _drift(runs, pair, steps)
        judged = None if drift is None else _judge(runs, pair, drift)
        if judged is None:
            carried, noisy = carried + (drift is None), noisy + (drift is not None)
            continue
        result.compared += 1
        uneven = uneven_note(pair) if judged.finding is None else None
        if uneven is not None and uneven not in result.notes:
            result.notes.append(uneven)
        step = step_of(pair)
        cells.setdefault((judged.place[0].site.id, judged.place[1].site.id), {})[step] = judged
        finding = judged.finding
        if finding is not None:
            divergence = finding.divergence
            key = (finding.kind, divergence.b)  # where b is to be mended
            if key not in known:
                known.add(key)
                result.findings.append(finding)
    result.rows = [_row(runs, by_step) for by_step in cells.values()]
    if carried:
        result.notes.append(f"{_count(carried)} ran with weights that differed already: not judged")
    if noisy:
        result.notes.append(f"{_count(noisy)} drew random numbers on both sides, which are not shared: not judged")
    _alone(result, len(pairs.a_alone), len(pairs.b_alone))
    return result


def _alone(result: EvalsResult, a: int, b: int) -> None:
    for side, other, count in (("a", "b", a), ("b", "a", b)):
        if count:
            result.notes.append(
                f"{_count(count)} of {side} had no counterpart in {other} (after as many training steps, over the same "
                "rows): not compared"
            )


def _count(number: int) -> str:
    return f"{number} evaluation{'s' if number != 1 else ''}"


def _drift(runs: Runs, pair: EvalPair, steps: StepsResult) -> float | None:
    """Largest difference among the weights and states that both passes read; None where they differ."""
    after = pair.a.info.after
    worst = 0.0
    if 0 < after <= runs.compared:
        worst = drift_before(runs, after, steps.noise)
    reads = _reads(pair.b.block)
    for seen in pair.a.block.observations:
        known = runs.by_a.get(seen.site.variable) if seen.site.variable is not None else None
        if known is None or seen.site.role not in PARAMETERS or seen.site.phase != "forward" or known in steps.noise:
            continue
        other = reads.get(known.b)
        if other is not None and (seen.stats.norm or other.stats.norm):
            worst = max(worst, pair_error(pair.a.block, seen.index, pair.b.block, other.index, known))
    return None if worst > DRIFT_LIMIT else worst


def _reads(block: Block) -> dict[int, Observation]:
    found: dict[int, Observation] = {}
    for seen in block.observations:
        if seen.site.role in PARAMETERS and seen.site.variable is not None and seen.site.phase == "forward":
            found.setdefault(seen.site.variable, seen)
    return found


def step_of(pair: EvalPair) -> int:
    """The last training step before the passes; passes before training count as step 0's."""
    return max(pair.a.info.after - 1, 0)


def _judge(runs: Runs, pair: EvalPair, drift: float) -> Judged | None:
    """Compare the inputs, then the outputs, then the numbers; None where both drew random numbers."""
    if pair.scale is not None and not _meets(runs, pair, drift):
        return _scaled(runs, pair)
    last: Judged | None = None
    for i, j in _roots(pair):
        last = _judge_output(runs, pair, drift, i, j)
        if last is None or last.finding is not None:
            return last
    metric = None if last is None else metric_finding(runs, pair)
    if last is None or metric is None:
        return last
    return Judged(metric, "introduced", metric.divergence.error, metric.divergence.tolerance, last.place)


def _meets(runs: Runs, pair: EvalPair, drift: float) -> bool:
    """Whether one side scales inside the pass what the other scaled before: its input is then a tensor of the other."""
    blocks, roots = _blocks(pair), _roots(pair)
    if not roots:
        return False
    graphs = StepGraph(blocks[0], None, roots[0][0]), StepGraph(blocks[1], None, roots[0][1])
    view = StepView(step_of(pair), *graphs, step_tolerances(*graphs, drift))
    matching = match_forward(runs, view, view.tolerances.forward)
    return pair.a.features[0].of in matching.from_a or pair.b.features[0].of in matching.from_b


def _judge_output(runs: Runs, pair: EvalPair, drift: float, i: int, j: int) -> Judged | None:
    """Compare one output: where the first batches part, else whether all rows agree."""
    blocks = _blocks(pair)
    graphs = StepGraph(blocks[0], None, i), StepGraph(blocks[1], None, j)
    if i in graphs[0].noise and j in graphs[1].noise:
        return None
    view = StepView(step_of(pair), *graphs, step_tolerances(*graphs, drift))
    place = pair.a.block.observations[i], pair.b.block.observations[j]
    found = locate(runs, view, i, j)
    finding: Finding | None = None
    if found is not None and (found.a is not None or found.b is not None) and not _goes_on(found, pair):
        finding = _moved(located_finding(runs, view, found, (i, j)), pair)
    else:
        finding = _later_rows(runs, pair, i, j, view)
    if finding is None:
        return Judged(None, "equal", 0.0, view.tolerances.forward, place)
    return Judged(finding, "introduced", finding.divergence.error, finding.divergence.tolerance, place)


def _goes_on(found: Located, pair: EvalPair) -> bool:
    """Whether one side only takes the other's result further (a softmax) on the way to its numbers."""
    counted = pair.a.numbers or pair.b.numbers or pair.a.info.metrics or pair.b.info.metrics
    return bool(counted) and (found.a_side.root_matched or found.b_side.root_matched)


def _blocks(pair: EvalPair) -> tuple[Block, Block]:
    """The first batches, the larger one cut to as many rows as the other has."""
    rows = pair.a.info.batch_rows, pair.b.info.batch_rows
    if rows[0] == rows[1] or not all(rows):
        return pair.a.block, pair.b.block
    kept = min(rows)
    first, second = (
        each.block if length == kept else CutBlock(each.block, length, kept)
        for each, length in zip((pair.a, pair.b), rows, strict=True)
    )
    return first, second


def _roots(pair: EvalPair) -> list[tuple[int, int]]:
    """Outputs of the first batches that belong together: in order, of as many elements a row."""
    a, b = list(pair.a.info.outputs), list(pair.b.info.outputs)
    if len(a) == len(b):
        return list(zip(a, b, strict=True))
    return [(a[0], b[0])] if a and b else []


def _moved(finding: Finding, pair: EvalPair) -> Finding:
    """As an evaluation's, over whole batches: what is cut for the search is whole for whoever explains it."""
    pairing = finding.pairing
    if pairing is not None:
        pairing = replace(pairing, a=pair.a.block, b=pair.b.block)
    return replace(finding, divergence=replace(finding.divergence, phase="eval"), pairing=pairing)


def _later_rows(runs: Runs, pair: EvalPair, i: int, j: int, view: StepView) -> Finding | None:
    """Outputs that agree in the first batch and differ in later rows."""
    first = next((seen for seen in pair.a.outputs if seen.of == i), None)
    second = next((seen for seen in pair.b.outputs if seen.of == j), None)
    if first is None or second is None:
        return None
    x, y = pair.a.block.array(first.index), pair.b.block.array(second.index)
    rows = min(len(x), len(y), pair.rows)
    turned = into_layout(y[:rows], x[:rows].shape, None)
    if turned is None or not rows:
        return None
    error, tolerance = relative_error(x[:rows], turned), 3 * view.tolerances.forward
    if error <= tolerance:
        return None
    if not _root_equal(runs, view, i, j):
        return None  # one side goes on from what the other returns: their columns cannot be compared
    divergence = Divergence(
        view.step,
        "eval",
        place_of(pair.a.block.observations[i]),
        place_of(pair.b.block.observations[j]),
        error,
        tolerance,
        summary=f"the first batch agrees, of all {rows:,} rows the outputs differ",
        a_index=i,
        b_index=j,
    )
    return Finding(divergence, runs.a, runs.b, runs.pairs, pairing=_pairing(pair), kind="later-rows")


def _root_equal(runs: Runs, view: StepView, i: int, j: int) -> bool:
    matching: Matching = match_forward(runs, view, view.tolerances.forward)
    return any(match.b == j for match in matching.from_a.get(i, ()))


def _pairing(pair: EvalPair) -> StepPairing:
    return StepPairing(step_of(pair), pair.a.block, pair.b.block, (), {}, {})


def _scaled(runs: Runs, pair: EvalPair) -> Judged:
    """The test inputs are scaled otherwise."""
    assert pair.scale is not None  # noqa: S101 - the caller looked
    scale, offset = pair.scale
    first, second = pair.a.features[0], pair.b.features[0]
    divergence = Divergence(
        step_of(pair),
        "eval",
        place_of(first),
        place_of(second),
        pair.error,
        1e-5,
        summary=f"b's evaluation inputs are {scale:.5g} * a's {'+' if offset >= 0 else '-'} {abs(offset):.5g}",
        a_index=first.index,
        b_index=second.index,
    )
    finding = Finding(
        divergence,
        runs.a,
        runs.b,
        runs.pairs,
        pairing=_pairing(pair),
        kind="eval-data",
        numbers={"scale": scale, "offset": offset},
    )
    return Judged(finding, "introduced", pair.error, 1e-5, (first, second))


def _row(runs: Runs, by_step: dict[int, Judged]) -> Row:
    """A row of the map; its cells lead to no tensor of a training step."""
    one = next(iter(by_step.values()))
    absent = Cell("absent", 0.0, 0.0)
    cells = tuple(
        Cell(by_step[step].status, by_step[step].error, by_step[step].tolerance) if step in by_step else absent
        for step in range(runs.compared)
    )
    a, b = (seen.site for seen in one.place)
    return Row("eval", a, b, a.name, b.name, "value", cells)
