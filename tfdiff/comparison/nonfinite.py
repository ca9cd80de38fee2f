"""NaN and infinity: the step, phase and op at which they first appear on either side.

What counts is what they reach: the loss, a gradient, an update, a state. Infinities that are gone further down (masks
in front of a softmax) are nobody's fault. From what is reached the way back leads to the op whose inputs were finite.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tfdiff.comparison.domains import describe_operands, is_finite, kind_of_values, reason_of
from tfdiff.comparison.findings import Finding
from tfdiff.comparison.forward import located_finding, pairing_of
from tfdiff.comparison.localize import locate
from tfdiff.comparison.places import place_of, place_of_variable
from tfdiff.comparison.runs import of_variable
from tfdiff.model import Divergence, Place

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tfdiff.comparison.domains import Reason
    from tfdiff.comparison.graph import StepGraph
    from tfdiff.comparison.localize import Located
    from tfdiff.comparison.matching import Matching
    from tfdiff.comparison.runs import Runs, StepView
    from tfdiff.model import Observation, Phase, Role
    from tfdiff.pairing.pairs import VariablePair

NON_FINITE = "non-finite"
"""`Finding.kind` of an appearance on one side only."""
COMPUTED = frozenset({"activation", "operation"})
"""Roles of what an op made."""
LATER: tuple[tuple[Phase, tuple[Role, ...], bool], ...] = (
    ("backward", ("weight gradient",), False),
    ("update", ("assign", "weight"), True),
    ("state", ("assign", "state"), True),
)
"""Phases behind the loss, with the roles looked at, and whether as they are after the step."""


@dataclass(frozen=True)
class Appearance:
    """NaN or infinity that reach something in a step."""

    step: int
    phase: Phase
    a: int | None
    """Index of the op of A that produced it, None where A's counterpart is finite."""
    b: int | None
    pairs: tuple[VariablePair, ...] = ()
    """Variables concerned; none where the loss is."""
    lasting: bool = False
    """Whether a weight is not finite after the step: what follows is no evidence."""

    @property
    def index(self) -> int:
        """That of the only side, or A's."""
        return self.a if self.a is not None else self.b if self.b is not None else -1

    @property
    def both(self) -> bool:
        """Whether they appear on both sides."""
        return self.a is not None and self.b is not None


def appearance(runs: Runs, view: StepView) -> Appearance | None:
    """The first phase of a step in which either side is not finite; None where all that matters is."""
    if all(is_finite(seen) for graph in (view.a, view.b) for seen in graph.observations):
        return None
    lasting = any(any(_odd_sites(graph, "weight", snapshots=True)) for graph in (view.a, view.b))
    losses = [graph.loss if graph.loss is not None else graph.target for graph in (view.a, view.b)]
    sinks = tuple(
        index if index is not None and not is_finite(graph.observations[index]) else None
        for graph, index in zip((view.a, view.b), losses, strict=True)
    )
    if any(sink is not None for sink in sinks) and None not in losses:
        alone = None in sinks
        origins = [_origin(graph, other if alone else None, sink) for graph, other, sink in _sides(view, sinks)]
        phase = _forward_phase(view, origins)
        return Appearance(view.step, phase, origins[0], origins[1], lasting=lasting)
    for phase, roles, snapshots in LATER:
        found = _of_pairs(runs, view, phase, roles, snapshots=snapshots)
        if found is not None:
            return replace(found, lasting=lasting)
    return None


def _sides(view: StepView, sinks: tuple[int | None, ...]) -> Iterator[tuple[StepGraph, StepGraph, int | None]]:
    yield view.a, view.b, sinks[0]
    yield view.b, view.a, sinks[1]


def _odd_sites(graph: StepGraph, role: str, *, snapshots: bool) -> Iterator[Observation]:
    """Observations of variables in a role that are not finite; `snapshots`: values after the step, not as read."""
    for seen in graph.observations:
        late = not snapshots or role == "assign" or (seen.site.op == "" and seen.site.phase in ("update", "state"))
        if seen.site.role == role and seen.site.variable is not None and late and not is_finite(seen):
            yield seen


def _of_pairs(
    runs: Runs, view: StepView, phase: Phase, roles: tuple[Role, ...], *, snapshots: bool
) -> Appearance | None:
    """Where paired variables are concerned: on both sides where any pair is so on both, else on one."""
    odd: list[dict[int, int]] = []
    for graph in (view.a, view.b):
        found: dict[int, int] = {}
        for role in roles:
            for seen in _odd_sites(graph, role, snapshots=snapshots):
                if seen.site.variable is not None and seen.site.phase == phase:
                    found.setdefault(seen.site.variable, seen.index)
        odd.append(found)
    known = [{v for role in roles for v in of_variable(graph.block, role)} for graph in (view.a, view.b)]
    pairs = [
        pair
        for pair in (*runs.weights, *runs.states)
        if pair.a in known[0] and pair.b in known[1] and (pair.a in odd[0] or pair.b in odd[1])
    ]
    if not pairs:
        return None
    both = [pair for pair in pairs if pair.a in odd[0] and pair.b in odd[1]]
    chosen = both or [pair for pair in pairs if (pair.a in odd[0]) == (pairs[0].a in odd[0])]
    origins = [
        min((_origin(graph, None if both else other, at[v]) or at[v] for v in variables if v in at), default=None)
        for (graph, other, _), at, variables in zip(
            _sides(view, (None, None)), odd, ([p.a for p in chosen], [p.b for p in chosen]), strict=True
        )
    ]
    return Appearance(view.step, phase, origins[0], origins[1], pairs=tuple(chosen))


def _origin(graph: StepGraph, other: StepGraph | None, sink: int | None) -> int | None:
    """The op that made what reached `sink`: the first one on the way there with nothing of its kind before it.

    NaN is followed back first; from the op that made it of infinities on to the op that made those, unless they were
    meant (a constant, or the `other` side, which stays finite, has as many).
    """
    if sink is None:
        return None
    first = _first(graph, sink, lambda seen: bool(seen.stats.nans)) if graph.observations[sink].stats.nans else sink
    source = _first(graph, first, lambda seen: not is_finite(seen))
    seen = graph.observations[source]
    meant = seen.site.role not in COMPUTED or (other is not None and _has_as_many(other, seen))
    return first if meant and graph.observations[first].site.role in COMPUTED else source


def _first(graph: StepGraph, start: int, follows: Callable[[Observation], bool]) -> int:
    """The first in order of execution of those that lead to `start` and have nothing like it before them."""
    reached, todo, ends = {start}, [start], []
    while todo:
        index = todo.pop()
        before = [i for i in graph.operands(index) if follows(graph.observations[i])]
        if not before:
            ends.append(index)
        for i in before:
            if i not in reached:
                reached.add(i)
                todo.append(i)
    return min(ends)


def _has_as_many(graph: StepGraph, seen: Observation) -> bool:
    """Whether the other side has a tensor of this op and size with as many infinities."""
    return any(
        (o.site.op, o.size, o.stats.infs, o.stats.nans) == (seen.site.op, seen.size, seen.stats.infs, 0)
        for o in graph.observations
        if seen.stats.infs and not seen.stats.nans
    )


def _forward_phase(view: StepView, origins: list[int | None]) -> Phase:
    known = [
        index in graph.loss_part
        for graph, index in zip((view.a, view.b), origins, strict=True)
        if index is not None and graph.observations[index].site.role in COMPUTED
    ]
    return "loss" if known and all(known) and view.a.target is not None else "forward"


def appearance_finding(runs: Runs, view: StepView, found: Appearance, matching: Matching) -> Finding:
    """The divergence that an appearance on one side only is."""
    in_a = found.a is not None
    bad, good = (view.a, view.b) if in_a else (view.b, view.a)
    index = found.index
    located = _located(runs, view) if not found.pairs else None
    other = _counterpart(view, found, located, matching)
    sides = "ab" if in_a else "ba"
    reason = reason_of(bad.block, index)
    places: list[Place | None] = [_place(runs, bad, index, found, in_a=in_a), None]
    seen = good.observations[other] if other is not None else None
    if found.pairs and (seen is None or seen.site.role == "weight gradient"):
        places[1] = _variable_place(runs, found, seen, in_a=not in_a)
    elif seen is not None:
        places[1] = place_of(seen)
    indices: list[int | None] = [index, other]
    if not in_a:
        places, indices = places[::-1], indices[::-1]
    divergence = Divergence(
        step=view.step,
        phase=found.phase,
        a=places[0],
        b=places[1],
        error=float("inf"),
        tolerance=view.tolerances.forward if found.phase in ("forward", "loss") else view.tolerances.gradient,
        summary=f"{said(bad, index, reason)} in {sides[0]}; {sides[1]}'s counterpart is finite",
        a_index=indices[0],
        b_index=indices[1],
    )
    numbers = {"side": sides[0], "reason": reason.kind, "explains": reason.explains, "index": index}
    if located is not None:
        roots = (view.a.loss if view.a.loss is not None else -1, view.b.loss if view.b.loss is not None else -1)
        around = located_finding(runs, view, located, roots)
        return replace(around, divergence=divergence, kind=NON_FINITE, numbers=numbers)
    return Finding(
        divergence,
        runs.a,
        runs.b,
        runs.pairs,
        pairing=pairing_of(view, matching),
        variable=found.pairs[0] if found.pairs else None,
        also=found.pairs,
        kind=NON_FINITE,
        numbers=numbers,
    )


def said(graph: StepGraph, index: int, reason: Reason | None = None) -> str:
    """`logarithm of 0: Log([0, 0.98]) gives -inf`; of what no op made, what holds it."""
    seen = graph.observations[index]
    reason = reason or reason_of(graph.block, index)
    values = kind_of_values(graph.block, index)
    if seen.site.role not in COMPUTED:
        held = {"input": "the batch", "weight": "a weight", "state": "a moving statistic"}.get(seen.site.role)
        return f"{held or f'{seen.site.role} {seen.site.name}'} holds {values}"
    words = f"{reason.words}: " if reason.words else ""
    return f"{words}{describe_operands(graph.block, index)} gives {values}"


def _located(runs: Runs, view: StepView) -> Located | None:
    if view.a.loss is None or view.b.loss is None:
        return None
    found = locate(runs, view, view.a.loss, view.b.loss)
    return None if found is None or (found.a is None and found.b is None) else found


def _counterpart(view: StepView, found: Appearance, located: Located | None, matching: Matching) -> int | None:
    """What stands on the finite side in its place: behind the last equal tensors, or the same variable's."""
    in_a = found.a is not None
    good = view.b if in_a else view.a
    if found.pairs:
        bad, index = (view.a, found.a) if in_a else (view.b, found.b)
        matches = matching.from_a if in_a else matching.from_b
        forward = None if index is None else _forward_op(bad, index)
        if forward is not None and forward in matches:
            return matches[forward][0].b if in_a else matches[forward][0].a
        variable = found.pairs[0].b if in_a else found.pairs[0].a
        roles: tuple[Role, ...] = ("weight gradient",) if found.phase == "backward" else ("assign", "weight", "state")
        sites = [seen for role in roles for seen in of_variable(good.block, role).get(variable, [])]
        return next((seen.index for seen in sites if seen.site.phase == found.phase), None)
    place = (located.b if in_a else located.a) if located is not None else None
    return place if place is not None else good.loss


def _forward_op(graph: StepGraph, index: int) -> int | None:
    """The forward op whose gradient an op of the backward pass computes: it takes that op's output or operand."""
    return next(
        (
            i
            for i in graph.operands(index)
            if graph.observations[i].site.phase == "forward" and graph.observations[i].site.role == "activation"
        ),
        None,
    )


def _place(runs: Runs, graph: StepGraph, index: int, found: Appearance, *, in_a: bool) -> Place:
    """Where it was produced."""
    place = _op_place(graph, index)
    if graph.observations[index].site.role in ("weight", "state"):
        return _variable_place(runs, found, None, in_a=in_a) or place
    return place


def _op_place(graph: StepGraph, index: int) -> Place:
    """The place of an op; of one of the backward pass the line of the forward op that it belongs to."""
    seen = graph.observations[index]
    forward = _forward_op(graph, index) if seen.site.phase == "backward" else None
    return place_of(seen) if forward is None else replace(place_of(graph.observations[forward]), op=seen.site.op)


def _variable_place(runs: Runs, found: Appearance, like: Observation | None, *, in_a: bool) -> Place | None:
    if not found.pairs:
        return None
    trace, variable = (runs.a, found.pairs[0].a) if in_a else (runs.b, found.pairs[0].b)
    return place_of_variable(trace.variables[variable], like)


def both_note(view: StepView, found: Appearance) -> str:
    """That both sides stop being finite in one step, with the op of each, and what follows from it."""
    sides = (("a", view.a, found.a), ("b", view.b, found.b))
    words = [f"{side}: {_said_there(graph, index)}" for side, graph, index in sides if index is not None]
    after = "that step and the later ones are no evidence" if found.lasting else "what follows from it was not compared"
    return f"both stop being finite in step {found.step}, phase {found.phase} ({'; '.join(words)}): {after}"


def one_note(view: StepView, found: Appearance) -> str:
    """That one side stops being finite behind a divergence of the same step."""
    side, graph = ("a", view.a) if found.a is not None else ("b", view.b)
    where = f"behind the divergence of step {found.step} {side} stops being finite, phase {found.phase}"
    return f"{where}: {_said_there(graph, found.index)}"


def _said_there(graph: StepGraph, index: int) -> str:
    """What is not finite, with its line."""
    place = _op_place(graph, index)
    line = place.called or place.source
    return f"{said(graph, index)}{f' at {line}' if line else ''}"


def lost_losses(runs: Runs, start: int) -> list[str]:
    """From which step on a side's loss is not finite, looked for from `start` on in steps that were not judged."""
    notes = []
    for side, trace in (("a", runs.a), ("b", runs.b)):
        for step in range(start, runs.compared):
            losses = [seen for seen in trace.step(step).observations if seen.site.role == "loss"]
            if any(not is_finite(seen) for seen in losses):
                notes.append(f"{side}'s loss is not finite from step {step} on, behind the last step that was judged")
                break
    return notes
