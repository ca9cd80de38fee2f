"""The same as an eager tape over tf.nn functions, Nesterov momentum by hand."""

import sys

import numpy as np
import tensorflow as tf

seed = int(sys.argv[1])
rng = np.random.RandomState(seed)
images = rng.normal(size=(300, 12, 12, 4)).astype("float32")
labels = (images.mean(axis=(1, 2)) @ rng.normal(size=(4, 3))).argmax(axis=1)

tf.random.set_seed(seed + 100)


def glorot(*shape):
    receptive = np.prod(shape[:-2])
    limit = np.sqrt(6 / (receptive * (shape[-2] + shape[-1])))
    return tf.Variable(tf.random.uniform(shape, -limit, limit))


depth1, bias1 = glorot(3, 3, 4, 2), tf.Variable(tf.zeros([8]))
depth2, point2, bias2 = glorot(3, 3, 8, 1), glorot(1, 1, 8, 10), tf.Variable(tf.zeros([10]))
w, b = glorot(90, 3), tf.Variable(tf.zeros([3]))
variables = [depth1, bias1, depth2, point2, bias2, w, b]
velocities = [tf.Variable(tf.zeros_like(v), trainable=False) for v in variables]


def network(x):
    x = tf.nn.relu6(tf.nn.depthwise_conv2d(x, depth1, [1, 1, 1, 1], "SAME") + bias1)
    x = tf.nn.depthwise_conv2d(x, depth2, [1, 2, 2, 1], "SAME")
    x = tf.nn.relu(tf.nn.conv2d(x, point2, 1, "VALID") + bias2)
    x = tf.nn.max_pool2d(x, 2, 2, "VALID")
    return tf.matmul(tf.reshape(x, [-1, 90]), w) + b


for step in range(30):
    rows = slice(10 * step, 10 * step + 10)
    with tf.GradientTape() as tape:
        log_p = tf.nn.log_softmax(network(images[rows]))
        loss = -tf.reduce_mean(tf.gather(log_p, labels[rows], batch_dims=1))
    rate = 0.05 if step <= 9 else 0.02 if step <= 19 else 0.005
    for v, m, g in zip(variables, velocities, tape.gradient(loss, variables)):
        m.assign(0.9 * m - rate * g)
        v.assign_add(0.9 * m - rate * g)
