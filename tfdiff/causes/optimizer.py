"""The update: another learning rate, another weight decay."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tfdiff.causes.hypothesis import Proposal
from tfdiff.causes.scene import EPS32, TINY, joined, proportion, same
from tfdiff.causes.words import creator, number, optimizer_name
from tfdiff.pairing.distance import relative_error

if TYPE_CHECKING:
    from tfdiff.causes.scene import Scene, Side, Update

MIN_SIZE = 16
DECISIVE = 1e-3
"""Relative error up to which an update can be read off the weights for its agreement to mean something."""
EQUAL = 2e-3
"""Up to which relative difference two constants read from the traces are the same one."""


def rounding(updates: list[Update]) -> float:
    """Relative error of the updates that comes from reading them off as differences of float32 weights."""
    weights = joined(u.w_a for u in updates)
    steps = max(
        float(np.linalg.norm(joined(u.u_a for u in updates))), float(np.linalg.norm(joined(u.u_b for u in updates)))
    )
    return 2.0 * EPS32 * float(np.linalg.norm(weights)) / max(steps, TINY)


def learning_rate(scene: Scene) -> Proposal | None:
    """The gradients agree and every update is k times A's: k must be the ratio of two visible learning rates."""
    updates = scene.updates(scene.concerned)
    u_a, u_b = joined(u.u_a for u in updates), joined(u.u_b for u in updates)
    if not u_a.size or not np.any(u_a) or not np.any(u_b):
        return None
    k, left = proportion(u_a, u_b)
    if k <= 0.0 or same(k, 1.0, 1e-6) or left > max(1e-3, rounding(updates)):
        return None
    rates = None if others_agree(scene) else _rates(scene, updates, k)
    if rates is None:
        return None
    a, b, known = rates
    later = _agreed_before(scene)
    since = f" from step {scene.step} on" if later else ""
    return Proposal(
        relative_error(u_a, u_b),
        relative_error(u_a, u_b * (a / b)),
        f"the learning rate is {number(b)} in B, {number(a)} in A{since}: equal gradients, updates {number(k)} x A's",
        f"{_schedule_fix(a) if later else _lr_fix(scene, a)}{creator(scene, scene.b)}",
        {"a": float(f"{a:.6g}"), "b": float(f"{b:.6g}")},
        fitted=2 - known,
        code="lr-schedule" if later else None,
        noise=max(1e-3, rounding(updates)),
    )


def _agreed_before(scene: Scene) -> bool:
    """Whether an earlier step moved these variables: its updates agreed, or the divergence would be there."""
    variable = scene.concerned[0].a
    first, last = (scene.finding.a.value_after(variable, step) for step in (-1, scene.step - 1))
    return scene.step > 0 and first is not None and last is not None and not np.array_equal(first, last)


def _schedule_fix(rate: float) -> str:
    return f"the same schedule as in A, learning rate {number(rate)} here"


def others_agree(scene: Scene) -> bool:
    """Whether weights that the divergence is not about are updated alike: then nothing is wrong with all updates."""
    concerned = {pair.a for pair in scene.concerned}
    kinds = scene.finding.a.variables
    rest = [p for p in scene.finding.variables if p.a not in concerned and p.a in kinds and kinds[p.a].kind == "weight"]
    for update in scene.updates(rest):
        limit = max(1e-4, 4.0 * rounding([update]))
        # An update that is nothing but rounding agrees with every other.
        if limit <= DECISIVE and np.any(update.u_a) and relative_error(update.u_a, update.u_b) <= limit:
            return True
    return False


def _rates(scene: Scene, updates: list[Update], k: float) -> tuple[float, float, int] | None:
    """(A's rate, B's rate, how many were read): told by the optimizers, else by constants in the update."""
    told = _told(scene.a), _told(scene.b)
    if told[0] is not None and told[1] is not None:
        return (told[0], told[1], 2) if same(told[1] / told[0], k, EQUAL) else None
    seen = _constants(scene, scene.a, updates), _constants(scene, scene.b, updates)
    for side in (0, 1):
        if told[side] is not None:
            rate = told[side] or 0.0
            other = rate * k if side == 0 else rate / k
            if not any(same(other, value, EQUAL) for value in seen[1 - side]):
                return None
            return (rate, _nearest(other, seen[1]), 1) if side == 0 else (_nearest(other, seen[0]), rate, 1)
    ratios = [(a, b) for a in seen[0] for b in seen[1] if same(b / a, k, EQUAL) and not same(a, b, 1e-6)]
    own = [(a, b) for a, b in ratios if a not in seen[1] or b not in seen[0]]
    return (*own[0], 0) if own else None


def _told(side: Side) -> float | None:
    """The learning rate that the step's optimizer says it used."""
    value: Any = side.optimizer().get("learning_rate")
    return float(value) if isinstance(value, (int, float)) and value > 0 else None


def _constants(scene: Scene, side: Side, updates: list[Update]) -> list[float]:
    """Positive scalars that flow into the update of the concerned variables, by size."""
    wanted = {u.pair.a if side is scene.a else u.pair.b for u in updates}
    assigns = [seen.index for seen in side.with_role("assign") if seen.site.variable in wanted]
    found: set[float] = set()
    for index in _flow(side, assigns):
        seen = side.observations[index]
        value = side.scalar(index)
        if value is not None and 0.0 < abs(value) < 1e3 and "float" in seen.dtype and _is_setting(side, index):
            found.add(abs(value))
    return sorted(found)


def _flow(side: Side, assigns: list[int]) -> set[int]:
    """What the assigned values were computed from, also by way of slots that the step wrote before it read them."""
    reached = side.ancestors(assigns)
    slots = {seen.site.variable for seen in side.with_role("slot") if seen.index in reached}
    return reached | side.ancestors(seen.index for seen in side.with_role("assign") if seen.site.variable in slots)


def _is_setting(side: Side, index: int) -> bool:
    """Whether a scalar is made of constants and variables alone, in the update."""
    seen = side.observations[index]
    return seen.site.role in ("constant", "state", "slot") or seen.site.phase == "update"


def zero_rate(scene: Scene, side: Side, updates: list[Update]) -> bool:
    """Whether the weights stay where they are because the rate is 0: it is told, or taken times a number that is."""
    if side.optimizer():
        return side.optimizer().get("learning_rate") == 0.0
    for update in updates:
        variable = update.pair.a if side is scene.a else update.pair.b
        flow = _flow(side, [seen.index for seen in side.with_role("assign") if seen.site.variable == variable])
        if not any(side.scalar(index) == 0.0 and "float" in side.observations[index].dtype for index in flow):
            return False
    return bool(updates)


def _nearest(value: float, among: list[float]) -> float:
    return min(among, key=lambda other: abs(other - value))


def _lr_fix(scene: Scene, rate: float) -> str:
    if scene.b.optimizer():
        return f"{optimizer_name(scene.b)}(learning_rate={number(rate)})"
    return f"multiply the gradient by {number(rate)}: w.assign_sub({number(rate)} * g)"
