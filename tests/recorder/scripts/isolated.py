"""Small networks that are isolated in awkward ways: `isolated.py NAME [fault]`; a fault is a wrong factor in front."""

import sys

import numpy as np
import tensorflow as tf

NAME, FACTOR = sys.argv[1], 1.5 if "fault" in sys.argv else 1.0
STEPS, ROWS = 3, 8
_data = np.random.RandomState(0)
X = _data.normal(size=(STEPS, ROWS, 5)).astype("float32")
IMAGES = _data.normal(size=(STEPS, ROWS, 6, 6, 2)).astype("float32")
IDS = _data.randint(0, 7, size=(STEPS, ROWS, 4))
Y = _data.normal(size=(STEPS, ROWS, 1)).astype("float32")
tf.keras.utils.set_random_seed(1)


def weight(*shape):
    """A weight that is not small."""
    return tf.Variable(tf.random.normal(shape))


def update(variables, gradients):
    """Plain gradient descent."""
    for variable, gradient in zip(variables, gradients, strict=True):
        variable.assign_sub(0.01 * tf.convert_to_tensor(gradient))


def error(output, y):
    """The loss."""
    return tf.reduce_mean(tf.square(output - y))


def siamese(function):
    """The same lines run twice in a step, on two inputs."""
    w, v = weight(5, 6), weight(6, 1)

    def branch(x):
        return tf.nn.relu(tf.matmul(x, w) * FACTOR)

    def step(x, y):
        with tf.GradientTape() as tape:
            loss = error(tf.matmul(branch(x) - branch(x + x), v), y)
        update([w, v], tape.gradient(loss, [w, v]))

    return tf.function(step) if function else step


def siamese_inside():
    """A tape in eager code around a compiled function that is called twice."""
    w, v = weight(5, 6), weight(6, 1)

    @tf.function
    def branch(x):
        return tf.nn.relu(tf.matmul(x, w) * FACTOR)

    def step(x, y):
        with tf.GradientTape() as tape:
            loss = error(tf.matmul(branch(x) - branch(x + x), v), y)
        update([w, v], tape.gradient(loss, [w, v]))

    return step


def images():
    """A convolution and a fused batch norm, of which several outputs are used."""
    w, v = weight(3, 3, 2, 4), weight(4, 1)
    gamma, beta = tf.Variable(tf.ones(4)), tf.Variable(tf.zeros(4))

    @tf.function
    def step(x, y):
        with tf.GradientTape() as tape:
            h = tf.nn.conv2d(x, w, 1, "SAME") * FACTOR
            h, _, _ = tf.compat.v1.nn.fused_batch_norm(h, gamma, beta)
            h = tf.nn.relu(h)
            loss = error(tf.matmul(tf.reduce_mean(h, [1, 2]), v), y)
        variables = [w, v, gamma, beta]
        update(variables, tape.gradient(loss, variables))

    return step


def words(function):
    """A table of which rows are looked up, some of them twice."""
    table, v = weight(7, 3), weight(3, 1)

    def step(x, y):
        with tf.GradientTape() as tape:
            h = tf.nn.relu(tf.nn.embedding_lookup(table, x) * FACTOR)
            loss = error(tf.matmul(tf.reduce_sum(h, 1), v), y)
        gradients = tape.gradient(loss, [table, v])
        assert isinstance(gradients[0], tf.IndexedSlices)
        update([table, v], gradients)

    return tf.function(step) if function else step


def twice():
    """A persistent tape, asked for one variable after the other."""
    w, v = weight(5, 6), weight(6, 1)

    def step(x, y):
        with tf.GradientTape(persistent=True) as tape:
            loss = error(tf.matmul(tf.nn.relu(tf.matmul(x, w) * FACTOR), v), y)
        update([w, v], [tape.gradient(loss, w), tape.gradient(loss, v)])

    return step


def accumulated(function):
    """Two gradient calls, then one update with their sum."""
    w, v = weight(5, 6), weight(6, 1)
    sums = [tf.Variable(tf.zeros_like(p), trainable=False) for p in (w, v)]
    made = tf.Variable(0, trainable=False)

    def step(x, y):
        with tf.GradientTape() as tape:
            loss = error(tf.matmul(tf.nn.relu(tf.matmul(x, w) * FACTOR), v), y)
        for total, gradient in zip(sums, tape.gradient(loss, [w, v]), strict=True):
            total.assign_add(gradient)
        made.assign_add(1)

    step = tf.function(step) if function else step

    def train(x, y):
        step(x, y)
        if int(made) % 2 == 0:
            update([w, v], sums)
            for total in sums:
                total.assign(tf.zeros_like(total))

    return train


def adversaries():
    """Two networks, two tapes and two updates in one compiled function."""
    g, d = weight(5, 5), weight(5, 1)

    @tf.function
    def step(x, y):
        with tf.GradientTape() as first, tf.GradientTape() as second:
            fake = tf.nn.relu(tf.matmul(x, g) * FACTOR)
            scores = tf.matmul(fake, d)
            g_loss, d_loss = error(scores, y), error(scores, -y)
        gradients = first.gradient(g_loss, g), second.gradient(d_loss, d)
        update([g, d], gradients)

    return step


def scaled():
    """A loss that is scaled, and gradients that are scaled back."""
    w, v = weight(5, 6), weight(6, 1)

    def step(x, y):
        with tf.GradientTape() as tape:
            loss = 1024.0 * error(tf.matmul(tf.nn.relu(tf.matmul(x, w) * FACTOR), v), y)
        optimizer.apply_gradients(zip([g / 1024.0 for g in tape.gradient(loss, [w, v])], [w, v], strict=True))

    optimizer = tf.keras.optimizers.SGD(0.01)
    return step


def plain():
    """The same with nothing scaled."""
    w, v = weight(5, 6), weight(6, 1)
    optimizer = tf.keras.optimizers.SGD(0.01)

    def step(x, y):
        with tf.GradientTape() as tape:
            loss = error(tf.matmul(tf.nn.relu(tf.matmul(x, w) * FACTOR), v), y)
        optimizer.apply_gradients(zip(tape.gradient(loss, [w, v]), [w, v], strict=True))

    return step


NETWORKS = {
    "siamese": (lambda: siamese(function=False), X),
    "siamese-function": (lambda: siamese(function=True), X),
    "siamese-inside": (siamese_inside, X),
    "images": (images, IMAGES),
    "words": (lambda: words(function=False), IDS),
    "words-function": (lambda: words(function=True), IDS),
    "twice": (twice, X),
    "accumulated": (lambda: accumulated(function=False), X),
    "accumulated-function": (lambda: accumulated(function=True), X),
    "adversaries": (adversaries, X),
    "scaled": (scaled, X),
    "plain": (plain, X),
}

if __name__ == "__main__":
    make, data = NETWORKS[NAME]
    run = make()
    for rows, targets in zip(data, Y, strict=True):
        run(tf.constant(rows), tf.constant(targets))
