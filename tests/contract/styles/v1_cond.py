"""TensorFlow 1 graph with control flow v2: dropout and batch norm under tf.cond on a `training` placeholder."""

import tensorflow as tf

tf.compat.v1.disable_eager_execution()
tf.compat.v1.enable_control_flow_v2()

from task import BATCH, CLASSES, DECAY, EPSILON, FEATURES, HIDDEN, LEARNING_RATE, MOMENTUM, ONE_HOT, RATE, X, limit

x = tf.compat.v1.placeholder(tf.float32, [None, FEATURES], name="x")
t = tf.compat.v1.placeholder(tf.float32, [None, CLASSES], name="t")
training = tf.compat.v1.placeholder_with_default(False, [], name="training")


def layer(inputs, rows, columns):
    w = tf.Variable(tf.random.uniform([rows, columns], -limit(rows, columns), limit(rows, columns)))
    b = tf.Variable(tf.zeros([columns]))
    return tf.matmul(inputs, w) + b


def batch_norm(inputs):
    gamma, beta = tf.Variable(tf.ones([HIDDEN])), tf.Variable(tf.zeros([HIDDEN]))
    moving_mean = tf.Variable(tf.zeros([HIDDEN]), trainable=False)
    moving_variance = tf.Variable(tf.ones([HIDDEN]), trainable=False)

    def of_the_batch():
        mean, variance = tf.nn.moments(inputs, [0])
        to_mean = moving_mean.assign(DECAY * moving_mean + (1 - DECAY) * mean)  # fault: statistics
        to_variance = moving_variance.assign(DECAY * moving_variance + (1 - DECAY) * variance)  # fault: statistics
        with tf.control_dependencies([to_mean, to_variance]):
            return tf.identity(mean), tf.identity(variance)

    mean, variance = tf.cond(training, of_the_batch, lambda: (moving_mean.value(), moving_variance.value()))
    return tf.nn.batch_normalization(inputs, mean, variance, beta, gamma, EPSILON)


h = batch_norm(tf.nn.relu(layer(x, FEATURES, HIDDEN)))
h = tf.cond(training, lambda: tf.nn.dropout(h, rate=RATE), lambda: h)  # fault: rate
logits = layer(h, HIDDEN, CLASSES)
loss = tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(labels=t, logits=logits))
optimizer = tf.compat.v1.train.MomentumOptimizer(LEARNING_RATE, MOMENTUM)  # fault: learning-rate
train_op = optimizer.minimize(loss)

with tf.compat.v1.Session() as session:
    session.run(tf.compat.v1.global_variables_initializer())
    for k in range(0, len(X), BATCH):
        session.run(train_op, {x: X[k : k + BATCH], t: ONE_HOT[k : k + BATCH], training: True})
