"""Weights that one side does not train: no gradient reaches them, or nobody asked for one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tfdiff.causes.hypothesis import Proposal
from tfdiff.causes.words import at, variables

if TYPE_CHECKING:
    from tfdiff.causes.scene import Scene, Side

DOUBT = 0.1
"""That there is no gradient is certain; that this is the fault is what the structure says."""


def gradient_stopped(scene: Scene) -> Proposal | None:
    """A weight in use has a gradient on one side and none on the other, in any recorded step."""
    without = _without_gradient(scene) if scene.finding.kind == "missing-gradient" else None
    if without is None:
        return None
    name = "B" if without is scene.b else "A"
    where = at(scene.finding.divergence.b, called=True)
    fix = f"let the gradient through: no tf.stop_gradient, .numpy() or integer cast between there and the loss{where}"
    if name == "A":
        fix = f"stop the gradient as A does (tf.stop_gradient){where}"
    summary = f"no gradient reaches {variables(scene)} in {name}, the path to the loss is cut"
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
    """The only side on which none of the concerned variables has a gradient in this step."""
    found = []
    for side in scene.sides:
        wanted = {pair.a if side is scene.a else pair.b for pair in scene.concerned}
        have = {seen.site.variable for seen in side.with_role("weight gradient") if seen.stats.norm > 0.0}
        found += [side] if wanted and not wanted & have else []
    return found[0] if len(found) == 1 else None


def _never_moves(scene: Scene, side: Side, number: int) -> bool:
    pair = scene.concerned[number]
    variable = pair.a if side is scene.a else pair.b
    first, last = (side.trace.value_after(variable, step) for step in (-1, side.trace.steps - 1))
    return first is not None and last is not None and np.array_equal(first, last)
