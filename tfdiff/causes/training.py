"""Weights that one side does not train: no gradient reaches them, or nobody asked for one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tfdiff.causes.hypothesis import Proposal
from tfdiff.causes.strengths import penalties, strengths
from tfdiff.causes.words import at, variables
from tfdiff.pairing.distance import relative_error

if TYPE_CHECKING:
    from tfdiff.causes.scene import Scene, Side
    from tfdiff.pairing.variables import VariablePair

DOUBT = 0.1
"""That there is no gradient is certain; that this is the fault is what the structure says."""
STOP = "StopGradient"
FIT = 1e-4


def gradient_stopped(scene: Scene) -> Proposal | None:
    """A weight in use has a gradient on one side and none on the other, or none but that of its penalty."""
    without = _without_gradient(scene) if scene.finding.kind in ("missing-gradient", "") else None
    if without is None or not _reaches_some(without):
        return None
    name = "B" if without is scene.b else "A"
    place = scene.place(without)
    where = at(place, called=True)
    stop = "tf.stop_gradient" if place is not None and place.op == STOP else ""
    cuts = stop or "tf.stop_gradient, .numpy() or integer cast between there and the loss"
    fix = f"let the gradient through: no {cuts}{where}"
    if name == "A":
        fix = f"stop the gradient as A does (tf.stop_gradient){at(scene.finding.divergence.b, called=True)}"
    by = f"{stop}{where} cuts the path to the loss" if stop else "the path to the loss is cut"
    summary = f"no gradient reaches {variables(scene, among=_unreached(scene, without))} in {name}: {by}"
    return Proposal(1.0, 0.0, summary, fix, _which(name), fitted=0, doubt=DOUBT)


def frozen(scene: Scene) -> Proposal | None:
    """Weights that move on one side and never on the other, although they are used there."""
    if scene.finding.kind != "frozen":
        return None
    still = [side for side in scene.sides if all(_never_moves(scene, side, i) for i in range(len(scene.concerned)))]
    moving = [
        side for side in scene.sides if any(not _never_moves(scene, side, i) for i in range(len(scene.concerned)))
    ]
    if len(still) != 1 or len(moving) != 1:
        return None
    name = "B" if still[0] is scene.b else "A"
    where = at(scene.finding.divergence.b)
    fix = f"train them too: trainable=True, and among the variables given to tape.gradient and the optimizer{where}"
    if name == "A":
        fix = f"leave them as they are: trainable=False, or not among the variables given to the optimizer{where}"
    summary = f"{name} never changes {variables(scene)}, the other side trains them"
    return Proposal(1.0, 0.0, summary, fix, _which(name), fitted=0, doubt=DOUBT)


def _which(name: str) -> dict[str, bool]:
    return {"a": name != "A", "b": name != "B"}


def _without_gradient(scene: Scene) -> Side | None:
    """The only side on which the loss itself gives the concerned variables no gradient in this step.

    Where they have one on both sides, that goes for the one nearest to the loss: what lies in front of it may be
    reached on other ways (around a block).
    """
    missing = scene.finding.kind == "missing-gradient"
    pairs = scene.concerned if missing else scene.concerned[:1]
    found = []
    for side in scene.sides:
        wanted = [pair.a if side is scene.a else pair.b for pair in pairs]
        if wanted and not any(_reached(side, variable) for variable in wanted):
            found.append(side)
    return found[0] if len(found) == 1 else None


def _unreached(scene: Scene, side: Side) -> tuple[VariablePair, ...]:
    """The concerned variables without one."""
    return tuple(pair for pair in scene.concerned if not _reached(side, pair.a if side is scene.a else pair.b))


def _reached(side: Side, variable: int) -> bool:
    """Whether a variable has a gradient that its penalty alone does not give."""
    seen = next((seen for seen in side.with_role("weight gradient") if seen.site.variable == variable), None)
    if seen is None or seen.stats.norm == 0.0:
        return False
    known = penalties(side)
    table = {} if known is None else strengths(known)
    w, gradient = side.before(variable), side.array(seen.index)
    own = {kind: strength for (of, kind), strength in table.items() if of == variable}
    if not own or w is None or gradient is None or gradient.size != w.size:
        return True
    alone = 2.0 * own.get("L2", 0.0) * w + own.get("L1", 0.0) * np.sign(w)
    return relative_error(gradient.reshape(w.shape), alone) > FIT


def _reaches_some(side: Side) -> bool:
    """Whether any weight has a gradient: where none has, it is not a path that is cut."""
    return any(seen.stats.norm > 0.0 for seen in side.with_role("weight gradient"))


def _never_moves(scene: Scene, side: Side, number: int) -> bool:
    pair = scene.concerned[number]
    variable = pair.a if side is scene.a else pair.b
    first, last = (side.trace.value_after(variable, step) for step in (-1, side.trace.steps - 1))
    return first is not None and last is not None and np.array_equal(first, last)
