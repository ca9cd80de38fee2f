"""Keras: depthwise and separable convolutions, Nesterov momentum, a rate that falls twice."""

import sys

import keras
import numpy as np
from keras import layers

seed = int(sys.argv[1])
rng = np.random.RandomState(seed)
images = rng.normal(size=(300, 12, 12, 4)).astype("float32")
labels = (images.mean(axis=(1, 2)) @ rng.normal(size=(4, 3))).argmax(axis=1)

keras.utils.set_random_seed(seed)
model = keras.Sequential(
    [
        layers.Input((12, 12, 4)),
        layers.DepthwiseConv2D(3, depth_multiplier=2, padding="same", activation="relu6"),
        layers.SeparableConv2D(10, 3, strides=2, padding="same", activation="relu"),
        layers.MaxPooling2D(2),
        layers.Flatten(),
        layers.Dense(3),
    ]
)
schedule = keras.optimizers.schedules.PiecewiseConstantDecay([9, 19], [0.05, 0.02, 0.005])
model.compile(
    optimizer=keras.optimizers.SGD(schedule, momentum=0.9, nesterov=True),
    loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
)
model.fit(images, labels, batch_size=10, epochs=1, shuffle=False, verbose=0)
