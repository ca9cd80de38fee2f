"""Keras: an autoencoder whose decoder takes the encoder's kernels transposed; noise on the inputs, RMSprop."""

import sys

import keras
import numpy as np
import tensorflow as tf

seed = int(sys.argv[1])
rng = np.random.RandomState(seed)
x = rng.uniform(size=(480, 30)).astype("float32")

keras.utils.set_random_seed(seed)


class Tied(keras.layers.Layer):
    def __init__(self, dense, activation):
        super().__init__()
        self.dense, self.activation = dense, keras.activations.get(activation)

    def build(self, shape):
        self.bias = self.add_weight(shape=(self.dense.kernel.shape[0],), initializer="zeros")

    def call(self, inputs):
        return self.activation(tf.matmul(inputs, self.dense.kernel, transpose_b=True) + self.bias)


inputs = keras.Input((30,))
first = keras.layers.Dense(20, activation="tanh")
second = keras.layers.Dense(6, activation="tanh")
code = second(first(keras.layers.GaussianNoise(0.1)(inputs)))
outputs = Tied(first, "sigmoid")(Tied(second, "tanh")(code))
model = keras.Model(inputs, outputs)
model.compile(optimizer=keras.optimizers.RMSprop(2e-3, centered=True), loss="mse")
model.fit(x, x, batch_size=16, epochs=1, shuffle=False, verbose=0)
