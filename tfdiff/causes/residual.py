"""An addition that only one side makes: the bypass of a residual block."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfdiff.causes.hypothesis import Proposal
from tfdiff.causes.recompute import differ, find, inverse, recompute
from tfdiff.causes.words import plain
from tfdiff.comparison.metrics import into_layout
from tfdiff.pairing.distance import relative_error

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tfdiff.causes.scene import Floats, Scene, Side
    from tfdiff.comparison.findings import Match

SUMS = frozenset({"Add", "AddV2", "AddN"})
INPUTS = frozenset({"input", "activation"})


def bypass(scene: Scene) -> Proposal | None:
    """One side adds two tensors that both sides have, the other goes on with one of them alone."""
    for side in scene.sides:
        for total, added, kept in _sums(scene, side):
            proposal = _proved(scene, side, total, added, kept)
            if proposal is not None:
                return proposal
    return None


def _sums(scene: Scene, side: Side) -> Iterator[tuple[int, int, int]]:
    """(sum, operand, the other operand) where both operands have an equal on the other side and the sum has none."""
    pairs = _pairs(scene, side)
    for index in side.bad:
        seen = side.observations[index]
        if seen.site.op not in SUMS or len(seen.inputs) != 2 or seen.inputs[0] == seen.inputs[1]:
            continue
        known = [i in pairs and side.observations[i].site.role in INPUTS for i in seen.inputs]
        if all(known) and all(side.observations[i].size == seen.size for i in seen.inputs):
            first, second = seen.inputs
            yield index, first, second
            yield index, second, first


def _pairs(scene: Scene, side: Side) -> dict[int, Match]:
    pairing = scene.finding.pairing
    if pairing is None:
        return {}
    return dict(pairing.a_to_b if side is scene.a else pairing.b_to_a)


def _proved(scene: Scene, side: Side, total: int, added: int, kept: int) -> Proposal | None:
    """With the sum in place of the tensor that is kept, an op of the other side gives what this side has."""
    pairs = _pairs(scene, side)
    other = scene.b if side is scene.a else scene.a
    added_match, kept_match = pairs[added], pairs[kept]
    into_b = side is scene.a
    other_added, other_kept = (m.b if into_b else m.a for m in (added_match, kept_match))
    x, y = other.array(other_added), other.array(other_kept)
    if x is None or y is None or not differ(y, y + x.reshape(y.shape) if x.size == y.size else x):
        return None
    if x.shape != y.shape:
        return None
    for user in other.users(other_kept):
        if other_added in other.observations[user].inputs:
            continue
        found = _behind(scene, side, other, {other_kept: x + y}, user, kept_match, total)
        if found is not None:
            return _proposal(scene, side, (total, other_added, user), found)
    return None


def _behind(
    scene: Scene, side: Side, other: Side, changed: dict[int, Floats], user: int, match: Match, total: int
) -> tuple[float, float] | None:
    """(error as recorded, error with the sum) of what the op that goes on gives, against the side that adds."""
    predicted, recorded = recompute(other, changed, user), other.array(user)
    if predicted is None or recorded is None:
        return None
    permutation = inverse(match.permutation) if other is scene.a else match.permutation
    index = find(scene, side, predicted, permutation, behind=total)
    if index is None:
        return None
    shape = side.observations[index].shape
    turned = [into_layout(value, shape, permutation) for value in (recorded, predicted)]
    if turned[0] is None or turned[1] is None:
        return None
    return relative_error(turned[1], turned[0]), side.error(index, turned[1])


def _proposal(scene: Scene, side: Side, where: tuple[int, int, int], errors: tuple[float, float]) -> Proposal:
    total, added, user = where
    if side is scene.a:
        adds, lacks = _line(scene.a, total), _line(scene.b, user)
        return Proposal(
            *errors,
            f"A adds an earlier tensor to this one{adds} (the bypass of a residual block), B goes on without it",
            f"write x + f(x), x being the tensor made{_line(scene.b, added)}, for what is taken{lacks}",
            {"a": 1, "b": 0},
            fitted=0,
            code="arch-missing-layer",
        )
    adds = _line(scene.b, total)
    return Proposal(
        *errors,
        f"B adds an earlier tensor to this one{adds} (the bypass of a residual block), A goes on without it",
        f"write f(x) for x + f(x){adds}",
        {"a": 0, "b": 1},
        fitted=0,
        code="arch-extra-layer",
    )


def _line(side: Side, index: int) -> str:
    """` at b.py:12`: the line that makes a tensor, or the layer's that does."""
    site = side.observations[index].site
    line = site.source or site.called
    return f" at {plain(line)}" if line else ""
