"""A Keras network under the dtype policy that the first argument names."""

import sys

import keras
import numpy as np

keras.mixed_precision.set_global_policy(sys.argv[1])
keras.utils.set_random_seed(1)
rng = np.random.default_rng(7)
x, y = rng.normal(size=(60, 6)).astype("float32"), rng.integers(0, 3, 60)
model = keras.Sequential(
    [keras.Input((6,)), keras.layers.Dense(8, activation="relu"), keras.layers.Dense(3, dtype="float32")]
)
model.compile(keras.optimizers.SGD(0.1), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
model.fit(x, y, batch_size=12, shuffle=False, verbose=0)
