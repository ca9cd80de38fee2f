"""`tf.keras` as the legacy one: `legacy_keras.py`; `legacy_keras.py keras3` is the same program on Keras 3."""

import os
import sys

if len(sys.argv) == 1:
    os.environ["TF_USE_LEGACY_KERAS"] = "1"

import numpy as np
import tensorflow as tf

rng = np.random.RandomState(1)
x, y = rng.normal(size=(32, 6)).astype("float32"), rng.normal(size=(32, 1)).astype("float32")
model = tf.keras.Sequential()
model.add(tf.keras.Input((6,)))
model.add(tf.keras.layers.Dense(8, activation="tanh"))  # mark: dense
model.add(tf.keras.layers.Dropout(0.25))
model.add(tf.keras.layers.Dense(1))
model.compile("sgd", "mse")  # mark: compile
model.fit(x, y, batch_size=8, epochs=2, verbose=0)
