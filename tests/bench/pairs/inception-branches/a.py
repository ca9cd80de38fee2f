"""Keras: parallel branches that are concatenated, batch norm, AdamW with a warm-up."""

import sys

import keras
import numpy as np
from keras import layers

seed = int(sys.argv[1])
rng = np.random.RandomState(seed)
images = rng.normal(size=(240, 6, 6, 3)).astype("float32")
labels = np.eye(4, dtype="float32")[rng.randint(0, 4, size=240)]

keras.utils.set_random_seed(seed)


class WarmUp(keras.optimizers.schedules.LearningRateSchedule):
    def __call__(self, step):
        return 2e-3 * keras.ops.minimum(1.0, (keras.ops.cast(step, "float32") + 1) / 10)


def conv(x, filters, size):
    x = layers.Conv2D(filters, size, padding="same")(x)
    return layers.ReLU()(layers.BatchNormalization()(x))


def mixed(x):
    one = conv(x, 4, 1)
    three = conv(conv(x, 4, 1), 4, 3)
    five = conv(conv(x, 4, 1), 4, 5)
    pooled = conv(layers.AveragePooling2D(3, 1, padding="same")(x), 4, 1)
    return layers.Concatenate()([one, three, five, pooled])


inputs = keras.Input((6, 6, 3))
x = mixed(inputs)
outputs = layers.Dense(4)(layers.GlobalMaxPooling2D()(x))
model = keras.Model(inputs, outputs)
model.compile(
    optimizer=keras.optimizers.AdamW(WarmUp(), weight_decay=0.02, clipnorm=1.0),
    loss=keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1),
)
model.fit(images, labels, batch_size=8, epochs=1, shuffle=False, verbose=0)
