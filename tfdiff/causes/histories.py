"""What a side's steps did to the weights concerned: gradients, weights and updates, step by step.

In an isolated pass b's own run is taken: there every step began with what b's optimizer itself had left, so that its
rule can be told from its own numbers.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from tfdiff.causes.repeats import LookedUp, looked_up_rows
from tfdiff.causes.rules import Moment
from tfdiff.causes.scene import EPS32, TINY, joined
from tfdiff.comparison.lockstep import LockstepTrace
from tfdiff.errors import TfdiffError
from tfdiff.pairing.pairs import convert_back, taken

if TYPE_CHECKING:
    import numpy.typing as npt

    from tfdiff.causes.scene import Floats, Scene, Side, Update
    from tfdiff.model import Observation
    from tfdiff.trace.block import Block
    from tfdiff.trace.reader import Trace

MAX_STEPS = 12
LAST_STEP = 64
"""Divergences of later steps are not traced back to the first."""
MAX_SETTING = 1e3
MAX_OF_ONE = 512
"""Elements of one variable that are looked at."""


def own_run(side: Side) -> Trace:
    """The trace in which every step follows from the one before: an isolated pass knows the run it belongs to."""
    return side.trace.free if isinstance(side.trace, LockstepTrace) else side.trace


def history(scene: Scene, side: Side, updates: list[Update]) -> list[Moment]:
    """The side's steps from the first one on, as far as they are known; empty where the divergence is not among them.

    Raises TraceError for a damaged trace.
    """
    if scene.step > LAST_STEP:
        return []
    trace, of_a = own_run(side), side is scene.a
    moments: list[Moment] = []
    sampled = [elements(scene, update) for update in updates]
    for step in range(min(trace.steps, max(scene.step + 1, MAX_STEPS))):
        moment = _moment(trace, step, updates, sampled, of_a=of_a)
        if moment is None:
            break
        moments.append(moment)
    return moments if len(moments) > scene.step else []


def usable(scene: Scene, updates: list[Update]) -> list[Update]:
    """Those whose gradients have the variable's shape on both sides: rows of a table come as rows alone."""
    sides = [(side, gradients(own_run(side), scene.step)) for side in scene.sides]

    def whole(update: Update) -> bool:
        for side, found in sides:
            variable = update.pair.a if side is scene.a else update.pair.b
            g, w = found.get(variable), side.before(variable)
            if g is None or w is None or g.shape != w.shape:
                return False
        return True

    return [update for update in updates if whole(update)]


def looked_up(scene: Scene, update: Update) -> bool:
    """Whether a gradient is nothing in whole rows, as those of tables are."""
    g = gradients(own_run(scene.a), scene.step).get(update.pair.a)
    return g is not None and g.ndim == 2 and not np.all(np.any(g, axis=1)) and bool(np.any(g))


def settings(side: Side, updates: list[Update], *, of_a: bool) -> list[float]:
    """Positive scalars in the update of the given variables that come from no tensor: constants and what is made of
    them, those that nothing was computed for first.
    """
    wanted = {u.pair.a if of_a else u.pair.b for u in updates}
    todo = [seen.index for seen in side.with_role("assign") if seen.site.variable in wanted]
    slots = {seen.site.variable for seen in side.with_role("slot")}
    todo += [seen.index for seen in side.with_role("assign") if seen.site.variable in slots]
    reached: set[int] = set()
    while todo:
        index = todo.pop()
        seen = side.observations[index] if index >= 0 else None
        if seen is None or index in reached or (seen.size > 1 and seen.site.phase in ("forward", "loss", "backward")):
            continue
        reached.add(index)
        todo.extend(seen.inputs)
    memo: dict[int, bool] = {}
    found = [i for i in sorted(reached) if "float" in side.observations[i].dtype and _made_of_scalars(side, i, memo)]
    leaves = sorted(found, key=lambda i: bool(side.observations[i].inputs))
    values = [abs(value) for i in leaves if (value := side.scalar(i)) is not None]
    return list(dict.fromkeys(value for value in values if 0.0 < value < MAX_SETTING))


def _made_of_scalars(side: Side, index: int, memo: dict[int, bool]) -> bool:
    if index not in memo:
        memo[index] = True  # ends a cycle in a damaged graph too
        seen = side.observations[index]
        memo[index] = seen.size == 1 and all(_made_of_scalars(side, i, memo) for i in seen.inputs if i >= 0)
    return memo[index]


def _moment(
    trace: Trace, step: int, updates: list[Update], sampled: list[npt.NDArray[np.intp]], *, of_a: bool
) -> Moment | None:
    found = gradients(trace, step)
    parts: list[tuple[int, int, float]] = []
    vectors: list[list[Floats]] = [[] for _ in range(6)]
    at = 0
    for update, chosen in zip(updates, sampled, strict=True):
        variable = update.pair.a if of_a else update.pair.b
        g, before, after = found.get(variable), _value(trace, variable, step - 1), _value(trace, variable, step)
        if g is None or before is None or after is None:
            return None
        rows = _rows(trace, step, variable, g)
        turned = [turned_gradient(value, update, of_a=of_a) for value in (g, rows.squares, rows.last, rows.seen)]
        turned += [_turned(value, update, of_a=of_a) for value in (before, after)]
        known = [value.reshape(-1)[chosen] for value in turned if value is not None and value.shape == update.u_a.shape]
        if len(known) < len(turned):
            return None
        *of_gradient, before, after = known
        for vector, value in zip(vectors, (*of_gradient, before, after - before), strict=True):
            vector.append(value)
        parts.append((at, at + chosen.size, float(np.linalg.norm(g))))
        at += chosen.size
    gradient, squares, last, seen, weight, moved = (joined(vector) for vector in vectors)
    if not all(np.all(np.isfinite(vector)) for vector in (gradient, weight, moved)):
        return None
    total = float(np.sqrt(sum(float(np.sum(np.square(g))) for g in found.values())))
    rounding = 2.0 * EPS32 * float(np.linalg.norm(weight)) / max(float(np.linalg.norm(moved)), TINY)
    rate = _rate(trace, step)
    return Moment(gradient, weight, moved, tuple(parts), total, rounding, rate, squares, last, seen)


def _rows(trace: Trace, step: int, variable: int, dense: Floats) -> LookedUp:
    """The gradient row by row; one that came dense has each row once."""
    block = trace.step(step)
    seen = handed_over(block).get(variable)
    found = None if seen is None else looked_up_rows(block, seen, dense)
    return found or LookedUp(dense * dense, dense, np.ones(dense.shape))


def _rate(trace: Trace, step: int) -> float | None:
    optimizers = trace.step(step).info.optimizers
    rates = {optimizer.get("learning_rate") for optimizer in optimizers}
    rate = rates.pop() if len(rates) == 1 else None
    return float(rate) if isinstance(rate, (int, float)) and rate > 0 else None


def elements(scene: Scene, update: Update) -> npt.NDArray[np.intp]:
    """Positions of the elements of a variable that are looked at, the same in all steps: spread over all of it, half
    of them over the rows that were looked up, where these are few.
    """
    size = update.u_a.size
    if size <= MAX_OF_ONE:
        return np.arange(size)
    spread = np.linspace(0, size - 1, MAX_OF_ONE).astype(np.intp)
    if not looked_up(scene, update):
        return spread
    moved = np.flatnonzero(update.u_a)
    if not moved.size:
        return spread
    dense = moved[np.linspace(0, moved.size - 1, MAX_OF_ONE // 2).astype(np.intp)]
    return np.unique(np.concatenate([spread[::2], dense]))


def _turned(value: Floats, update: Update, *, of_a: bool) -> Floats | None:
    """In A's layout."""
    try:
        return np.asarray(taken(value, update.pair.a_part) if of_a else convert_back(value, update.pair))
    except ValueError:
        return None


def turned_gradient(value: Floats, update: Update, *, of_a: bool) -> Floats | None:
    """A gradient in A's layout: what b's variable has more than a's is no part of it."""
    return _turned(value, replace(update, pair=replace(update.pair, offset=0.0)), of_a=of_a)


def _value(trace: Trace, variable: int, step: int) -> Floats | None:
    try:
        value = trace.value_after(variable, step)
    except TfdiffError:
        return None
    return None if value is None else np.asarray(value).astype(np.float64)


def gradients(trace: Trace, step: int) -> dict[int, Floats]:
    """What the optimizer was handed, by variable; else what came out of the tape."""
    block = trace.step(step)
    return {
        variable: np.asarray(block.array(seen.index)).astype(np.float64)
        for variable, seen in handed_over(block).items()
    }


def handed_over(block: Block) -> dict[int, Observation]:
    """The stored gradient of each variable: the one handed to the optimizer, else the tape's."""
    found: dict[int, Observation] = {}
    for role in ("weight gradient", "applied gradient"):
        for seen in block.observations:
            if seen.site.role == role and seen.stored and seen.site.variable is not None:
                found[seen.site.variable] = seen
    return found
