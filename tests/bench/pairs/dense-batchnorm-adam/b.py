"""The same with raw variables: the tape in a tf.function, batch norm and Adam by hand."""

import sys

import numpy as np
import tensorflow as tf

seed = int(sys.argv[1])
rng = np.random.RandomState(seed)
x = rng.normal(size=(960, 20)).astype("float32")
y = np.argmax(x @ rng.normal(size=(20, 5)) + rng.normal(size=(960, 5)), axis=1)

tf.random.set_seed(seed + 100)


def glorot(rows, columns):
    limit = np.sqrt(6 / (rows + columns))
    return tf.Variable(tf.random.uniform([rows, columns], -limit, limit))


params, stats = [], []
for rows, columns in ((20, 32), (32, 32)):
    params += [glorot(rows, columns), tf.Variable(tf.zeros([columns]))]
    params += [tf.Variable(tf.ones([columns])), tf.Variable(tf.zeros([columns]))]
    stats.append([tf.Variable(tf.zeros([columns]), trainable=False), tf.Variable(tf.ones([columns]), trainable=False)])
params += [glorot(32, 5), tf.Variable(tf.zeros([5]))]
m = [tf.Variable(tf.zeros_like(p), trainable=False) for p in params]
v = [tf.Variable(tf.zeros_like(p), trainable=False) for p in params]


def forward(h):
    for layer in range(2):
        w, b, gamma, beta = params[4 * layer : 4 * layer + 4]
        h = tf.matmul(h, w) + b
        mean, variance = tf.nn.moments(h, axes=[0])
        h = gamma * (h - mean) / tf.sqrt(variance + 1e-3) + beta
        moving_mean, moving_variance = stats[layer]
        moving_mean.assign(0.99 * moving_mean + 0.01 * mean)
        moving_variance.assign(0.99 * moving_variance + 0.01 * variance)
        h = tf.nn.relu(h)
    return tf.matmul(h, params[-2]) + params[-1]


@tf.function
def train_step(xb, yb, t):
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=yb, logits=forward(xb)))
    rate = 1e-3 * tf.sqrt(1 - 0.999**t) / (1 - 0.9**t)
    for p, mi, vi, g in zip(params, m, v, tape.gradient(loss, params)):
        mi.assign(0.9 * mi + 0.1 * g)
        vi.assign(0.999 * vi + 0.001 * g * g)
        p.assign_sub(rate * mi / (tf.sqrt(vi) + 1e-7))
    return loss


dataset = tf.data.Dataset.from_tensor_slices((x, y)).batch(32)
for step, (xb, yb) in enumerate(dataset, 1):
    train_step(xb, yb, tf.constant(float(step)))
