"""One network, fed from the same 60 rows in many ways; the arguments say how.

split: two inputs instead of one. Of the arrays: integers, scaled, beforehand (divided by 255), columns (each scaled by
itself), rolled (labels), arranged (another order, once), noise (added). Of the way into the step: dataset, divided (by
a map), flipped, bright (maps that draw), shuffled, sixes, sevens (rows of a batch), dropped (sevens without the last),
flips (by NumPy). Of the loop: zeros or first (a step more before it), from-1 (without the first batch), twice (two
epochs).
"""

import sys

import numpy as np
import tensorflow as tf

WORDS = set(sys.argv[1:])
rng = np.random.default_rng(7)
x = (2 * rng.normal(size=(60, 8)) + 1).astype("float32")
if "integers" in WORDS:
    x = rng.integers(0, 256, (60, 8)).astype("float32")
y = rng.integers(0, 3, 60)
if "arranged" in WORDS:
    order = np.random.default_rng(3).permutation(60)
    x, y = x[order], y[order]
if "scaled" in WORDS:
    x = x * np.float32(255)
if "beforehand" in WORDS:
    x = x / np.float32(255)
if "columns" in WORDS:
    x = (x - x.mean(0)) / x.std(0)
if "rolled" in WORDS:
    y = np.roll(y, 1)
if "noise" in WORDS:
    x = x + np.random.default_rng(4).normal(size=x.shape).astype("float32") * 0.3
features = (x[:, :3].copy(), x[:, 3:].copy()) if "split" in WORDS else (x,)
w = tf.Variable(0.1 * rng.normal(size=(8, 8)).astype("float32"))
v = tf.Variable(0.1 * rng.normal(size=(8, 3)).astype("float32"))


@tf.function(reduce_retracing=True)
def train(inputs, labels):
    """One step."""
    with tf.GradientTape() as tape:
        z = tf.nn.relu(tf.concat(inputs, 1) @ w) @ v
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, z))
    for variable, gradient in zip((w, v), tape.gradient(loss, (w, v)), strict=True):
        variable.assign_sub(0.1 * gradient)


SIZE = 7 if WORDS & {"sevens", "dropped"} else 6 if "sixes" in WORDS else 12


def _flipped(part):
    return tf.cond(tf.random.uniform([]) < 0.5, lambda: part[::-1], lambda: part)


def from_arrays():
    """Slices of the arrays."""
    draw = np.random.default_rng(2)
    for start in range(0, 60, SIZE):
        parts = [part[start : start + SIZE] for part in features]
        if "flips" in WORDS:
            parts = [np.where(draw.random((len(part), 1)) < 0.5, part[:, ::-1], part) for part in parts]
        yield [tf.constant(part) for part in parts], tf.constant(y[start : start + SIZE])


def from_dataset():
    """A tf.data pipeline."""
    rows = tf.data.Dataset.from_tensor_slices((features, y))
    if "divided" in WORDS:
        rows = rows.map(lambda parts, label: (tuple(part / 255.0 for part in parts), label))
    if "flipped" in WORDS:
        rows = rows.map(lambda parts, label: (tuple(map(_flipped, parts)), label))
    if "bright" in WORDS:
        rows = rows.map(lambda parts, label: (tuple(part + 100.0 * tf.random.uniform([]) for part in parts), label))
    if "shuffled" in WORDS:
        rows = rows.shuffle(60, seed=1)
    for parts, labels in rows.batch(SIZE, drop_remainder="dropped" in WORDS):
        yield list(parts), labels


if "zeros" in WORDS:
    train([tf.zeros((12, 8))], tf.zeros(12, tf.int64))
if "first" in WORDS:
    train([tf.constant(part[:12]) for part in features], tf.constant(y[:12]))
for _ in range(2 if "twice" in WORDS else 1):
    for number, (inputs, labels) in enumerate(from_dataset() if "dataset" in WORDS else from_arrays()):
        if number or "from-1" not in WORDS:
            train(inputs, labels)
