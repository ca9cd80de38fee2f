"""Clipping by the norm of all gradients, and momentum: in two styles (first word); the other words are faults.

9 features -> 10 (with "width" 14) tanh -> 6 tanh -> 3 logits.
"""

import sys

import numpy as np

STYLE, FAULTS = sys.argv[1], set(sys.argv[2:])
ROWS, STEPS = 12, 3
WIDTH = 14 if "width" in FAULTS else 10
MOMENTUM = 0.8 if "momentum" in FAULTS else 0.9
CLIP = 0.05
_random = np.random.RandomState(len(sys.argv))
X = np.random.RandomState(3).normal(size=(STEPS * ROWS, 9)).astype("float32")
Y = np.random.RandomState(4).randint(0, 3, STEPS * ROWS).astype("int64")


def keras_style():
    """Compiled; the optimizer clips."""
    import keras

    start = keras.initializers.RandomUniform(-0.3, 0.3)
    layers = [keras.layers.Dense(n, "tanh", bias_initializer=start) for n in (WIDTH, 6)]
    model = keras.Sequential([keras.layers.Input((9,)), *layers, keras.layers.Dense(3, bias_initializer=start)])
    optimizer = keras.optimizers.SGD(0.1, momentum=MOMENTUM, global_clipnorm=CLIP)
    model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    for step in range(STEPS):
        rows = slice(step * ROWS, (step + 1) * ROWS)
        model.train_on_batch(X[rows], Y[rows])


def session_style():
    """TensorFlow 1; clipped by the program."""
    import tensorflow.compat.v1 as tf

    tf.disable_v2_behavior()
    x, y = tf.placeholder(tf.float32, [None, 9]), tf.placeholder(tf.int64, [None])
    h = x
    for number, (rows, columns) in enumerate([(9, WIDTH), (WIDTH, 6), (6, 3)]):
        w = tf.Variable(_random.uniform(-0.4, 0.4, (rows, columns)).astype("float32"))
        h = tf.matmul(h, w) + tf.Variable(_random.uniform(-0.3, 0.3, columns).astype("float32"))
        h = tf.nn.tanh(h) if number < 2 else h
    loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=h))
    optimizer = tf.train.MomentumOptimizer(0.1, MOMENTUM)
    gradients, weights = zip(*optimizer.compute_gradients(loss), strict=True)
    train = optimizer.apply_gradients(zip(tf.clip_by_global_norm(gradients, CLIP)[0], weights, strict=True))
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        for step in range(STEPS):
            rows = slice(step * ROWS, (step + 1) * ROWS)
            session.run(train, {x: X[rows], y: Y[rows]})


{"keras": keras_style, "session": session_style}[STYLE]()
