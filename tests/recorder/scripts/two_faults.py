"""One network in three styles (first word); the other words are the faults of this run.

11 features -> 16 relu, dropout -> 12 relu -> 4 logits; SGD with a learning rate that changes in step 2.
"""

import sys

import numpy as np

STYLE, FAULTS = sys.argv[1], set(sys.argv[2:])
ROWS, STEPS = 20, 4
ACTIVATIONS = ["tanh" if "first-activation" in FAULTS else "relu", "tanh" if "second-activation" in FAULTS else "relu"]
RATE = 0.5 if "rate" in FAULTS else 0.25
BIAS = "bias" not in FAULTS
CLIP = 0.01 if "clip" in FAULTS else None
FACTOR = 1.01 if "lr" in FAULTS else 1.0
RATES = [FACTOR * rate for rate in (0.1, 0.1, 0.1 if "schedule" in FAULTS else 0.05, 0.05)]
_random = np.random.RandomState(len(sys.argv))
if STYLE == "reference":
    STYLE = "keras"
X = np.random.RandomState(3).normal(size=(STEPS * ROWS, 11)).astype("float32")
Y = np.random.RandomState(4).randint(0, 4, STEPS * ROWS).astype("int64")


def kernel(rows, columns):
    """Where a matrix starts."""
    return _random.uniform(-0.4, 0.4, (rows, columns)).astype("float32")


def bias(columns):
    """Where a bias starts."""
    return _random.uniform(-0.3, 0.3, columns).astype("float32")


def keras_style():
    """Layers, an eager step."""
    import keras
    import tensorflow as tf

    def dense(units, activation, *, use_bias=True):
        start = keras.initializers.RandomUniform(-0.3, 0.3)
        return keras.layers.Dense(units, activation, use_bias=use_bias, bias_initializer=start)

    model = keras.Sequential(
        [
            keras.layers.Input((11,)),
            dense(16, ACTIVATIONS[0]),
            keras.layers.Dropout(RATE),
            dense(12, ACTIVATIONS[1], use_bias=BIAS),
            dense(4, None),
        ]
    )
    loss_of = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    optimizer = keras.optimizers.SGD(RATES[0])
    for step in range(STEPS):
        rows = slice(step * ROWS, (step + 1) * ROWS)
        optimizer.learning_rate.assign(RATES[step])
        with tf.GradientTape() as tape:
            loss = loss_of(tf.constant(Y[rows]), model(tf.constant(X[rows]), training=True))
        gradients = tape.gradient(loss, model.trainable_variables)
        if CLIP:
            gradients = [tf.clip_by_value(g, -CLIP, CLIP) for g in gradients]
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))


def raw_style():
    """Variables, a compiled step."""
    import tensorflow as tf

    w3, b3 = tf.Variable(kernel(12, 4)), tf.Variable(bias(4))
    w1, b1 = tf.Variable(kernel(11, 16)), tf.Variable(bias(16))
    w2, b2 = tf.Variable(kernel(16, 12)), tf.Variable(bias(12))
    weights = [w1, b1, w2, b2, w3, b3] if BIAS else [w1, b1, w2, w3, b3]

    @tf.function
    def train(x, y, rate):
        with tf.GradientTape() as tape:
            h = getattr(tf.nn, ACTIVATIONS[0])(tf.matmul(x, w1) + b1)
            h = tf.nn.dropout(h, RATE)
            h = tf.matmul(h, w2)
            if BIAS:
                h = h + b2
            h = getattr(tf.nn, ACTIVATIONS[1])(h)
            h = tf.matmul(h, w3) + b3
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(y, h))
        gradients = tape.gradient(loss, weights)
        if CLIP:
            gradients = [tf.clip_by_value(g, -CLIP, CLIP) for g in gradients]
        for weight, gradient in zip(weights, gradients, strict=True):
            weight.assign_sub(rate * gradient)

    for step in range(STEPS):
        rows = slice(step * ROWS, (step + 1) * ROWS)
        train(tf.constant(X[rows]), tf.constant(Y[rows]), tf.constant(RATES[step]))


def session_style():
    """TensorFlow 1."""
    import tensorflow.compat.v1 as tf

    tf.disable_v2_behavior()
    x, y = tf.placeholder(tf.float32, [None, 11]), tf.placeholder(tf.int64, [None])
    rate = tf.placeholder(tf.float32, [])
    w1, b1 = tf.Variable(kernel(11, 16)), tf.Variable(bias(16))
    h = getattr(tf.nn, ACTIVATIONS[0])(tf.matmul(x, w1) + b1)
    h = tf.nn.dropout(h, rate=RATE)
    w2 = tf.Variable(kernel(16, 12))
    h = tf.matmul(h, w2)
    if BIAS:
        h = h + tf.Variable(bias(12))
    h = getattr(tf.nn, ACTIVATIONS[1])(h)
    h = tf.matmul(h, tf.Variable(kernel(12, 4))) + tf.Variable(bias(4))
    loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=h))
    optimizer = tf.train.GradientDescentOptimizer(rate)
    pairs = optimizer.compute_gradients(loss)
    if CLIP:
        pairs = [(tf.clip_by_value(g, -CLIP, CLIP), v) for g, v in pairs]
    train = optimizer.apply_gradients(pairs)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        for step in range(STEPS):
            rows = slice(step * ROWS, (step + 1) * ROWS)
            session.run(train, {x: X[rows], y: Y[rows], rate: RATES[step]})


{"keras": keras_style, "raw": raw_style, "session": session_style}[STYLE]()
