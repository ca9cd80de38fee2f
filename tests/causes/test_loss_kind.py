"""Other formulas and other weights of a loss."""

import numpy as np
import pytest

from .programs import Program, features, one_hot
from .test_loss import classifier, crossentropy, sigmoid, softmax, squares


def of_difference(kind: str, function):
    """The mean of a function of prediction minus target."""

    def apply(p: Program, z: int, y: int) -> int:
        d = p.value(z).astype(np.float64) - p.value(y)
        each = p.op(kind, function(d), z, y, p.constant(0.5), line=12)
        return p.op("Mean", np.asarray(p.value(each).astype(np.float64).mean()), each, line=12)

    return apply


def huber(delta: float):
    """Squares up to delta, then straight lines."""
    return lambda d: np.where(np.abs(d) <= delta, 0.5 * d * d, delta * np.abs(d) - 0.5 * delta**2)


@pytest.mark.parametrize(
    ("a", "b", "constants"),
    [
        (np.square, np.abs, {"a": "mean squared error", "b": "mean absolute error"}),
        (huber(1.0), np.abs, {"a": 1.0, "b": "mean absolute error"}),
        (huber(1.0), huber(0.5), {"a": 1.0, "b": 0.5}),
    ],
)
def test_another_kind_of_loss(first, a, b, constants):
    """Squares, absolute values and what is between them."""
    y = features(24, 5, 8)
    cause = first(classifier("a.py", of_difference("Square", a), y), classifier("b.py", of_difference("Abs", b), y))
    assert (cause.code, cause.constants) == ("loss-kind", constants)
    assert cause.error_after < 1e-5


def test_a_part_of_another_formula_is_no_kind(first):
    """The absolute difference is there, but to the power of 1.5 it is no absolute error."""

    def powered(p: Program, z: int, y: int) -> int:
        size = np.abs(p.value(z).astype(np.float64) - p.value(y))
        each = p.op("Pow", size**1.5, p.op("Abs", size, z, y, line=11), p.constant(1.5), line=12)
        return p.op("Mean", np.asarray(p.value(each).astype(np.float64).mean()), each, line=12)

    y = features(24, 5, 8)
    a = classifier("a.py", of_difference("Square", np.square), y)
    assert first(a, classifier("b.py", powered, y)).code == "unexplained"


@pytest.mark.parametrize("other", [lambda d: np.abs(d) ** 1.5, lambda d: np.square(d) * (d > 0), lambda d: 1.3 * d * d])
def test_a_loss_made_up_is_unexplained(first, other):
    """Powers, one-sided squares and factors are no kind that has a name."""
    y = features(24, 5, 8)
    a = classifier("a.py", of_difference("Square", np.square), y)
    assert first(a, classifier("b.py", of_difference("Pow", other), y)).code == "unexplained"


def test_one_more_term_is_no_kind(first):
    """A has absolute errors, B squared ones besides."""

    def both(p: Program, z: int, y: int) -> int:
        losses = [of_difference(kind, f)(p, z, y) for kind, f in (("Square", np.square), ("Abs", np.abs))]
        return p.op("AddV2", np.asarray(p.value(losses[0]) + p.value(losses[1])), *losses, line=16)

    y = features(24, 5, 8)
    a = classifier("a.py", of_difference("Abs", np.abs), y)
    assert first(a, classifier("b.py", both, y)).code == "unexplained"


CLASSES = np.array([1.0, 5.0, 0.5, 2.0, 1.5])


def by_class(weights, *, gathered: bool = False):
    """A cross-entropy of which each term has the weight of its class."""

    def apply(p: Program, z: int, y: int) -> int:
        each = -(p.value(y) * np.log(softmax(p.value(z).astype(np.float64)))).sum(-1)
        losses = p.op("SoftmaxCrossEntropyWithLogits", each, z, y, line=12)
        factors = p.value(y) @ weights
        of_each = p.op("GatherV2", factors, p.constant(1.0), y, line=13) if gathered else p.constant(1.0)
        weighted = p.op("Mul", factors * p.value(losses), losses, of_each, line=14)
        return p.op("Mean", np.asarray(p.value(weighted).astype(np.float64).mean()), weighted, line=15)

    return apply


@pytest.mark.parametrize("gathered", [False, True])
def test_class_weights(first, gathered):
    """The weight of each class is fitted."""
    a = classifier("a.py", by_class(CLASSES, gathered=gathered), one_hot())
    cause = first(a, classifier("b.py", crossentropy(1), one_hot()))
    assert (cause.code, cause.constants) == ("loss-weights", {"a": pytest.approx(CLASSES), "b": 1.0})
    assert cause.error_after < 1e-5
    assert "class_weight={0: 1, 1: 5" in cause.fix


def test_the_fix_names_the_classes_of_the_batch(first):
    """A class that is not in the batch has no weight that could be told."""
    labels = one_hot()
    labels[labels[:, 1] == 1] = np.eye(5, dtype=np.float32)[3]
    cause = first(classifier("a.py", by_class(CLASSES), labels), classifier("b.py", crossentropy(1), labels))
    assert cause.constants["a"] == pytest.approx(CLASSES[[0, 2, 3, 4]])
    assert "class_weight={0: 1, 2: 0.5, 3: 2, 4: 1.5}" in cause.fix


def test_predictions_of_another_shape(first):
    """(rows, 1) here, (rows,) there: the same numbers in the same order."""
    y = features(24, 1, 8)

    def flat(p: Program, z: int, at: int) -> int:
        z, at = (p.op("Squeeze", p.value(i)[:, 0], i, line=11) for i in (z, at))
        return of_difference("Abs", np.abs)(p, z, at)

    cause = first(classifier("a.py", of_difference("Square", np.square), y), classifier("b.py", flat, y))
    assert (cause.code, cause.constants["b"]) == ("loss-kind", "mean absolute error")


def test_other_class_weights(first):
    """Both sides have weights."""
    a = classifier("a.py", by_class(CLASSES), one_hot())
    cause = first(a, classifier("b.py", by_class(CLASSES[::-1]), one_hot()))
    assert (cause.code, cause.constants) == (
        "loss-weights",
        {"a": pytest.approx(CLASSES), "b": pytest.approx(CLASSES[::-1])},
    )


def positive(weight: float):
    """tf.nn.weighted_cross_entropy_with_logits: one op, no product to be seen."""

    def apply(p: Program, z: int, y: int) -> int:
        labels, x = p.value(y).astype(np.float64), p.value(z).astype(np.float64)
        each = -(weight * labels * np.log(sigmoid(x)) + (1 - labels) * np.log(sigmoid(-x)))
        losses = p.op("AddV2", each, z, y, line=12)
        return p.op("Mean", np.asarray(each.mean()), losses, line=12)

    return apply


def test_weight_of_the_positives(first):
    """A factor on the terms with label 1."""
    labels = (features(24, 3, 9) > 0).astype(np.float32)
    cause = first(classifier("a.py", positive(1.0), labels), classifier("b.py", positive(3.0), labels))
    assert (cause.code, cause.constants) == ("loss-weights", {"a": 1.0, "b": [1.0, pytest.approx(3.0)]})


def by_sample(weights, *, made_of_prediction: bool = False):
    """Squared errors, each row with its weight."""

    def apply(p: Program, z: int, y: int) -> int:
        rows = ((p.value(z).astype(np.float64) - p.value(y)) ** 2).mean(1)
        each = p.op("Mean", rows, z, y, line=12)
        factors = p.op("Exp", np.exp(-rows), each, line=13) if made_of_prediction else p.input(weights)
        weighted = p.op("Mul", p.value(factors) * p.value(each), each, factors, line=14)
        return p.op("Mean", np.asarray(p.value(weighted).astype(np.float64).mean()), weighted, line=15)

    return apply


def rows(p: Program, z: int, y: int) -> int:
    """Squared errors, a mean for each row, then of all rows."""
    each = p.op("Mean", ((p.value(z).astype(np.float64) - p.value(y)) ** 2).mean(1), z, y, line=12)
    return p.op("Mean", np.asarray(p.value(each).astype(np.float64).mean()), each, line=15)


def test_sample_weights(first):
    """Weights that flow into the product are read."""
    weights, y = np.random.default_rng(7).uniform(0.5, 2.0, 24).astype(np.float32), features(24, 5, 8)
    cause = first(classifier("a.py", rows, y), classifier("b.py", by_sample(weights), y))
    assert (cause.code, cause.constants["a"]) == ("loss-weights", 1.0)
    assert cause.constants["b"] == pytest.approx(weights[:10], rel=1e-3)


def test_weights_made_of_the_prediction_are_unexplained(first):
    """A focal factor is no weight of a sample, a class or an output."""
    y = features(24, 5, 8)
    a = classifier("a.py", rows, y)
    assert first(a, classifier("b.py", by_sample(None, made_of_prediction=True), y)).code == "unexplained"


def two_outputs(script: str, first: float, second: float) -> Program:
    """Two losses with a factor each."""
    p = Program(script)
    h = p.dense(p.input(features()), "hidden", 6)
    totals = []
    for name, factor, target in (("one", first, p.input(one_hot())), ("two", second, p.input(features(24, 5, 8)))):
        loss = squares(np.mean)(p, p.dense(h, name, 5, line=9), target)
        totals.append(p.op("Mul", np.asarray(factor * p.value(loss)), loss, p.constant(factor), line=13))
    p.loss(p.op("AddV2", np.asarray(p.value(totals[0]) + p.value(totals[1])), *totals, line=14))
    return p


def test_weights_of_outputs(first):
    """The factors are read from what flows into the products."""
    cause = first(two_outputs("a.py", 1.0, 0.2), two_outputs("b.py", 1.0, 0.5))
    assert cause.code == "loss-weights"
    assert cause.constants == {"a": pytest.approx([1.0, 0.2]), "b": pytest.approx([1.0, 0.5])}


def test_one_factor_for_all_outputs_is_no_weight(first):
    """Both losses times 1.3."""
    cause = first(two_outputs("a.py", 1.0, 0.2), two_outputs("b.py", 1.3, 0.26))
    assert cause.code == "unexplained"
