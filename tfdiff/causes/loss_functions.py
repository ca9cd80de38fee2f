"""Losses as formulas over a prediction and its target, and which of them a side computes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tfdiff.causes.functions import sigmoid, softmax
from tfdiff.causes.loss import KERAS_EPSILON, elements, label_candidates

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from tfdiff.causes.scene import Floats, Scene, Side

MIN_TERMS = 4
"""Terms that are needed: one number can be explained by many formulas."""
MAX_TERMS = 1 << 18
FIT = 2e-5


@dataclass(frozen=True)
class Formula:
    """A loss: how it is called, and its terms."""

    name: str
    keras: str
    terms: Callable[[Floats, Floats], Floats]
    """(prediction, target) to one term per element or per row."""
    labels: str = "any"
    """softmax: the target must be a distribution over classes, sigmoid: between 0 and 1."""
    constant: float | None = None
    """Its threshold, where it has one."""


@dataclass(frozen=True)
class Seen:
    """A loss as it was found on a side."""

    index: int
    formula: Formula
    link: str
    compute: Callable[[Floats, Floats], Floats]
    """(prediction, target) to what was observed."""


def _difference(power: int) -> Callable[[Floats, Floats], Floats]:
    return lambda z, y: np.abs(z - y) ** power


def _huber(delta: float) -> Callable[[Floats, Floats], Floats]:
    def compute(z: Floats, y: Floats) -> Floats:
        d = np.abs(z - y)
        return np.where(d <= delta, 0.5 * d**2, delta * d - 0.5 * delta**2)

    return compute


def _log_cosh(z: Floats, y: Floats) -> Floats:
    return np.asarray(np.logaddexp(z - y, y - z) - np.log(2.0))


def _percentage(z: Floats, y: Floats) -> Floats:
    return np.asarray(100.0 * np.abs(z - y) / np.maximum(np.abs(y), KERAS_EPSILON))


def _logarithmic(z: Floats, y: Floats) -> Floats:
    p, q = (np.log1p(np.maximum(x, KERAS_EPSILON)) for x in (z, y))
    return np.asarray((p - q) ** 2)


def _poisson(z: Floats, y: Floats) -> Floats:
    return np.asarray(z - y * np.log(z + KERAS_EPSILON))


def _hinge(power: int) -> Callable[[Floats, Floats], Floats]:
    def compute(z: Floats, y: Floats) -> Floats:
        signs = 2.0 * y - 1.0 if y.min() >= 0.0 else y
        return np.asarray(np.maximum(1.0 - signs * z, 0.0) ** power)

    return compute


def _cosine(z: Floats, y: Floats) -> Floats:
    norms = np.linalg.norm(z, axis=-1) * np.linalg.norm(y, axis=-1)
    return np.asarray(-(z * y).sum(axis=-1) / np.maximum(norms, 1e-12))


def _entropy(kind: str, times: int) -> Callable[[Floats, Floats], Floats]:
    return lambda z, y: elements(z, y, kind, times)


FORMULAS = (
    Formula("mean squared error", "MeanSquaredError()", _difference(2)),
    Formula("mean absolute error", "MeanAbsoluteError()", _difference(1)),
    Formula(
        "categorical cross-entropy", "CategoricalCrossentropy(from_logits=True)", _entropy("softmax", 1), "softmax"
    ),
    Formula("categorical cross-entropy", "CategoricalCrossentropy()", _entropy("softmax", 0), "softmax"),
    Formula("binary cross-entropy", "BinaryCrossentropy(from_logits=True)", _entropy("sigmoid", 1), "sigmoid"),
    Formula("binary cross-entropy", "BinaryCrossentropy()", _entropy("sigmoid", 0), "sigmoid"),
    Formula("log-cosh loss", "LogCosh()", _log_cosh),
    Formula("mean absolute percentage error", "MeanAbsolutePercentageError()", _percentage),
    Formula("mean squared logarithmic error", "MeanSquaredLogarithmicError()", _logarithmic),
    Formula("Poisson loss", "Poisson()", _poisson),
    Formula("hinge loss", "Hinge()", _hinge(1)),
    Formula("squared hinge loss", "SquaredHinge()", _hinge(2)),
    Formula("cosine similarity", "CosineSimilarity()", _cosine),
)
LINKS: dict[str, Callable[[Floats], Floats]] = {"": lambda z: z, "softmax": softmax, "sigmoid": sigmoid}
"""What may stand between the prediction and the loss."""


def targets(scene: Scene, z: Floats) -> Iterator[tuple[str, Floats]]:
    """(what they can be, targets in the shape of z): labels first, then other inputs of that size."""
    kinds: dict[bytes, set[str]] = {}
    for kind, labels in label_candidates(scene, z):
        key = labels.tobytes()
        if "any" not in kinds.setdefault(key, set()):
            kinds[key].add("any")
            yield "any", labels
        yield kind, labels
    for side in scene.sides:
        for seen in side.with_role("input"):
            values = side.array(seen.index) if seen.size == z.size else None
            if values is None or values.size != z.size or values.tobytes() in kinds:
                continue
            kinds[values.tobytes()] = {"any"}
            yield "any", values.reshape(z.shape)


def formulas(side: Side) -> tuple[Formula, ...]:
    """All formulas; the one with a threshold for each number that flows into the side's loss."""
    found = [1.0]
    operands = {operand for index in side.bad for operand in side.observations[index].inputs}
    for index in sorted(operands):
        value = side.scalar(index) if index >= 0 and side.observations[index].site.role == "constant" else None
        if value is not None and value > 0.0 and not any(abs(value - known) < 1e-9 for known in found):
            found.append(float(f"{value:.6g}"))
    huber = [Formula("Huber loss", f"Huber(delta={delta:.4g})", _huber(delta), "any", delta) for delta in found[:8]]
    return (*FORMULAS, *huber)


def identified(
    side: Side, z: Floats, y: Floats, labels: str, known: Iterable[Formula], among: Iterable[int]
) -> Seen | None:
    """The loss of which the side has the terms, one per element or per row; None where it is none that is known."""
    among = [i for i in among if MIN_TERMS <= side.observations[i].size <= z.size]
    if not among or z.size > MAX_TERMS or z.shape != y.shape:
        return None
    for formula in known:
        if formula.labels != labels:
            continue
        for link, function in LINKS.items():
            found = _with_link(side, z, y, formula, link, function, among)
            if found is not None:
                return found
    return None


def _with_link(
    side: Side,
    z: Floats,
    y: Floats,
    formula: Formula,
    link: str,
    function: Callable[[Floats], Floats],
    among: list[int],
) -> Seen | None:
    with np.errstate(all="ignore"):
        terms = formula.terms(function(z), y)
    if not np.all(np.isfinite(terms)) or not np.any(terms):
        return None
    for reduce in _reductions(terms):
        predicted = reduce(terms)
        index = side.find(predicted, among, FIT) if predicted.size >= MIN_TERMS else None
        if index is not None:
            return Seen(index, formula, link, lambda p, q: reduce(formula.terms(function(p), q)))  # noqa: B023
    return None


def _reductions(terms: Floats) -> list[Callable[[Floats], Floats]]:
    found: list[Callable[[Floats], Floats]] = [lambda t: t]
    if terms.ndim > 1:
        found += [lambda t: np.asarray(t.mean(axis=-1)), lambda t: np.asarray(t.sum(axis=-1))]
    return found
