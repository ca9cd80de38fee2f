"""Keras under mixed_bfloat16: dense layers, layer norm, dropout, Adam."""

import sys

import keras
import numpy as np
from keras import layers

seed = int(sys.argv[1])
rng = np.random.RandomState(seed)
x = rng.normal(size=(480, 24)).astype("float32")
y = (x @ rng.normal(size=(24, 1)) / 5).astype("float32")

keras.utils.set_random_seed(seed)
keras.mixed_precision.set_global_policy("mixed_bfloat16")
model = keras.Sequential(
    [
        layers.Input((24,)),
        layers.Dense(32, activation="relu"),
        layers.LayerNormalization(),
        layers.Dropout(0.2),
        layers.Dense(32, activation="tanh"),
        layers.Dense(1, dtype="float32"),
    ]
)
model.compile(optimizer=keras.optimizers.Adam(2e-3), loss="mse")
model.fit(x, y, batch_size=16, epochs=1, shuffle=False, verbose=0)
