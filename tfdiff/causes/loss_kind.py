"""Another loss: squared errors here, absolute ones there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tfdiff.causes.hypothesis import Proposal
from tfdiff.causes.loss import keras_loss, predictions
from tfdiff.causes.loss_functions import formulas, identified, targets
from tfdiff.causes.loss_terms import added_up
from tfdiff.causes.words import at, b_site, number
from tfdiff.pairing.distance import relative_error

if TYPE_CHECKING:
    from tfdiff.causes.loss_functions import Formula, Seen
    from tfdiff.causes.scene import Floats, Scene, Side

EXPRESSIONS = {
    "mean squared error": "tf.square(prediction - y)",
    "mean absolute error": "tf.abs(prediction - y)",
    "categorical cross-entropy": "tf.nn.softmax_cross_entropy_with_logits(y, logits)",
    "binary cross-entropy": "tf.nn.sigmoid_cross_entropy_with_logits(y, logits)",
}


def loss_kind(scene: Scene) -> Proposal | None:
    """The terms of both losses come from one prediction and one target, by different formulas."""
    known = formulas(scene.a), formulas(scene.b)
    own = _own_terms(scene)
    for z_a, z_b in predictions(scene):
        candidates = list(targets(scene, z_a))
        a = _first(scene.a, z_a, candidates, known[0], own[0])
        b = _first(scene.b, z_b, candidates, known[1], own[1]) if a is not None else None
        if a is None or b is None or not np.array_equal(a[1], b[1]) or _alike(a[0].formula, b[0].formula):
            continue
        return _proposal(scene, a[0], b[0], z_b, a[1])
    return None


def _own_terms(scene: Scene) -> tuple[list[int], list[int]]:
    """What is added up to each side's loss and is no term of both."""
    ways = added_up(scene.a), added_up(scene.b)
    pairing = scene.finding.pairing
    equal = () if pairing is None else [m for m in pairing.matches if m.equal and m.a in ways[0] and m.b in ways[1]]
    shared = {m.a for m in equal}, {m.b for m in equal}
    return sorted(ways[0] - shared[0]), sorted(ways[1] - shared[1])


def _first(
    side: Side, z: Floats, candidates: list[tuple[str, Floats]], known: tuple[Formula, ...], among: list[int]
) -> tuple[Seen, Floats] | None:
    for labels, y in candidates:
        found = identified(side, z, y, labels, known, among)
        if found is not None:
            return found, y
    return None


def _alike(a: Formula, b: Formula) -> bool:
    return a.name == b.name and a.constant == b.constant


def _proposal(scene: Scene, a: Seen, b: Seen, z: Floats, y: Floats) -> Proposal:
    wanted, found = a.compute(z, y), b.compute(z, y)
    rows = [terms.mean(axis=-1) if terms.ndim > 1 else terms for terms in (wanted, found)]
    before = relative_error(*rows) if rows[0].shape == rows[1].shape else 1.0
    where = at(scene.finding.divergence.b)
    if keras_loss(scene, b_site(scene, b.index)):
        fix = f"loss=keras.losses.{a.formula.keras}{where}"
    else:
        fix = f"{EXPRESSIONS.get(a.formula.name, 'keras.losses.' + a.formula.keras)} as the terms of the loss{where}"
    return Proposal(
        before,
        scene.a.error(a.index, wanted),
        f"B's loss is {_article(b)}, A's {_article(a)}",
        fix,
        {"a": _constant(a), "b": _constant(b)},
        fitted=0,
    )


def _article(seen: Seen) -> str:
    constant = "" if seen.formula.constant is None else f" (delta {number(seen.formula.constant)})"
    link = f" of the {seen.link}" if seen.link else ""
    return f"the {seen.formula.name}{constant}{link}"


def _constant(seen: Seen) -> str | float:
    return seen.formula.name if seen.formula.constant is None else seen.formula.constant
