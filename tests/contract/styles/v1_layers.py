"""TensorFlow 1: tf.layers with a `training` placeholder and the update ops as control dependencies."""

import os

os.environ["TF_USE_LEGACY_KERAS"] = "1"

import tensorflow.compat.v1 as tf

tf.disable_v2_behavior()

from task import BATCH, DECAY, EPSILON, FEATURES, LEARNING_RATE, MOMENTUM, RATE, X, Y

features = tf.placeholder(tf.float32, [None, FEATURES], "features")
labels = tf.placeholder(tf.int32, [None], "labels")
training = tf.placeholder(tf.bool, [], "training")

net = tf.layers.dense(features, 16, activation=tf.nn.relu)
net = tf.layers.batch_normalization(net, momentum=DECAY, epsilon=EPSILON, training=training)  # fault: statistics
net = tf.layers.dropout(net, rate=RATE, training=training)  # fault: rate
logits = tf.layers.dense(net, 4)
loss = tf.losses.sparse_softmax_cross_entropy(labels=labels, logits=logits)

optimizer = tf.train.MomentumOptimizer(LEARNING_RATE, MOMENTUM)  # fault: learning-rate
with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
    train_op = optimizer.minimize(loss, global_step=tf.train.get_or_create_global_step())

with tf.Session() as sess:
    sess.run(tf.global_variables_initializer())
    for i in range(0, len(X), BATCH):
        sess.run([train_op, loss], {features: X[i : i + BATCH], labels: Y[i : i + BATCH], training: True})
