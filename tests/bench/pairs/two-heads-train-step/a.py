"""Keras: a functional model with two outputs and loss weights, fit on dictionaries; Adam with a decaying rate."""

import sys

import keras
import numpy as np
from keras import layers

seed = int(sys.argv[1])
rng = np.random.RandomState(seed)
x = rng.normal(size=(480, 15)).astype("float32")
kind = (x[:, :3].argmax(axis=1)).astype("int64")
size = np.abs(x).sum(axis=1, keepdims=True).astype("float32") / 10

keras.utils.set_random_seed(seed)
inputs = keras.Input((15,))
h = layers.Dense(24, activation="swish")(inputs)
h = layers.Dense(24, activation="swish")(h)
classes = layers.Dense(3, name="kind")(h)
value = layers.Dense(1, name="size")(layers.Dense(8, activation="relu")(h))
model = keras.Model(inputs, {"kind": classes, "size": value})
model.compile(
    optimizer=keras.optimizers.Adam(keras.optimizers.schedules.ExponentialDecay(0.01, 10, 0.8)),
    loss={"kind": keras.losses.SparseCategoricalCrossentropy(from_logits=True), "size": keras.losses.Huber(delta=0.5)},
    loss_weights={"kind": 1.0, "size": 0.3},
)
model.fit(x, {"kind": kind, "size": size}, batch_size=16, epochs=1, shuffle=False, verbose=0)
