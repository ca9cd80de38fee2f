"""Networks that two people wrote in another order, layout or form: `rewritten.py NAME [FAULT]`."""

import sys

import numpy as np
import tensorflow as tf
from train import BATCH, ROWS, fit, glorot, loop, orthogonal

NAME, FAULT = sys.argv[1], (sys.argv[2:] or [""])[0]
tf.keras.utils.set_random_seed(3 if NAME.startswith("keras") else 4)
L = tf.keras.layers
_data = np.random.RandomState(0)
IMAGES = _data.normal(size=(ROWS, 6, 6, 4)).astype("float32")
SEQUENCES = _data.normal(size=(ROWS, 7, 4)).astype("float32")
VECTORS = _data.normal(size=(ROWS, 6)).astype("float32")
OTHERS = _data.normal(size=(ROWS, 6)).astype("float32")
TARGETS = _data.normal(size=ROWS).astype("float32")
Y = _data.randint(0, 3, size=ROWS)


def zeros(*shape):
    """A bias."""
    return tf.Variable(tf.zeros(shape))


def matrix(*shape):
    """A matrix or kernel."""
    return tf.Variable(glorot(*shape))


def keras_inception():
    """Three branches with kernels of one shape, joined."""
    given = L.Input((6, 6, 4))
    one = L.Conv2D(4, 1, activation="relu")(given)
    two = L.Conv2D(4, 1, activation="relu")(L.MaxPooling2D(3, 1, "same")(given))
    three = L.Conv2D(4, 1, activation="relu")(L.AveragePooling2D(3, 1, "same")(given))
    h = L.Conv2D(5, 3, activation="relu")(L.concatenate([one, two, three]))
    fit(tf.keras.Model(given, L.Dense(3)(L.GlobalAveragePooling2D()(h))), IMAGES, Y)


def inception():
    """The same branches, run from the last to the first."""
    k3, k2, k1, k, v = matrix(1, 1, 4, 4), matrix(1, 1, 4, 4), matrix(1, 1, 4, 4), matrix(3, 3, 12, 5), matrix(5, 3)
    c3, c2, c1, c, bias = zeros(4), zeros(4), zeros(4), zeros(5), zeros(3)

    def forward(x):
        three = tf.nn.relu(tf.nn.conv2d(tf.nn.avg_pool2d(x, 3, 1, "SAME"), k3, 1, "SAME") + c3)
        two = tf.nn.relu(tf.nn.conv2d(tf.nn.max_pool2d(x, 3, 1, "SAME"), k2, 1, "SAME") + c2)
        one = tf.nn.relu(tf.nn.conv2d(x, k1, 1, "SAME") + c1)
        if FAULT == "activation":
            two = tf.nn.elu(tf.nn.conv2d(tf.nn.max_pool2d(x, 3, 1, "SAME"), k2, 1, "SAME") + c2)  # mark: activation
        h = tf.nn.relu(tf.nn.conv2d(tf.concat([one, two, three], 3), k, 1, "VALID") + c)
        return tf.reduce_mean(h, [1, 2]) @ v + bias

    loop(forward, [k3, c3, k2, c2, k1, c1, k, c, v, bias], IMAGES, Y)


def keras_towers():
    """Two towers of two equal layers on one input, joined."""
    given = L.Input((6,))
    one = L.Dense(6, activation="relu")(L.Dense(6, activation="relu")(given))
    two = L.Dense(6, activation="relu")(L.Dense(6, activation="relu")(given))
    fit(tf.keras.Model(given, L.Dense(3)(L.concatenate([one, two]))), VECTORS, Y)


def towers():
    """The same, layer by layer, the second tower first."""
    w = [matrix(6, 6) for _ in range(4)]
    b = [zeros(6) for _ in range(4)]
    v, bias = matrix(12, 3), zeros(3)

    def forward(x):
        two, one = tf.nn.relu(x @ w[0] + b[0]), tf.nn.relu(x @ w[1] + b[1])
        two, one = tf.nn.relu(two @ w[2] + b[2]), tf.nn.relu(one @ w[3] + b[3])
        return tf.concat([one, two], 1) @ v + bias

    loop(forward, [*w, *b, v, bias], VECTORS, Y)


def keras_summed():
    """Two equal branches that are added: nothing tells them apart."""
    given = L.Input((6,))
    h = L.Dense(6, activation="tanh")(given) + L.Dense(6, activation="tanh")(given)
    fit(tf.keras.Model(given, L.Dense(3)(h)), VECTORS, Y)


def summed():
    """The same."""
    w, u, v = matrix(6, 6), matrix(6, 6), matrix(6, 3)
    b, c, bias = zeros(6), zeros(6), zeros(3)

    def forward(x):
        return (tf.tanh(x @ w + b) + tf.tanh(x @ u + c)) @ v + bias

    loop(forward, [w, u, b, c, v, bias], VECTORS, Y)


def keras_repeated():
    """Five equal layers."""
    layers = [L.Dense(6, activation="relu") for _ in range(5)]
    fit(tf.keras.Sequential([L.Input((6,)), *layers, L.Dense(3)]), VECTORS, Y)


def repeated():
    """The same with the variables made from the last to the first; an activation or a layer missing, a layer more."""
    count = {"extra": 6, "missing": 4}.get(FAULT, 5)
    v, bias = matrix(6, 3), zeros(3)
    pairs = [(matrix(6, 6), zeros(6)) for _ in range(count)][::-1]

    def forward(x):
        for number, (w, b) in enumerate(pairs):
            h = x @ w + b
            x = h if FAULT == "linear" and number == 2 else tf.nn.relu(h)
        return x @ v + bias

    loop(forward, [v, bias, *(variable for pair in pairs for variable in pair)], VECTORS, Y)


def keras_images():
    """Images with the channels last."""
    layers = [L.Conv2D(6, 3, activation="relu"), L.Conv2D(4, 3, activation="relu"), L.Flatten()]
    fit(tf.keras.Sequential([L.Input((6, 6, 4)), *layers, L.Dense(3)]), IMAGES, Y)


def channels_first():
    """The channels first in data and tensors, kernels (out, in, h, w), the matrix (out, in)."""
    k1, k2 = (tf.Variable(tf.transpose(glorot(*shape), (3, 2, 0, 1))) for shape in ((3, 3, 4, 6), (3, 3, 6, 4)))
    v = tf.Variable(tf.transpose(glorot(16, 3)))
    c1, c2, bias = zeros(6, 1, 1), zeros(4, 1, 1), zeros(3)

    def conv(x, kernel):
        last = tf.transpose(x, (0, 2, 3, 1))
        return tf.transpose(tf.nn.conv2d(last, tf.transpose(kernel, (2, 3, 1, 0)), 1, "VALID"), (0, 3, 1, 2))

    def forward(x):
        h = tf.nn.relu(conv(x, k1) + c1)
        h = tf.nn.relu(conv(h, k2) + c2)
        flat = tf.reshape(tf.transpose(h, (0, 2, 3, 1)), (BATCH, 16))
        return tf.matmul(flat, v, transpose_b=True) + bias

    loop(forward, [k1, c1, k2, c2, v, bias], IMAGES.transpose(0, 3, 1, 2), Y)


def keras_sequences():
    """Sequences, batch first."""
    layers = [L.SimpleRNN(5, return_sequences=True), L.Dense(5, activation="tanh"), L.GlobalAveragePooling1D()]
    fit(tf.keras.Sequential([L.Input((7, 4)), *layers, L.Dense(3)]), SEQUENCES, Y)


def time_major():
    """The same, time first."""
    w, u, d, v = matrix(4, 5), tf.Variable(orthogonal(5, 5)), matrix(5, 5), matrix(5, 3)
    b, c, bias = zeros(5), zeros(5), zeros(3)

    def forward(x):
        x = tf.transpose(x, (1, 0, 2))
        h, states = tf.zeros((BATCH, 5)), []
        for t in range(7):
            h = tf.tanh(x[t] @ w + h @ u + b)
            states.append(h)
        h = tf.tanh(tf.tensordot(tf.stack(states), d, 1) + c)
        return tf.reduce_mean(h, 0) @ v + bias

    loop(forward, [w, u, b, d, c, v, bias], SEQUENCES, Y)


def keras_blocks():
    """Residual blocks with batch normalization."""
    given = L.Input((6,))
    h = given
    for _ in range(3):
        inner = L.BatchNormalization()(L.Dense(6, use_bias=False)(h))
        h = h + L.Activation("relu")(inner)
    fit(tf.keras.Model(given, L.Dense(3)(h)), VECTORS, Y)


def blocks():
    """The same written out, all scales made first, then all offsets, then the matrices."""
    count = 3
    gammas, betas = [tf.Variable(tf.ones(6)) for _ in range(count)], [zeros(6) for _ in range(count)]
    moving = [(tf.Variable(tf.ones(6), trainable=False), tf.Variable(tf.zeros(6), trainable=False)) for _ in gammas]
    v, bias = matrix(6, 3), zeros(3)
    w = [matrix(6, 6) for _ in range(count)][::-1]

    def forward(h):
        for n in range(count):
            z = h @ w[n]
            mean, variance = tf.nn.moments(z, [0])
            moving[n][0].assign(0.99 * moving[n][0] + 0.01 * variance)
            moving[n][1].assign(0.99 * moving[n][1] + 0.01 * mean)
            h = h + tf.nn.relu(gammas[n] * (z - mean) / tf.sqrt(variance + 1e-3) + betas[n])
        return h @ v + bias

    loop(forward, [*gammas, *betas, v, bias, *w], VECTORS, Y)


def _classes(loss, y):
    model = tf.keras.Sequential([L.Input((6,)), L.Dense(6, activation="relu"), L.Dense(3)])
    model.compile(tf.keras.optimizers.SGD(0.1), loss)
    model.fit(VECTORS, y, batch_size=int(FAULT or BATCH), epochs=1, shuffle=False, verbose=0)


def keras_integers():
    """Labels as numbers."""
    _classes(tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True), Y)


def column():
    """Labels as a column of numbers."""
    _classes(tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True), Y[:, None])


def one_hot():
    """Labels as one-hot rows."""
    _classes(tf.keras.losses.CategoricalCrossentropy(from_logits=True), np.eye(3, dtype="float32")[Y])


def by_hand():
    """Labels as numbers, made one-hot in the step, cross-entropy written out."""
    w, v, b, bias = matrix(6, 6), matrix(6, 3), zeros(6), zeros(3)

    @tf.function
    def step(x, y):
        with tf.GradientTape() as tape:
            z = tf.nn.relu(x @ w + b) @ v + bias
            z -= tf.reduce_max(z, 1, keepdims=True)
            logs = z - tf.math.log(tf.reduce_sum(tf.exp(z), 1, keepdims=True))
            loss = -tf.reduce_sum(tf.one_hot(y, 3) * logs) / tf.cast(tf.shape(x)[0], tf.float32)
        for variable, gradient in zip((w, b, v, bias), tape.gradient(loss, (w, b, v, bias)), strict=True):
            variable.assign_sub(0.1 * gradient)

    size = int(FAULT or BATCH)
    for k in range(0, ROWS, size):
        step(tf.constant(VECTORS[k : k + size]), tf.constant(Y[k : k + size]))


def keras_pooled():
    """Two branches with kernels of one shape, one of them behind a pooling, added."""
    given = L.Input((6, 6, 4))
    one = L.Conv2D(5, 1, activation="relu")(given)
    two = L.Conv2D(5, 1, activation="relu")(L.MaxPooling2D(3, 1, "same")(given))
    fit(tf.keras.Model(given, L.Dense(3)(L.GlobalAveragePooling2D()(one + two))), IMAGES, Y)


def pooled():
    """The pooled one first."""
    k2, k1, v = matrix(1, 1, 4, 5), matrix(1, 1, 4, 5), matrix(5, 3)
    c2, c1, bias = zeros(5), zeros(5), zeros(3)

    def forward(x):
        two = tf.nn.relu(tf.nn.conv2d(tf.nn.max_pool2d(x, 3, 1, "SAME"), k2, 1, "SAME") + c2)
        one = tf.nn.relu(tf.nn.conv2d(x, k1, 1, "SAME") + c1)
        return tf.reduce_mean(two + one, [1, 2]) @ v + bias

    loop(forward, [k2, c2, k1, c1, v, bias], IMAGES, Y)


def keras_two_inputs():
    """Two inputs of one shape, each with a tower; the towers are subtracted."""
    left, right = L.Input((6,)), L.Input((6,))
    one, two = L.Dense(6, activation="tanh")(left), L.Dense(6, activation="tanh")(right)
    model = tf.keras.Model([left, right], L.Dense(3)(one - two))
    loss = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(tf.keras.optimizers.SGD(0.1), loss)
    model.fit([VECTORS, OTHERS], Y, batch_size=BATCH, epochs=1, shuffle=False, verbose=0)


def two_inputs():
    """The right one comes first."""
    w, u, v = matrix(6, 6), matrix(6, 6), matrix(6, 3)
    b, c, bias = zeros(6), zeros(6), zeros(3)

    def forward(both):
        right, left = both[0], both[1]
        two = tf.tanh(right @ w + b)
        one = tf.tanh(left @ u + c)
        return (one - two) @ v + bias

    params = [w, b, u, c, v, bias]

    @tf.function
    def step(right, left, y):
        with tf.GradientTape() as tape:
            each = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=forward((right, left)))
            loss = tf.reduce_mean(each)
        for variable, gradient in zip(params, tape.gradient(loss, params), strict=True):
            variable.assign_sub(0.1 * gradient)

    for k in range(0, ROWS, BATCH):
        rows = slice(k, k + BATCH)
        step(tf.constant(OTHERS[rows]), tf.constant(VECTORS[rows]), tf.constant(Y[rows]))


def keras_siamese():
    """One tower for two inputs."""
    left, right = L.Input((6,)), L.Input((6,))
    tower = tf.keras.Sequential([L.Dense(6, activation="tanh"), L.Dense(4)])
    model = tf.keras.Model([left, right], L.Dense(3)(tf.keras.ops.abs(tower(left) - tower(right))))
    loss = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(tf.keras.optimizers.SGD(0.1), loss)
    model.fit([VECTORS, OTHERS], Y, batch_size=BATCH, epochs=1, shuffle=False, verbose=0)


def siamese():
    """The same, layer by layer, right before left."""
    w, u, v = matrix(6, 6), matrix(6, 4), matrix(4, 3)
    b, c, bias = zeros(6), zeros(4), zeros(3)
    params = [v, bias, u, c, w, b]

    @tf.function
    def step(left, right, y):
        with tf.GradientTape() as tape:
            two, one = tf.tanh(right @ w + b), tf.tanh(left @ w + b)
            two, one = two @ u + c, one @ u + c
            logits = tf.abs(one - two) @ v + bias
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=logits))
        for variable, gradient in zip(params, tape.gradient(loss, params), strict=True):
            variable.assign_sub(0.1 * gradient)

    for k in range(0, ROWS, BATCH):
        rows = slice(k, k + BATCH)
        step(tf.constant(VECTORS[rows]), tf.constant(OTHERS[rows]), tf.constant(Y[rows]))


def keras_regression():
    """Targets in a column."""
    model = tf.keras.Sequential([L.Input((6,)), L.Dense(6, activation="relu"), L.Dense(1)])
    model.compile(tf.keras.optimizers.SGD(0.1), "mse")
    model.fit(VECTORS, TARGETS[:, None], batch_size=BATCH, epochs=1, shuffle=False, verbose=0)


def flat_regression():
    """Targets in a row, or taken from a column by mistake: (n, n) differences."""
    w, v, b, bias = matrix(6, 6), matrix(6, 1), zeros(6), zeros(1)
    params = (w, b, v, bias)

    @tf.function
    def step(x, y):
        with tf.GradientTape() as tape:
            out = tf.nn.relu(x @ w + b) @ v + bias
            out = out if FAULT == "broadcast" else out[:, 0]
            loss = tf.reduce_mean(tf.square(out - y))  # mark: broadcast
        for variable, gradient in zip(params, tape.gradient(loss, params), strict=True):
            variable.assign_sub(0.1 * gradient)

    for k in range(0, ROWS, BATCH):
        step(tf.constant(VECTORS[k : k + BATCH]), tf.constant(TARGETS[k : k + BATCH]))


class Mixed(L.Layer):
    """A matrix that is the sum of two."""

    def build(self, given):
        """Make them."""
        self.p, self.q = (self.add_weight(shape=(given[-1], 6), initializer="glorot_uniform", name=n) for n in "pq")

    def call(self, x):
        """Multiply."""
        return tf.tanh(x @ (tf.convert_to_tensor(self.p) + tf.convert_to_tensor(self.q)))


def keras_mixed():
    """Two weights that nothing tells apart."""
    fit(tf.keras.Sequential([L.Input((6,)), Mixed(), L.Dense(3)]), VECTORS, Y)


def mixed():
    """The same."""
    p, q, v, bias = matrix(6, 6), matrix(6, 6), matrix(6, 3), zeros(3)
    loop(lambda x: tf.tanh(x @ (p + q)) @ v + bias, [p, q, v, bias], VECTORS, Y)


def twice():
    """An activation that is computed twice, and the mean of both."""
    w, v, b, bias = matrix(6, 6), matrix(6, 3), zeros(6), zeros(3)

    def forward(x):
        h = x @ w + b
        return (tf.nn.relu(h) + tf.nn.relu(h)) / 2.0 @ v + bias

    loop(forward, [w, b, v, bias], VECTORS, Y)


def keras_normed():
    """Convolutions with Keras' own batch normalization."""
    layers = [L.Conv2D(5, 3, use_bias=False), L.BatchNormalization(epsilon=1e-3, momentum=0.9), L.ReLU()]
    layers += [L.Conv2D(5, 3, padding="same"), L.BatchNormalization(momentum=0.9), L.ReLU(), L.GlobalMaxPooling2D()]
    fit(tf.keras.Sequential([L.Input((6, 6, 4)), *layers, L.Dense(3)]), IMAGES, Y)


def fused_norm():
    """The fused op; its moving variance is that of a sample, so it is set here as Keras does."""
    k1, k2, v = matrix(3, 3, 4, 5), matrix(3, 3, 5, 5), matrix(5, 3)
    c2, bias = zeros(5), zeros(3)
    scales, shifts = [tf.Variable(tf.ones(5)) for _ in range(2)], [zeros(5) for _ in range(2)]
    means = [tf.Variable(tf.zeros(5), trainable=False) for _ in range(2)]
    variances = [tf.Variable(tf.ones(5), trainable=False) for _ in range(2)]

    def norm(h, n):
        out, mean, variance = tf.compat.v1.nn.fused_batch_norm(h, scales[n], shifts[n], epsilon=1e-3)
        count = float(np.prod(h.shape[:-1]))
        means[n].assign(0.9 * means[n] + 0.1 * mean)
        variances[n].assign(0.9 * variances[n] + 0.1 * variance * (count - 1) / count)
        return tf.nn.relu(out)

    def forward(x):
        h = norm(tf.nn.conv2d(x, k1, 1, "VALID"), 0)
        h = norm(tf.nn.bias_add(tf.nn.conv2d(h, k2, 1, "SAME"), c2), 1)
        return tf.reduce_max(h, [1, 2]) @ v + bias

    loop(forward, [*shifts, *scales, v, bias, k1, k2, c2], IMAGES, Y)


globals()[NAME]()
