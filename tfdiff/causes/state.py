"""Moving statistics: another momentum, another variance, or never moved at all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tfdiff.causes.hypothesis import Proposal
from tfdiff.causes.scene import EPS32, TINY, same
from tfdiff.causes.words import at, named, number, variables
from tfdiff.pairing.distance import relative_error
from tfdiff.pairing.variables import convert_back

if TYPE_CHECKING:
    from tfdiff.causes.scene import Floats, Scene, Side
    from tfdiff.pairing.variables import VariablePair

FIT = 2e-3
MAX_TABLES = 24
"""Activations whose moments are taken."""


@dataclass(frozen=True)
class Motion:
    """after = momentum * before + (1 - momentum) * factor * statistic."""

    momentum: float
    statistic: Floats
    factor: float = 1.0


def momentum(scene: Scene) -> Proposal | None:
    """Both sides move towards the same statistic of the batch, by another share: both momenta are fitted."""
    for pair in scene.concerned:
        values = _values(scene, pair)
        if values is None:
            continue
        before, a_after, b_after = values
        d_a, d_b = a_after - before, b_after - before
        if not np.any(d_a) or not np.any(d_b):
            continue
        for statistic in _statistics(scene, before, scene.a):
            a, b = _fit(before, d_a, statistic), _fit(before, d_b, statistic)
            if a is None or b is None or same(1.0 - a, 1.0 - b, 1e-3):
                continue
            predicted = before + (1.0 - a) / (1.0 - b) * d_b
            noise = 2.0 * EPS32 * float(np.linalg.norm(before)) / max(float(np.linalg.norm(d_a)), TINY)
            return Proposal(
                relative_error(d_a, d_b),
                relative_error(d_a, predicted - before),
                f"moving statistics keep {number(b)} of their old value in each step in B, {number(a)} in A (momentum)",
                _momentum_fix(scene, a),
                {"a": round(a, 5), "b": round(b, 5)},
                fitted=2,
                noise=max(1e-3, noise),
            )
    return None


def unbiased_variance(scene: Scene) -> Proposal | None:
    """Same momentum, but one side's moving variance takes n / (n - 1) of the batch's variance."""
    for pair in scene.concerned:
        values = _values(scene, pair)
        if values is None:
            continue
        before, a_after, b_after = values
        d_a, d_b = a_after - before, b_after - before
        for statistic, rows in _variances(scene.a, before):
            corrected = statistic * (rows / (rows - 1.0))
            for a_stat, b_stat, who in ((corrected, statistic, "A"), (statistic, corrected, "B")):
                a, b = _fit(before, d_a, a_stat), _fit(before, d_b, b_stat)
                if a is None or b is None or not same(1.0 - a, 1.0 - b, 1e-3):
                    continue
                noise = 2.0 * EPS32 * float(np.linalg.norm(before)) / max(float(np.linalg.norm(d_a)), TINY)
                factors = {"A": (rows / (rows - 1.0), 1.0), "B": (1.0, rows / (rows - 1.0))}[who]
                return Proposal(
                    relative_error(d_a, d_b),
                    relative_error(d_a, d_b + (1.0 - b) * (a_stat - b_stat)),
                    f"{who}'s moving variance takes the batch's variance over n - 1, the other's over n = {int(rows)}",
                    _variance_fix(scene, who, int(rows)),
                    {"a": float(f"{factors[0]:.6g}"), "b": float(f"{factors[1]:.6g}")},
                    fitted=1,
                    noise=noise,
                )
    return None


def updates_not_run(scene: Scene) -> Proposal | None:
    """One side's moving statistics never change; with the other's momentum and statistic they would be equal."""
    for pair in scene.concerned:
        values = _values(scene, pair)
        if values is None:
            continue
        before, a_after, b_after = values
        still_a, still_b = not np.any(a_after - before), not np.any(b_after - before)
        if still_a == still_b:
            continue
        still = scene.a if still_a else scene.b
        variable = pair.a if still is scene.a else pair.b
        if not _never_moves(still, variable):
            continue
        moved = (b_after if still_a else a_after) - before
        moving = scene.b if still is scene.a else scene.a
        for statistic in _statistics(scene, before, moving, equal=False):
            kept = _fit(before, moved, statistic)
            if kept is None:
                continue
            predicted = (1.0 - kept) * (statistic - before)
            return _not_run(scene, moved, predicted, kept, still_name="A" if still is scene.a else "B")
    return None


def _not_run(scene: Scene, moved: Floats, predicted: Floats, kept: float, *, still_name: str) -> Proposal:
    where = at(scene.finding.divergence.b, called=True)
    moves = "B" if still_name == "A" else "A"
    if still_name == "A":
        fix = f"do not update the moving statistics{where}"
    elif str(scene.b.optimizer().get("class", "")).endswith("Optimizer"):  # TensorFlow 1 collects what is to be run
        updates = "tf.get_collection(tf.GraphKeys.UPDATE_OPS)"
        fix = f"run the update ops with the train op: with tf.control_dependencies({updates}):{where}"
    elif any(seen.site.layer is not None for seen in scene.b.observations if seen.site.phase == "forward"):
        fix = f"run the update ops with the train op: tf.GraphKeys.UPDATE_OPS (layers: training=True){where}"
    else:
        fix = f"moving.assign({number(kept)} * moving + {number(1 - kept)} * batch_statistic) in each step{where}"
    noise = 2.0 * EPS32 * float(np.linalg.norm(predicted)) / max(float(np.linalg.norm(moved)), TINY)
    return Proposal(
        1.0,
        relative_error(moved, predicted),
        f"{still_name}'s moving statistics never change ({variables(scene)}), {moves}'s have momentum {number(kept)}",
        fix,
        {"a": 1.0 if still_name == "A" else round(kept, 5), "b": 1.0 if still_name == "B" else round(kept, 5)},
        fitted=1,
        noise=max(1e-3, noise),
    )


def _never_moves(side: Side, variable: int) -> bool:
    first = side.trace.value_after(variable, -1)
    last = side.trace.value_after(variable, side.trace.steps - 1)
    return first is not None and last is not None and np.array_equal(first, last)


def _values(scene: Scene, pair: VariablePair) -> tuple[Floats, Floats, Floats] | None:
    """(before, after in A, after in B), B's in A's layout; None unless both start the step equal."""
    found = [scene.a.before(pair.a), scene.a.after(pair.a), scene.b.before(pair.b), scene.b.after(pair.b)]
    known = [value for value in found if value is not None]
    if len(known) < 4:
        return None
    try:
        b_before, b_after = (convert_back(value, pair).reshape(known[0].shape) for value in known[2:])
    except ValueError:
        return None
    drift = relative_error(known[0], b_before)
    return (known[0], known[1], b_after + (known[0] - b_before)) if drift <= 1e-3 else None


def _fit(before: Floats, moved: Floats, statistic: Floats) -> float | None:
    """The momentum with which `before` moves towards `statistic`, None where it does not."""
    towards = np.ravel(statistic - before)
    square = float(towards @ towards)
    if square <= 0.0:
        return None
    share = float(towards @ np.ravel(moved)) / square
    noise = 4.0 * EPS32 * float(np.linalg.norm(before)) / max(float(np.linalg.norm(moved)), TINY)
    if not 1e-6 < share < 0.9999 or relative_error(share * towards, np.ravel(moved)) > max(FIT, noise):
        return None
    return 1.0 - share


def _statistics(scene: Scene, like: Floats, side: Side, *, equal: bool = True) -> list[Floats]:
    """A side's batch statistics shaped like the variable: recorded (if `equal`: in B too), and moments of
    activations.
    """
    found: list[Floats] = []
    others = [seen.index for seen in scene.b.with_role("activation") if seen.size == like.size]
    for seen in side.with_role("activation"):
        value = side.array(seen.index) if seen.size == like.size and "float" in seen.dtype else None
        if value is not None and (not equal or scene.b.find(value, others, scene.tolerance) is not None):
            found.append(value.reshape(like.shape))
    for variance, rows in _variances(side, like):
        found += [variance, variance * (rows / (rows - 1.0))]
    return found + _means(side, like)


def _tables(side: Side, like: Floats) -> list[Floats]:
    """A side's activations as (rows, channels), with as many channels as the variable has elements."""
    found = []
    for seen in side.with_role("activation", "input"):
        channels = {len(seen.shape) - 1, 1} if len(seen.shape) > 1 and "float" in seen.dtype and seen.stored else set()
        for axis in (axis for axis in channels if seen.shape[axis] == like.size):
            value = side.array(seen.index)
            if value is not None:
                found.append(np.moveaxis(value, axis, -1).reshape(-1, like.size))
    return [table for table in found if len(table) > 1][:MAX_TABLES]


def _means(side: Side, like: Floats) -> list[Floats]:
    return [table.mean(axis=0).reshape(like.shape) for table in _tables(side, like)]


def _variances(side: Side, like: Floats) -> list[tuple[Floats, float]]:
    return [(table.var(axis=0).reshape(like.shape), float(len(table))) for table in _tables(side, like)]


def _momentum_fix(scene: Scene, wanted: float) -> str:
    place = scene.finding.divergence.b
    value = number(round(wanted, 5))
    if place is not None and place.layer:
        return f"momentum={value} for {named(place)}{at(place)}"
    return f"moving.assign({value} * moving + (1 - {value}) * batch_statistic){at(place)}"


def _variance_fix(scene: Scene, who: str, rows: int) -> str:
    factor = f"{rows} / {rows - 1}"
    change = (
        f"multiply the batch variance by {factor}" if who == "A" else f"do not multiply the batch variance by {factor}"
    )
    return f"{change} before it enters the moving variance{at(scene.finding.divergence.b)}"
