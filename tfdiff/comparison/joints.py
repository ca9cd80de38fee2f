"""Tensors of both forward passes that stand for one another whatever was computed in front of them: what goes into the
products with paired weights, and what the loss takes.

Over these an isolated pass of b writes a's values. That a place is the same on both sides is told by the weights that
consume it, not by its value, which may differ by then; so the order of its elements has to be known from elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tfdiff.comparison.forward import SQUASHING, weight_outputs
from tfdiff.orders import Joint
from tfdiff.pairing.layouts import inverse, permuted
from tfdiff.pairing.sites import MIN_ELEMENTS, is_float

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tfdiff.comparison.graph import StepGraph
    from tfdiff.comparison.matching import Matching
    from tfdiff.comparison.runs import Runs, StepView
    from tfdiff.model import Observation, Site
    from tfdiff.orders import JointKey
    from tfdiff.pairing.pairs import VariablePair
    from tfdiff.trace.reader import Trace

MOST_USES = 3
"""A weight that is used more often in one step is taken to be used in a loop, where nothing is written over."""
RESHAPING = frozenset({"Reshape", "Squeeze", "ExpandDims", "Identity"})
"""Ops that leave the order of the elements as it is."""


@dataclass(frozen=True)
class Place:
    """A pair of tensors of one step that stand for one another."""

    a: int
    b: int
    permutation: tuple[int, ...] | None = None
    """Brings a's value into the layout of b's (before a reshape)."""


def places(runs: Runs, view: StepView, matching: Matching, kept: frozenset[int]) -> list[Place]:
    """The places of one step, in b's order of execution; `kept` holds the sites of which a has all values."""
    found: dict[int, Place] = {}
    taken: set[int] = set()
    for place in (*_of_products(runs, view, matching, kept), *_of_heads(view, matching, kept)):
        if place.b not in found and place.a not in taken:
            found[place.b] = place
            taken.add(place.a)
    return [found[index] for index in sorted(found)]


def joint_of(view: StepView, place: Place) -> Joint:
    """The joint of a place."""
    return Joint(view.a.observations[place.a].site.id, key_of(view.b.observations[place.b].site), place.permutation)


def key_of(site: Site) -> JointKey:
    """What tells b's tensor in another run of b."""
    return (site.op, site.output, site.layer, site.called, site.api, site.occurrence)


def unclear_keys(view: StepView) -> set[tuple[str, int, str | None, str | None, str | None]]:
    """Keys (but for the number) of ops of b's that stand outside its forward pass too.

    A layer that moves its statistics multiplies for that as well: while it runs nobody can tell which is the n-th
    multiplication of the forward pass.
    """
    sites = (seen.site for seen in view.b.observations if seen.site.role != "forced" and seen.site.op)
    return {key_of(site)[:-1] for site in sites if site.phase == "state"}


def kept_sites(trace: Trace, steps: int) -> frozenset[int]:
    """The sites of the forward pass of which every value of the first `steps` steps is in the trace."""
    seen: set[int] = set()
    missing: set[int] = set()
    for step in range(steps):
        for observation in trace.step(step).observations:
            if observation.site.role == "activation":
                (seen if observation.stored else missing).add(observation.site.id)
    return frozenset(seen - missing)


def may_stand(view: StepView, a: int, b: int, kept: frozenset[int]) -> bool:
    """Whether a's tensor can be written over b's: floats of the batch, b's no squashed one, since Keras'
    cross-entropies look through the op in front of them.
    """
    first, second = view.a.observations[a], view.b.observations[b]
    return (
        first.site.id in kept
        and first.size == second.size >= MIN_ELEMENTS
        and second.site.op not in SQUASHING
        and all(is_float(seen) and seen.site.role == "activation" and seen.site.op for seen in (first, second))
        and a in view.a.data
        and b in view.b.data
    )


def operand_pairs(runs: Runs, view: StepView) -> list[tuple[int, int]]:
    """What goes into the k-th product of a weight on either side, wherever it comes from."""
    found = [tuple(_operand(g, i) for g, i in zip((view.a, view.b), ops, strict=True)) for *ops, _ in _uses(runs, view)]
    return [(a, b) for a, b in found if a is not None and b is not None]


def _of_products(runs: Runs, view: StepView, matching: Matching, kept: frozenset[int]) -> Iterator[Place]:
    """What goes into the k-th product of a weight on either side, where that is no other tensor of the other side.

    Where it is, one side has something more in front of the weight (a layer twice): there what comes out of it.
    """
    for i, j, pair in _uses(runs, view):
        place = _at(view, matching, kept, (i, j), pair)
        if place is not None:
            yield place
        elif _fed_otherwise(view, matching, (i, j)) and _same_layout(view, i, j, pair) and may_stand(view, i, j, kept):
            yield Place(i, j)


def _fed_otherwise(view: StepView, matching: Matching, ops: tuple[int, int]) -> bool:
    """Whether what goes into either of two products that differ is equal to another tensor than what goes into the
    other one.
    """
    a, b = (_operand(graph, index) for graph, index in zip((view.a, view.b), ops, strict=True))
    if a is None or b is None or ops[0] in matching.from_a or ops[1] in matching.from_b:
        return False
    return _matched(matching, a, b) is None


def _same_layout(view: StepView, a: int, b: int, pair: VariablePair) -> bool:
    """Whether the elements of two products stand in one order."""
    first, second = view.a.observations[a], view.b.observations[b]
    formats = {seen.site.attrs.get("data_format") for seen in (first, second)}
    return _plain(pair) and first.shape == second.shape and len(formats) == 1


def _uses(runs: Runs, view: StepView) -> Iterator[tuple[int, int, VariablePair]]:
    """The k-th product of a paired weight on either side."""
    outputs = weight_outputs(view.a), weight_outputs(view.b)
    for variable, indices in sorted(outputs[0].items()):
        pair = runs.by_a.get(variable)
        others = outputs[1].get(pair.b, []) if pair is not None else []
        if pair is not None and len(indices) == len(others) <= MOST_USES:
            yield from ((i, j, pair) for i, j in zip(indices, others, strict=True))


def _at(
    view: StepView, matching: Matching, kept: frozenset[int], ops: tuple[int, int], pair: VariablePair
) -> Place | None:
    """The place in front of a pair of products, or in front of reshapes before them."""
    chains = [_chain(graph, _operand(graph, index)) for graph, index in zip((view.a, view.b), ops, strict=True)]
    sites = view.a.observations[ops[0]].site, view.b.observations[ops[1]].site
    for a in chains[0]:
        for b in chains[1]:
            if not may_stand(view, a, b, kept) or _is_branch(view.a, chains[0], a) != _is_branch(view.b, chains[1], b):
                continue
            matched = _matched(matching, a, b)
            if matched is None:
                return None  # equal to another tensor: these do not stand for one another
            if matched[0]:
                return Place(a, b, matched[1])
            direct = a == chains[0][0] and b == chains[1][0]
            known, order = _layout(view, a, b, sites if direct else None, pair)
            if known:
                return Place(a, b, order)
    return None


def _operand(graph: StepGraph, index: int) -> int | None:
    """What a product takes of the batch; None for one that takes several tensors of it, or none."""
    moving = [i for i in dict.fromkeys(graph.operands(index)) if i in graph.data and is_float(graph.observations[i])]
    return moving[0] if len(moving) == 1 else None


def _chain(graph: StepGraph, index: int | None) -> list[int]:
    """A tensor and those that it is a reshape of, the nearest first; empty where these end in the batch itself."""
    chain = []
    while index is not None:
        seen = graph.observations[index]
        if seen.site.role == "input":
            return []
        chain.append(index)
        index = _operand(graph, index) if seen.site.op in RESHAPING else None
    return chain


def _is_branch(graph: StepGraph, chain: list[int], index: int) -> bool:
    """Whether a tensor is a reshape, in `chain`, of one that goes elsewhere, too: its gradient is but a part then."""
    above = chain[chain.index(index) + 1 :]
    return any(sum(user in graph.data for user in graph.consumers[tensor]) > 1 for tensor in above)


def _matched(matching: Matching, a: int, b: int) -> tuple[bool, tuple[int, ...] | None] | None:
    """Whether the values of the free run agree, and b's order of axes then; None where one agrees with another
    tensor.
    """
    for match in matching.from_a.get(a, ()):
        if match.b == b:
            return True, None if match.permutation is None else inverse(match.permutation)
    return None if a in matching.from_a or b in matching.from_b else (False, None)


def _layout(
    view: StepView, a: int, b: int, sites: tuple[Site, Site] | None, pair: VariablePair
) -> tuple[bool, tuple[int, ...] | None]:
    """Whether the order of the elements is known, and how the axes turn; `sites` are the ops that consume them."""
    first, second = view.a.observations[a].shape, view.b.observations[b].shape
    formats = [] if sites is None else [str(site.attrs.get("data_format", "")) for site in sites]
    if len(first) == len(second) > 2 and formats and all(formats):
        turned = _channels(len(first), formats[0].startswith("NC"), formats[1].startswith("NC"))
        return (True, turned) if permuted(first, turned or tuple(range(len(first)))) == second else (False, None)
    if not _plain(pair):
        return False, None  # rows of the weight in another order: so are the columns of what it is multiplied with
    if first == second:
        return len(first) < 3 or first[0] != first[1], None  # as many steps of time as rows: either may come first
    return _flattened(view, first, second), None


def _channels(rank: int, a_first: bool, b_first: bool) -> tuple[int, ...] | None:  # noqa: FBT001 - one per side
    """How the axes turn where one side has its channels first and the other one last."""
    if a_first == b_first:
        return None
    inner = tuple(range(1, rank - 1))
    return (0, *(axis + 1 for axis in inner), 1) if a_first else (0, rank - 1, *inner)


def _plain(pair: VariablePair) -> bool:
    """Whether a weight's input axis has one order on both sides: its axes may be swapped, no more."""
    return pair.whole and pair.reshape is None and pair.permutation in (None, (0, 1), (1, 0))


def _flattened(view: StepView, first: tuple[int, ...], second: tuple[int, ...]) -> bool:
    """Whether one shape is the other one with its leading axes in one, the batch's outermost."""
    if not first or not second or first[-1] != second[-1] or len(first) == len(second):
        return False
    longer, shorter = sorted((first, second), key=len, reverse=True)
    rows = {seen.shape[0] for seen in view.a.observations if seen.site.role == "input" and seen.shape}
    return len(shorter) == 2 and longer[0] in rows and (len(longer) < 3 or longer[0] != longer[1])


def _of_heads(view: StepView, matching: Matching, kept: frozenset[int]) -> Iterator[Place]:
    """What the losses take of the networks, in front of anything that squashes it."""
    heads = _heads(view.a), _heads(view.b)
    if len(heads[0]) != len(heads[1]):
        return
    for a, b in zip(*heads, strict=True):
        first, second = view.a.observations[a], view.b.observations[b]
        if not may_stand(view, a, b, kept) or _slim(first) != _slim(second):
            continue
        matched = _matched(matching, a, b)
        if matched is not None:
            yield Place(a, b, matched[1])


def _slim(seen: Observation) -> tuple[int, ...]:
    return tuple(extent for extent in seen.shape if extent != 1)


def _heads(graph: StepGraph) -> list[int]:
    found: list[int] = []
    for index in graph.order:
        if index in graph.loss_part or index not in graph.data or graph.observations[index].site.role == "input":
            continue
        if not any(user in graph.loss_part for user in graph.consumers[index]):
            continue
        seen = graph.observations[index]
        while seen.site.op in SQUASHING | RESHAPING:
            operand = _operand(graph, seen.index)
            if operand is None:
                break
            seen = graph.observations[operand]
        if is_float(seen) and seen.index not in found:
            found.append(seen.index)
    return found
