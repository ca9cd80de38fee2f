"""The same as an eager tape over tf.nn.conv1d with padding in front."""

import sys

import numpy as np
import tensorflow as tf

seed = int(sys.argv[1])
rng = np.random.RandomState(seed)
signal = np.cumsum(rng.normal(size=(180, 17, 1)), axis=1).astype("float32") / 4
x, y = signal[:, :-1], signal[:, 1:]

tf.random.set_seed(seed + 100)


def dense(inputs, outputs):
    limit = np.sqrt(6 / (inputs + outputs))
    return [tf.Variable(tf.random.uniform([inputs, outputs], -limit, limit)), tf.Variable(tf.zeros([outputs]))]


def taps():
    limit = np.sqrt(6 / 32)
    return [tf.Variable(tf.random.uniform([2, 8, 8], -limit, limit)), tf.Variable(tf.zeros([8]))]


start, end = dense(1, 8), dense(8, 1)
blocks = [(taps(), taps(), dense(8, 8), dense(8, 8)) for _ in range(3)]
variables = start + [v for block in blocks for part in block for v in part] + end
momenta = [tf.Variable(tf.zeros_like(v), trainable=False) for v in variables]


def linear(h, weights):
    return tf.tensordot(h, weights[0], 1) + weights[1]


def causal(h, weights, dilation):
    padded = tf.pad(h, [[0, 0], [dilation, 0], [0, 0]])
    return tf.nn.conv1d(padded, weights[0], 1, "VALID", dilations=dilation) + weights[1]


def network(x):
    h = linear(x, start)
    total = 0.0
    for dilation, (filtered, gated, skip, onward) in zip((1, 2, 4), blocks):
        z = tf.tanh(causal(h, filtered, dilation)) * tf.sigmoid(causal(h, gated, dilation))
        total += linear(z, skip)
        h += linear(z, onward)
    return linear(tf.nn.relu(total), end)


for i in range(0, 180, 6):
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.abs(network(x[i : i + 6]) - y[i : i + 6]))
    for v, m, g in zip(variables, momenta, tape.gradient(loss, variables)):
        if g is None:  # the last block leads on to nothing
            continue
        g = tf.clip_by_value(g, -0.05, 0.05)
        m.assign(0.8 * m - 0.02 * g)
        v.assign_add(m)
