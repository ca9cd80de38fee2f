"""Layers behind the first divergence that one side has more of, or with another width: told from the weights without a
counterpart and where they stand between weights that have one.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from tfdiff.comparison.findings import Finding
from tfdiff.comparison.forward import pairing_of, weight_outputs
from tfdiff.comparison.places import place_of
from tfdiff.model import Divergence

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from tfdiff.comparison.findings import Match
    from tfdiff.comparison.graph import StepGraph
    from tfdiff.comparison.localize import Located
    from tfdiff.comparison.matching import Matching
    from tfdiff.comparison.runs import Runs, StepView


@dataclass(frozen=True)
class Linear:
    """A matrix or kernel and the op in which it meets the batch."""

    variable: int
    at: int
    op: str
    shape: tuple[int, ...]
    units: int


@dataclass(frozen=True)
class Gap:
    """Layers without a counterpart that stand at the same place of both networks."""

    a: tuple[Linear, ...]
    b: tuple[Linear, ...]
    behind: tuple[Linear | None, Linear | None]
    """The next layer with a counterpart, on both sides."""


def layer_findings(runs: Runs, view: StepView, located: Located) -> list[Finding]:
    """A finding per gap that the first divergence does not stand in."""
    found = []
    for gap in _gaps(runs, linear_layers(view.a), linear_layers(view.b)):
        if located.a in {layer.at for layer in gap.a} or located.b in {layer.at for layer in gap.b}:
            continue
        if len(gap.a) == len(gap.b):
            finding = _width(runs, view, located, gap)
        elif not gap.a or not gap.b or _joins(gap):
            finding = _count(runs, view, located, gap)
        else:
            finding = None
        if finding is not None:
            found.append(finding)
    return found


def weight_finding(runs: Runs, view: StepView, matching: Matching) -> Finding | None:
    """The first trained weight that only one side has, where it meets the batch; that side's first, in A's order.

    For weights that change nothing yet (a bias of zeros), but whose gradient counts in the norm that all are clipped
    by.
    """
    both = [pair for pair in runs.pairs if pair not in runs.unused]
    for graph, trace, known, equal in (
        (view.a, runs.a, {pair.a for pair in both}, matching.from_a),
        (view.b, runs.b, {pair.b for pair in both}, matching.from_b),
    ):
        trained = {seen.site.variable for seen in graph.observations if seen.site.role == "weight gradient"} - known
        for index in sorted(graph.weighted):
            operands = graph.operands(index)
            read = {graph.observations[i].site.variable for i in operands if i in graph.parameters} & trained
            match = next((match for i in operands if i in graph.data for match in equal.get(i, ())), None)
            if read and match is not None:
                of_a = graph is view.a
                places = (index, match.b) if of_a else (match.a, index)
                name = trace.variables[min(v for v in read if v is not None)].name
                words = (
                    f"only {'a' if of_a else 'b'} has {name}, whose gradient counts in the norm that all are clipped by"
                )
                return _absent(runs, view, matching, match, places, words)
    return None


def _absent(runs: Runs, view: StepView, matching: Matching, cut: Match, places: tuple[int, int], words: str) -> Finding:
    divergence = Divergence(
        step=view.step,
        phase="forward",
        a=place_of(view.a.observations[places[0]]),
        b=place_of(view.b.observations[places[1]]),
        error=1.0,
        tolerance=view.tolerances.forward,
        summary=words,
        a_index=places[0],
        b_index=places[1],
    )
    pairing = pairing_of(view, matching)
    return Finding(divergence, runs.a, runs.b, runs.pairs, pairing=pairing, cut=cut, cuts=(cut,), kind="absent")


def linear_layers(graph: StepGraph) -> list[Linear]:
    """Every use of a matrix or kernel in a forward pass, in order of execution."""
    found = []
    for variable, indices in weight_outputs(graph).items():
        read = next(o for o in graph.observations if o.site.variable == variable and o.site.role == "weight")
        for index in indices:
            seen = graph.observations[index]
            first = seen.site.attrs.get("data_format") == "NCHW" and len(seen.shape) > 2
            units = seen.shape[1] if first else seen.shape[-1] if seen.shape else 1
            found.append(Linear(variable, index, seen.site.op, read.shape, units))
    return sorted(found, key=lambda layer: layer.at)


def _gaps(runs: Runs, a: list[Linear], b: list[Linear]) -> Iterator[Gap]:
    """What stands between layers with a counterpart; nothing where these come in another order or stand there again
    (a weight that is shared here may be two there).
    """
    first = {layer.variable: n for n, layer in reversed(list(enumerate(a)))}
    place = {layer.variable: n for n, layer in reversed(list(enumerate(b)))}
    pairs = [(n, runs.by_a[variable].b) for variable, n in first.items() if variable in runs.by_a]
    joints = sorted((n, place[partner]) for n, partner in pairs if partner in place)
    if any(second[1] <= first[1] for first, second in pairwise(joints)):
        return
    partners = {pair.b for pair in runs.by_a.values()}
    for (i, j), (k, m) in pairwise([(-1, -1), *joints, (len(a), len(b))]):
        mine, others = a[i + 1 : k], b[j + 1 : m]
        paired = [x for x in mine if x.variable in runs.by_a] + [y for y in others if y.variable in partners]
        if (mine or others) and not paired:
            behind = (a[k] if k < len(a) else None, b[m] if m < len(b) else None)
            yield Gap(tuple(mine), tuple(others), behind)


def _joins(gap: Gap) -> bool:
    """Whether the layers of a gap follow one another from the same number of inputs to the same number of outputs.

    Kernels that are one matrix here and several there (gates, heads) do not.
    """
    chains = [[(layer.shape[-2], layer.shape[-1]) for layer in side] for side in (gap.a, gap.b)]
    ends = {(chain[0][0], chain[-1][1]) for chain in chains}
    ops = {layer.op for layer in (*gap.a, *gap.b)}
    linked = all(first[1] == second[0] for chain in chains for first, second in pairwise(chain))
    return len(ends) == 1 and len(ops) == 1 and linked


def _width(runs: Runs, view: StepView, located: Located, gap: Gap) -> Finding | None:
    """As many layers: the first one whose shape differs, if it has another number of outputs."""
    for one, other in zip(gap.a, gap.b, strict=True):
        if one.op != other.op or len(one.shape) != len(other.shape):
            return None
        if sorted(one.shape) == sorted(other.shape):
            continue
        if one.units == other.units:
            return None  # its inputs differ: a consequence
        words = f"the layer's number of outputs is {one.units} in a, {other.units} in b"
        numbers = {"a": one.units, "b": other.units}
        return _finding(runs, view, located, (one, other), "width", words, numbers)
    return None


def _count(runs: Runs, view: StepView, located: Located, gap: Gap) -> Finding:
    more, fewer = (gap.a, gap.b) if len(gap.a) > len(gap.b) else (gap.b, gap.a)
    side, trace = ("a", runs.a) if more is gap.a else ("b", runs.b)
    extra = more[: len(more) - len(fewer)]
    names = ", ".join(trace.variables[layer.variable].name for layer in extra)
    known = gap.behind[1] if side == "a" else gap.behind[0]
    counterpart = fewer[0] if fewer else known
    places = (extra[0], counterpart) if side == "a" else (counterpart, extra[0])
    numbers = {"a": len(gap.a), "b": len(gap.b), "variables": [layer.variable for layer in extra]}
    return _finding(runs, view, located, places, "layers", f"only {side} has {names}", numbers)


def _finding(
    runs: Runs,
    view: StepView,
    located: Located,
    layers: Sequence[Linear | None],
    kind: str,
    words: str,
    numbers: dict[str, Any],
) -> Finding:
    graphs = (view.a, view.b)
    places = [
        None if layer is None else place_of(graph.observations[layer.at])
        for graph, layer in zip(graphs, layers, strict=True)
    ]
    indices = [None if layer is None else layer.at for layer in layers]
    high, low = max(numbers["a"], numbers["b"]), min(numbers["a"], numbers["b"])
    divergence = Divergence(
        step=view.step,
        phase="forward",
        a=places[0],
        b=places[1],
        error=(high - low) / high,
        tolerance=view.tolerances.forward,
        summary=words,
        a_index=indices[0],
        b_index=indices[1],
    )
    pairing = pairing_of(view, located.matching)
    return Finding(divergence, runs.a, runs.b, runs.pairs, pairing=pairing, kind=kind, numbers=numbers)
