"""Another weight decay: the updates differ by a multiple of the weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tfdiff.causes.hypothesis import Proposal
from tfdiff.causes.optimizer import MIN_SIZE, rounding
from tfdiff.causes.optimizers import rules_of
from tfdiff.causes.scene import TINY, joined, proportion, same
from tfdiff.causes.words import at, creator, number, optimizer_name
from tfdiff.pairing.distance import relative_error

if TYPE_CHECKING:
    from tfdiff.causes.scene import Floats, Scene, Side, Update


def weight_decay(scene: Scene) -> Proposal | None:
    """The updates differ by c * w: c is fitted, and so is each side's own decay where its ops show it."""
    updates = scene.updates(scene.concerned)
    w, u_a, u_b = (joined(getattr(u, name) for u in updates) for name in ("w_a", "u_a", "u_b"))
    if not w.size or not np.any(w):
        return None
    c, left = proportion(w, u_a - u_b)
    noise = rounding(updates)
    before = relative_error(u_a, u_b)
    scale = max(float(np.linalg.norm(u_a)), float(np.linalg.norm(u_b)), TINY)
    difference = max(float(np.linalg.norm(u_a - u_b)), TINY)
    if left > max(2e-3, min(3.0 * noise * scale / difference, 0.05)) or _uniform(w):
        return None
    decays = _decays(scene, updates, c)
    told = [float(side.optimizer().get("config", {}).get("weight_decay") or 0.0) for side in scene.sides]
    a, b = decays if decays is not None else ((0.0, c) if c > 0 else (-c, 0.0))
    written = [_as_written(scene, side, decay) for side, decay in zip(scene.sides, (a, b), strict=True)]
    return Proposal(
        before,
        relative_error(u_a, u_b + c * w),
        f"each step takes {_share(b)} of the weights away in B, {_share(a)} in A ({_settings(a, b, *written)})",
        _decay_fix(scene, a, b, told[0]),
        {"a": float(f"{written[0]:.4g}"), "b": float(f"{written[1]:.4g}"), "difference": float(f"{c:.4g}")},
        fitted=1 if decays is None else 2,
        noise=max(1e-3, noise),
    )


def _as_written(scene: Scene, side: Side, decay: float) -> float:
    """The number that stands in the program for a share of the weights: times the learning rate it is that share."""
    about = side.optimizer()
    told, rate = (about.get("config") or {}).get("weight_decay"), about.get("learning_rate")
    if isinstance(told, (int, float)) and isinstance(rate, (int, float)):
        return float(told) if same(decay, told * rate, 0.02) else decay
    found = rules_of(scene)
    if found is None or not decay:
        return decay
    rule = (found.a if side is scene.a else found.b).rule
    constants = [
        seen.stats.mean for seen in side.with_role("constant") if seen.size == 1 and seen.site.phase == "update"
    ]
    near = [c for c in constants if rule.decay and same(c, rule.decay, 0.02)]
    return near[0] if near and not any(same(c, decay, 0.02) for c in constants) else decay


def _settings(a: float, b: float, a_written: float, b_written: float) -> str:
    """What is said of the program's own numbers."""
    if (a, b) == (a_written, b_written):
        return "weight decay"
    return f"weight decay {number(b_written)} and {number(a_written)}, times the learning rate"


def _uniform(w: Floats) -> bool:
    """Whether the weights are all alike, so that 'proportional to the weights' says nothing."""
    return float(w.std()) <= 1e-6 * float(np.abs(w).max())


def _share(decay: float) -> str:
    return "nothing" if decay == 0.0 else f"{number(100 * decay)} %"


def _decays(scene: Scene, updates: list[Update], c: float) -> tuple[float, float] | None:
    """The decays of both sides whose difference is c, as far as their ops show a multiple of the weight."""
    a, b = [0.0, *_multiples(scene.a, updates, of_a=True)], [0.0, *_multiples(scene.b, updates, of_a=False)]
    fits = [(x, y) for x in a for y in b if abs(y - x - c) <= 0.02 * abs(c)]
    # Of several pairs the one that explains both sides' ops: most of them used, then the smallest.
    return max(fits, key=lambda pair: ((pair[0] != 0) + (pair[1] != 0), -pair[0] - pair[1]), default=None)


def _multiples(side: Side, updates: list[Update], *, of_a: bool) -> list[float]:
    """Factors (0 < f < 0.5) of tensors of the update that are f times a weight."""
    # The smallest one that is large enough not to fit by chance.
    first = min(updates, key=lambda u: (u.w_a.size < MIN_SIZE or not np.any(u.w_a), u.w_a.size))
    variable = first.pair.a if of_a else first.pair.b
    w = side.before(variable)
    if w is None:
        return []
    found: list[float] = []
    for seen in side.observations:
        if seen.site.phase != "update" or seen.size != w.size or seen.site.role not in ("operation", "assign"):
            continue
        factor = seen.stats.norm / max(float(np.linalg.norm(w)), TINY)
        close = 1e-12 < factor < 0.5 and (
            side.error(seen.index, factor * w) <= 1e-5 or side.error(seen.index, -factor * w) <= 1e-5
        )
        if close and not any(same(factor, other, 1e-3) for other in found):
            found.append(factor)
    return found


def _decay_fix(scene: Scene, a: float, b: float, told: float) -> str:
    where = at(scene.finding.divergence.b) or creator(scene, scene.b)
    rate = scene.a.optimizer().get("learning_rate")
    own = scene.b.optimizer()
    place, b_rate = scene.finding.divergence.b, own.get("learning_rate")
    if place is not None and place.source and place.source == own.get("source") and isinstance(b_rate, (int, float)):
        return f"{optimizer_name(scene.b)}(weight_decay={number(a / b_rate)}){where}"
    if a > 0.0 and isinstance(rate, (int, float)) and same(a, b * rate, 0.02):
        return (
            f"scale the decay by the learning rate: learning_rate * {number(b)} * w instead of {number(b)} * w{where}"
        )
    if a > 0.0 and told and isinstance(rate, (int, float)) and same(a, told * rate, 0.02):
        return f"take learning_rate * {number(told)} * w away in each step{where}"
    if a > 0.0:
        return f"take {number(a)} * w away in each step instead of {_share(b) if b == 0 else number(b) + ' * w'}{where}"
    return f"no weight decay (weight_decay=0){where}"
