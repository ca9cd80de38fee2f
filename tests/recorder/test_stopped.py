"""A weight whose gradient is stopped, and that moves all the same."""

from __future__ import annotations

import tfdiff as package

SCRIPT = """
import numpy as np
import tensorflow as tf

X = np.random.RandomState(1).normal(size=(24, 5)).astype("float32")
Y = np.random.RandomState(2).normal(size=(24, 2)).astype("float32")
first, second = tf.Variable(tf.random.normal((5, 6))), tf.Variable(tf.random.normal((6, 2)))
for step in range(3):
    x, y = tf.constant(X[8 * step : 8 * step + 8]), tf.constant(Y[8 * step : 8 * step + 8])
    with tf.GradientTape() as tape:
        h = tf.tanh(HIDDEN)
        loss = tf.reduce_mean(tf.square(tf.matmul(h, second) - y))
    gradients = tape.gradient(loss, [first, second])
    for weight, gradient in zip([first, second], gradients):
        weight.assign_sub(0.01 * weight)
        if gradient is not None:
            weight.assign_sub(0.1 * gradient)
"""


def test_decay_moves_what_no_gradient_reaches(tfdiff, tmp_path):
    """A stopped gradient is told though weight decay moves the weight."""
    (tmp_path / "a.py").write_text(SCRIPT.replace("HIDDEN", "tf.matmul(x, first)"))
    (tmp_path / "b.py").write_text(SCRIPT.replace("HIDDEN", "tf.stop_gradient(tf.matmul(x, first))"))
    for words in (("--no-calibrate", "a.py"), ("--reference", "a.h5", "b.py")):
        ran = tfdiff("record", "--quiet", *words)
        assert ran.code == 0, ran.err
    result = package.diff(tmp_path / "a.h5", tmp_path / "b.h5")
    assert [(cause.code, cause.step) for cause in result.causes] == [("grad-stopped", 0)]
    assert [found.phase for found in result.divergences] == ["backward"]
