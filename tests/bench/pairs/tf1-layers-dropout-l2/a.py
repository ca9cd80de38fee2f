"""TensorFlow 1: tf.layers with batch norm and L2 penalties, dropout, momentum behind the update ops."""

import os

os.environ["TF_USE_LEGACY_KERAS"] = "1"

import sys

import numpy as np
import tensorflow.compat.v1 as tf

tf.disable_v2_behavior()

seed = int(sys.argv[1])
rng = np.random.RandomState(seed)
x = rng.normal(size=(360, 8, 8, 3)).astype("float32")
y = rng.randint(0, 5, size=360)

tf.set_random_seed(seed)
images = tf.placeholder(tf.float32, [None, 8, 8, 3])
labels = tf.placeholder(tf.int32, [None])
training = tf.placeholder(tf.bool)

penalty = tf.keras.regularizers.l2(1e-3)
net = tf.layers.conv2d(images, 6, 3, padding="same", kernel_regularizer=penalty)
net = tf.layers.batch_normalization(net, momentum=0.9, training=training)
net = tf.nn.relu(net)
net = tf.layers.average_pooling2d(net, 2, 2)
net = tf.layers.flatten(net)
net = tf.layers.dropout(net, 0.4, training=training)
net = tf.layers.dense(net, 16, activation=tf.nn.elu, kernel_regularizer=penalty)
logits = tf.layers.dense(net, 5)
loss = tf.losses.sparse_softmax_cross_entropy(labels, logits) + tf.losses.get_regularization_loss()

update_ops = tf.get_collection(tf.GraphKeys.UPDATE_OPS)
with tf.control_dependencies(update_ops):
    train_op = tf.train.MomentumOptimizer(0.02, 0.9).minimize(loss)

with tf.Session() as sess:
    sess.run(tf.global_variables_initializer())
    for step in range(30):
        batch = slice(12 * step, 12 * step + 12)
        sess.run(train_op, feed_dict={images: x[batch], labels: y[batch], training: True})
