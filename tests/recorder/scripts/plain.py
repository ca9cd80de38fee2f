# ruff: noqa: ARG002, B905, D102, D103, E731, FBT002, PLW0108 - a script as a user writes it
"""One network under Keras and under plain TensorFlow: `plain.py WAY [fault] [function]`. `# mark:` names lines."""

import sys

import numpy as np
import tensorflow as tf

WAY, FAULT, COMPILED = sys.argv[1], "fault" in sys.argv, "function" in sys.argv
_random = np.random.RandomState(0)
X = _random.normal(size=(48, 10)).astype("float32")
Y = (X @ _random.normal(size=(10, 1)) + 0.1).astype("float32")
EVERY = 3


class Net(tf.Module):
    def __init__(self):
        self.w1 = tf.Variable(tf.random.normal((10, 12), stddev=0.3), name="w1")
        self.b1 = tf.Variable(tf.zeros(12), name="b1")
        self.w2 = tf.Variable(tf.random.normal((12, 1), stddev=0.3), name="w2")
        self.b2 = tf.Variable(tf.zeros(1), name="b2")

    def __call__(self, x, training=False):
        return tf.tanh(x @ self.w1 + self.b1) @ self.w2 + self.b2


def keras_net():
    layers = [tf.keras.layers.Input((10,)), tf.keras.layers.Dense(12, activation="tanh"), tf.keras.layers.Dense(1)]
    return tf.keras.Sequential(layers)


KERAS = WAY.startswith("keras")
net = keras_net() if KERAS else Net()
V = [v.value for v in net.trainable_variables] if KERAS else list(net.trainable_variables)
SUMS = [tf.Variable(tf.zeros_like(v), trainable=False) for v in V]
COUNT = tf.Variable(0, trainable=False)
mse = lambda y, p: tf.reduce_mean(tf.square(p - y))
v1 = tf.compat.v1.train.MomentumOptimizer(0.05, 0.8 if FAULT else 0.9)  # mark: v1


def descend(gradients):
    for v, g in zip(V, gradients):
        v.assign_sub(0.05 * g)  # mark: descend


def taped(x, y):
    with tf.GradientTape() as tape:
        loss = mse(y, net(x, training=True))
    return tape.gradient(loss, V)


def tf_gradients(x, y):
    descend(tf.gradients((2.0 if FAULT else 1.0) * mse(y, net(x)), V))  # mark: tf_gradients


def handed_over(x, y):
    with tf.GradientTape() as tape:
        p = net(x)
    given = (0.5 if FAULT else 0.25) * (p - y)  # mark: handed_over
    descend(tape.gradient(p, V, output_gradients=given))


def jacobian(x, y):
    with tf.GradientTape(persistent=True) as tape:
        each = tf.reduce_mean(tf.square(net(x) - y), 1)
    descend([(tf.reduce_sum if FAULT else tf.reduce_mean)(j, 0) for j in tape.jacobian(each, V)])


def recomputed(x, y):
    with tf.GradientTape() as tape:
        loss = (0.5 if FAULT else 1.0) * mse(y, tf.recompute_grad(lambda z: net(z))(x))  # mark: recomputed
    descend(tape.gradient(loss, V))


def several(x, y):
    with tf.GradientTape() as tape:
        error = mse(y, net(x))
        losses = {"first": 0.25 * error, "rest": (0.5 if FAULT else 0.75) * error}
    descend(tape.gradient(losses, V))


def fused(x, y):
    v1.apply_gradients(zip(taped(x, y), V))


def scattered(x, y):
    gradients = dict(zip([v.ref() for v in V], taped(x, y)))
    rows = tf.range(9 if FAULT else 10)
    net.w1.scatter_sub(tf.IndexedSlices(0.05 * gradients[net.w1.ref()][: len(rows)], rows))  # mark: scattered
    net.w2.scatter_nd_update([[i] for i in range(12)], net.w2 - 0.05 * gradients[net.w2.ref()])
    for v in (net.b1, net.b2):
        v.assign(v - 0.05 * gradients[v.ref()])


def update():
    for v, total in zip(V, SUMS):
        v.assign_sub(0.05 * (total if FAULT else total / EVERY))  # mark: accumulated
        total.assign(tf.zeros_like(total))
    return 0


def accumulated(x, y):
    for total, g in zip(SUMS, taped(x, y)):
        total.assign_add(g)
    COUNT.assign_add(1)
    tf.cond(COUNT % EVERY == 0, update, lambda: 0)


def fit(**options):
    net.compile(tf.keras.optimizers.SGD(0.05, **options), "mse")  # mark: fit
    net.fit(X, Y, batch_size=8, shuffle=False, verbose=0)


if WAY == "keras":
    fit()
elif WAY == "keras_momentum":
    fit(momentum=0.9)
elif WAY == "keras_accumulating":
    fit(gradient_accumulation_steps=EVERY)
else:
    one = tf.function(globals()[WAY]) if COMPILED else globals()[WAY]
    for start in range(0, 48, 8):
        one(tf.constant(X[start : start + 8]), tf.constant(Y[start : start + 8]))
