"""Weights in the loss: of classes, of samples, of the losses of several outputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tfdiff.causes.hypothesis import Proposal
from tfdiff.causes.loss import predictions
from tfdiff.causes.loss_functions import FIT, MAX_TERMS, MIN_TERMS, formulas, targets
from tfdiff.causes.loss_terms import added_up, learned, weighted_sum
from tfdiff.causes.scene import same
from tfdiff.causes.words import at, number
from tfdiff.pairing.distance import relative_error

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tfdiff.causes.scene import Floats, Scene, Side

MAX_CLASSES = 64
MAX_NAMED = 10
DIFFERENCE = 1e-3
"""Relative difference from which two weights are two."""


@dataclass(frozen=True)
class Weighted:
    """Terms of a loss as a side has them: each times its weight."""

    index: int
    weights: Floats
    """In the shape of the terms."""
    of: str
    """class, sample or nothing."""
    table: tuple[float, ...] = ()
    """By class, in order of the classes in the batch."""
    classes: tuple[float, ...] = ()
    """These classes."""


def loss_weights(scene: Scene) -> Proposal | None:
    """The same terms on both sides, multiplied by other weights before they are added up."""
    return _of_outputs(scene) or _of_terms(scene)


# --- of classes and samples ---


def _of_terms(scene: Scene) -> Proposal | None:
    for terms_a, terms_b, groups in _terms(scene):
        a, b = _weighted(scene.a, terms_a, groups), _weighted(scene.b, terms_b, groups)
        if a is None or b is None or {a.of, b.of} == {"nothing"}:
            continue
        if relative_error(a.weights, b.weights) < DIFFERENCE:
            continue
        proof = _proof(scene, a, b, terms_a, terms_b)
        if proof is None:
            continue
        of = b.of if a.of == "nothing" else a.of
        constants = {"a": _constants(a), "b": _constants(b)}
        return Proposal(
            *proof,
            f"the terms of the loss are {_said(b)} in B, {_said(a)} in A",
            f"{_fix(a, of)}{at(scene.finding.divergence.b)}",
            constants,
            fitted=2 if of == "class" else 0,
        )
    return None


def _terms(scene: Scene) -> Iterator[tuple[Floats, Floats, Floats | None]]:
    """(A's terms, B's, class of each): equal tensors in the loss, then formulas over equal predictions."""
    known = [f for f in formulas(scene.a) if f.constant is None]
    for z_a, z_b in predictions(scene):
        if not MIN_TERMS <= z_a.size <= MAX_TERMS:
            continue
        groups = list(_groups(scene, z_a))
        for each in (*groups, None):
            yield z_a, z_b, each
        for labels, y in targets(scene, z_a):
            classes = _classes(y, labels)
            for formula in known:
                if formula.labels != labels or labels == "any":
                    continue
                with np.errstate(all="ignore"):
                    terms = formula.terms(z_a, y), formula.terms(z_b, y)
                if terms[0].size >= MIN_TERMS and all(np.all(np.isfinite(each)) for each in terms):
                    yield *terms, classes


def _classes(y: Floats, labels: str) -> Floats:
    """The class of each term."""
    return np.asarray(y.argmax(axis=-1) if labels == "softmax" else y, np.float64)


def _groups(scene: Scene, terms: Floats) -> Iterator[Floats]:
    """Classes of an equal tensor's elements, from what may be the labels."""
    for side in scene.sides:
        for seen in side.with_role("input"):
            y = side.array(seen.index) if seen.shape and seen.shape[0] == terms.shape[0] else None
            if y is None or not y.size:
                continue
            if y.size == terms.size and np.array_equal(y, np.floor(y)):
                yield y.reshape(terms.shape)
            elif y.ndim > 1 and y[..., 0].size == terms.size and np.allclose(y.sum(axis=-1), 1.0):
                yield y.argmax(axis=-1).reshape(terms.shape).astype(np.float64)


def _weighted(side: Side, terms: Floats, groups: Floats | None) -> Weighted | None:
    """The terms with weights if the side has such a tensor, else as they are if it has these."""
    ways = added_up(side)
    for index in side.bad:
        seen = side.observations[index]
        term = index in ways and seen.size == terms.size and "float" in seen.dtype
        values = side.array(index) if term and learned(side, index) else None
        if values is None:
            continue
        found = None if groups is None else _of_classes(index, terms, values.reshape(terms.shape), groups)
        found = found or _of_samples(side, index, terms, values.reshape(terms.shape))
        if found is not None:
            return found
    plain = side.find(terms, range(len(side.observations)), FIT)
    return None if plain is None else Weighted(plain, np.ones_like(terms), "nothing")


def _of_samples(side: Side, index: int, terms: Floats, values: Floats) -> Weighted | None:
    """Weights that flow into the op as a tensor of their own."""
    for operand in side.observations[index].inputs if side.observations[index].site.op == "Mul" else ():
        weights = side.array(operand) if operand >= 0 else None
        if weights is None or weights.size not in (terms.shape[0], terms.size) or learned(side, operand):
            continue
        shape = terms.shape if weights.size == terms.size else (-1, *[1] * (terms.ndim - 1))
        full = np.asarray(np.broadcast_to(weights.reshape(shape), terms.shape))
        if _varies(full) and full.min() >= 0.0 and relative_error(full * terms, values) <= FIT:
            return Weighted(index, full, "sample")
    return None


def _of_classes(index: int, terms: Floats, values: Floats, groups: Floats) -> Weighted | None:
    """One factor for all terms of a class, another for another."""
    classes = np.unique(groups)
    if groups.shape != terms.shape or not 2 <= len(classes) <= MAX_CLASSES or terms.size < 2 * len(classes):
        return None
    weights, table = np.ones_like(terms), []
    for one in classes:
        chosen = groups == one
        square = float((terms[chosen] ** 2).sum())
        table.append(float((terms[chosen] * values[chosen]).sum()) / square if square > 0.0 else 1.0)
        weights[chosen] = table[-1]
    fits = min(table) >= 0.0 and relative_error(weights * terms, values) <= FIT
    found = Weighted(index, weights, "class", tuple(table), tuple(float(one) for one in classes))
    return found if fits and _varies(weights) else None


def _varies(weights: Floats) -> bool:
    """Whether there are two weights and more than what a mask has."""
    if np.all((weights == 0.0) | (weights == 1.0)):
        return False
    return float(weights.max() - weights.min()) > DIFFERENCE * float(np.abs(weights).max())


def _proof(scene: Scene, a: Weighted, b: Weighted, terms_a: Floats, terms_b: Floats) -> tuple[float, float] | None:
    """Errors of the sum that A's loss is made of, before and after B's terms have A's weights."""
    own = _summed(scene.a, a.weights * terms_a, a.weights)
    other = _summed(scene.b, b.weights * terms_b, b.weights)
    if own is None or other is None:
        return None
    (index, share), found = own, other[1] * float((b.weights * terms_b).sum())
    wanted = scene.a.scalar(index) or 0.0
    predicted = np.asarray(share * float((a.weights * terms_b).sum()))
    before = abs(wanted - found) / max(abs(wanted), abs(found), 1e-30)
    return before, scene.a.error(index, predicted)


def _summed(side: Side, values: Floats, weights: Floats) -> tuple[int, float] | None:
    """(observation, c) of the last number that is c * the sum of all terms."""
    total = float(values.sum())
    counts = {1.0, float(values.size), float(values.shape[0]), float(weights.sum())}
    for index in reversed(side.bad):
        value = side.scalar(index)
        if value is None or total == 0.0 or "float" not in side.observations[index].dtype:
            continue
        for count in sorted(counts):
            if same(value, total / count, 1e-5):
                return index, 1.0 / count
    return None


def _constants(found: Weighted) -> float | list[float]:
    if found.of == "nothing":
        return 1.0
    values = found.table if found.of == "class" else tuple(found.weights.reshape(-1))
    return [float(f"{value:.5g}") for value in values[:MAX_NAMED]]


def _said(found: Weighted) -> str:
    if found.of == "nothing":
        return "not weighted"
    if found.of == "class":
        some = ", ".join(number(value) for value in found.table[:MAX_NAMED])
        return f"weighted by class ({some}{', ...' if len(found.table) > MAX_NAMED else ''})"
    return f"weighted by sample ({number(float(found.weights.min()))} to {number(float(found.weights.max()))})"


def _fix(wanted: Weighted, of: str) -> str:
    if wanted.of == "nothing":
        return f"leave the {of} weights out ({of}_weight=, or a product with the terms)"
    if wanted.of == "sample":
        return "multiply the terms by A's sample weights (sample_weight=) before they are added up"
    table = ", ".join(
        f"{number(one)}: {number(value)}"
        for one, value in list(zip(wanted.classes, wanted.table, strict=True))[:MAX_NAMED]
    )
    return f"class_weight={{{table}}}, or multiply the terms by the weight of their class before they are added up"


# --- of outputs ---


def _of_outputs(scene: Scene) -> Proposal | None:
    """Several equal losses, added up with other factors: what flows into the products is read."""
    pairing = scene.finding.pairing
    if pairing is None or pairing.a_loss is None or pairing.b_loss is None:
        return None
    equal = {m.a: m.b for m in pairing.matches if m.equal and scene.a.observations[m.a].size == 1}
    a = weighted_sum(scene.a, pairing.a_loss, set(equal))
    b = weighted_sum(scene.b, pairing.b_loss, set(equal.values()))
    if a is None or b is None or {equal[i] for i in a} != set(b):
        return None
    pairs = [(a[i], b[equal[i]], i) for i in sorted(a)]
    data = [pair for pair in pairs if _moves(scene.a, pair[2])]
    ratios = [of_b / of_a for of_a, of_b, _ in data if of_a]
    if len(data) < 2 or len(ratios) < len(data) or all(same(ratio, ratios[0], DIFFERENCE) for ratio in ratios):
        return None
    if any(not same(of_a, of_b, DIFFERENCE) for of_a, of_b, i in pairs if not _moves(scene.a, i)):
        return None  # a penalty of another strength is not said in these words
    losses = scene.a.scalar(pairing.a_loss), scene.b.scalar(pairing.b_loss)
    if losses[0] is None or losses[1] is None:
        return None
    predicted = sum(of_a * (scene.b.scalar(equal[i]) or 0.0) for of_a, _, i in pairs)
    constants = {"a": [_five(of_a) for of_a, _, _ in data], "b": [_five(of_b) for _, of_b, _ in data]}
    words = {side: ", ".join(number(value) for value in values) for side, values in constants.items()}
    return Proposal(
        abs(losses[0] - losses[1]) / max(abs(losses[0]), abs(losses[1]), 1e-30),
        scene.a.error(pairing.a_loss, np.asarray(predicted)),
        f"{len(data)} losses are added up with the factors {words['b']} in B, {words['a']} in A",
        f"loss_weights=[{words['a']}], or these factors in the sum{at(scene.finding.divergence.b)}",
        dict(constants),
        fitted=0,
    )


def _moves(side: Side, index: int) -> bool:
    """Whether a number comes from the batch, not from weights alone."""
    return any(side.observations[i].site.role in ("input", "noise") for i in side.ancestors((index,)))


def _five(value: float) -> float:
    return float(f"{value:.5g}")
