# ruff: noqa: B905, D102, D103, FBT002 - a script as a user writes it
"""One network, written in every TensorFlow 2 style: `styles.py STYLE [RATE] [STEPS] [shuffle]`.

12 inputs, 16 relu units, dropout, 4 logits, softmax crossentropy, SGD with momentum. `# mark:` names lines for tests.
"""

import sys

import numpy as np
import tensorflow as tf

STYLE = sys.argv[1]
RATE = float(sys.argv[2]) if len(sys.argv) > 2 else 0.25
STEPS = int(sys.argv[3]) if len(sys.argv) > 3 else 3
SHUFFLE = len(sys.argv) > 4
BATCH, LR, MOMENTUM = 16, 0.1, 0.9

_random = np.random.RandomState(1)
X = _random.normal(size=(STEPS * BATCH, 12)).astype("float32")
Y = _random.randint(0, 4, size=STEPS * BATCH).astype("int64")
if SHUFFLE:
    _order = _random.permutation(len(X))
    X, Y = X[_order], Y[_order]


def batches():
    for start in range(0, len(X), BATCH):
        yield X[start : start + BATCH], Y[start : start + BATCH]


def crossentropy():
    return tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)  # mark: keras loss


def sgd():
    return tf.keras.optimizers.SGD(LR, momentum=MOMENTUM)  # mark: keras optimizer


def sequential():
    return tf.keras.Sequential(
        [
            tf.keras.layers.Input((12,)),
            tf.keras.layers.Dense(16, activation="relu"),  # mark: sequential hidden
            tf.keras.layers.Dropout(RATE),  # mark: sequential dropout
            tf.keras.layers.Dense(4),  # mark: sequential logits
        ]
    )


def functional():
    inputs = tf.keras.Input((12,))
    h = tf.keras.layers.Dense(16, activation="relu")(inputs)  # mark: functional hidden
    h = tf.keras.layers.Dropout(RATE)(h)  # mark: functional dropout
    return tf.keras.Model(inputs, tf.keras.layers.Dense(4)(h))  # mark: functional logits


class Subclassed(tf.keras.Model):
    def __init__(self):
        super().__init__()
        self.hidden = tf.keras.layers.Dense(16, activation="relu")  # mark: subclass hidden
        self.drop = tf.keras.layers.Dropout(RATE)  # mark: subclass dropout
        self.logits = tf.keras.layers.Dense(4)  # mark: subclass logits

    def call(self, x, training=False):
        return self.logits(self.drop(self.hidden(x), training=training))


class OwnStep(Subclassed):
    def train_step(self, data):
        x, y = data
        with tf.GradientTape() as tape:
            loss = self.compute_loss(y=y, y_pred=self(x, training=True))
        gradients = tape.gradient(loss, self.trainable_variables)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_variables))
        return {"loss": loss}


def fit(model, **options):
    model.compile(sgd(), crossentropy(), **options)
    model.fit(X, Y, batch_size=BATCH, epochs=1, shuffle=False, verbose=0)  # mark: fit


def train_on_batch():
    model = sequential()
    model.compile(sgd(), crossentropy())
    for x, y in batches():
        model.train_on_batch(x, y)  # mark: train on batch


def keras_tape(wrap):
    model, optimizer, loss_of = sequential(), sgd(), crossentropy()
    optimizer.build(model.trainable_variables)

    @wrap
    def step(x, y):
        with tf.GradientTape() as tape:
            loss = loss_of(y, model(x, training=True))  # mark: keras forward
        gradients = tape.gradient(loss, model.trainable_variables)  # mark: keras gradient
        optimizer.apply_gradients(zip(gradients, model.trainable_variables))  # mark: keras apply

    for x, y in batches():
        step(tf.constant(x), tf.constant(y))


def raw_weights():
    def kernel(rows, columns, name):
        limit = (6 / (rows + columns)) ** 0.5
        return tf.Variable(tf.random.uniform((rows, columns), -limit, limit), name=name)

    return [
        kernel(12, 16, "w1"),
        tf.Variable(tf.zeros(16), name="b1"),
        kernel(16, 4, "w2"),
        tf.Variable(tf.zeros(4), name="b2"),
    ]


def raw_loss(weights, x, y):
    w1, b1, w2, b2 = weights
    h = tf.nn.relu(tf.matmul(x, w1) + b1)  # mark: raw hidden
    h = tf.nn.dropout(h, rate=RATE)  # mark: raw dropout
    logits = tf.matmul(h, w2) + b2  # mark: raw logits
    each = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=logits)
    return tf.reduce_mean(each)  # mark: raw loss


def raw_update(weights, velocities, gradients):
    for w, v, g in zip(weights, velocities, gradients):
        v.assign(MOMENTUM * v - LR * g)  # mark: raw velocity
        w.assign_add(v)  # mark: raw update


def raw(wrap):
    weights = raw_weights()
    velocities = [tf.Variable(tf.zeros_like(w), trainable=False) for w in weights]

    @wrap
    def step(x, y):
        with tf.GradientTape() as tape:
            loss = raw_loss(weights, x, y)
        gradients = tape.gradient(loss, weights)  # mark: raw gradient
        raw_update(weights, velocities, gradients)

    for x, y in batches():
        step(tf.constant(x), tf.constant(y))


class Net(tf.Module):
    def __init__(self):
        super().__init__()
        self.weights = raw_weights()

    @tf.function
    def __call__(self, x):
        w1, b1, w2, b2 = self.weights
        h = tf.nn.relu(tf.matmul(x, w1) + b1)  # mark: module hidden
        h = tf.nn.dropout(h, rate=RATE)  # mark: module dropout
        return tf.matmul(h, w2) + b2  # mark: module logits


def module():
    net, optimizer = Net(), sgd()
    for x, y in batches():
        with tf.GradientTape() as tape:
            logits = net(tf.constant(x))  # mark: module call
            each = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=tf.constant(y), logits=logits)
            loss = tf.reduce_mean(each)  # mark: module loss
        gradients = tape.gradient(loss, net.weights)
        optimizer.apply_gradients(zip(gradients, net.weights))  # mark: module apply


def eager(function):
    return function


STYLES = {
    "fit_sequential": lambda: fit(sequential()),
    "fit_functional": lambda: fit(functional()),
    "fit_subclass": lambda: fit(Subclassed()),
    "fit_own_step": lambda: fit(OwnStep()),
    "fit_eagerly": lambda: fit(sequential(), run_eagerly=True),
    "train_on_batch": train_on_batch,
    "keras_eager": lambda: keras_tape(eager),
    "keras_function": lambda: keras_tape(tf.function),
    "raw_eager": lambda: raw(eager),
    "raw_function": lambda: raw(tf.function),
    "module": module,
}
STYLES[STYLE]()
