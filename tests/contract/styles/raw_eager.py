"""Variables and tf.nn, eager; batch norm and momentum written by hand."""

import tensorflow as tf
from task import BATCH, CLASSES, DECAY, EPSILON, FEATURES, HIDDEN, LEARNING_RATE, MOMENTUM, RATE, X, Y, limit


def glorot(rows, columns):
    bound = limit(rows, columns)
    return tf.Variable(tf.random.uniform((rows, columns), -bound, bound))


w1, b1 = glorot(FEATURES, HIDDEN), tf.Variable(tf.zeros(HIDDEN))
w2, b2 = glorot(HIDDEN, CLASSES), tf.Variable(tf.zeros(CLASSES))
gamma, beta = tf.Variable(tf.ones(HIDDEN)), tf.Variable(tf.zeros(HIDDEN))
mean_of_all = tf.Variable(tf.zeros(HIDDEN), trainable=False)
variance_of_all = tf.Variable(tf.ones(HIDDEN), trainable=False)
parameters = [w1, b1, gamma, beta, w2, b2]
velocities = [tf.Variable(tf.zeros_like(p), trainable=False) for p in parameters]


def forward(x):
    h = tf.nn.relu(x @ w1 + b1)
    mean, variance = tf.nn.moments(h, axes=[0])
    mean_of_all.assign(DECAY * mean_of_all + (1 - DECAY) * mean)  # fault: statistics
    variance_of_all.assign(DECAY * variance_of_all + (1 - DECAY) * variance)  # fault: statistics
    h = tf.nn.batch_normalization(h, mean, variance, beta, gamma, EPSILON)
    h = tf.nn.dropout(h, rate=RATE)  # fault: rate
    return h @ w2 + b2


for start in range(0, len(X), BATCH):
    x, y = X[start : start + BATCH], Y[start : start + BATCH]
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=forward(x)))
    for parameter, velocity, gradient in zip(parameters, velocities, tape.gradient(loss, parameters)):
        velocity.assign(MOMENTUM * velocity - LEARNING_RATE * gradient)  # fault: learning-rate
        parameter.assign_add(velocity)  # fault: learning-rate
