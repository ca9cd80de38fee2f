"""The same GRUs written out over time in a tf.function with raw variables; RMSprop by hand."""

import sys

import numpy as np
import tensorflow as tf

seed = int(sys.argv[1])
rng = np.random.RandomState(seed)
x = rng.normal(size=(240, 5, 5)).astype("float32")
y = np.tanh(x.sum(axis=(1, 2), keepdims=True)[:, 0] / 4).astype("float32")

tf.random.set_seed(seed + 100)


def glorot(rows, columns):
    limit = np.sqrt(6 / (rows + columns))
    return tf.random.uniform([rows, columns], -limit, limit)


def gru_variables(inputs, units):
    orthogonal = tf.keras.initializers.Orthogonal(seed=seed + inputs)
    return [
        tf.Variable(glorot(inputs, 3 * units)),
        tf.Variable(orthogonal((units, 3 * units))),
        tf.Variable(tf.zeros([2, 3 * units])),
    ]


first, second = gru_variables(5, 10), gru_variables(10, 6)
head = [tf.Variable(glorot(6, 1)), tf.Variable(tf.zeros([1]))]
variables = first + second + head
squares = [tf.Variable(tf.zeros_like(v), trainable=False) for v in variables]
momenta = [tf.Variable(tf.zeros_like(v), trainable=False) for v in variables]


def gru(sequence, weights, units):
    kernel, recurrent, bias = weights
    h = tf.zeros([tf.shape(sequence)[0], units])
    states = []
    for t in range(5):
        xz, xr, xh = tf.split(tf.matmul(sequence[:, t], kernel) + bias[0], 3, axis=1)
        hz, hr, hh = tf.split(tf.matmul(h, recurrent) + bias[1], 3, axis=1)
        z, r = tf.sigmoid(xz + hz), tf.sigmoid(xr + hr)
        h = z * h + (1 - z) * tf.tanh(xh + r * hh)
        states.append(h)
    return tf.stack(states, axis=1)


@tf.function
def train(batch, target):
    with tf.GradientTape() as tape:
        last = gru(gru(batch, first, 10), second, 6)[:, -1]
        loss = tf.reduce_mean(tf.abs(tf.matmul(last, head[0]) + head[1] - target))
    for v, s, m, g in zip(variables, squares, momenta, tape.gradient(loss, variables)):
        s.assign(0.9 * s + 0.1 * g**2)
        m.assign(0.5 * m + 2e-3 * g * tf.math.rsqrt(s + 1e-7))
        v.assign_sub(m)


for i in range(0, 240, 8):
    train(tf.constant(x[i : i + 8]), tf.constant(y[i : i + 8]))
