"""The same in eager code with raw variables; centered RMSprop by hand."""

import sys

import numpy as np
import tensorflow as tf

seed = int(sys.argv[1])
rng = np.random.RandomState(seed)
x = rng.uniform(size=(480, 30)).astype("float32")

tf.random.set_seed(seed + 100)


def glorot(rows, columns):
    limit = np.sqrt(6 / (rows + columns))
    return tf.Variable(tf.random.uniform([rows, columns], -limit, limit))


w1, w2 = glorot(30, 20), glorot(20, 6)
b1, b2, b3, b4 = (tf.Variable(tf.zeros([n])) for n in (20, 6, 20, 30))
variables = [w1, b1, w2, b2, b3, b4]
squares = [tf.zeros_like(v) for v in variables]
means = [tf.zeros_like(v) for v in variables]

for batch in np.split(x, 30):
    with tf.GradientTape() as tape:
        noisy = batch + tf.random.normal(batch.shape, stddev=0.1)
        code = tf.tanh(tf.tanh(noisy @ w1 + b1) @ w2 + b2)
        decoded = tf.tanh(code @ tf.transpose(w2) + b3)
        decoded = tf.sigmoid(decoded @ tf.transpose(w1) + b4)
        loss = tf.reduce_mean(tf.square(decoded - batch))
    for n, (v, g) in enumerate(zip(variables, tape.gradient(loss, variables))):
        squares[n] = 0.9 * squares[n] + 0.1 * g * g
        means[n] = 0.9 * means[n] + 0.1 * g
        v.assign_sub(2e-3 * g / tf.sqrt(squares[n] - means[n] ** 2 + 1e-7))
