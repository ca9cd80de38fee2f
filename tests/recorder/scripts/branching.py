"""`branching.py NETWORK SIDE [FAULT ...]`: what is cut in branches (attention), runs more often than it is used (a
recurrent layer, which Keras runs once more for the shape of its output), takes rows of a table, or goes around a layer
and has a penalty, written in two ways.
"""

import sys

import keras
import numpy as np
import tensorflow as tf

network, side, *faults = sys.argv[1:]
rng = np.random.RandomState(3)
rate = 0.05 if "lr" in faults else 0.1
squashed = tf.nn.relu if "activation" in faults else tf.nn.tanh


def variable(*shape):
    """A weight."""
    return tf.Variable(rng.normal(size=shape).astype("float32") * 0.4)


def head(h):
    """Two layers."""
    return tf.matmul(squashed(tf.matmul(h, w1)), w2)


def attention(rows):
    """One head of attention over embedded rows."""
    h = tf.gather(table, rows)
    q, k, v = (project(h, w) for w in (wq, wk, wv))
    return head(tf.reduce_mean(tf.matmul(tf.nn.softmax(tf.matmul(q, k, transpose_b=True)), v), 1))


def embedded(rows):
    """The mean of some rows."""
    return head(tf.reduce_mean(tf.gather(table, rows + 1 if "offset" in faults else rows), 1))


def bypass(x):
    """A layer, two with a way around them, and three more."""
    h = tf.nn.sigmoid(tf.matmul(x, w))
    inner = tf.matmul(tf.nn.relu(tf.matmul(h, u)), v)
    return tf.matmul(tf.nn.tanh(head(inner if "no-bypass" in faults else h + inner)), last)


def project(h, w):
    """As one product over all rows, or as Dense layers write it."""
    if side == "a":
        return tf.matmul(h, w)
    return tf.reshape(tf.matmul(tf.reshape(h, (-1, 6)), w), (-1, 4, 6))


def recurrent(x):
    """A plain recurrent layer, with Keras on side b."""
    if side == "b":
        return head(layer(x))
    state = tf.zeros((8, 6))
    for t in range(4):
        state = tf.nn.tanh(tf.matmul(x[:, t], w) + tf.matmul(state, u) + bias)
    return head(state)


if network == "bypass":
    w, u, v, last = weights = [variable(5, 6), variable(6, 6), variable(6, 6), variable(2, 3)]
    batches, forward = rng.normal(size=(3, 8, 5)).astype("float32"), bypass
elif network == "embedded":
    table = variable(10, 6)
    batches, forward, weights = rng.randint(0, 9, size=(3, 8, 2)), embedded, [table]
elif network == "attention":
    table, wq, wk, wv = variable(9, 6), variable(6, 6), variable(6, 6), variable(6, 6)
    batches, forward, weights = rng.randint(0, 9, size=(3, 8, 4)), attention, [table, wq, wk, wv]
else:
    batches, forward = rng.normal(size=(3, 8, 4, 5)).astype("float32"), recurrent
    w, u, bias = weights = [variable(5, 6), variable(6, 6), variable(6)]
    if side == "b":
        layer = keras.layers.SimpleRNN(6)
        layer.build((8, 4, 5))
        layer.set_weights(weights)
        weights = list(layer.trainable_variables)
width = 8 if "wider" in faults else 7
w1, w2 = variable(6, width), variable(width, 2)
weights += [w1, w2]


def step(inputs):
    """One step of gradient descent."""
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.square(forward(inputs))) + 0.01 * tf.reduce_sum(tf.square(w1))
    for w_, g in zip(weights, tape.gradient(loss, weights), strict=True):
        (w_.value if hasattr(w_, "path") else w_).assign_sub(rate * tf.convert_to_tensor(g))


train = tf.function(step) if "graph" in faults else step
for batch in batches:
    train(tf.constant(batch))
