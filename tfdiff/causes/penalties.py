"""Penalties on the weights (L1, L2) that only one side adds to its loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tfdiff.causes.hypothesis import Proposal
from tfdiff.causes.scene import same
from tfdiff.causes.words import at, number
from tfdiff.pairing.variables import convert_back

if TYPE_CHECKING:
    from tfdiff.causes.scene import Floats, Scene, Side

L1_OPS = frozenset({"Abs"})
L2_OPS = frozenset({"Square", "L2Loss", "Mul", "Pow", "SquaredDifference"})


@dataclass(frozen=True)
class Penalty:
    """A scalar made of weights alone, where it meets the data path."""

    value: float
    strength: float
    """Factor of the sum of squares (L2) or of absolute values (L1)."""
    kind: str
    variables: tuple[int, ...]


def regularization_missing(scene: Scene) -> Proposal | None:
    """One side adds penalties: lambda is fitted, and the losses agree once they are taken away (or added)."""
    a, b = penalties(scene.a), penalties(scene.b)
    if bool(a) == bool(b):
        return None
    side, terms = (scene.a, a) if a else (scene.b, b)
    # where the losses differ for other reasons too, what is left of their difference may be small and no proof
    proof = min(_by_loss(scene, side, terms), _by_weights(scene, side, terms), key=lambda errors: errors[1])
    lambdas = _distinct([term.strength for term in terms])
    strength = ", ".join(number(value) for value in lambdas)
    count = len({variable for term in terms for variable in term.variables})
    kinds = "/".join(sorted({term.kind for term in terms}))
    has, lacks = ("A", "B") if side is scene.a else ("B", "A")
    fitted: float | list[float] = lambdas[0] if len(lambdas) == 1 else lambdas
    return Proposal(
        *proof,
        f"{has} adds an {kinds} penalty on {count} weights to the loss (lambda {strength}), {lacks} adds none",
        _fix(scene, has, kinds, strength, count),
        {"a": fitted if has == "A" else 0.0, "b": fitted if has == "B" else 0.0},
        fitted=len(lambdas),
    )


def penalties(side: Side) -> list[Penalty]:
    """The penalties in a side's loss."""
    loss = next((seen.index for seen in side.with_role("loss")), None)
    if loss is None:
        return []
    members = side.ancestors((loss,))
    moving: set[int] = set()
    for index in sorted(members):
        seen = side.observations[index]
        if seen.site.role in ("input", "noise") or any(operand in moving for operand in seen.inputs):
            moving.add(index)
    found = []
    for index in sorted(members - moving):
        seen = side.observations[index]
        joins = any(user in moving and user in members for user in side.consumers.get(index, []))
        if joins and seen.size == 1 and seen.site.role == "activation" and "float" in seen.dtype:
            penalty = _read(side, index)
            if penalty is not None:
                found.append(penalty)
    return found


def _read(side: Side, index: int) -> Penalty | None:
    """A penalty whose sums over single weights are all there, with one factor for all of them."""
    behind = side.ancestors((index,))
    variables = sorted(
        {v for i in behind if side.observations[i].site.role == "weight" and (v := side.variable_of(i)) is not None}
    )
    ops = {side.observations[i].site.op for i in behind}
    kind = "L1" if ops & L1_OPS else "L2"
    value = side.scalar(index)
    if not variables or value is None or not ops & (L1_OPS | L2_OPS):
        return None
    weights = [side.before(variable) for variable in variables]
    sums = [_sum(w, kind) for w in weights if w is not None]
    if len(sums) != len(variables) or sum(sums) <= 0.0:
        return None
    scalars = [s for i in behind if (s := side.scalar(i)) is not None]
    if len(sums) > 1 and not any(
        all(any(same(s, c * n, 1e-5) for s in scalars) for n in sums if n) for c in (1.0, 0.5)
    ):
        return None
    return Penalty(value, value / sum(sums), kind, tuple(variables))


def _sum(w: Floats, kind: str) -> float:
    return float(np.abs(w).sum() if kind == "L1" else (w**2).sum())


def _by_loss(scene: Scene, side: Side, terms: list[Penalty]) -> tuple[float, float]:
    """Errors between the losses before and after the penalties are taken away."""
    pairing = scene.finding.pairing
    if pairing is None or pairing.a_loss is None or pairing.b_loss is None:
        return 1.0, 1.0
    loss_a, loss_b = scene.a.scalar(pairing.a_loss), scene.b.scalar(pairing.b_loss)
    if loss_a is None or loss_b is None:
        return 1.0, 1.0
    scale = max(abs(loss_a), abs(loss_b), 1e-30)
    added = sum(term.value for term in terms) * (1.0 if side is scene.a else -1.0)
    return abs(loss_a - loss_b) / scale, abs(loss_a - loss_b - added) / scale


def _by_weights(scene: Scene, side: Side, terms: list[Penalty]) -> tuple[float, float]:
    """Where the losses differ for other reasons too: one lambda gives all terms from the other side's weights."""
    if scene.finding.kind != "absent" or len(_distinct([term.strength for term in terms])) > 1:
        return 1.0, 1.0
    pairs = scene.pair_of_a if side is scene.a else scene.pair_of_b
    predicted, seen = [], []
    for term in terms:
        values = []
        for variable in term.variables:
            pair = pairs.get(variable)
            value = None if pair is None else (scene.b.before(pair.b) if side is scene.a else scene.a.before(pair.a))
            if value is None or pair is None or not pair.whole:
                return 1.0, 1.0
            values.append(_sum(convert_back(value, pair) if side is scene.a else value, term.kind))
        predicted.append(terms[0].strength * sum(values))
        seen.append(term.value)
    x, y = np.array(seen), np.array(predicted)
    return 1.0, float(np.linalg.norm(x - y) / max(float(np.linalg.norm(x)), 1e-30))


def _distinct(values: list[float]) -> list[float]:
    """The different constants, rounded to four digits."""
    found: list[float] = []
    for value in values:
        if not any(same(value, other, 1e-4) for other in found):
            found.append(float(f"{value:.4g}"))
    return found


def _fix(scene: Scene, has: str, kinds: str, strength: str, count: int) -> str:
    where = at(scene.finding.divergence.b)
    if has == "B":
        return f"leave the penalty out of the loss{where}"
    if any(seen.site.layer is not None for seen in scene.b.observations if seen.site.phase == "forward"):
        return f"add the layers' penalties, loss += tf.add_n(model.losses), or kernel_regularizer in the layers{where}"
    power = "tf.reduce_sum(tf.square(w))" if kinds == "L2" else "tf.reduce_sum(tf.abs(w))"
    return f"loss += {strength} * {power} for each of the {count} weights{where}"
