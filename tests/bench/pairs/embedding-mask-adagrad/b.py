"""TensorFlow 1: the same with placeholders, tf.where for the mask, Adagrad by hand."""

import sys

import numpy as np
import tensorflow.compat.v1 as tf

tf.disable_eager_execution()

seed = int(sys.argv[1])
rng = np.random.RandomState(seed)
lengths = rng.randint(2, 6, size=360)
texts = np.where(np.arange(5) < lengths[:, None], rng.randint(1, 25, size=(360, 5)), 0)
labels = (texts.sum(axis=1) % 2).astype("float32")[:, None]

tf.set_random_seed(seed + 100)
UNITS = 9
words = tf.placeholder(tf.int32, [None, 5])
y = tf.placeholder(tf.float32, [None, 1])


def glorot(name, rows, columns):
    return tf.get_variable(name, [rows, columns], initializer=tf.glorot_uniform_initializer())


table = tf.get_variable("table", [25, 8], initializer=tf.random_uniform_initializer(-0.05, 0.05))
kernel = glorot("kernel", 8, 4 * UNITS)
recurrent = tf.get_variable("recurrent", [UNITS, 4 * UNITS], initializer=tf.orthogonal_initializer())
bias = tf.get_variable("bias", initializer=np.repeat([0, 1, 0, 0], UNITS).astype("float32"))
w, b = glorot("w", UNITS, 1), tf.get_variable("b", [1], initializer=tf.zeros_initializer())

x = tf.nn.embedding_lookup(table, words)
h = c = tf.zeros([tf.shape(words)[0], UNITS])
for t in range(5):
    i, f, g, o = tf.split(tf.matmul(x[:, t], kernel) + tf.matmul(h, recurrent) + bias, 4, axis=1)
    new_c = tf.sigmoid(f) * c + tf.sigmoid(i) * tf.tanh(g)
    new_h = tf.sigmoid(o) * tf.tanh(new_c)
    here = tf.not_equal(words[:, t : t + 1], 0)
    h, c = tf.where_v2(here, new_h, h), tf.where_v2(here, new_c, c)
logits = tf.matmul(h, w) + b
loss = tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(labels=y, logits=logits))

variables = tf.trainable_variables()
updates = []
for variable, gradient in zip(variables, tf.gradients(loss, variables)):
    square = gradient**2 if variable is not table else tf.IndexedSlices(gradient.values**2, gradient.indices, [25, 8])
    gradient, square = (
        tf.convert_to_tensor(gradient),
        tf.convert_to_tensor(square),
    )  # repeated words: squared one by one
    total = tf.Variable(tf.fill(variable.shape, 0.1), trainable=False)
    new_total = tf.assign_add(total, square)
    updates.append(tf.assign_sub(variable, 0.05 * gradient / tf.sqrt(new_total + 1e-7)))
train = tf.group(*updates)

with tf.Session() as session:
    session.run(tf.global_variables_initializer())
    for step in range(30):
        rows = slice(12 * step, 12 * step + 12)
        session.run(train, {words: texts[rows], y: labels[rows]})
