"""One network in a floating point type of the whole of it (first argument) and one on the way (second argument).

Words behind them: rewritten (in other ops), and a number that one tensor is multiplied by.
"""

import sys

import numpy as np
import tensorflow as tf

WHOLE, WAY, *WORDS = sys.argv[1:]
rng = np.random.default_rng(7)
x = (2 * rng.normal(size=(60, 6)) + 1).astype("float32")
y = rng.integers(0, 3, 60)
w = tf.Variable(tf.cast(0.3 * rng.normal(size=(6, 32)), WHOLE))
v = tf.Variable(tf.cast(0.3 * rng.normal(size=(32, 3)), WHOLE))
factor = next((float(word) for word in WORDS if word != "rewritten"), 1.0)
for start in range(0, 60, 12):
    features, labels = (
        tf.constant(x[start : start + 12].astype(w.dtype.as_numpy_dtype)),
        tf.constant(y[start : start + 12]),
    )
    with tf.GradientTape() as tape:
        if "rewritten" in WORDS:
            z = tf.einsum("nd,dk->nk", tf.maximum(tf.matmul(features, w), 0), v)
            loss = -tf.reduce_mean(tf.gather(tf.nn.log_softmax(z), labels, batch_dims=1))
        else:
            h = tf.cast(tf.cast(tf.nn.relu(features @ w), WAY), WHOLE)  # cast
            z = (h if factor == 1.0 else h * tf.constant(factor, w.dtype)) @ v  # factor
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, z))
    for variable, gradient in zip((w, v), tape.gradient(loss, (w, v)), strict=True):
        variable.assign_sub(tf.cast(0.1, w.dtype) * gradient)
