"""tf_keras: ten relu layers, a large learning rate, batches of four."""

import os

os.environ["TF_USE_LEGACY_KERAS"] = "1"

import sys

import numpy as np
import tensorflow as tf

seed = int(sys.argv[1])
rng = np.random.RandomState(seed)
x = rng.normal(size=(120, 8)).astype("float32")
y = np.sign(x[:, :1] * x[:, 1:2]).astype("float32")

tf.keras.utils.set_random_seed(seed)
model = tf.keras.Sequential([tf.keras.layers.Input((8,))])
for _ in range(10):
    model.add(tf.keras.layers.Dense(24, activation="relu", kernel_initializer="he_uniform"))
model.add(tf.keras.layers.Dense(1))
model.compile(optimizer=tf.keras.optimizers.legacy.SGD(0.1), loss="mse")
model.fit(x, y, batch_size=4, epochs=1, shuffle=False, verbose=0)
