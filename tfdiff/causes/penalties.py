"""Penalties on the weights (L1, L2) that one side does not add to its loss, or adds with another strength."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tfdiff.causes.hypothesis import Proposal
from tfdiff.causes.scene import same
from tfdiff.causes.strengths import penalties, power, strengths, totals
from tfdiff.causes.words import at, number, plain
from tfdiff.pairing.distance import relative_error
from tfdiff.pairing.pairs import convert_back, taken

if TYPE_CHECKING:
    from tfdiff.causes.scene import Scene
    from tfdiff.causes.strengths import Penalty
    from tfdiff.pairing.variables import VariablePair

RESOLUTION = 2e-4
"""Relative difference of two strengths from which they are two."""
MAX_NAMES = 3


@dataclass(frozen=True)
class Unequal:
    """A weight that is penalized otherwise: lambda on each side, 0 where there is no penalty."""

    pair: VariablePair
    kind: str
    a: float
    b: float


def regularization_missing(scene: Scene) -> Proposal | None:
    """Lambda is fitted for each weight and side; the losses agree once B's are A's."""
    a, b = penalties(scene.a), penalties(scene.b)
    if a is None or b is None or not (a or b):
        return None
    unequal = _unequal(scene, a, b)
    if not unequal:
        return None
    proof = _by_loss(scene, unequal)
    if proof[1] > 0.1 * proof[0] and _told_by_penalty(scene):
        # the losses differ for other reasons too
        proof = _by_weights(scene, unequal)
    constants = {"a": _one_or_more([u.a for u in unequal]), "b": _one_or_more([u.b for u in unequal])}
    lambdas = sum(len(value) if isinstance(value, list) else bool(value) for value in constants.values())
    return Proposal(
        *proof, _said(scene, unequal, a, b), _fix(scene, unequal, bool(b)), dict(constants), fitted=max(1, lambdas)
    )


def _unequal(scene: Scene, a: list[Penalty], b: list[Penalty]) -> list[Unequal]:
    """The weights with a counterpart whose strengths differ, in A's order, each once."""
    in_a, in_b = strengths(a), strengths(b)
    found: dict[tuple[int, int, str], Unequal] = {}
    for pair in sorted(scene.finding.variables, key=lambda pair: pair.a):
        for kind in ("L2", "L1"):
            x, y = in_a.get((pair.a, kind), 0.0), in_b.get((pair.b, kind), 0.0)
            if not same(x, y, RESOLUTION):
                found.setdefault((pair.a, pair.b, kind), Unequal(pair, kind, x, y))
    return [one for one in found.values() if _sum(scene, one, "b" if one.b else "a") != 0.0]


def _sum(scene: Scene, unequal: Unequal, side: str) -> float | None:
    """What the penalty of one side's weight adds up, lambda taken away; of the part that is paired."""
    pair = unequal.pair
    value = scene.a.before(pair.a) if side == "a" else scene.b.before(pair.b)
    if value is None:
        return None
    try:
        part = taken(value, pair.a_part) if side == "a" else convert_back(value, pair)
    except ValueError:
        return None
    return float(power(part, unequal.kind).sum())


def _by_loss(scene: Scene, unequal: list[Unequal]) -> tuple[float, float]:
    """Errors between the losses before and after B's penalties have A's strengths."""
    pairing = scene.finding.pairing
    if pairing is None or pairing.a_loss is None or pairing.b_loss is None:
        return 1.0, 1.0
    loss_a, loss_b = scene.a.scalar(pairing.a_loss), scene.b.scalar(pairing.b_loss)
    sums = [_sum(scene, one, "b") for one in unequal]
    if loss_a is None or loss_b is None or any(total is None for total in sums):
        return 1.0, 1.0
    added = sum((one.a - one.b) * (total or 0.0) for one, total in zip(unequal, sums, strict=True))
    scale = max(abs(loss_a), abs(loss_b), 1e-30)
    return abs(loss_a - loss_b) / scale, abs(loss_a - loss_b - added) / scale


def _told_by_penalty(scene: Scene) -> bool:
    """Whether the divergence is one of penalties, not just of losses that have some."""
    divergence = scene.finding.divergence
    ends = (scene.a, divergence.a_index), (scene.b, divergence.b_index)
    return scene.finding.kind == "absent" or any(index in side.ancestors(totals(side)) for side, index in ends)


def _by_weights(scene: Scene, unequal: list[Unequal]) -> tuple[float, float]:
    """Errors between the penalties: A's own, and B's before and after its strengths are A's."""
    wanted, found, predicted = [], [], []
    for one in unequal:
        total_a, total_b = _sum(scene, one, "a"), _sum(scene, one, "b")
        if total_a is None or total_b is None:
            return 1.0, 1.0
        wanted.append(one.a * total_a)
        found.append(one.b * total_b)
        predicted.append(one.a * total_b)
    x = np.array(wanted)
    return relative_error(x, np.array(found)), relative_error(x, np.array(predicted))


def _one_or_more(values: list[float]) -> float | list[float]:
    """The different constants, rounded to five digits."""
    found: list[float] = []
    for value in values:
        if not any(same(value, other, RESOLUTION) for other in found):
            found.append(float(f"{value:.5g}"))
    return found[0] if len(found) == 1 else found


def _numbers(values: list[float]) -> str:
    found = _one_or_more(values)
    return ", ".join(number(value) for value in (found if isinstance(found, list) else [found]))


def _said(scene: Scene, unequal: list[Unequal], a: list[Penalty], b: list[Penalty]) -> str:
    kinds = "/".join(sorted({one.kind for one in unequal}))
    weights = _names(scene, unequal)
    of_a, of_b = _numbers([one.a for one in unequal]), _numbers([one.b for one in unequal])
    if a and b and all(one.a and one.b for one in unequal):
        return f"the {kinds} penalty on {weights} has strength {of_b} in B's loss, {of_a} in A's"
    if not all(one.a == 0.0 for one in unequal) and not all(one.b == 0.0 for one in unequal):
        return f"the {kinds} penalties on {weights} differ: lambda {of_a} in A's loss, {of_b} in B's (0: none)"
    has, lacks, strength = ("B", "A", of_b) if all(one.a == 0.0 for one in unequal) else ("A", "B", of_a)
    rest = f"{lacks} adds none" + (" on it" if (a if lacks == "A" else b) else "")
    return f"{has} adds an {kinds} penalty on {weights} to the loss (lambda {strength}), {rest}"


def _names(scene: Scene, unequal: list[Unequal]) -> str:
    known = scene.finding.a.variables
    indices = list(dict.fromkeys(one.pair.a for one in unequal))
    if len(indices) > MAX_NAMES:
        return f"{len(indices)} weights"
    return ", ".join(plain(known[i].name) if i in known else f"weight {i}" for i in indices)


def _fix(scene: Scene, unequal: list[Unequal], has_some: bool) -> str:  # noqa: FBT001
    where = _line(scene, unequal) or at(scene.finding.divergence.b)
    strength = _numbers([one.a for one in unequal])
    kind = unequal[0].kind
    of_layer = all(_layer(scene, one) for one in unequal)
    if all(one.a == 0.0 for one in unequal):
        return f"leave the penalty out of the loss{where}"
    term = f"{strength} * tf.reduce_{'sum(tf.square(w))' if kind == 'L2' else 'sum(tf.abs(w))'}"
    if of_layer:
        regularizer = f"kernel_regularizer=keras.regularizers.{kind}({strength}){where}"
        if not has_some:
            return f"{regularizer}, and in a loop of your own loss += tf.add_n(model.losses)"
        return regularizer
    return f"{term} for {_names(scene, unequal)} in the loss{where}"


def _layer(scene: Scene, one: Unequal) -> str | None:
    known = scene.finding.b.variables.get(one.pair.b)
    return None if known is None else known.layer


def _line(scene: Scene, unequal: list[Unequal]) -> str:
    """Where B makes the only layer concerned, if it is one."""
    known = [scene.finding.b.variables.get(one.pair.b) for one in unequal]
    lines = {variable.source for variable in known if variable is not None and variable.layer}
    return f" at {plain(lines.pop())}" if len(lines) == 1 and None not in lines else ""
