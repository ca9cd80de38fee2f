"""Keras: Sequential, fit. Biases in front of batch norms, Adam."""

import sys

import keras
import numpy as np

seed = int(sys.argv[1])
rng = np.random.RandomState(seed)
x = rng.normal(size=(960, 20)).astype("float32")
y = np.argmax(x @ rng.normal(size=(20, 5)) + rng.normal(size=(960, 5)), axis=1)

keras.utils.set_random_seed(seed)
model = keras.Sequential(
    [
        keras.layers.Input((20,)),
        keras.layers.Dense(32),
        keras.layers.BatchNormalization(),
        keras.layers.Activation("relu"),
        keras.layers.Dense(32),
        keras.layers.BatchNormalization(),
        keras.layers.Activation("relu"),
        keras.layers.Dense(5),
    ]
)
model.compile(
    optimizer=keras.optimizers.Adam(1e-3),
    loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
)
model.fit(x, y, batch_size=32, epochs=1, shuffle=False, verbose=0)
