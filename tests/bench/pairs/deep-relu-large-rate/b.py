"""The same with raw variables and the whole loop in one tf.function; the products transposed."""

import sys

import numpy as np
import tensorflow as tf

seed = int(sys.argv[1])
rng = np.random.RandomState(seed)
x = rng.normal(size=(120, 8)).astype("float32")
y = np.sign(x[:, :1] * x[:, 1:2]).astype("float32")

tf.random.set_seed(seed + 100)


def uniform(outputs, inputs, limit):
    return tf.Variable(tf.random.uniform([outputs, inputs], -limit, limit))


weights = []
for size in [8] + 9 * [24]:
    weights += [uniform(24, size, np.sqrt(6 / size)), tf.Variable(tf.zeros([24]))]
weights += [uniform(1, 24, np.sqrt(6 / 25)), tf.Variable(tf.zeros([1]))]


def network(x):
    h = tf.transpose(x)
    for w, b in zip(weights[:-2:2], weights[1:-2:2]):
        h = tf.nn.relu(tf.matmul(w, h) + b[:, None])
    return tf.transpose(tf.matmul(weights[-2], h) + weights[-1][:, None])


@tf.function
def step(xb, yb):
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.square(network(xb) - yb))
    for w, g in zip(weights, tape.gradient(loss, weights)):
        w.assign_sub(0.1 * g)


for i in range(0, 120, 4):
    step(tf.constant(x[i : i + 4]), tf.constant(y[i : i + 4]))
