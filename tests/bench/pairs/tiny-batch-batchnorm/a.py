"""tf_keras: convolutions with biases in front of batch norms, batches of three, Adam with a large rate."""

import os

os.environ["TF_USE_LEGACY_KERAS"] = "1"

import sys

import numpy as np
import tensorflow as tf

seed = int(sys.argv[1])
rng = np.random.RandomState(seed)
images = rng.normal(size=(90, 6, 6, 2)).astype("float32")
labels = rng.randint(0, 3, size=90)

tf.keras.utils.set_random_seed(seed)
model = tf.keras.Sequential(
    [
        tf.keras.layers.Input((6, 6, 2)),
        tf.keras.layers.Conv2D(8, 3, padding="same"),
        tf.keras.layers.BatchNormalization(),
        tf.keras.layers.ReLU(),
        tf.keras.layers.Conv2D(8, 3, padding="same", strides=2),
        tf.keras.layers.BatchNormalization(),
        tf.keras.layers.ReLU(),
        tf.keras.layers.Flatten(),
        tf.keras.layers.Dense(12),
        tf.keras.layers.BatchNormalization(),
        tf.keras.layers.ReLU(),
        tf.keras.layers.Dense(3, activation="softmax"),
    ]
)
model.compile(optimizer=tf.keras.optimizers.Adam(0.01), loss="sparse_categorical_crossentropy")
for i in range(0, 90, 3):
    model.train_on_batch(images[i : i + 3], labels[i : i + 3])
