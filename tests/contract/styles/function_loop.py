"""The whole epoch in one tf.function: a loop over the dataset inside."""

import tensorflow as tf
from task import BATCH, CLASSES, DECAY, EPSILON, FEATURES, HIDDEN, LEARNING_RATE, MOMENTUM, RATE, X, Y

init = tf.keras.initializers.GlorotUniform()
w1, b1 = tf.Variable(init((FEATURES, HIDDEN)), name="w1"), tf.Variable(tf.zeros([HIDDEN]), name="b1")
w2, b2 = tf.Variable(init((HIDDEN, CLASSES)), name="w2"), tf.Variable(tf.zeros([CLASSES]), name="b2")
gamma, beta = tf.Variable(tf.ones([HIDDEN]), name="gamma"), tf.Variable(tf.zeros([HIDDEN]), name="beta")
moving_mean = tf.Variable(tf.zeros([HIDDEN]), trainable=False, name="moving_mean")
moving_variance = tf.Variable(tf.ones([HIDDEN]), trainable=False, name="moving_variance")
trained = [w1, b1, gamma, beta, w2, b2]
slots = [tf.Variable(tf.zeros_like(v), trainable=False) for v in trained]


@tf.function
def epoch(dataset):
    for x, y in dataset:
        with tf.GradientTape() as tape:
            h = tf.nn.relu(tf.matmul(x, w1) + b1)
            mean, variance = tf.nn.moments(h, [0])
            h = tf.nn.batch_normalization(h, mean, variance, beta, gamma, EPSILON)
            h = tf.nn.dropout(h, RATE)  # fault: rate
            each = tf.nn.sparse_softmax_cross_entropy_with_logits(y, tf.matmul(h, w2) + b2)
            loss = tf.reduce_mean(each)
        moving_mean.assign(DECAY * moving_mean + (1 - DECAY) * mean)  # fault: statistics
        moving_variance.assign(DECAY * moving_variance + (1 - DECAY) * variance)  # fault: statistics
        for v, slot, g in zip(trained, slots, tape.gradient(loss, trained)):
            slot.assign(MOMENTUM * slot + LEARNING_RATE * g)  # fault: learning-rate
            v.assign_sub(slot)  # fault: learning-rate


epoch(tf.data.Dataset.from_tensor_slices((X, Y)).batch(BATCH))
