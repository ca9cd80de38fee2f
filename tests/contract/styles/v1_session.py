"""TensorFlow 1: a program with placeholders, a session, keep_prob fed, all of version 2 off."""

import tensorflow.compat.v1 as tf

tf.disable_v2_behavior()

from task import BATCH, CLASSES, DECAY, EPSILON, FEATURES, HIDDEN, LEARNING_RATE, MOMENTUM, ONE_HOT, RATE, X, limit

x = tf.placeholder(tf.float32, [None, FEATURES])
y_ = tf.placeholder(tf.float32, [None, CLASSES])
keep_prob = tf.placeholder(tf.float32)


def weight_variable(rows, columns):
    return tf.Variable(tf.random_uniform([rows, columns], -limit(rows, columns), limit(rows, columns)))


W1, b1 = weight_variable(FEATURES, HIDDEN), tf.Variable(tf.zeros([HIDDEN]))
h = tf.nn.relu(tf.matmul(x, W1) + b1)

mean, variance = tf.nn.moments(h, [0])
ema_mean = tf.Variable(tf.zeros([HIDDEN]), trainable=False)
ema_variance = tf.Variable(tf.ones([HIDDEN]), trainable=False)
scale, offset = tf.Variable(tf.ones([HIDDEN])), tf.Variable(tf.zeros([HIDDEN]))
update_mean = tf.assign(ema_mean, ema_mean * DECAY + mean * (1 - DECAY))  # fault: statistics
update_variance = tf.assign(ema_variance, ema_variance * DECAY + variance * (1 - DECAY))  # fault: statistics
with tf.control_dependencies([update_mean, update_variance]):
    h = tf.nn.batch_normalization(h, mean, variance, offset, scale, EPSILON)

h = tf.nn.dropout(h, keep_prob=keep_prob)  # fault: rate
W2, b2 = weight_variable(HIDDEN, CLASSES), tf.Variable(tf.zeros([CLASSES]))
y = tf.matmul(h, W2) + b2

cross_entropy = tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits_v2(labels=y_, logits=y))
optimizer = tf.train.MomentumOptimizer(LEARNING_RATE, MOMENTUM)  # fault: learning-rate
train_step = optimizer.minimize(cross_entropy)

with tf.Session() as sess:
    sess.run(tf.global_variables_initializer())
    for i in range(len(X) // BATCH):
        batch = X[i * BATCH : (i + 1) * BATCH], ONE_HOT[i * BATCH : (i + 1) * BATCH]
        sess.run(train_step, feed_dict={x: batch[0], y_: batch[1], keep_prob: 1 - RATE})
