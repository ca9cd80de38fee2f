"""Dropouts behind the first divergence: equal draws of which the two sides drop another share.

Neither what is fed to a dropout nor what lies in front of it decides which share of it is dropped: that can be told at
each dropout alone, from its own tensors, once both sides are known to have drawn the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tfdiff.comparison.findings import Finding
from tfdiff.comparison.forward import pairing_of
from tfdiff.comparison.places import place_of
from tfdiff.model import Divergence
from tfdiff.pairing.sites import is_float

if TYPE_CHECKING:
    from tfdiff.comparison.graph import StepGraph
    from tfdiff.comparison.localize import Located
    from tfdiff.comparison.runs import Runs, StepView

MIN_ELEMENTS = 32
"""Fewer elements do not tell two shares apart."""
SIGMAS = 6.0
SCALING = frozenset({"Mul", "RealDiv", "Identity", "Cast"})


@dataclass(frozen=True)
class Dropped:
    """A dropout as the dataflow shows it."""

    x: int
    """What goes in, before it is scaled up."""
    y: int
    """The op in which tensor and draw meet."""
    chain: frozenset[int]
    """The ops from behind x up to y."""
    share: float
    """Share of the elements of x other than zero that are zero in y."""
    count: int
    """Number of these elements, or of the draws if these are fewer."""


def draw_findings(runs: Runs, view: StepView, located: Located) -> list[Finding]:
    """One finding for all dropouts that drop another share than their counterpart, the first one naming the place.

    The dropout at which the two part is left out: `located` is that.
    """
    found: list[tuple[Dropped, Dropped]] = []
    taken: set[int] = set()
    for draw in view.a.order:
        if view.a.observations[draw].site.role != "noise":
            continue
        partner = next((m.b for m in located.matching.from_a.get(draw, ()) if m.b not in taken), None)
        if partner is None:
            continue
        taken.add(partner)
        a, b = dropped(view.a, draw), dropped(view.b, partner) if partner in view.b.members else None
        if a is None or b is None or not (_other_share(a, b) or _other_bound(view, (draw, partner), a, b)):
            continue
        if located.a not in a.chain and located.b not in b.chain:
            found.append((a, b))
    return [_finding(runs, view, located, found)] if found else []


def dropped(graph: StepGraph, draw: int) -> Dropped | None:
    """The dropout that a draw decides; None where it is used for anything else."""
    for y in _met(graph, draw):
        seen = graph.observations[y]
        if not is_float(seen) or seen.size < MIN_ELEMENTS or not seen.stats.zeros:
            continue
        moving = [
            i for i in graph.operands(y) if i in graph.data and _fits(graph, i, y) and not _of_draw(graph, i, draw)
        ]
        if len(moving) != 1:
            continue
        chain, x = {y}, moving[0]
        while graph.observations[x].site.op in SCALING:
            before = [i for i in graph.operands(x) if i in graph.data and _fits(graph, i, x)]
            if len(before) != 1:
                break
            chain.add(x)
            x = before[0]
        zeros = graph.observations[x].stats.zeros
        left = seen.size - zeros
        count = min(left, graph.observations[draw].size)  # one draw may decide for a whole channel
        if count >= MIN_ELEMENTS:
            return Dropped(x, y, frozenset(chain), (seen.stats.zeros - zeros) / left, count)
    return None


def _met(graph: StepGraph, draw: int) -> list[int]:
    """Ops in which something made of the draw and of constants alone meets the batch, in order of execution."""
    own, todo, found = {draw}, [draw], []
    while todo:
        for user in graph.consumers.get(todo.pop(), ()):
            others = [i for i in graph.operands(user) if i not in own]
            if any(i in graph.data or i in graph.noise for i in others):
                found.append(user)
            elif user not in own:
                own.add(user)
                todo.append(user)
    return sorted(set(found))


def _of_draw(graph: StepGraph, index: int, draw: int) -> bool:
    """Whether a tensor was computed from the draw, which may itself hang on the batch (by its shape)."""
    return draw in graph.ancestors((index,), frozenset((draw,)))


def _fits(graph: StepGraph, index: int, other: int) -> bool:
    return is_float(graph.observations[index]) and graph.observations[index].size == graph.observations[other].size


def _other_share(a: Dropped, b: Dropped) -> bool:
    """Whether the shares differ by more than the two sets of elements let expect."""
    middle = 0.5 * (a.share + b.share)
    spread = (middle * (1.0 - middle) * (1.0 / a.count + 1.0 / b.count)) ** 0.5
    return min(a.share, b.share) > 0.0 and max(a.share, b.share) < 1.0 and abs(a.share - b.share) > SIGMAS * spread


def _other_bound(view: StepView, draws: tuple[int, int], a: Dropped, b: Dropped) -> bool:
    """Whether the numbers drawn for what is dropped and kept show two bounds, however few elements there are."""
    first, second = _bounds(view.a, draws[0], a), _bounds(view.b, draws[1], b)
    if first is None or second is None:
        return False
    (a_low, a_high, a_below), (b_low, b_high, b_below) = first, second
    return a_below == b_below and (a_high < b_low or b_high < a_low)


def _bounds(graph: StepGraph, draw: int, found: Dropped) -> tuple[float, float, bool] | None:
    """Between which two drawn numbers the bound of a dropout lies, and whether it keeps what lies below it."""
    seen = [graph.observations[index] for index in (draw, found.x, found.y)]
    if not all(one.stored for one in seen) or len({one.shape for one in seen}) > 1:
        return None
    drawn, x, y = (graph.block.array(one.index) for one in seen)
    dropped, kept = drawn[(x != 0) & (y == 0)], drawn[y != 0]
    if not dropped.size or not kept.size:
        return None
    if dropped.max() < kept.min():
        return float(dropped.max()), float(kept.min()), False
    if kept.max() < dropped.min():
        return float(kept.max()), float(dropped.min()), True
    return None


def _finding(runs: Runs, view: StepView, located: Located, found: list[tuple[Dropped, Dropped]]) -> Finding:
    a, b = found[0]
    more = f" (and {len(found) - 1} more dropouts)" if len(found) > 1 else ""
    divergence = Divergence(
        step=view.step,
        phase="forward",
        a=place_of(view.a.observations[a.y]),
        b=place_of(view.b.observations[b.y]),
        error=abs(a.share - b.share) / max(a.share, b.share),
        tolerance=view.tolerances.forward,
        summary=f"of equal draws {100 * a.share:.3g} % drop in a, {100 * b.share:.3g} % in b{more}",
        a_index=a.y,
        b_index=b.y,
    )
    numbers = {
        "dropouts": [(one.x, one.y, other.x, other.y) for one, other in found],
        "shares": (a.share, b.share),
        "counts": (a.count, b.count),
    }
    pairing = pairing_of(view, located.matching)
    return Finding(divergence, runs.a, runs.b, runs.pairs, pairing=pairing, kind="draws", numbers=numbers)
