"""Training that goes on with an optimizer that remembers: `restored.py NAME`."""

import sys

import numpy as np
import tensorflow as tf
from train import BATCH, ROWS, fit, glorot, loop

NAME = sys.argv[1]
tf.keras.utils.set_random_seed(3 if NAME.startswith("restored") else 4)
L = tf.keras.layers
_data = np.random.RandomState(0)
X = _data.normal(size=(ROWS, 5)).astype("float32")
Y = _data.randint(0, 2, size=ROWS)


def model():
    """Two dense layers."""
    return tf.keras.Sequential([tf.keras.Input((5,)), L.Dense(6, activation="tanh"), L.Dense(2)])


def remembering(optimizer, net):
    """Fill the slots as a checkpoint would."""
    optimizer.build(net.trainable_variables)
    optimizer.iterations.assign(7)
    for slot in optimizer.variables[2:]:
        value = 0.1 * _data.normal(size=slot.shape).astype("float32")
        slot.assign(value**2 if "velocity" in slot.path else -0.1 * value)


def restored_adam():
    """Adam after seven steps."""
    net, optimizer = model(), tf.keras.optimizers.Adam(0.01)
    remembering(optimizer, net)
    fit(net, X, Y, optimizer)


def fresh_adam():
    """Adam that has made no step."""
    fit(model(), X, Y, tf.keras.optimizers.Adam(0.01))


def restored_momentum():
    """Keras' momentum: velocity = 0.9 * velocity - 0.1 * gradient."""
    net, optimizer = model(), tf.keras.optimizers.SGD(0.1, momentum=0.9)
    optimizer.build(net.trainable_variables)
    for slot in optimizer.variables[2:]:
        slot.assign(0.1 * _data.normal(size=slot.shape).astype("float32"))
    fit(net, X, Y, optimizer)


class Momentum:
    """The accumulator of everybody else: a = 0.9 * a + gradient, w -= 0.1 * a."""

    def __init__(self, params):
        self.sums = [tf.Variable(tf.zeros_like(p)) for p in params]

    def apply_gradients(self, pairs):
        """One update."""
        for total, (gradient, variable) in zip(self.sums, pairs, strict=True):
            total.assign(0.9 * total + gradient)
            variable.assign_sub(0.1 * total)


def raw_momentum():
    """Written out, from zero."""
    params = [tf.Variable(v) for v in (glorot(5, 6), tf.zeros(6), glorot(6, 2), tf.zeros(2))]
    w, b, v, c = params
    loop(lambda x: tf.tanh(x @ w + b) @ v + c, params, X, Y, Momentum(params))


class Counting:
    """Adam by hand with a step counter that only its author knows."""

    def __init__(self, params):
        self.m, self.v = ([tf.Variable(tf.zeros_like(p)) for p in params] for _ in range(2))
        self.steps = tf.Variable(0.0, trainable=False)

    def apply_gradients(self, pairs):
        """One update."""
        t = self.steps.assign_add(1.0)
        rate = 0.01 * tf.sqrt(1 - 0.999**t) / (1 - 0.9**t)
        for m, v, (gradient, variable) in zip(self.m, self.v, pairs, strict=True):
            m.assign(0.9 * m + 0.1 * gradient)
            v.assign(0.999 * v + 0.001 * gradient**2)
            variable.assign_sub(rate * m / (tf.sqrt(v) + 1e-7))


def raw_adam():
    """Written out, from zero."""
    params = [tf.Variable(v) for v in (glorot(5, 6), tf.zeros(6), glorot(6, 2), tf.zeros(2))]
    w, b, v, c = params
    loop(lambda x: tf.tanh(x @ w + b) @ v + c, params, X, Y, Counting(params))


assert BATCH
globals()[NAME]()
