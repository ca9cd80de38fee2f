"""Programs with one setting that can be another: `assumed.py NAME VALUE`."""

import sys

import numpy as np
import tensorflow as tf

NAME, VALUE = sys.argv[1], sys.argv[2]
NUMBER = float(VALUE) if VALUE not in ("sum", "mean", "true", "false") else VALUE
FLAG = VALUE == "true"
random = np.random.default_rng(3)
X = random.normal(size=(32, 6)).astype("float32")
Y = (X[:, :1] > 0).astype("float32")
tf.keras.utils.set_random_seed(5)


def fit(inner, loss="mse", optimizer=None, last=None):
    """Keras, compiled."""
    ends = tf.keras.layers.Dense(8, "relu"), tf.keras.layers.Dense(1, last)
    model = tf.keras.Sequential([tf.keras.Input((6,)), ends[0], *inner, ends[1]])
    model.compile(optimizer or tf.keras.optimizers.SGD(0.1), loss)
    model.fit(X, Y, batch_size=8, shuffle=False, verbose=0)


def squashed(x):
    """A sigmoid that Keras' losses do not recognize and take back."""
    return 1 / (1 + tf.exp(-x))


def loop(forward, loss=None):
    """Variables and a tape, compiled."""
    w = tf.Variable(random.normal(size=(6, 8)).astype("float32"))
    v = tf.Variable(random.normal(size=(8, 1)).astype("float32"))
    optimizer = tf.keras.optimizers.SGD(0.05)

    @tf.function
    def step(x, y):
        with tf.GradientTape() as tape:
            out = forward(tf.nn.relu(x @ w)) @ v
            value = loss(y, out) if loss else tf.reduce_mean((out - y) ** 2)
        optimizer.apply_gradients(zip(tape.gradient(value, [w, v]), [w, v], strict=True))

    for i in range(0, 32, 8):
        step(tf.constant(X[i : i + 8]), tf.constant(Y[i : i + 8]))


def session(forward=lambda h: h, optimizer=None):
    """A graph of TensorFlow 1."""
    v1 = tf.compat.v1
    v1.disable_eager_execution()
    x, y, keep = (
        v1.placeholder(tf.float32, (None, 6)),
        v1.placeholder(tf.float32, (None, 1)),
        v1.placeholder(tf.float32),
    )
    w = v1.get_variable("w", (6, 8))
    v = v1.get_variable("v", (8, 1))
    h = tf.nn.relu(x @ w)
    h = v1.nn.dropout(h, keep_prob=keep) if NAME == "v1-dropout" else forward(h)  # mark: v1-dropout
    loss = tf.reduce_mean((h @ v - y) ** 2)
    train = (optimizer or v1.train.GradientDescentOptimizer(0.05)).minimize(loss)
    with v1.Session() as run:
        run.run(v1.global_variables_initializer())
        for i in range(0, 32, 8):
            feed = {x: X[i : i + 8], y: Y[i : i + 8]}
            run.run(train, {**feed, keep: NUMBER} if NAME == "v1-dropout" else feed)


def flagged():
    """A Keras model called by hand."""
    model = tf.keras.Sequential([tf.keras.Input((6,)), tf.keras.layers.BatchNormalization(), tf.keras.layers.Dense(1)])
    optimizer = tf.keras.optimizers.SGD(0.1)
    for i in range(0, 32, 8):
        with tf.GradientTape() as tape:
            out = model(X[i : i + 8], training=FLAG)  # mark: flag
            loss = tf.reduce_mean((out - Y[i : i + 8]) ** 2)
        grads = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(grads, model.trainable_variables, strict=True))


def by_hand(h):
    """Dropout as arithmetic."""
    mask = tf.floor(tf.random.uniform(tf.shape(h)) + (1 - NUMBER))
    return h * mask / (1 - NUMBER)  # mark: by-hand


def normalized(h):
    """By the function."""
    mean, variance = tf.nn.moments(h, [0])
    return tf.nn.batch_normalization(h, mean, variance, None, None, NUMBER)  # mark: tf-epsilon


def reduced(y, out):
    """Summed or averaged."""
    if VALUE == "sum":
        return tf.reduce_sum((out - y) ** 2)  # mark: sum
    return tf.reduce_mean((out - y) ** 2)


layers, losses, optimizers, v1 = tf.keras.layers, tf.keras.losses, tf.keras.optimizers, tf.compat.v1.train
REDUCTION = {"sum": "sum", "mean": "sum_over_batch_size"}.get(VALUE)
RUNS = {
    "dropout": lambda: fit([layers.Dropout(NUMBER)]),  # mark: dropout
    "tf-dropout": lambda: loop(lambda h: tf.nn.dropout(h, rate=NUMBER)),  # mark: tf-dropout
    "by-hand": lambda: loop(by_hand),
    "v1-dropout": session,
    "v1-adam": lambda: session(optimizer=v1.AdamOptimizer(0.01, epsilon=NUMBER)),  # mark: v1-adam
    "v1-lr": lambda: session(optimizer=v1.MomentumOptimizer(NUMBER, 0.9)),  # mark: v1-lr
    "epsilon": lambda: fit([layers.BatchNormalization(epsilon=NUMBER)]),  # mark: epsilon
    "tf-epsilon": lambda: loop(normalized),
    "momentum": lambda: fit([layers.BatchNormalization(momentum=NUMBER)]),  # mark: momentum
    "lr": lambda: fit([], optimizer=optimizers.SGD(NUMBER)),  # mark: lr
    "adam": lambda: fit([], optimizer=optimizers.Adam(0.01, epsilon=NUMBER)),  # mark: adam
    "beta": lambda: fit([], optimizer=optimizers.Adam(0.01, beta_1=NUMBER)),  # mark: beta
    "sgd-momentum": lambda: fit([], optimizer=optimizers.SGD(0.05, momentum=NUMBER)),  # mark: sgd-momentum
    "dropout-lr": lambda: fit([layers.Dropout(NUMBER)], optimizer=optimizers.SGD(NUMBER)),  # mark: dropout-lr
    "flag": flagged,
    "reduction": lambda: fit([], losses.MeanSquaredError(reduction=REDUCTION)),  # mark: reduction
    "tf-reduction": lambda: loop(lambda h: h, reduced),
    "logits": lambda: fit([], losses.BinaryCrossentropy(from_logits=FLAG), last=squashed),  # mark: logits
    "smoothing": lambda: fit([], losses.BinaryCrossentropy(True, label_smoothing=NUMBER)),  # mark: smoothing
}
RUNS[NAME]()
