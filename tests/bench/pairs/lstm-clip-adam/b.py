"""The same LSTM gate by gate, each with kernels of its own; eager tape, clip_by_global_norm, Keras's Adam."""

import sys

import keras
import numpy as np
import tensorflow as tf

seed = int(sys.argv[1])
rng = np.random.RandomState(seed)
x = rng.normal(size=(30, 16, 5, 6)).astype("float32")
y = (np.cumsum(x, axis=2)[:, :, -1, :2] * 0.5).astype("float32")

tf.random.set_seed(seed + 100)
UNITS = 12
limit = np.sqrt(6 / (6 + 4 * UNITS))
recurrent = keras.initializers.Orthogonal(seed=seed + 100)((UNITS, 4 * UNITS)).numpy()
gates = {}
for number, gate in enumerate("ifco"):
    gates[gate] = (
        tf.Variable(tf.random.uniform([6, UNITS], -limit, limit), name=f"w_{gate}"),
        tf.Variable(recurrent[:, number * UNITS : (number + 1) * UNITS], name=f"u_{gate}"),
        tf.Variable(tf.ones([UNITS]) if gate == "f" else tf.zeros([UNITS]), name=f"b_{gate}"),
    )
limit = np.sqrt(6 / (UNITS + 2))
head = tf.Variable(tf.random.uniform([UNITS, 2], -limit, limit)), tf.Variable(tf.zeros([2]))
variables = [v for gate in gates.values() for v in gate] + list(head)
optimizer = keras.optimizers.Adam(0.01)


def gate(name, xt, h):
    w, u, b = gates[name]
    return tf.matmul(xt, w) + tf.matmul(h, u) + b


def network(batch):
    h = c = tf.zeros([len(batch), UNITS])
    for t in range(5):
        xt = batch[:, t]
        i, f, o = (tf.sigmoid(gate(name, xt, h)) for name in "ifo")
        c = f * c + i * tf.tanh(gate("c", xt, h))
        h = o * tf.tanh(c)
    return tf.matmul(h, head[0]) + head[1]


@tf.function
def step(batch, target):
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.square(network(batch) - target))
    gradients, _ = tf.clip_by_global_norm(tape.gradient(loss, variables), 0.5)
    optimizer.apply_gradients(zip(gradients, variables))
    return loss


optimizer.build(variables)
for batch, target in zip(x, y):
    step(tf.constant(batch), tf.constant(target))
