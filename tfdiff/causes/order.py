"""Two layers that stand in another order.

From an equal tensor x one side computes g(f(x)), the other f(g(x)). The two transformations are read off B's graph
(what leads from one tensor to another, with all other operands as they were) and computed again in A's order: both g(x)
and f(g(x)) must be tensors of A.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfdiff.causes.dropout import find_drop
from tfdiff.causes.hypothesis import Proposal
from tfdiff.causes.layers import goes_on
from tfdiff.causes.recompute import MIN_SIZE, differ, dominators, effort, find, recompute, tells
from tfdiff.causes.scene import same
from tfdiff.causes.words import plain
from tfdiff.comparison.metrics import into_layout
from tfdiff.pairing.distance import relative_error

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tfdiff.causes.dropout import Drop
    from tfdiff.causes.scene import Cut, Floats, Scene, Side

MAX_TRIED = 400
"""Pairs of transformations that are computed again."""
MAX_WORK = 1 << 29
"""Multiplications that are done for one divergence."""
INNER = 24
"""Tensors inside a residual block, or behind it, that are tried as what a normalization gives."""
SUMS = frozenset({"Add", "AddV2"})


def order(scene: Scene) -> Proposal | None:
    """Two layers in another order behind an equal tensor, or a normalization in front of a residual block on one side
    and behind its addition on the other.
    """
    for cut in scene.cuts:
        if cut.x_b.size >= MIN_SIZE and cut.x_b.ndim > 1:
            found = _swapped(scene, cut) or _norm_moved(scene, cut) or _dropout_moved(scene, cut)
            if found is not None:
                return found
    return None


def _swapped(scene: Scene, cut: Cut) -> Proposal | None:
    side, x = scene.b, cut.x_b
    for middle, end in list(_chains(side, cut.b))[:MAX_TRIED]:
        first = _again(side, {middle: x}, end)  # g(x)
        if first is None or not differ(first, x):
            continue
        at_first = find(scene, scene.a, first, cut.permutation)
        if at_first is None:
            continue
        second = _again(side, {cut.b: first}, middle)  # f(g(x))
        recorded = side.array(end)
        if second is None or recorded is None or not differ(second, first) or not differ(second, recorded):
            continue
        at_second = find(scene, scene.a, second, cut.permutation, behind=at_first)
        # Where B lacks a layer, what is left of both sides may look exchanged: then they go on with other ops.
        if at_second is not None and goes_on(scene.b, end, scene.a, at_second):
            return _proposal(scene, cut, at_second, (middle, end), (recorded, second))
    return None


def _again(side: Side, changed: dict[int, Floats], target: int) -> Floats | None:
    """`recompute`, as long as the work for this divergence is not too much."""
    spent = side.memo.get(("order",), 0) + effort(side, changed, target)
    if spent > MAX_WORK:
        return None
    side.memo["order",] = spent
    return recompute(side, changed, target)


def _chains(side: Side, start: int) -> Iterator[tuple[int, int]]:
    """(middle, end), the nearest first: all that leads from the start to the end goes through the middle."""
    known = dominators(side, start)
    for end in sorted(known):
        if tells(side, end):
            for middle in known[end]:
                if tells(side, middle):
                    yield middle, end


def _norm_moved(scene: Scene, cut: Cut) -> Proposal | None:
    """x + f(n(x)) on one side, n(x + f(x)) on the other: n and f are B's."""
    side, x = scene.b, cut.x_b
    known = dominators(side, cut.b)
    for total in known:
        seen = side.observations[total]
        others = [i for i in seen.inputs if i != cut.b]
        if seen.site.op not in SUMS or len(others) != 1 or others[0] not in known or seen.size != x.size:
            continue
        branch = others[0]
        within = [i for i in known[branch] if tells(side, i) and side.observations[i].size == x.size]
        behind = [i for i in known if total in known[i] and tells(side, i)]
        found = [_moved_behind(scene, cut, total, branch, i) for i in within[:INNER]]
        found += [
            _moved_ahead(scene, cut, total, branch, i) for i in behind[:INNER] if side.observations[i].size == x.size
        ]
        proposal = next((one for one in found if one is not None), None)
        if proposal is not None:
            return proposal
    return None


def _moved_ahead(scene: Scene, cut: Cut, total: int, branch: int, norm: int) -> Proposal | None:
    """B's n(x + f(x)) is x + f(n(x)) in A."""
    side, x = scene.b, cut.x_b
    first = _again(side, {total: x}, norm)
    at_first = None if first is None or not differ(first, x) else find(scene, scene.a, first, cut.permutation)
    inner = None if first is None or at_first is None else _again(side, {cut.b: first}, branch)
    recorded = side.array(norm)
    if inner is None or at_first is None or recorded is None or inner.size != x.size:
        return None
    second = x + inner.reshape(x.shape)
    at_second = find(scene, scene.a, second, cut.permutation, behind=at_first)
    if at_second is None or not differ(second, recorded):
        return None
    return _proposal(scene, cut, at_second, (total, norm), (recorded, second))


def _moved_behind(scene: Scene, cut: Cut, total: int, branch: int, norm: int) -> Proposal | None:
    """B's x + f(n(x)) is n(x + f(x)) in A."""
    side, x = scene.b, cut.x_b
    inner = _again(side, {norm: x}, branch)
    if inner is None or inner.size != x.size:
        return None
    first = x + inner.reshape(x.shape)
    at_first = find(scene, scene.a, first, cut.permutation)
    second = None if at_first is None else _again(side, {cut.b: first}, norm)
    recorded = side.array(total)
    if second is None or at_first is None or recorded is None or not differ(second, first):
        return None
    at_second = find(scene, scene.a, second, cut.permutation, behind=at_first)
    if at_second is None or not differ(second, recorded):
        return None
    return _proposal(scene, cut, at_second, (norm, total), (recorded, second))


def _dropout_moved(scene: Scene, cut: Cut) -> Proposal | None:
    """A dropout in front of a layer on one side and behind it on the other, with draws of other sizes."""
    a, b = find_drop(scene.a, cut.a, cut.x_a), find_drop(scene.b, cut.b, cut.x_b)
    if (a is None) == (b is None):
        return None
    start = cut.b if b is None else b.index
    ends = [end for end in dominators(scene.b, start) if tells(scene.b, end)][:INNER]
    found = (_dropped_first(scene, cut, b, end) if b is not None else _dropped_last(scene, cut, a, end) for end in ends)
    return next((one for one in found if one is not None), None)


def _dropped_first(scene: Scene, cut: Cut, drop: Drop, end: int) -> Proposal | None:
    """B drops x, A what a layer makes of x."""
    made = _again(scene.b, {drop.index: cut.x_b}, end)
    recorded = scene.b.array(end)
    at_made = None if made is None or recorded is None else find(scene, scene.a, made, cut.permutation)
    x = None if at_made is None else scene.a.array(at_made)
    other = None if x is None or at_made is None else find_drop(scene.a, at_made, x)
    if other is None or x is None or other.uniform is None or recorded is None or not same(other.rate, drop.rate):
        return None
    wanted = other.again(x, other.uniform.reshape(x.shape))
    return _proposal(scene, cut, other.index, (drop.index, end), (recorded, wanted))


def _dropped_last(scene: Scene, cut: Cut, drop: Drop | None, end: int) -> Proposal | None:
    """A drops x, B what a layer makes of x."""
    x, made = scene.b.array(end), None if drop is None else scene.a.array(drop.index)
    if drop is None or x is None or made is None or cut.permutation is not None or made.size != cut.x_b.size:
        return None
    other = find_drop(scene.b, end, x)
    if other is None or not same(other.rate, drop.rate):
        return None
    wanted = _again(scene.b, {cut.b: made.reshape(cut.x_b.shape)}, end)
    recorded = scene.b.array(other.index)
    at_a = None if wanted is None else find(scene, scene.a, wanted, None, behind=drop.index)
    if at_a is None or wanted is None or recorded is None:
        return None
    return _proposal(scene, cut, at_a, (end, other.index), (recorded, wanted))


def _proposal(scene: Scene, cut: Cut, at_a: int, in_b: tuple[int, int], values: tuple[Floats, Floats]) -> Proposal:
    """`values`: what B recorded, and what its layers give in A's order, at A's `at_a`."""
    shape = scene.a.observations[at_a].shape
    recorded, wanted = (into_layout(value, shape, cut.permutation) for value in values)
    before = float("inf") if recorded is None or wanted is None else relative_error(wanted, recorded)
    first, second = (_said(scene.b, index) for index in in_b)
    return Proposal(
        before,
        float("inf") if wanted is None else scene.a.error(at_a, wanted),
        f"two layers in another order: B computes {first}, then {second}; A the other way round",
        f"{second} first, then {first}",
        {"a": [_name(scene.b, i) for i in in_b[::-1]], "b": [_name(scene.b, i) for i in in_b]},
        fitted=0,
    )


def _name(side: Side, index: int) -> str:
    """The layer, or the API or op, that makes a tensor."""
    site = side.observations[index].site
    return plain(site.layer.rsplit("/", 1)[-1] if site.layer else site.api or site.op)


def _said(side: Side, index: int) -> str:
    """`layer 'norm' (b.py:12)`, `tf.nn.relu (b.py:14)`, `the line b.py:15`."""
    site = side.observations[index].site
    line = site.source or site.called
    if site.op in SUMS and _holds_layers(side, site.layer):
        return f"the addition ({plain(site.called or line)})"
    if site.layer is None and not (site.api or "").startswith("tf.") and line:
        return f"the line {plain(line)}"
    name = f"layer '{_name(side, index)}'" if site.layer else _name(side, index)
    return f"{name} ({plain(line)})" if line else name


def _holds_layers(side: Side, layer: str | None) -> bool:
    """Whether a layer is made of others, so that an op of its own is one of its lines."""
    paths = (seen.site.layer for seen in side.observations)
    return layer is not None and any(path is not None and path.startswith(f"{layer}/") for path in paths)
