"""Layers other than recurrent ones, each with Keras and written out by hand: `structured.py NAME [FAULT]`."""

import sys

import numpy as np
import tensorflow as tf
from train import BATCH, ROWS, fit, glorot, loop

NAME, FAULT = sys.argv[1], (sys.argv[2:] or [""])[0]
tf.keras.utils.set_random_seed(3 if NAME.startswith("keras") else 4)
L = tf.keras.layers
_data = np.random.RandomState(0)
IMAGES = _data.normal(size=(ROWS, 8, 8, 3)).astype("float32")
IDS = _data.randint(0, 20, size=(ROWS, 6))
VECTORS = _data.normal(size=(ROWS, 5)).astype("float32")
Y = _data.randint(0, 2, size=ROWS)
LABELS = _data.randint(0, 20, size=ROWS)


def weights(*shapes):
    """Matrices, then nothing else."""
    return [tf.Variable(glorot(*shape)) for shape in shapes]


def zeros(*shape):
    """A bias."""
    return tf.Variable(tf.zeros(shape))


def ones(*shape):
    """A scale."""
    return tf.Variable(tf.ones(shape))


def keras_attention():
    """Two heads, kernels (D, heads, dk)."""
    given = L.Input((6,), dtype="int32")
    h = L.Embedding(20, 8)(given)
    h = L.LayerNormalization(epsilon=1e-6)(h + L.MultiHeadAttention(2, 4)(h, h))
    fit(tf.keras.Model(given, L.Dense(2)(L.GlobalAveragePooling1D()(h))), IDS, Y)


def attention():
    """One matrix for keys, queries and values, in this order; layer norm written out."""
    table = tf.Variable(tf.random.uniform((20, 8), -0.05, 0.05))
    limit = (6 / 16) ** 0.5
    fused, out = tf.Variable(tf.random.uniform((8, 24), -limit, limit)), tf.Variable(glorot(8, 8))
    (v,) = weights((8, 2))
    fused_bias, out_bias, gamma, beta, bias = zeros(24), zeros(8), ones(8), zeros(8), zeros(2)

    def forward(ids):
        h = tf.nn.embedding_lookup(table, ids)
        parts = tf.reshape(tf.reshape(h, (-1, 8)) @ fused + fused_bias, (BATCH, 6, 3, 2, 4))
        k, q, values = tf.unstack(tf.transpose(parts, (2, 0, 3, 1, 4)))
        scores = tf.nn.softmax(tf.matmul(q, k, transpose_b=True) / 2.0)
        mixed = tf.reshape(tf.transpose(scores @ values, (0, 2, 1, 3)), (BATCH, 6, 8))
        total = h + tf.tensordot(mixed, out, 1) + out_bias
        mean, variance = tf.nn.moments(total, [-1], keepdims=True)
        epsilon = 1e-3 if FAULT == "epsilon" else 1e-6
        h = (total - mean) * tf.math.rsqrt(variance + epsilon) * gamma + beta  # mark: epsilon
        return tf.reduce_mean(h, 1) @ v + bias

    loop(forward, [table, fused, fused_bias, out, out_bias, gamma, beta, v, bias], IDS, Y)


def keras_norms():
    """Group, batch and layer normalization, two PReLUs."""
    layers = [L.Conv2D(8, 3, use_bias=False), L.GroupNormalization(4), L.PReLU(shared_axes=[1, 2]), L.Conv2D(8, 3)]
    layers += [L.BatchNormalization(momentum=0.9), L.PReLU(), L.Flatten(), L.LayerNormalization(), L.Dense(2)]
    fit(tf.keras.Sequential([L.Input((8, 8, 3)), *layers]), IMAGES, Y)


def norms():
    """All of them with tf.nn.moments."""
    k1, k2, v = weights((3, 3, 3, 8), (3, 3, 8, 8), (128, 2))
    g1, b1, a1, c2, g2, b2, a2 = ones(8), zeros(8), zeros(8), zeros(8), ones(8), zeros(8), zeros(4, 4, 8)
    g3, b3, bias = ones(128), zeros(128), zeros(2)
    mean, var = tf.Variable(tf.zeros(8), trainable=False), tf.Variable(tf.ones(8), trainable=False)

    def prelu(x, slope):
        return tf.nn.relu(x) - slope * tf.nn.relu(-x)

    def forward(x):
        h = tf.reshape(tf.nn.conv2d(x, k1, 1, "VALID"), (BATCH, 6, 6, 4, 2))
        m, v2 = tf.nn.moments(h, [1, 2, 4], keepdims=True)
        h = prelu(tf.reshape((h - m) / tf.sqrt(v2 + 1e-3), (BATCH, 6, 6, 8)) * g1 + b1, a1)
        h = tf.nn.conv2d(h, k2, 1, "VALID") + c2
        m, v2 = tf.nn.moments(h, [0, 1, 2])
        mean.assign(mean * 0.9 + m * 0.1)
        var.assign(var * 0.9 + v2 * 0.1)
        h = tf.reshape(prelu(tf.nn.batch_normalization(h, m, v2, b2, g2, 1e-3), a2), (BATCH, 128))
        m, v2 = tf.nn.moments(h, [1], keepdims=True)
        return ((h - m) * tf.math.rsqrt(v2 + 1e-3) * g3 + b3) @ v + bias

    loop(forward, [k1, g1, b1, a1, k2, c2, g2, b2, a2, g3, b3, v, bias], IMAGES, Y)


def keras_convolutions():
    """Depthwise, separable, transposed."""
    layers = [L.DepthwiseConv2D(3, depth_multiplier=2, padding="same", activation="relu")]
    layers += [L.SeparableConv2D(4, 3, activation="relu"), L.Conv2DTranspose(4, 3, strides=2, padding="same")]
    fit(tf.keras.Sequential([L.Input((8, 8, 3)), *layers, L.GlobalAveragePooling2D(), L.Dense(2)]), IMAGES, Y)


def convolutions():
    """A grouped convolution, depthwise then a matrix, tf.nn.conv2d_transpose."""
    depthwise = tf.Variable(tf.random.uniform((3, 3, 1, 6), -1, 1) * (6 / 45) ** 0.5)
    second = tf.Variable(tf.random.uniform((3, 3, 6, 1), -1, 1) * (6 / 63) ** 0.5)
    point, back, v = weights((6, 4), (3, 3, 4, 4), (4, 2))
    b1, b2, b3, bias = zeros(6), zeros(4), zeros(4), zeros(2)

    def forward(x):
        h = tf.nn.relu(tf.nn.conv2d(x, depthwise, 1, "SAME") + b1)
        h = tf.nn.depthwise_conv2d(h, second, [1, 1, 1, 1], "VALID")
        h = tf.nn.relu(tf.tensordot(h, point, 1) + b2)
        h = tf.nn.conv2d_transpose(h, back, (BATCH, 12, 12, 4), 2, "SAME") + b3
        return tf.reduce_mean(h, [1, 2]) @ v + bias

    loop(forward, [depthwise, b1, second, point, b2, back, b3, v, bias], IMAGES, Y)


class Tied(tf.keras.Model):
    """The embedding is the output matrix as well."""

    def __init__(self):
        super().__init__()
        self.table, self.dense = L.Embedding(20, 5), L.Dense(5, activation="tanh")

    def call(self, ids):
        """Score every word."""
        return tf.matmul(self.dense(tf.reduce_mean(self.table(ids), 1)), self.table.embeddings, transpose_b=True)


def keras_tied():
    """A variable that is used twice."""
    fit(Tied(), IDS, LABELS)


def tied():
    """One table looked up and multiplied with, or two."""
    table = tf.Variable(tf.random.uniform((20, 5), -0.05, 0.05))
    other = tf.Variable(tf.random.uniform((20, 5), -0.05, 0.05)) if FAULT == "untied" else table
    (w,) = weights((5, 5))
    b = zeros(5)

    def forward(ids):
        h = tf.tensordot(tf.one_hot(ids, 20), table, 1)
        h = tf.tanh(tf.reduce_mean(h, 1) @ w + b)
        return h @ tf.transpose(other)  # mark: untied

    loop(forward, [w, b, table, *([other] if FAULT == "untied" else [])], IDS, LABELS)


def keras_heads():
    """Two dense layers on one, two joined ones."""
    given = L.Input((5,))
    h = L.Activation("relu")(L.concatenate([L.Dense(3)(given), L.Dense(3)(given)]))
    mean, spread = L.Dense(3)(h), L.Dense(3)(h)
    h = L.Lambda(lambda pair: pair[0] + tf.exp(0.5 * pair[1]))([mean, spread])
    fit(tf.keras.Model(given, L.Dense(2)(h)), VECTORS, Y)


def heads():
    """One matrix for each two, the second one's halves the other way round."""
    w, z, v = weights((5, 6), (6, 6), (3, 2))
    b, c, bias = zeros(6), zeros(6), zeros(2)

    def forward(x):
        both = tf.nn.relu(x @ w + b) @ z + c
        return (both[:, 3:] + tf.exp(both[:, :3] / 2)) @ v + bias

    loop(forward, [w, b, z, c, v, bias], VECTORS, Y)


globals()[NAME]()
