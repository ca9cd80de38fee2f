"""The same by hand: casts to bfloat16 around raw variables, an eager tape, Keras's Adam."""

import sys

import numpy as np
import tensorflow as tf

seed = int(sys.argv[1])
rng = np.random.RandomState(seed)
x = rng.normal(size=(480, 24)).astype("float32")
y = (x @ rng.normal(size=(24, 1)) / 5).astype("float32")

tf.random.set_seed(seed + 100)


def glorot(rows, columns):
    limit = np.sqrt(6 / (rows + columns))
    return tf.Variable(tf.random.uniform([rows, columns], -limit, limit))


w1, b1 = glorot(24, 32), tf.Variable(tf.zeros([32]))
scale, offset = tf.Variable(tf.ones([32])), tf.Variable(tf.zeros([32]))
w2, b2 = glorot(32, 32), tf.Variable(tf.zeros([32]))
w3, b3 = glorot(32, 1), tf.Variable(tf.zeros([1]))
variables = [w1, b1, scale, offset, w2, b2, w3, b3]
optimizer = tf.keras.optimizers.Adam(2e-3)


def half(tensor):
    return tf.cast(tensor, tf.bfloat16)


def network(x):
    h = tf.nn.relu(half(x) @ half(w1) + half(b1))
    h = tf.cast(h, tf.float32)
    mean, variance = tf.nn.moments(h, [-1], keepdims=True)
    h = (h - mean) / tf.sqrt(variance + 1e-3) * scale + offset
    h = tf.nn.dropout(half(h), 0.2)
    h = tf.tanh(h @ half(w2) + half(b2))
    return tf.cast(h, tf.float32) @ w3 + b3


for i in range(0, len(x), 16):
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean((network(x[i : i + 16]) - y[i : i + 16]) ** 2)
    optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables))
