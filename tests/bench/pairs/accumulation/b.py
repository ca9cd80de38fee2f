"""TensorFlow 1: the same with accumulator variables, an accumulating op and an applying one."""

import sys

import numpy as np
import tensorflow.compat.v1 as tf

tf.disable_v2_behavior()

seed = int(sys.argv[1])
rng = np.random.RandomState(seed)
x = rng.normal(size=(300, 12)).astype("float32")
y = (np.sin(x).sum(axis=1, keepdims=True)).astype("float32")

tf.set_random_seed(seed + 100)
features, target = tf.placeholder(tf.float32, [None, 12]), tf.placeholder(tf.float32, [None, 1])


def glorot(rows, columns):
    limit = np.sqrt(6 / (rows + columns))
    return tf.Variable(tf.random_uniform([rows, columns], -limit, limit))


w1, b1 = glorot(12, 20), tf.Variable(tf.zeros([20]))
w2, b2 = glorot(20, 1), tf.Variable(tf.zeros([1]))
prediction = tf.matmul(tf.nn.softplus(tf.matmul(features, w1) + b1), w2) + b2
loss = tf.reduce_mean(tf.square(prediction - target))

variables = tf.trainable_variables()
gradients = tf.gradients(loss, variables)
sums = [tf.Variable(tf.zeros(v.shape), trainable=False) for v in variables]
squares = [tf.Variable(tf.fill(v.shape, 0.1), trainable=False) for v in variables]
accumulate = tf.group(*[tf.assign_add(s, g) for s, g in zip(sums, gradients)])

updates = []
for v, s, q in zip(variables, sums, squares):
    mean = s / 2.0
    new_q = tf.assign_add(q, mean * mean)
    updates.append(tf.assign_sub(v, 0.1 * mean / tf.sqrt(new_q + 1e-7)))
with tf.control_dependencies(updates):
    apply = tf.group(*[tf.assign(s, tf.zeros_like(s)) for s in sums])

with tf.Session() as sess:
    sess.run(tf.global_variables_initializer())
    for step in range(30):
        rows = slice(10 * step, 10 * step + 10)
        sess.run(accumulate, {features: x[rows], target: y[rows]})
        if step % 2:
            sess.run(apply)
