"""Variables that training moves without a gradient (moving statistics): their change over a step, and ones that never
move.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tfdiff.comparison.findings import Finding
from tfdiff.comparison.forward import pairing_of
from tfdiff.comparison.metrics import relative_error
from tfdiff.comparison.places import layer_name, optimizer_lines, place_of
from tfdiff.comparison.runs import norm, of_variable
from tfdiff.comparison.tolerance import CEILING, epsilon
from tfdiff.comparison.update import ROUNDING_UNITS
from tfdiff.model import Divergence, Place

if TYPE_CHECKING:
    from tfdiff.comparison.graph import StepGraph
    from tfdiff.comparison.localize import Located
    from tfdiff.comparison.matching import Matching
    from tfdiff.comparison.runs import Runs, StepView
    from tfdiff.model import Observation
    from tfdiff.pairing.variables import VariablePair
    from tfdiff.trace.reader import Trace


def state_findings(
    runs: Runs,
    view: StepView,
    matching: Matching,
    located: Located | None,
    excluded: set[int],
    noise: set[VariablePair],
) -> list[Finding]:
    """State variables whose change over the step differs although what they are computed from agrees.

    `located` is the forward divergence of the step, if any: states computed from what lies behind it are carried, and
    so are those that one side's forward pass reads instead of the batch (its layer ran in inference mode). Only that
    one side never writes them, whatever it is fed, is no consequence. `excluded` holds A's variables that were
    reported before, `noise` the pairs whose true gradient is zero.
    """
    found: list[tuple[VariablePair, float, float, tuple[float, float]]] = []
    for pair in runs.states:
        measured = None if pair.a in excluded else _change(runs, view, pair)
        if measured is None or measured[0] <= measured[1] or _consequence(view, pair, matching, located):
            continue
        # What rounding made of a weight in front of the statistic may move it by as much as it moved the weight.
        allowed = _moved_by_noise(runs, view, pair, noise) / max(measured[2])
        if measured[0] > measured[1] + allowed:
            found.append((pair, *measured))
    if not found:
        return []
    still = [entry for entry in found if 0.0 in entry[3]]
    moving = [entry for entry in found if entry not in still]
    return [
        _finding(runs, view, matching, group, "never-moves" if group is still else "")
        for group in (moving, still)
        if group
    ]


def _change(runs: Runs, view: StepView, pair: VariablePair) -> tuple[float, float, tuple[float, float]] | None:
    """Error and tolerance of the change over the step, and the norms of both sides' changes."""
    before, after = runs.values(pair, view.step - 1), runs.values(pair, view.step)
    if before is None or after is None or "float" not in str(after[0].dtype):
        return None
    a, b = (
        np.asarray(late, np.float64) - np.asarray(early, np.float64) for late, early in zip(after, before, strict=True)
    )
    norms = norm(a), norm(b)
    if max(norms) == 0.0:
        return None
    rounding = ROUNDING_UNITS * epsilon(str(after[0].dtype)) * norm(after[0]) / max(norms)
    # A small change of a large value is known poorly; a side that does not move at all shows as error 1.
    tolerance = min(max(view.tolerances.of_change(pair.a, "state"), rounding), 1.0 - CEILING)
    return relative_error(a, b), tolerance, norms


def _moved_by_noise(runs: Runs, view: StepView, pair: VariablePair, noise: set[VariablePair]) -> float:
    """How far apart rounding can have driven a statistic: the bias in front of a normalization does not change its
    output, but it is part of the moving mean.

    The norm of the largest difference between both sides' values of a weight without true gradient that the statistic
    is computed from, and of that between the statistics before the step; 0 where no such weight differs.
    """
    written = [i for seen in of_variable(view.a.block, "assign").get(pair.a, []) for i in seen.inputs]
    read = {view.a.observations[index].site.variable for index in view.a.ancestors(written)}
    apart = max((_apart(runs, weight, view.step - 1) for weight in noise if weight.a in read), default=0.0)
    return apart + _apart(runs, pair, view.step - 1) if apart else 0.0


def _apart(runs: Runs, pair: VariablePair, step: int) -> float:
    values = runs.values(pair, step)
    return 0.0 if values is None else norm(np.asarray(values[0], np.float64) - values[1])


def _consequence(view: StepView, pair: VariablePair, matching: Matching, located: Located | None) -> bool:
    if located is None:
        return False
    if _reads(view.a, pair.a) != _reads(view.b, pair.b):
        return True
    written = _written(view.a, pair.a), _written(view.b, pair.b)
    if written[0] != written[1] and _as_many_statistics(view, pair, written_in_a=written[0]):
        return False
    return any(
        _behind(graph, variable, frozenset(matched), frozenset(bad))
        for graph, variable, matched, bad in (
            (view.a, pair.a, matching.from_a, located.a_side.bad),
            (view.b, pair.b, matching.from_b, located.b_side.bad),
        )
    )


def _reads(graph: StepGraph, variable: int) -> bool:
    """Whether the value of a state variable reaches the loss."""
    return any(graph.observations[i].site.variable == variable for i in graph.order)


def _written(graph: StepGraph, variable: int) -> bool:
    """Whether the step writes a state variable."""
    return variable in of_variable(graph.block, "assign")


def _as_many_statistics(view: StepView, pair: VariablePair, *, written_in_a: bool) -> bool:
    """Whether the side that never writes the variable takes as many statistics of its size as the other: without them
    the layer is missing there.
    """
    written, other = (view.a, view.b) if written_in_a else (view.b, view.a)
    sites = of_variable(written.block, "assign").get(pair.a if written_in_a else pair.b, [])
    counts = [_statistics(graph, sites[0].size) for graph in (written, other)]
    return 0 < counts[0] <= counts[1]


def _statistics(graph: StepGraph, size: int) -> int:
    """Number of means over the batch that have `size` elements; a fused normalization takes two."""
    total = 0
    for index in graph.data & graph.members:
        seen = graph.observations[index]
        if seen.site.op.startswith("FusedBatchNorm"):
            first = seen.site.attrs.get("data_format") == "NCHW"
            total += 2 * (seen.site.output == 0 and size == seen.shape[1 if first else -1])
        elif seen.site.op == "Mean" and seen.size == size:
            total += any(graph.observations[operand].size > size for operand in graph.operands(index))
    return total


def _behind(graph: StepGraph, variable: int, matched: frozenset[int], bad: frozenset[int]) -> bool:
    """Whether what is written into the variable was computed from something behind the forward divergence.

    Only tensors of the forward pass count as equal: in a moving statistic the old value hides what the batch adds.
    """
    for seen in of_variable(graph.block, "assign").get(variable, []):
        reached = graph.ancestors(seen.inputs, matched & graph.members)
        if any(i in bad and i not in matched for i in reached):
            return True
        if any(i not in matched and i in graph.members and i in graph.data for i in reached):
            return True
    return False


def _finding(
    runs: Runs,
    view: StepView,
    matching: Matching,
    found: list[tuple[VariablePair, float, float, tuple[float, float]]],
    kind: str,
) -> Finding:
    pair, error, tolerance, norms = found[0]
    sites = [
        next(iter(of_variable(graph.block, "assign").get(variable, [])), None)
        for graph, variable in ((view.a, pair.a), (view.b, pair.b))
    ]
    divergence = Divergence(
        step=view.step,
        phase="state",
        a=state_place(runs.a, view.a, pair.a, view.step, sites[0]),
        b=state_place(runs.b, view.b, pair.b, view.step, sites[1]),
        error=error,
        tolerance=tolerance,
        summary=f"{runs.a.variables[pair.a].name} moves by {norms[0]:.4g} in a, by {norms[1]:.4g} in b",
        a_index=sites[0].index if sites[0] else None,
        b_index=sites[1].index if sites[1] else None,
    )
    return Finding(
        divergence,
        runs.a,
        runs.b,
        runs.pairs,
        pairing=pairing_of(view, matching),
        variable=pair,
        also=tuple(entry[0] for entry in found),
        kind=kind,
        numbers={"a_norm": norms[0], "b_norm": norms[1]},
    )


def state_place(trace: Trace, graph: StepGraph, variable: int, step: int, site: Observation | None) -> Place:
    """Where the state is written; on a side that never writes it the variable's layer or line, else the training
    call.
    """
    if site is not None:
        return place_of(site)
    known = trace.variables[variable]
    source, called = optimizer_lines(trace, step)
    target = graph.observations[graph.target].site if graph.target is not None else None
    line = known.source or source or called or (target.source or target.called if target else None)
    return Place(layer_name(known.layer), known.name, line, called or (target.called if target else None))
