"""Keras: causal dilated convolutions with gates, residuals and skips; SGD with momentum and clipped values."""

import sys

import keras
import numpy as np
from keras import layers

seed = int(sys.argv[1])
rng = np.random.RandomState(seed)
signal = np.cumsum(rng.normal(size=(180, 17, 1)), axis=1).astype("float32") / 4
x, y = signal[:, :-1], signal[:, 1:]

keras.utils.set_random_seed(seed)
inputs = keras.Input((16, 1))
h = layers.Dense(8)(inputs)
skips = []
for dilation in (1, 2, 4):
    filtered = layers.Conv1D(8, 2, padding="causal", dilation_rate=dilation, activation="tanh")(h)
    gated = layers.Conv1D(8, 2, padding="causal", dilation_rate=dilation, activation="sigmoid")(h)
    z = layers.Multiply()([filtered, gated])
    skips.append(layers.Dense(8)(z))
    h = layers.Add()([h, layers.Dense(8)(z)])
outputs = layers.Dense(1)(layers.ReLU()(layers.Add()(skips)))
model = keras.Model(inputs, outputs)
model.compile(optimizer=keras.optimizers.SGD(0.02, momentum=0.8, clipvalue=0.05), loss="mae")
model.fit(x, y, batch_size=6, epochs=1, shuffle=False, verbose=0)
