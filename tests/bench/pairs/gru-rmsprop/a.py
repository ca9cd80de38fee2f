"""tf.keras: a subclassed model with two GRU layers, fit, RMSprop with momentum."""

import sys

import numpy as np
import tensorflow as tf

seed = int(sys.argv[1])
rng = np.random.RandomState(seed)
x = rng.normal(size=(240, 5, 5)).astype("float32")
y = np.tanh(x.sum(axis=(1, 2), keepdims=True)[:, 0] / 4).astype("float32")

tf.keras.utils.set_random_seed(seed)


class Net(tf.keras.Model):
    def __init__(self):
        super().__init__()
        self.first = tf.keras.layers.GRU(10, return_sequences=True)
        self.second = tf.keras.layers.GRU(6)
        self.head = tf.keras.layers.Dense(1)

    def call(self, inputs):
        return self.head(self.second(self.first(inputs)))


model = Net()
model.compile(optimizer=tf.keras.optimizers.RMSprop(2e-3, rho=0.9, momentum=0.5), loss="mae")
model.fit(x, y, batch_size=8, epochs=1, shuffle=False, verbose=0)
