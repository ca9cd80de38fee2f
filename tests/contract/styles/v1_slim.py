"""TensorFlow 1: slim layers under an arg_scope, slim's total loss and train op; moments written by hand."""

import tensorflow.compat.v1 as tf
import tf_slim as slim

tf.disable_eager_execution()

from task import BATCH, DECAY, EPSILON, FEATURES, HIDDEN, LEARNING_RATE, MOMENTUM, ONE_HOT, RATE, X


def batch_norm(net, is_training):
    with tf.variable_scope("BatchNorm"):
        beta = tf.get_variable("beta", [HIDDEN], initializer=tf.zeros_initializer())
        gamma = tf.get_variable("gamma", [HIDDEN], initializer=tf.ones_initializer())
        kwargs = {"trainable": False, "collections": [tf.GraphKeys.GLOBAL_VARIABLES, tf.GraphKeys.MODEL_VARIABLES]}
        moving_mean = tf.get_variable("moving_mean", [HIDDEN], initializer=tf.zeros_initializer(), **kwargs)
        moving_variance = tf.get_variable("moving_variance", [HIDDEN], initializer=tf.ones_initializer(), **kwargs)
        if is_training:
            mean, variance = tf.nn.moments(net, [0])
            for moving, value in ((moving_mean, mean), (moving_variance, variance)):
                update = tf.assign_sub(moving, (moving - value) * (1 - DECAY))  # fault: statistics
                tf.add_to_collection(tf.GraphKeys.UPDATE_OPS, update)
        else:
            mean, variance = moving_mean, moving_variance
        return tf.nn.batch_normalization(net, mean, variance, beta, gamma, EPSILON)


def network(inputs, is_training=True):
    with slim.arg_scope([slim.fully_connected], activation_fn=tf.nn.relu):
        net = slim.fully_connected(inputs, HIDDEN, scope="fc1")
        net = batch_norm(net, is_training)
        net = slim.dropout(net, keep_prob=1 - RATE, is_training=is_training, scope="dropout")  # fault: rate
        return slim.fully_connected(net, 4, activation_fn=None, scope="logits")


images = tf.placeholder(tf.float32, [None, FEATURES])
targets = tf.placeholder(tf.float32, [None, 4])
tf.losses.softmax_cross_entropy(targets, network(images))
total_loss = tf.losses.get_total_loss()
optimizer = tf.train.MomentumOptimizer(LEARNING_RATE, momentum=MOMENTUM)  # fault: learning-rate
train_op = slim.learning.create_train_op(total_loss, optimizer)

with tf.Session() as session:
    session.run([tf.global_variables_initializer(), tf.local_variables_initializer()])
    for begin in range(0, len(X), BATCH):
        feed = {images: X[begin : begin + BATCH], targets: ONE_HOT[begin : begin + BATCH]}
        session.run(train_op, feed_dict=feed)
