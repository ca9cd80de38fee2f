"""Which of a's tensors an isolated pass of b writes over b's own: planned from what the free run shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfdiff.comparison.alike import Alike
from tfdiff.comparison.joints import Place, joint_of, kept_sites, may_stand, operand_pairs, places, unclear_keys
from tfdiff.comparison.matching import match_forward
from tfdiff.comparison.runs import FIRST_STEPS, StepView, pair_runs, view_step
from tfdiff.comparison.steps import ENDING, judge_steps
from tfdiff.comparison.tolerance import step_tolerances
from tfdiff.orders import Isolation
from tfdiff.pairing.layouts import inverse, permuted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tfdiff.comparison.findings import Finding, Match
    from tfdiff.comparison.matching import Matching
    from tfdiff.comparison.runs import Runs
    from tfdiff.comparison.steps import StepsResult
    from tfdiff.orders import Joint, JointKey
    from tfdiff.trace.reader import Trace

POINTWISE = frozenset({"Relu", "Relu6", "LeakyRelu", "Elu", "Selu", "Tanh", "Sigmoid", "Softplus", "Softsign"})


def plan_isolation(a: Trace, b: Trace, *, always: bool = False) -> Isolation | None:
    """What an isolated pass of b, whose free run the trace holds, is to write over; None where it would show nothing
    more.

    That is so where the free run was judged to its end and nothing in it changes what comes later, and where the two
    did not start equal. With `always` the first of these is no reason.
    """
    if not a.steps or not b.steps or any(trace.step(0).info.forward_only for trace in (a, b)):
        return None
    runs = pair_runs(a, b)
    result = judge_steps(runs)
    if not result.equal_start or not (always or hides(result)):
        return None
    return Isolation(_joints(runs, result))


def hides(result: StepsResult) -> bool:
    """Whether the free run holds something behind which other things cannot be told."""
    return result.drifted is not None or any(finding.divergence.phase in ENDING for finding in result.findings)


def _joints(runs: Runs, result: StepsResult) -> tuple[Joint, ...]:
    """The joints of the steps that show every weight in use, and at what the free run found to differ."""
    kept = kept_sites(runs.a, runs.compared)
    found: dict[JointKey, Joint] = {}
    known: tuple[set[int], set[int]] = (set(), set())
    steps = {finding.divergence.step for finding in result.findings}
    for step in sorted({*range(min(runs.compared, FIRST_STEPS)), *steps}):
        view = _view(runs, step)
        matching = result.matching if step == 0 and result.matching else match_forward(runs, view, _tolerance(view))
        roots = places(runs, view, matching, kept)
        # What an earlier step has was looked at there, where less had drifted apart.
        new = [place for place in roots if not any(_sites(view, place)[side] in known[side] for side in (0, 1))]
        ends = _ends(runs, view, roots)
        alike = Alike(runs, view, matching)
        peeled = [place for finding in result.findings for place in peels(view, finding, alike, ends, kept)]
        peeled += [place for finding in result.findings for place in fed(view, finding, kept)]
        peeled += _branches(view, matching, alike, ends, kept)
        unclear = unclear_keys(view)
        for place in (*new, *peeled):
            joint = joint_of(view, place)
            if joint.b[:-1] not in unclear:
                found.setdefault(joint.b, joint)
        for graph, sites in zip((view.a, view.b), known, strict=True):
            sites |= {graph.observations[index].site.id for index in graph.order}
    return tuple(found.values())


def _sites(view: StepView, place: Place) -> tuple[int, int]:
    return view.a.observations[place.a].site.id, view.b.observations[place.b].site.id


def _view(runs: Runs, step: int) -> StepView:
    graphs = view_step(runs, step)
    return StepView(step, *graphs, step_tolerances(*graphs, 0.0))


def _tolerance(view: StepView) -> float:
    return view.tolerances.forward


def _ends(runs: Runs, view: StepView, roots: Sequence[Place]) -> list[tuple[int, int]]:
    """Pairs of tensors at which both sides are known to meet."""
    ends = [(place.a, place.b) for place in roots] + operand_pairs(runs, view)
    if view.a.loss is not None and view.b.loss is not None:
        ends.append((view.a.loss, view.b.loss))
    return list(dict.fromkeys(ends))


def _branches(
    view: StepView, matching: Matching, alike: Alike, ends: Sequence[tuple[int, int]], kept: frozenset[int]
) -> list[Place]:
    """Where an error would go around the joints."""
    found = dict.fromkeys(pair for end in ends for pair in alike.branches(end))
    found |= dict.fromkeys(alike.sums())
    return [
        Place(a, b)
        for a, b in found
        if a not in matching.from_a
        and b not in matching.from_b
        and _of_batch(view, a)
        and _writable(view, a, b, None, kept)
    ]


def _of_batch(view: StepView, index: int) -> bool:
    """Whether a tensor of a's has an entry for each row of the batch: no statistic of it."""
    shape = view.a.observations[index].shape
    rows = {seen.shape[0] for seen in view.a.observations if seen.site.role == "input" and seen.shape}
    return len(shape) > 1 and shape[0] in rows


def peels(
    view: StepView, finding: Finding, alike: Alike, ends: Sequence[tuple[int, int]], kept: frozenset[int]
) -> Iterator[Place]:
    """The pair of tensors with which a divergence begins, so that a second one between them and the next joint shows.

    Only where both sides do the same behind them up to a joint or to the loss.
    """
    candidates = _candidates(view, finding)
    if not candidates:
        return
    a, b, order = candidates[0]
    if _pointwise(view, finding, ends) and _writable(view, a, b, order, kept):
        yield Place(a, b, order)
        return
    for end in ends:
        pairs = alike.behind(end)
        for a, b, order in candidates:
            if (a, b) in pairs and _writable(view, a, b, order, kept):
                yield Place(a, b, order)
                return


def fed(view: StepView, finding: Finding, kept: frozenset[int]) -> Iterator[Place]:
    """The pair of equal tensors that a divergence hangs on: with a's gradient of it what lies in front of the
    divergence is told, too.
    """
    divergence, cut = finding.divergence, finding.cut
    if divergence.step == view.step and divergence.phase == "forward" and cut is not None:
        order = _turned(cut)
        if _of_batch(view, cut.a) and _writable(view, cut.a, cut.b, order, kept):
            yield Place(cut.a, cut.b, order)


def _candidates(view: StepView, finding: Finding) -> list[tuple[int, int, tuple[int, ...] | None]]:
    """Pairs at which a divergence may begin: the two ops, or one of them and what is fed to the other."""
    divergence, cut = finding.divergence, finding.cut
    if divergence.step != view.step or divergence.phase != "forward":
        return []
    if finding.kind == "draws":
        return [(one, other, None) for _, one, _, other in finding.numbers["dropouts"]]
    a, b = divergence.a_index, divergence.b_index
    if a is None or b is None or cut is None or finding.kind:
        return []
    order = _turned(cut)
    return [(a, b, order), (a, cut.b, order), (cut.a, b, order)]


def _pointwise(view: StepView, finding: Finding, ends: Sequence[tuple[int, int]]) -> bool:
    """Whether both sides part at a function of each element (an activation) that alone takes the equal tensor, so that
    what behind it may be written in any way, and the sides do not meet at one of them otherwise.
    """
    divergence, cut = finding.divergence, finding.cut
    if cut is None or finding.kind:
        return False
    for graph, index, operand, met in (
        (view.a, divergence.a_index, cut.a, {a for a, _ in ends}),
        (view.b, divergence.b_index, cut.b, {b for _, b in ends}),
    ):
        if index is None or index in met or graph.observations[index].site.op not in POINTWISE:
            return False
        if graph.operands(index) != (operand,) or graph.consumers[operand] != (index,):
            return False
    return True


def _turned(match: Match) -> tuple[int, ...] | None:
    return None if match.permutation is None else inverse(match.permutation)


def _writable(view: StepView, a: int, b: int, order: tuple[int, ...] | None, kept: frozenset[int]) -> bool:
    first, second = view.a.observations[a], view.b.observations[b]
    if order is not None and len(order) != len(first.shape):
        return False
    shape = first.shape if order is None else permuted(first.shape, order)
    return shape == second.shape and may_stand(view, a, b, kept)
