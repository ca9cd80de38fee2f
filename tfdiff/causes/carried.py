"""The state of a recurrence that one side carries on from step to step, and the other starts from zeros."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tfdiff.causes.hypothesis import Proposal
from tfdiff.causes.recompute import MIN_SIZE, differ, find, recomputed
from tfdiff.causes.words import at
from tfdiff.pairing.distance import relative_error

if TYPE_CHECKING:
    from tfdiff.causes.scene import Floats, Scene, Side
    from tfdiff.model import Observation

NEAR = 30
"""Ops behind the state that are computed again."""
MAX_TRIED = 24
"""Pairs of a state and of zeros that are tried."""


def state_reset(scene: Scene) -> Proposal | None:
    """What a step starts from: zeros on one side, what the step before ended in on the other."""
    return _at_the_end(scene) if scene.finding.divergence.phase == "state" else _at_the_start(scene)


def _at_the_end(scene: Scene) -> Proposal | None:
    """Behind a step a variable is zero on one side; there too the step has computed what the other side keeps in it."""
    pair = scene.finding.variable
    if pair is None or pair.permutation is not None:
        return None
    kept = {scene.a.name: _handed_on(scene.a, pair.a), scene.b.name: _handed_on(scene.b, pair.b)}
    for side, other in (scene.sides, scene.sides[::-1]):
        value, zero = kept[side.name], kept[other.name]
        if (
            value is None
            or zero is None
            or value.ndim < 2
            or value.shape != zero.shape
            or not value.any()
            or zero.any()
        ):
            continue
        computed = other.with_role("activation")
        index = other.find(value, [s.index for s in computed if s.site.phase == "forward"], scene.tolerance)
        if index is not None:
            return _proposal(scene, other, 1.0, other.error(index, value))
    return None


def _handed_on(side: Side, variable: int) -> Floats | None:
    """What the next step reads of a variable: it may be set in between. None where there is none that reads it."""
    if side.step + 1 >= side.trace.steps:
        return None
    block = side.trace.step(side.step + 1)
    for seen in block.observations:
        if seen.site.role == "state" and seen.site.phase == "forward" and seen.site.variable == variable:
            return np.asarray(block.array(seen.index)).astype(np.float64) if seen.stored else None
    return None


def _at_the_start(scene: Scene) -> Proposal | None:
    """With the other side's state in place of the zeros, an op gives what that side has."""
    if scene.step < 1:
        return None
    for side, other in (scene.sides, scene.sides[::-1]):
        pairs = [(s, z) for s in _carried(side) for z in _zeros(other) if _size(side, s) == _size(other, z)]
        for state, zeros in pairs[:MAX_TRIED]:
            value = side.array(state)
            found = None if value is None else _errors(scene, (side, other), value, zeros)
            if found is not None:
                return _proposal(scene, other, *found)
    return None


def _size(side: Side, index: int) -> int:
    return side.observations[index].size


def _front(side: Side) -> list[Observation]:
    """Tensors of floats that the divergence hangs on, with two axes or more."""
    known = (side.observations[i] for i in sorted(side.ancestors(side.bad)))
    return [s for s in known if "float" in s.dtype and len(s.shape) > 1 and s.size >= MIN_SIZE]


def _carried(side: Side) -> list[int]:
    """What comes into the step as it is, and is what the step before computed."""
    leaves = [s for s in _front(side) if not s.inputs and s.site.role != "weight" and s.stats.norm > 0.0]
    before = side.trace.step(side.step - 1)
    computed = [
        s for s in before.observations if s.site.phase == "forward" and s.site.role == "activation" and s.stored
    ]
    found = []
    for leaf in leaves:
        alike = [s for s in computed if s.size == leaf.size and np.isclose(s.stats.norm, leaf.stats.norm, rtol=1e-5)]
        value = side.array(leaf.index) if alike else None
        if value is not None and any(
            relative_error(value, before.array(s.index).reshape(value.shape)) < 1e-6 for s in alike
        ):
            found.append(leaf.index)
    return found


def _zeros(side: Side) -> list[int]:
    return [s.index for s in _front(side) if s.stats.norm == 0.0 and s.site.role != "weight"]


def _errors(scene: Scene, sides: tuple[Side, Side], value: Floats, zeros: int) -> tuple[float, float] | None:
    """(error as recorded, error with the state) of an op of the side that starts from zeros."""
    side, other = sides
    behind = sorted(other.descendants(zeros) & set(other.bad))[:NEAR]
    values = recomputed(other, {zeros: value.reshape(other.observations[zeros].shape)}, behind)
    for index in behind:
        predicted, recorded = values.get(index), other.array(index)
        if predicted is None or recorded is None or not differ(predicted, recorded):
            continue
        found = find(scene, side, predicted, None)
        if found is not None:
            return relative_error(predicted, recorded), side.error(found, predicted)
    return None


def _proposal(scene: Scene, zero: Side, before: float, after: float) -> Proposal:
    resets, carries = ("B", "A") if zero is scene.b else ("A", "B")
    layer = (place := scene.finding.divergence.b) is not None and place.layer is not None
    if zero is scene.b:
        how = (
            "stateful=True and no reset_state() between batches"
            if layer
            else "start from the state the step before ended in"
        )
    else:
        how = "stateful=False, or reset_state() before each batch" if layer else "start each step from zeros"
    return Proposal(
        before,
        after,
        f"{resets} starts each step's recurrence from zeros, {carries} from the state that the step before ended in",
        f"{how}{at(place)}",
        {"a": "zeros" if resets == "A" else "carried", "b": "zeros" if resets == "B" else "carried"},
        fitted=0,
    )
