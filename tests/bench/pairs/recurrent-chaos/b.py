"""The same over time-major data in a tf.function; one matrix for inputs and state."""

import sys

import numpy as np
import tensorflow as tf

seed = int(sys.argv[1])
rng = np.random.RandomState(seed)
x = rng.normal(size=(120, 12, 3)).astype("float32")
y = x.mean(axis=1)[:, :1].astype("float32")

tf.random.set_seed(seed + 100)
kernel = tf.Variable(tf.random.normal([3, 16], stddev=0.5))
recurrent = tf.Variable(tf.random.normal([16, 16], stddev=0.5))
bias = tf.Variable(tf.zeros([16]))
limit = np.sqrt(6 / 17)
w, b = tf.Variable(tf.random.uniform([16, 1], -limit, limit)), tf.Variable(tf.zeros([1]))
variables = [kernel, recurrent, bias, w, b]


@tf.function
def step(sequence, target):
    with tf.GradientTape() as tape:
        h = tf.zeros([4, 16])
        for xt in tf.unstack(tf.transpose(sequence, [1, 0, 2])):
            h = tf.tanh(tf.concat([xt, h], 1) @ tf.concat([kernel, recurrent], 0) + bias)
        loss = tf.reduce_mean(tf.square(h @ w + b - target))
    for variable, gradient in zip(variables, tape.gradient(loss, variables)):
        variable.assign_sub(0.1 * gradient)


for i in range(0, 120, 4):
    step(tf.constant(x[i : i + 4]), tf.constant(y[i : i + 4]))
