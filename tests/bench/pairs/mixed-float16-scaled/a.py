"""Keras under mixed_float16 with its loss scaling: a small convolutional net, SGD with momentum."""

import sys

import keras
import numpy as np
from keras import layers

seed = int(sys.argv[1])
rng = np.random.RandomState(seed)
images = rng.uniform(size=(240, 8, 8, 1)).astype("float32")
labels = (images.mean(axis=(1, 2, 3)) > 0.5).astype("int64")

keras.utils.set_random_seed(seed)
keras.mixed_precision.set_global_policy("mixed_float16")
inputs = keras.Input((8, 8, 1))
x = layers.Conv2D(8, 3, activation="relu")(inputs)
x = layers.BatchNormalization()(x)
x = layers.MaxPooling2D(2)(x)
x = layers.Flatten()(x)
outputs = layers.Activation("linear", dtype="float32")(layers.Dense(2)(x))
model = keras.Model(inputs, outputs)
model.compile(
    optimizer=keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.05, momentum=0.9), initial_scale=2.0**10),
    loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
)
model.fit(images, labels, batch_size=8, epochs=1, shuffle=False, verbose=0)
