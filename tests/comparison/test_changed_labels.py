"""A loss whose labels one side changes, while the two write the softmax in different places."""

import numpy as np

from tests.causes import programs
from tests.causes.programs import Program, features, one_hot


def softmax_first() -> Program:
    """A softmax of its own, then -sum(y log p)."""
    p = Program("a.py")
    z = p.dense(p.input(features()), "out", 5)
    y = p.input(one_hot())
    shifted = np.exp(p.value(z) - p.value(z).max(1, keepdims=True))
    soft = p.op("Softmax", shifted / shifted.sum(1, keepdims=True), z, line=5)
    logs = p.op("Log", np.log(p.value(soft)), soft, line=6)
    product = p.op("Mul", p.value(y) * p.value(logs), y, logs, line=6)
    each = p.op("Neg", -p.value(product).sum(1), product, line=6)
    p.loss(p.op("Mean", p.value(each).mean(), each, line=7), 7)
    return p


def smoothed() -> Program:
    """Labels between 0.02 and 0.92, and a loss that makes the softmax itself."""
    p = Program("b.py")
    z = p.dense(p.input(features()), "out", 5)
    y = p.input(one_hot())
    less = p.op("Mul", p.value(y) * 0.9, y, line=5)
    labels = p.op("AddV2", p.value(less) + 0.02, less, line=5)
    top = p.value(z).max(1, keepdims=True)
    logs = p.value(z) - top - np.log(np.exp(p.value(z) - top).sum(1, keepdims=True))
    each = p.op("SoftmaxCrossEntropyWithLogits", -(p.value(labels) * logs).sum(1), z, labels, line=6)
    p.loss(p.op("Mean", p.value(each).mean(), each, line=7), 7)
    return p


def test_the_labels_are_where_they_part(tmp_path):
    """Not the softmax, which is only written otherwise: the op that changes the labels, and the one that takes them as
    they are.
    """
    result = programs.diff(softmax_first(), smoothed(), tmp_path)
    (found,) = result.divergences
    assert (found.phase, found.a.op, found.b.op) == ("loss", "Mul", "AddV2")
    assert result.causes[0].code == "loss-smoothing"
