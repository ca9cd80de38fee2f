"""Keras: a functional residual net with batch norm, RMSprop, shuffled rows."""

import sys

import keras
import numpy as np
from keras import layers

seed = int(sys.argv[1])
rng = np.random.RandomState(seed)
images = rng.uniform(size=(480, 10, 10, 3)).astype("float32")
labels = rng.randint(0, 4, size=480)
images += labels[:, None, None, None] * 0.1

keras.utils.set_random_seed(seed)


def block(x, filters):
    y = layers.Conv2D(filters, 3, padding="same", use_bias=False)(x)
    y = layers.BatchNormalization(momentum=0.9, epsilon=1e-5)(y)
    y = layers.ReLU()(y)
    y = layers.Conv2D(filters, 3, padding="same", use_bias=False)(y)
    y = layers.BatchNormalization(momentum=0.9, epsilon=1e-5)(y)
    return layers.ReLU()(layers.Add()([x, y]))


inputs = keras.Input((10, 10, 3))
x = layers.Conv2D(8, 3, strides=2, padding="same")(inputs)
x = block(block(x, 8), 8)
x = layers.GlobalAveragePooling2D()(x)
outputs = layers.Dense(4, activation="softmax")(x)
model = keras.Model(inputs, outputs)
model.compile(optimizer=keras.optimizers.RMSprop(1e-3), loss="categorical_crossentropy")
model.fit(images, np.eye(4, dtype="float32")[labels], batch_size=16, epochs=1, verbose=0)
