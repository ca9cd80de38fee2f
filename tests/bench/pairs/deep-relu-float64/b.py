"""The same as a tf.Module with an eager tape and assign_sub."""

import sys

import keras
import numpy as np
import tensorflow as tf

seed = int(sys.argv[1])
rng = np.random.RandomState(seed)
x = rng.normal(size=(240, 10))
y = np.tanh(x[:, :1] * x[:, 1:2])


class Deep(tf.Module):
    def __init__(self):
        super().__init__()
        make = keras.initializers.HeNormal(seed=seed + 100)
        sizes = [10] + 8 * [16]
        self.kernels = [tf.Variable(make((m, n), dtype="float64")) for m, n in zip(sizes, sizes[1:])]
        self.biases = [tf.Variable(tf.zeros([16], tf.float64)) for _ in range(8)]
        last = keras.initializers.GlorotUniform(seed=seed + 200)
        self.w, self.b = tf.Variable(last((16, 1), dtype="float64")), tf.Variable(tf.zeros([1], tf.float64))

    def __call__(self, x):
        for kernel, bias in zip(self.kernels, self.biases):
            x = tf.maximum(tf.matmul(x, kernel) + bias, 0.0)
        return tf.matmul(x, self.w) + self.b


net = Deep()
for i in range(0, 240, 8):
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.math.squared_difference(net(x[i : i + 8]), y[i : i + 8]))
    for variable, gradient in zip(net.trainable_variables, tape.gradient(loss, net.trainable_variables)):
        variable.assign_sub(0.02 * gradient)
