"""Rows for people: every pair of sites worth showing, over all compared steps, in causal order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tfdiff.comparison.equals import Equals
from tfdiff.comparison.matching import Matching, given_error, given_sites, match_forward
from tfdiff.comparison.metrics import observation_error, pair_error, pair_order
from tfdiff.comparison.runs import StepView, view_step
from tfdiff.model import PHASES, Cell, Row
from tfdiff.pairing.alignment import align
from tfdiff.pairing.distance import sketch_errors
from tfdiff.pairing.given import USER, barred
from tfdiff.pairing.sites import SKETCHED, value_pairs

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tfdiff.comparison.findings import Finding, Match
    from tfdiff.comparison.graph import StepGraph
    from tfdiff.comparison.runs import Runs
    from tfdiff.comparison.steps import StepsResult
    from tfdiff.comparison.tolerance import Kind, Tolerances
    from tfdiff.model import Observation, Phase, Site, Status
    from tfdiff.pairing.pairs import VariablePair
    from tfdiff.trace.block import Block
    from tfdiff.trace.reader import Trace

MAX_ALIGNED = 400
"""Unpaired sites behind the divergence that are aligned by structure (the alignment is quadratic)."""
BY_VARIABLE = ("weight gradient", "applied gradient")
SNAPSHOTS = ("weight", "state")
KINDS: dict[str, Kind] = {"loss": "loss", "backward": "gradient", "update": "update", "state": "state"}
"""Which tolerance a phase has; forward for the others."""


@dataclass(frozen=True)
class SiteRow:
    """A pair of sites before its cells are filled."""

    phase: Phase
    a: Site | None
    b: Site | None
    evidence: str
    permutation: tuple[int, ...] | None = None
    place: float = 0.0
    """Position within the phase."""
    pair: VariablePair | None = None
    """The parts that are compared, where the sites are of variables that are paired part by part."""


def build_rows(runs: Runs, result: StepsResult) -> tuple[Row, ...]:
    """All rows; the pairs are those of step 0, sites that only later steps have are added unpaired."""
    graphs = view_step(runs, 0)
    view = StepView(0, *graphs, result.tolerances[0])
    matching = result.matching or match_forward(runs, view, view.tolerances.forward)
    forced = _frontiers(runs, result)
    rows = [
        *_forward_rows(runs, view, matching, forced),
        *_loss_rows(view),
        *_variable_rows(runs, view),
        *_slot_rows(view),
    ]
    rows += _late_rows(runs, rows)
    rows.sort(key=lambda row: (PHASES.index(row.phase), row.place))
    cells: list[list[Cell]] = [[] for _ in rows]
    for step in range(runs.compared):
        at_step = [finding for finding in result.findings if finding.divergence.step == step]
        for line, cell in zip(cells, _cells(runs, rows, step, result.tolerances[step], at_step), strict=True):
            line.append(cell)
    return tuple(
        Row(row.phase, row.a, row.b, _name(runs.a, row.a), _name(runs.b, row.b), row.evidence, tuple(line))
        for row, line in zip(rows, cells, strict=True)
    )


def _name(trace: Trace, site: Site | None) -> str:
    """What a person calls the place: the variable for weights, gradients and states, else layer or call, and inner
    ops.
    """
    if site is None:
        return ""
    variable = trace.variables.get(site.variable) if site.variable is not None else None
    if variable is not None:
        return f"{variable.name} {site.role}" if "gradient" in site.role else variable.name
    return site.name if site.boundary or not site.op or site.op in site.name else f"{site.name} {site.op}"


def _frontiers(runs: Runs, result: StepsResult) -> set[tuple[int, int]]:
    """Pairs of site ids at which the forward passes part: they have a row, whatever they are."""
    found = set()
    for finding in result.findings:
        divergence = finding.divergence
        if (
            divergence.phase in ("forward", "loss")
            and divergence.a_index is not None
            and divergence.b_index is not None
        ):
            blocks = runs.a.step(divergence.step), runs.b.step(divergence.step)
            sites = [
                block.observations[index].site.id
                for block, index in zip(blocks, (divergence.a_index, divergence.b_index), strict=True)
            ]
            found.add((sites[0], sites[1]))
    return found


def _shown(graph: StepGraph, forced: set[int]) -> dict[int, Observation]:
    """Forward observations with a row of their own: batch inputs, boundary outputs that lead to the loss, frontier
    ops.
    """
    found = {}
    for index in graph.order:
        site = graph.observations[index].site
        boundary = site.boundary and site.role in ("activation", "noise") and index != graph.loss
        if boundary or site.role == "input" or site.id in forced:
            found[index] = graph.observations[index]
    return found


def _forward_rows(runs: Runs, view: StepView, matching: Matching, forced: set[tuple[int, int]]) -> list[SiteRow]:
    """Equal pairs of which a side is a boundary, then what is left, aligned in order."""
    shown_a = _shown(view.a, {a for a, _ in forced})
    shown_b = _shown(view.b, {b for _, b in forced})
    rows = _given_rows(runs, view)
    given = given_sites(runs, view)
    used_a, used_b = set(given), set(given.values())
    alike = Equals(view, matching, _cost(runs, view))
    for match in alike.table:
        first, second = view.a.observations[match.a], view.b.observations[match.b]
        telling = {first.site.role, second.site.role} & {"input", "activation", "noise"}
        if match.b in used_b or not telling or view.a.loss == match.a:
            continue
        if match.a in shown_a or (match.b in shown_b and match.a in view.a.members):
            used_a.add(match.a)
            used_b.add(match.b)
            evidence = f"{match.evidence}, ambiguous" if alike.rivals(match) else match.evidence
            rows.append(SiteRow(_phase(view.a, first), first.site, second.site, evidence, match.permutation, match.a))
    left = [seen for index, seen in shown_a.items() if index not in used_a]
    rest_a = [seen for seen in left if seen.index not in matching.from_a]
    rows += [
        SiteRow(_phase(view.a, seen), seen.site, None, "", None, seen.index)
        for seen in left
        if seen.index in matching.from_a
    ]
    rest_b = [seen for index, seen in shown_b.items() if index not in used_b and index not in matching.from_b]
    return rows + _structure_rows(runs, view, rest_a, rest_b, forced)


def _given_rows(runs: Runs, view: StepView) -> list[SiteRow]:
    """The pairs that the user gave, whether they agree or not."""
    rows = []
    for a, b in given_sites(runs, view).items():
        first, second = view.a.observations[a], view.b.observations[b]
        order = given_error(view, a, b, view.tolerances.forward)[1]
        rows.append(SiteRow(_phase(view.a, first), first.site, second.site, USER, order, a))
    return rows


def _cost(runs: Runs, view: StepView) -> Callable[[Match], tuple[float, ...]]:
    """Which of several equal candidates is the same thing: still equal in step 1, same op, both boundaries."""
    later: dict[tuple[int, int], float] = {}
    if runs.compared > 1:
        a, b = runs.a.step(1), runs.b.step(1)
        places = [{seen.site.id: seen.index for seen in reversed(block.observations)} for block in (a, b)]
    else:
        places = []

    def error(first: Observation, second: Observation) -> float:
        key = (first.site.id, second.site.id)
        if key not in later and places:
            i, j = places[0].get(key[0]), places[1].get(key[1])
            known = i is not None and j is not None
            later[key] = (
                observation_error(a, i, b, j, exact=False) if known and i is not None and j is not None else 0.0
            )
        return later.get(key, 0.0)

    def cost(match: Match) -> tuple[float, ...]:
        first, second = view.a.observations[match.a], view.b.observations[match.b]
        grown = match.permutation is None and error(first, second) > max(view.tolerances.at(match.a), SKETCHED)
        return (grown, first.site.op != second.site.op, first.site.boundary != second.site.boundary)

    return cost


def _phase(graph: StepGraph, seen: Observation) -> Phase:
    if seen.site.role == "input":
        return "data"
    return "loss" if seen.index in graph.loss_part else "forward"


def _structure_rows(
    runs: Runs, view: StepView, rest_a: list[Observation], rest_b: list[Observation], forced: set[tuple[int, int]]
) -> list[SiteRow]:
    """Pair by shape, op type and the weights used, in order; what is left over has a row without a counterpart."""
    a, b = rest_a[:MAX_ALIGNED], rest_b[:MAX_ALIGNED]
    scores = np.array(
        [[100.0 * ((x.site.id, y.site.id) in forced) + _likeness(runs, view, x, y) for y in b] for x in a], np.float64
    ).reshape(len(a), len(b))
    pairs = dict(align(scores)) if scores.size else {}
    rows = [
        SiteRow(_phase(view.a, a[i]), a[i].site, b[j].site, "structure", None, a[i].index) for i, j in pairs.items()
    ]
    taken = set(pairs.values())
    scale = len(view.a.observations) / max(len(view.b.observations), 1)
    rows += [
        SiteRow(_phase(view.a, x), x.site, None, "", None, x.index) for i, x in enumerate(rest_a) if i not in pairs
    ]
    rows += [
        SiteRow(_phase(view.b, y), None, y.site, "", None, y.index * scale)
        for j, y in enumerate(rest_b)
        if j not in taken
    ]
    return rows


def _likeness(runs: Runs, view: StepView, a: Observation, b: Observation) -> float:
    if a.shape != b.shape or a.site.role != b.site.role or a.dtype != b.dtype:
        return 0.0
    if barred(runs.given.barred_sites, a.site.id, b.site.id):
        return 0.0
    weights_a = {view.a.observations[i].site.variable for i in view.a.operands(a.index)} - {None}
    weights_b = {view.b.observations[i].site.variable for i in view.b.operands(b.index)} - {None}
    partners = {
        pair.b for variable in weights_a for pair in runs.all_by_a.get(variable or 0, ()) if variable is not None
    }
    return 1.0 + 2.0 * (a.site.op == b.site.op) + 4.0 * bool(partners & weights_b)


def _loss_rows(view: StepView) -> list[SiteRow]:
    a, b = (graph.observations[graph.loss].site if graph.loss is not None else None for graph in (view.a, view.b))
    if a is None and b is None:
        return []
    return [SiteRow("loss", a, b, "role" if a and b else "", None, float("inf"))]


def _variable_rows(runs: Runs, view: StepView) -> list[SiteRow]:
    """Gradients, weights and states after the step, by variable; in A's order, unpaired ones included."""
    rows: list[SiteRow] = []
    partner = {pair.b: pair for pair in runs.pairs}
    for role in (*BY_VARIABLE, *SNAPSHOTS):
        a, b = (_sites_of(graph.block, role) for graph in (view.a, view.b))
        if role == "applied gradient" and not (a and b):
            continue  # a hand-written update hands nothing to an optimizer
        for place, (variable, site) in enumerate(a.items()):
            rows += _rows_of(runs, variable, site, b, _place(role, place))
        for place, (variable, site) in enumerate(b.items()):
            pair = partner.get(variable)
            if pair is None or pair.a not in a:
                rows.append(SiteRow(site.phase, None, site, "", None, _place(role, place + 0.5)))
    return rows


def _rows_of(runs: Runs, variable: int, site: Site, others: dict[int, Site], place: float) -> list[SiteRow]:
    """The rows of one of A's variables: one for each part that is paired by itself."""
    pairs = runs.all_by_a.get(variable, ())
    rows = []
    for pair in pairs or (None,):
        other = others.get(pair.b) if pair else None
        order = pair_order(pair) if pair else None
        parts = None if pair is None or pair.whole else pair
        rows.append(SiteRow(site.phase, site, other, _evidence(pair) if pair and other else "", order, place, parts))
    return rows


def _evidence(pair: VariablePair) -> str:
    if pair.evidence == USER:
        return USER
    return "weight, ambiguous" if pair.ambiguous else "weight"


def _place(role: str, place: float) -> float:
    """Within a phase: gradients of the tape, gradients as applied, slots, weights."""
    return place + {"applied gradient": 0.0, "slot": 1e6, "weight": 2e6}.get(role, 0.0)


def _sites_of(block: Block, role: str) -> dict[int, Site]:
    found: dict[int, Site] = {}
    for seen in block.observations:
        snapshot = role not in SNAPSHOTS or (seen.site.op == "" and seen.site.phase in ("update", "state"))
        if seen.site.role == role and seen.site.variable is not None and snapshot:
            found.setdefault(seen.site.variable, seen.site)
    return found


def _slot_rows(view: StepView) -> list[SiteRow]:
    """Slots after the step pair by value (their names and numbers differ between optimizers)."""
    a, b = (
        [seen for seen in graph.observations if seen.site.role == "slot" and seen.size > 1 and not seen.site.op]
        for graph in (view.a, view.b)
    )
    pairs = value_pairs(
        view.a.block, view.b.block, [x.index for x in a], [y.index for y in b], view.tolerances.gradient
    )
    partner_a: dict[int, tuple[int, tuple[int, ...] | None]] = {}
    for pair in pairs:
        if pair.a not in partner_a and pair.b not in {j for j, _ in partner_a.values()}:
            partner_a[pair.a] = (pair.b, pair.permutation)
    rows = []
    for place, seen in enumerate(a):
        other, order = partner_a.get(seen.index, (None, None))
        site = view.b.observations[other].site if other is not None else None
        rows.append(SiteRow("update", seen.site, site, "value" if site else "", order, _place("slot", place)))
    taken = {j for j, _ in partner_a.values()}
    rows += [
        SiteRow("update", None, seen.site, "", None, _place("slot", place + 0.5))
        for place, seen in enumerate(b)
        if seen.index not in taken
    ]
    return rows


def _late_rows(runs: Runs, rows: Sequence[SiteRow]) -> list[SiteRow]:
    """Gradients, weights and states that step 0 does not have (the second optimizer of a GAN)."""
    known = {(row.a.role, row.a.variable) for row in rows if row.a is not None and row.a.variable is not None}
    late: list[SiteRow] = []
    for step in range(1, min(runs.compared, 3)):
        for role in (*BY_VARIABLE, *SNAPSHOTS):
            a, b = _sites_of(runs.a.step(step), role), _sites_of(runs.b.step(step), role)
            for place, (variable, site) in enumerate(a.items()):
                if (site.role, variable) in known:
                    continue
                known.add((site.role, variable))
                late += _rows_of(runs, variable, site, b, _place(role, 1e4 * step + place))
    return late


def _cells(
    runs: Runs, rows: Sequence[SiteRow], step: int, tolerances: Tolerances, findings: Sequence[Finding]
) -> list[Cell]:
    a, b = runs.a.step(step), runs.b.step(step)
    a_at, b_at = ({seen.site.id: seen.index for seen in reversed(block.observations)} for block in (a, b))
    indices = [(a_at.get(row.a.id) if row.a else None, b_at.get(row.b.id) if row.b else None) for row in rows]
    errors = _errors(a, b, rows, indices)
    cells = []
    for row, (i, j), error in zip(rows, indices, errors, strict=True):
        tolerance = _tolerance(row, tolerances, i)
        cells.append(Cell(_status(row, i, j, error, max(tolerance, SKETCHED), findings), error, tolerance, i, j))
    return cells


def _errors(
    a: Block, b: Block, rows: Sequence[SiteRow], indices: Sequence[tuple[int | None, int | None]]
) -> list[float]:
    """From sketches, all at once; permuted tensors from their arrays."""
    errors = [0.0] * len(rows)
    plain: list[tuple[int, int, int]] = []
    for number, (row, (i, j)) in enumerate(zip(rows, indices, strict=True)):
        if i is None or j is None:
            continue
        first, second = a.observations[i], b.observations[j]
        if row.pair is not None:
            errors[number] = pair_error(a, i, b, j, row.pair, values=first.site.role in SNAPSHOTS)
            continue
        odd = first.stats.nans or first.stats.infs or second.stats.nans or second.stats.infs
        if row.permutation is not None or odd or first.size != second.size:
            errors[number] = observation_error(a, i, b, j, row.permutation)
        else:
            plain.append((number, i, j))
    if plain:
        numbers, a_rows, b_rows = (np.array(column) for column in zip(*plain, strict=True))
        norms = [
            np.array([block.observations[i].stats.norm for i in column])
            for block, column in ((a, a_rows.tolist()), (b, b_rows.tolist()))
        ]
        found = sketch_errors(a.sketches()[a_rows], b.sketches()[b_rows], norms[0], norms[1], 1)
        for number, error in zip(numbers.tolist(), found.tolist(), strict=True):
            errors[number] = error
    return errors


def _tolerance(row: SiteRow, tolerances: Tolerances, index: int | None) -> float:
    return tolerances.at(index, KINDS.get(row.phase, "forward"))


def _status(
    row: SiteRow, i: int | None, j: int | None, error: float, tolerance: float, findings: Sequence[Finding]
) -> Status:
    if i is None and j is None:
        return "absent"
    for finding in findings:
        divergence = finding.divergence
        here = (i is not None and i == divergence.a_index) or (j is not None and j == divergence.b_index)
        variables = {pair.a for pair in finding.also}
        concerned = row.phase == divergence.phase and row.a is not None and row.a.variable in variables
        compared = i is not None and j is not None
        if here or (concerned and (compared or finding.kind == "missing-gradient")):
            return "introduced"
    if i is None or j is None:
        return "unpaired"
    return "equal" if error <= tolerance else "carried"
