"""What a program does to its batch before anything else: times a constant, plus a constant."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tfdiff.causes.hypothesis import Proposal
from tfdiff.causes.layers import goes_on
from tfdiff.causes.scene import same
from tfdiff.causes.words import at, b_site, number
from tfdiff.pairing.distance import relative_error

if TYPE_CHECKING:
    from tfdiff.causes.scene import Cut, Floats, Scene, Side

MAX_OPS = 6
EQUAL = 1e-6
"""Relative difference up to which two constants are the same one."""
_LEARNED = frozenset({"weight", "state", "noise"})


@dataclass(frozen=True)
class _Map:
    """x * factor + offset, and the op that has computed it last."""

    node: int
    factor: float = 1.0
    offset: float = 0.0

    def of(self, x: Floats) -> Floats:
        """The values behind it."""
        return x * self.factor + self.offset

    def same_as(self, other: _Map) -> bool:
        """Whether both do the same."""
        return same(self.factor, other.factor, EQUAL) and same(1.0 + self.offset, 1.0 + other.offset, EQUAL)


def input_scale(scene: Scene) -> Proposal | None:
    """The batch agrees, and each side multiplies it with (adds to it) constants of its own before it goes on."""
    for cut in scene.cuts:
        if not all(is_batch(side, index) for side, index in ((scene.a, cut.a), (scene.b, cut.b))):
            continue
        a, b = _scaled(scene, scene.a, cut.a, cut.x_a), _scaled(scene, scene.b, cut.b, cut.x_b)
        unscaled = [one.node == index for one, index in ((a, cut.a), (b, cut.b))]
        if a.same_as(b) or all(unscaled) or not (_at_place(scene.a, a.node) and _at_place(scene.b, b.node)):
            continue
        if unscaled[0] and not goes_on(scene.a, cut.a, scene.b, b.node):
            continue
        if unscaled[1] and not goes_on(scene.b, cut.b, scene.a, a.node):
            continue
        return _proposal(scene, cut, a, b)
    return None


def _proposal(scene: Scene, cut: Cut, a: _Map, b: _Map) -> Proposal | None:
    y_b = scene.in_a(b.of(cut.x_b), cut.x_a.shape, cut)
    if y_b is None or b.factor == 0.0:
        return None
    back = (y_b - b.offset) / b.factor
    site = b_site(scene, b.node)
    layer = site.layer_class if site is not None else None
    words = _said("x", a)
    if layer == "Rescaling":
        words = f"Rescaling({number(a.factor)}{f', offset={number(a.offset)}' if a.offset else ''})"
    return Proposal(
        relative_error(a.of(cut.x_a), y_b),
        scene.a.error(a.node, a.of(back)),
        f"the inputs go on as {_said('x', b)} in B, as {_said('x', a)} in A",
        f"{words}{at(scene.finding.divergence.b)}",
        {"a": {"scale": a.factor, "offset": a.offset}, "b": {"scale": b.factor, "offset": b.offset}},
        fitted=0,
    )


def _said(name: str, one: _Map) -> str:
    scaled = name if same(one.factor, 1.0, EQUAL) else f"{name} * {number(one.factor)}"
    if one.offset == 0.0:
        return scaled
    return f"{scaled} {'+' if one.offset > 0 else '-'} {number(abs(one.offset))}"


def _at_place(side: Side, node: int) -> bool:
    """Whether a tensor lies on the way to or from the place of the divergence: labels, say, are scaled elsewhere."""
    place = side.frontier
    return place is None or node in side.ancestors((place,)) or place in side.ancestors((node,))


def is_batch(side: Side, index: int) -> bool:
    """Whether a tensor is the batch, or made of it without anything learned or drawn."""
    roles = {side.observations[i].site.role for i in side.ancestors((index,))}
    return "input" in roles and not roles & _LEARNED


def _scaled(scene: Scene, side: Side, index: int, x: Floats) -> _Map:
    """What a chain of ops with constants makes of a tensor, as far as it was recorded so."""
    found = _Map(index)
    for _ in range(MAX_OPS):
        users = side.users(found.node)
        steps = [step for user in users if (step := _step(side, found, user)) is not None]
        step = next((step for step in steps if side.error(step.node, step.of(x)) <= scene.tolerance), None)
        if step is None:
            break
        found = step
    return found


def _step(side: Side, before: _Map, user: int) -> _Map | None:
    """The map with one more op behind it; None for an op that does something else."""
    seen = side.observations[user]
    if len(seen.inputs) != 2 or "float" not in seen.dtype:  # ids are moved, not scaled
        return None
    scalars = [side.scalar(operand) for operand in seen.inputs]
    constant, first = (scalars[1], True) if scalars[1] is not None else (scalars[0], False)
    if constant is None or all(scalar is not None for scalar in scalars):
        return None
    factor, offset = before.factor, before.offset
    made = {
        "Mul": (factor * constant, offset * constant),
        "RealDiv": (factor / constant, offset / constant) if first and constant != 0.0 else None,
        "AddV2": (factor, offset + constant),
        "Add": (factor, offset + constant),
        "Sub": (factor, offset - constant) if first else (-factor, constant - offset),
    }.get(seen.site.op)
    return None if made is None else _Map(user, *made)
