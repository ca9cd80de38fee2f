"""Keras in float64: eight relu layers, he_normal, plain SGD."""

import sys

import keras
import numpy as np

seed = int(sys.argv[1])
rng = np.random.RandomState(seed)
x = rng.normal(size=(240, 10))
y = np.tanh(x[:, :1] * x[:, 1:2])

keras.backend.set_floatx("float64")
keras.utils.set_random_seed(seed)
model = keras.Sequential([keras.layers.Input((10,))])
for _ in range(8):
    model.add(keras.layers.Dense(16, activation="relu", kernel_initializer="he_normal"))
model.add(keras.layers.Dense(1))
model.compile(optimizer=keras.optimizers.SGD(0.02), loss="mse")
model.fit(x, y, batch_size=8, epochs=1, shuffle=False, verbose=0)
