"""TensorFlow 1: BasicLSTMCell under dynamic_rnn, gradients clipped by the global norm, AdamOptimizer."""

import os

os.environ["TF_USE_LEGACY_KERAS"] = "1"

import sys

import numpy as np
import tensorflow.compat.v1 as tf

tf.disable_v2_behavior()

seed = int(sys.argv[1])
rng = np.random.RandomState(seed)
x = rng.normal(size=(300, 5, 4)).astype("float32")
y = (x[:, :, 0].sum(axis=1) > 0).astype("int64")

tf.set_random_seed(seed)
inputs = tf.placeholder(tf.float32, [None, 5, 4])
labels = tf.placeholder(tf.int64, [None])
cell = tf.nn.rnn_cell.BasicLSTMCell(10)
outputs, state = tf.nn.dynamic_rnn(cell, inputs, dtype=tf.float32)
w = tf.get_variable("w", [10, 2], initializer=tf.truncated_normal_initializer(stddev=0.1))
b = tf.get_variable("b", [2], initializer=tf.constant_initializer(0.1))
logits = tf.matmul(state.h, w) + b
loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits))
optimizer = tf.train.AdamOptimizer(0.01)
gradients, variables = zip(*optimizer.compute_gradients(loss))
gradients, _ = tf.clip_by_global_norm(gradients, 0.2)
train_op = optimizer.apply_gradients(zip(gradients, variables))

with tf.Session() as sess:
    sess.run(tf.global_variables_initializer())
    for step in range(30):
        batch = slice(10 * step, 10 * step + 10)
        sess.run(train_op, feed_dict={inputs: x[batch], labels: y[batch]})
