"""The training that the networks of `recurrent.py` and `structured.py` share, as Keras and as a loop."""

import numpy as np
import tensorflow as tf

ROWS, BATCH = 32, 16


def fit(model, x, y, optimizer=None):
    """Keras trains it."""
    loss = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer or tf.keras.optimizers.SGD(0.1), loss)
    model.fit(x, y, batch_size=BATCH, epochs=1, shuffle=False, verbose=0)


def loop(forward, params, x, y, optimizer=None):
    """A tape trains it, in a compiled function."""

    @tf.function
    def step(xb, yb):
        with tf.GradientTape() as tape:
            each = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=yb, logits=forward(xb))
            loss = tf.reduce_mean(each)
        gradients = tape.gradient(loss, params)
        if optimizer is not None:
            optimizer.apply_gradients(zip(gradients, params, strict=True))
            return
        for variable, gradient in zip(params, gradients, strict=True):
            variable.assign_sub(0.1 * tf.convert_to_tensor(gradient))

    for k in range(0, ROWS, BATCH):
        step(tf.constant(x[k : k + BATCH]), tf.constant(y[k : k + BATCH]))


def glorot(*shape):
    """A matrix or kernel as Keras starts it."""
    field = np.prod(shape[:-2]) if len(shape) > 2 else 1
    return tf.random.uniform(shape, -1, 1) * (6 / (field * (shape[-2] + shape[-1]))) ** 0.5


def orthogonal(rows, columns):
    """A recurrent kernel as Keras starts it (at least as many columns as rows)."""
    return tf.transpose(tf.linalg.qr(tf.random.normal((columns, rows)))[0])
