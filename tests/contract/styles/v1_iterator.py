"""TensorFlow 1: tf.data with an initializable iterator, tf.gradients, momentum by hand-written assigns."""

import tensorflow.compat.v1 as tf

tf.disable_eager_execution()

from task import BATCH, CLASSES, DECAY, EPSILON, FEATURES, HIDDEN, LEARNING_RATE, MOMENTUM, RATE, X, Y

all_x, all_y = tf.placeholder(tf.float32, X.shape), tf.placeholder(tf.int64, Y.shape)
iterator = tf.data.make_initializable_iterator(tf.data.Dataset.from_tensor_slices((all_x, all_y)).batch(BATCH))
x, y = iterator.get_next()
y = tf.one_hot(y, CLASSES)

glorot, zeros, ones = tf.glorot_uniform_initializer(), tf.zeros_initializer(), tf.ones_initializer()
with tf.variable_scope("net"):
    v = tf.get_variable("v", [CLASSES, HIDDEN], initializer=glorot)  # kernels are (out, in)
    c = tf.get_variable("c", [CLASSES], initializer=zeros)
    w = tf.get_variable("w", [HIDDEN, FEATURES], initializer=glorot)
    b = tf.get_variable("b", [HIDDEN], initializer=zeros)
    shift = tf.get_variable("shift", [HIDDEN], initializer=zeros)
    scale = tf.get_variable("scale", [HIDDEN], initializer=ones)
with tf.variable_scope("population"):
    population_mean = tf.get_variable("mean", [HIDDEN], initializer=zeros, trainable=False)
    population_variance = tf.get_variable("variance", [HIDDEN], initializer=ones, trainable=False)

h = tf.nn.relu(tf.matmul(x, w, transpose_b=True) + b)
mean, variance = tf.nn.moments(h, [0])
h = tf.nn.batch_normalization(h, mean, variance, shift, scale, EPSILON)
h = tf.nn.dropout(h, rate=RATE)  # fault: rate
logits = tf.matmul(h, v, transpose_b=True) + c
loss = tf.reduce_mean(-tf.reduce_sum(y * tf.nn.log_softmax(logits), axis=1))

parameters = tf.trainable_variables()
updates = [
    tf.assign(population_mean, DECAY * population_mean + (1 - DECAY) * mean),  # fault: statistics
    tf.assign(population_variance, DECAY * population_variance + (1 - DECAY) * variance),  # fault: statistics
]
for parameter, gradient in zip(parameters, tf.gradients(loss, parameters)):
    velocity = tf.Variable(tf.zeros(parameter.shape), trainable=False)
    moved = tf.assign(velocity, MOMENTUM * velocity + gradient)
    updates.append(tf.assign_sub(parameter, LEARNING_RATE * moved))  # fault: learning-rate
train = tf.group(*updates)

with tf.Session() as sess:
    sess.run(tf.global_variables_initializer())
    sess.run(iterator.initializer, feed_dict={all_x: X, all_y: Y})
    while True:
        try:
            sess.run(train)
        except tf.errors.OutOfRangeError:
            break
