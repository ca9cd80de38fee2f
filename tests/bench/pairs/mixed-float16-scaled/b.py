"""The same by hand: float16 casts, a loss scale that is halved where gradients overflow; the tape in a tf.function.

The scale begins at 2**10: at Keras' 2**15 a bias' gradient overflows where it is summed in one order and not where it is
summed in another, and a step that only one side leaves out is no rounding.
"""

import sys

import numpy as np
import tensorflow as tf

seed = int(sys.argv[1])
rng = np.random.RandomState(seed)
images = rng.uniform(size=(240, 8, 8, 1)).astype("float32")
labels = (images.mean(axis=(1, 2, 3)) > 0.5).astype("int64")

tf.random.set_seed(seed + 100)
scale = tf.Variable(2.0**10, trainable=False)


def uniform(shape, fans):
    limit = np.sqrt(6 / fans)
    return tf.Variable(tf.random.uniform(shape, -limit, limit))


kernel, bias = uniform([3, 3, 1, 8], 9 + 72), tf.Variable(tf.zeros([8]))
gamma, beta = tf.Variable(tf.ones([8])), tf.Variable(tf.zeros([8]))
mean, variance = tf.Variable(tf.zeros([8]), trainable=False), tf.Variable(tf.ones([8]), trainable=False)
w, b = uniform([72, 2], 74), tf.Variable(tf.zeros([2]))
variables = [kernel, bias, gamma, beta, w, b]
momenta = [tf.Variable(tf.zeros_like(v), trainable=False) for v in variables]


def network(x):
    x = tf.nn.conv2d(tf.cast(x, tf.float16), tf.cast(kernel, tf.float16), 1, "VALID")
    x = tf.nn.relu(x + tf.cast(bias, tf.float16))
    wide = tf.cast(x, tf.float32)
    m, v = tf.nn.moments(wide, [0, 1, 2])
    mean.assign(mean * 0.99 + m * 0.01)
    variance.assign(variance * 0.99 + v * 0.01)
    x = tf.cast(tf.nn.batch_normalization(wide, m, v, beta, gamma, 1e-3), tf.float16)
    x = tf.reshape(tf.nn.max_pool2d(x, 2, 2, "VALID"), [-1, 72])
    return tf.cast(tf.matmul(x, tf.cast(w, tf.float16)) + tf.cast(b, tf.float16), tf.float32)


@tf.function
def train_step(x, y):
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(y, network(x)))
        scaled = loss * scale
    gradients = [g / scale for g in tape.gradient(scaled, variables)]
    if tf.reduce_all([tf.reduce_all(tf.math.is_finite(g)) for g in gradients]):
        for p, m, g in zip(variables, momenta, gradients):
            m.assign(0.9 * m - 0.05 * g)
            p.assign_add(m)
    else:
        scale.assign(scale / 2)
    return loss


for x, y in tf.data.Dataset.from_tensor_slices((images, labels)).batch(8):
    train_step(x, y)
