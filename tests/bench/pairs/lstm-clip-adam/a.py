"""Keras: LSTM, train_on_batch, Adam that clips by the global norm."""

import sys

import keras
import numpy as np

seed = int(sys.argv[1])
rng = np.random.RandomState(seed)
x = rng.normal(size=(30, 16, 5, 6)).astype("float32")
y = (np.cumsum(x, axis=2)[:, :, -1, :2] * 0.5).astype("float32")

keras.utils.set_random_seed(seed)
model = keras.Sequential([keras.layers.Input((5, 6)), keras.layers.LSTM(12), keras.layers.Dense(2)])
model.compile(optimizer=keras.optimizers.Adam(0.01, global_clipnorm=0.5), loss="mse")
for batch, target in zip(x, y):
    model.train_on_batch(batch, target)
