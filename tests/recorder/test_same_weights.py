"""The weights a script ends with do not depend on whether it is recorded."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest

import tfdiff

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

X = np.random.RandomState(1).normal(size=(48, 12)).astype("float32")
Y = np.random.RandomState(2).randint(0, 4, size=48).astype("int64")


def keras_model(tf):
    """Dense, batch norm, dropout, dense."""
    layers = tf.keras.layers
    return tf.keras.Sequential(
        [
            layers.Input((12,)),
            layers.Dense(16, activation="relu"),
            layers.BatchNormalization(),
            layers.Dropout(0.3),
            layers.Dense(4),
        ]
    )


def fit(tf, **options):
    """`fit` as users write it, shuffling."""
    model = keras_model(tf)
    loss = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(tf.keras.optimizers.Adam(0.01), loss, **options)
    model.fit(X, Y, batch_size=16, epochs=2, verbose=0)
    return model.get_weights()


def keras_loop(tf, wrap):
    """A tape loop over Keras layers."""
    model, optimizer = keras_model(tf), tf.keras.optimizers.Adam(0.01)
    loss_of = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    optimizer.build(model.trainable_variables)

    @wrap
    def step(x, y):
        with tf.GradientTape() as tape:
            loss = loss_of(y, model(x, training=True))
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))

    for x, y in tf.data.Dataset.from_tensor_slices((X, Y)).shuffle(48).batch(16).repeat(2):
        step(x, y)
    return model.get_weights()


def raw_loop(tf, wrap):
    """A raw loop, dropout drawn by TensorFlow's global seed."""
    w = tf.Variable(tf.random.normal((12, 16)) * 0.3)
    v = tf.Variable(tf.random.normal((16, 4)) * 0.3)

    @wrap
    def step(x, y):
        with tf.GradientTape() as tape:
            h = tf.nn.dropout(tf.nn.relu(x @ w), rate=0.3)
            h = tf.nn.dropout(h + tf.random.normal(tf.shape(h)), rate=0.3)
            each = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=h @ v)
            loss = tf.reduce_mean(each)
        for variable, gradient in zip((w, v), tape.gradient(loss, [w, v]), strict=True):
            variable.assign_sub(0.1 * gradient)

    for start in range(0, 48, 16):
        step(tf.constant(X[start : start + 16]), tf.constant(Y[start : start + 16]))
    return [w.numpy(), v.numpy()]


def both(tf, train: Callable[[], list[np.ndarray]], path: Path) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Final weights without and with a recording, from equal seeds."""
    found = []
    for recorded in (False, True):
        tf.keras.backend.clear_session()
        tf.keras.utils.set_random_seed(5)
        if recorded:
            with tfdiff.record(path, steps=0, quiet=True):
                found.append(train())
        else:
            found.append(train())
    return found[0], found[1]


@pytest.mark.parametrize(
    "train",
    [
        pytest.param(lambda tf: raw_loop(tf, lambda f: f), id="raw loop"),
        pytest.param(lambda tf: keras_loop(tf, lambda f: f), id="keras loop"),
        pytest.param(lambda tf: fit(tf, run_eagerly=True), id="fit run_eagerly"),
    ],
)
def test_eager_weights_are_bit_equal(tf, tmp_path, train):
    """An eager run ends with the very same bits."""
    plain, recorded = both(tf, lambda: train(tf), tmp_path / "a.h5")
    assert [np.array_equal(a, b) for a, b in zip(plain, recorded, strict=True)] == [True] * len(plain)


@pytest.mark.parametrize(
    "train",
    [
        pytest.param(fit, id="fit"),
        pytest.param(lambda tf: keras_loop(tf, tf.function), id="keras function"),
        pytest.param(lambda tf: raw_loop(tf, tf.function), id="raw function"),
    ],
)
def test_compiled_weights_are_equal_within_noise(tf, tmp_path, train, capsys):
    """A compiled run may differ by how ops are fused, not more: same draws, batches, updates. The size is printed."""
    plain, recorded = both(tf, lambda: train(tf), tmp_path / "a.h5")
    size = max(float(np.abs(a - b).max() / np.abs(a).max()) for a, b in zip(plain, recorded, strict=True))
    with capsys.disabled():
        sys.stdout.write(f" [largest relative difference of a final weight: {size:.1e}]")
    assert size < 1e-5
