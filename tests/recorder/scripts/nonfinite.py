"""Networks in which something stops being finite, and their counterparts in which it does not.

Arguments: the name of one of the functions below, `nan-batch` or `nan-weight` for where NaN is from the start.
"""

import sys

import numpy as np
import tensorflow as tf

NAME, *WORDS = sys.argv[1:]
rng = np.random.default_rng(7)
x = (2 * rng.normal(size=(60, 6)) + 1).astype("float32")
x[:, 0] = 0.0
y = rng.integers(0, 3, 60)
if "nan-batch" in WORDS:
    x[14, 2] = np.nan
w = tf.Variable(0.3 * rng.normal(size=(6, 8)).astype("float32"))
v = tf.Variable(0.3 * rng.normal(size=(8, 3)).astype("float32"))
if "nan-weight" in WORDS:
    w.assign(tf.sqrt(w))


def _cross_entropy(y, z):
    return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(y, z))


def _by_hand(y, p):
    return -tf.reduce_mean(tf.reduce_sum(tf.one_hot(y, 3) * tf.math.log(p), 1))  # op: log_of_0


def _logits(x):
    return tf.nn.relu(x @ w) @ v


def _plain(x, y, _):
    return _cross_entropy(y, _logits(x))


def _sharp(x, y, _):
    return _cross_entropy(y, 200.0 * _logits(x))


def _log_of_0(x, y, _):
    return _by_hand(y, tf.nn.softmax(200.0 * _logits(x)))


def _clipped(x, y, _):
    return _by_hand(y, tf.clip_by_value(tf.nn.softmax(200.0 * _logits(x)), 1e-7, 1.0))


def _probabilities(x, y, _):
    return _by_hand(y, tf.nn.softmax(_logits(x)))


def _no_softmax(x, y, _):
    return _by_hand(y, _logits(x))  # op: no_softmax


def _late(x, y, step):
    loss = _cross_entropy(y, 200.0 * _logits(x))
    return loss + (tf.math.log(0.0 * tf.reduce_sum(x)) if step == 3 else 0.0)


def _guarded_root(x, y, _):
    h = tf.nn.relu(x @ w)
    return _cross_entropy(y, h @ v) + tf.reduce_mean(tf.sqrt(tf.reduce_sum(tf.square(0.0 * h), 1) + 1e-12))


def _root_at_0(x, y, _):
    h = tf.nn.relu(x @ w)
    n = tf.sqrt(tf.reduce_sum(tf.square(0.0 * h), 1))  # op: root_at_0
    return _cross_entropy(y, h @ v) + tf.reduce_mean(n)


def _guarded_division(x, _y, _):
    h = tf.nn.relu(x @ w) * tf.cast(x[:, 1:2] > 1.0, tf.float32)
    return tf.reduce_mean((h @ v / (tf.reduce_sum(h, 1, keepdims=True) + 1e-6) - 1.0) ** 2)


def _division_by_0(x, _y, _):
    h = tf.nn.relu(x @ w) * tf.cast(x[:, 1:2] > 1.0, tf.float32)
    q = h @ v / tf.reduce_sum(h, 1, keepdims=True)  # op: division_by_0
    return tf.reduce_mean((q - 1.0) ** 2)


def _shifted_exp(x, y, _):
    z = 100.0 * _logits(x)
    e = tf.exp(z - tf.reduce_max(z, 1, keepdims=True))
    return -tf.reduce_mean(tf.reduce_sum(e / tf.reduce_sum(e, 1, keepdims=True) * tf.one_hot(y, 3), 1))


def _large_exp(x, y, _):
    e = tf.exp(100.0 * _logits(x))  # op: large_exp
    return -tf.reduce_mean(tf.reduce_sum(e / tf.reduce_sum(e, 1, keepdims=True) * tf.one_hot(y, 3), 1))


def _square_single(x, _y, _):
    return tf.reduce_mean(1e-6 * tf.square(300.0 * _logits(x)))


def _square_half(x, _y, _):
    z = tf.cast(_logits(x), tf.float16)
    q = tf.square(300.0 * z)  # op: square_half
    return tf.reduce_mean(1e-6 * tf.cast(q, tf.float32))


def _mask_large(x, y, _):
    p = tf.nn.softmax(_logits(x) + tf.constant([[0.0, -1e9, 0.0]]))
    return -tf.reduce_mean(tf.reduce_sum(p * tf.one_hot(y, 3), 1))


def _mask_infinite(x, y, _):
    p = tf.nn.softmax(_logits(x) + tf.constant([[0.0, -np.inf, 0.0]]))
    return -tf.reduce_mean(tf.reduce_sum(p * tf.one_hot(y, 3), 1))


def _mask_of_logarithms(x, y, _):
    p = tf.nn.softmax(_logits(x) + tf.math.log(tf.constant([[1.0, 0.0, 1.0]]) * tf.ones_like(x[:, :3])))
    return -tf.reduce_mean(tf.reduce_sum(p * tf.one_hot(y, 3), 1))


def _other_activation(x, y, _):
    return _by_hand(y, tf.nn.softmax(200.0 * (tf.nn.tanh(x @ w) @ v)))


def _runaway(x, _y, _):
    return tf.reduce_mean(1e4 * (_logits(x) - 1.0) ** 2)


def _update(g):
    if NAME == "plain" and "sign" in WORDS:
        return g / (tf.sqrt(g * g) + 1e-7)
    if NAME == "plain" and "sign-by-0" in WORDS:
        return g / tf.sqrt(g * g)  # op: sign-by-0
    return g


for step in range(5):
    rows = slice(12 * step, 12 * step + 12)
    with tf.GradientTape() as tape:
        loss = globals()[f"_{NAME}"](tf.constant(x[rows]), tf.constant(y[rows]), step)
    for variable, gradient in zip((w, v), tape.gradient(loss, (w, v)), strict=True):
        variable.assign_sub(0.1 * _update(gradient))
