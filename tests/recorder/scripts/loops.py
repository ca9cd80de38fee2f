# ruff: noqa: ARG005, B905, D102, D103, T201 - a script as a user writes it
"""One epoch of training, as different loops run it: `loops.py STYLE [MOMENTUM]`. `# mark:` names lines for tests."""

import sys

import numpy as np
import tensorflow as tf

STYLE = sys.argv[1]
MOMENTUM = float(sys.argv[2]) if len(sys.argv) > 2 else 0.9
tf.random.set_seed(3)
_random = np.random.RandomState(0)
X = _random.normal(size=(48, 10)).astype("float32")
Y = (X @ _random.normal(size=(10, 1)) + 0.1).astype("float32")


def fit():
    layers = [tf.keras.layers.Dense(12, activation="tanh"), tf.keras.layers.Dropout(0.25), tf.keras.layers.Dense(1)]
    model = tf.keras.Sequential([tf.keras.layers.Input((10,)), *layers])
    model.compile(tf.keras.optimizers.SGD(0.05, momentum=MOMENTUM), "mse")  # mark: fit
    model.fit(X, Y, batch_size=8, shuffle=False, verbose=0)


class Net(tf.Module):
    def __init__(self):
        self.w1 = tf.Variable(tf.random.normal((10, 12), stddev=0.3), name="w1")
        self.b1 = tf.Variable(tf.zeros(12), name="b1")
        self.w2 = tf.Variable(tf.random.normal((12, 1), stddev=0.3), name="w2")
        self.b2 = tf.Variable(tf.zeros(1), name="b2")

    def __call__(self, x):
        return tf.nn.dropout(tf.tanh(x @ self.w1 + self.b1), rate=0.25) @ self.w2 + self.b2


net = Net()
VARIABLES = net.trainable_variables
SPEEDS = [tf.Variable(tf.zeros_like(v), trainable=False) for v in VARIABLES]
XT, YT = tf.constant(X), tf.constant(Y)
DATA = tf.data.Dataset.from_tensor_slices((X, Y)).batch(8)


def step(x, y):
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.square(net(x) - y))
    for variable, speed, gradient in zip(VARIABLES, SPEEDS, tape.gradient(loss, VARIABLES)):
        speed.assign(MOMENTUM * speed - 0.05 * gradient)
        variable.assign_add(speed)  # mark: update
    return loss


@tf.function
def over_dataset(data):
    total = 0.0
    for x, y in data:
        total += step(x, y)
    return total


@tf.function
def until_break(data):
    count = 0
    for x, y in data:
        if count >= 4:
            break
        step(x, y)
        count += 1
    return count


@tf.function
def over_iterator(iterator):
    for _ in tf.range(6):
        x, y = next(iterator)
        step(x, y)


@tf.function
def slices():
    def body(i, total):
        return i + 1, total + step(XT[8 * i : 8 * i + 8], YT[8 * i : 8 * i + 8])

    return tf.while_loop(lambda i, total: i < 6, body, (0, 0.0))


@tf.function
def rows(xs, ys):
    for i in tf.range(6):
        step(xs[i], ys[i])


@tf.function
def written_out():
    for i in range(6):
        step(XT[8 * i : 8 * i + 8], YT[8 * i : 8 * i + 8])


def eager_slices():
    for i in range(0, 48, 8):
        step(XT[i : i + 8], YT[i : i + 8])


def eager_gather():
    for i in range(6):
        chosen = tf.range(8 * i, 8 * i + 8)
        step(tf.gather(XT, chosen), tf.gather(YT, chosen))


STYLES = {
    "fit": fit,
    "over_dataset": lambda: over_dataset(DATA),
    "until_break": lambda: until_break(DATA),
    "over_iterator": lambda: over_iterator(iter(DATA)),
    "slices": slices,
    "rows": lambda: rows(tf.reshape(XT, (6, 8, 10)), tf.reshape(YT, (6, 8, 1))),
    "written_out": written_out,
    "eager_slices": eager_slices,
    "eager_gather": eager_gather,
}
STYLES[STYLE]()
if STYLE != "fit":
    print([float(tf.reduce_sum(tf.abs(v))) for v in VARIABLES])
