"""Keras: an LSTM layer whose forget gate begins with a bias of one, fit with Adam and global_clipnorm."""

import sys

import keras
import numpy as np

seed = int(sys.argv[1])
rng = np.random.RandomState(seed)
x = rng.normal(size=(300, 5, 4)).astype("float32")
y = (x[:, :, 0].sum(axis=1) > 0).astype("int64")

keras.utils.set_random_seed(seed + 100)
uniform = keras.initializers.RandomUniform(-((6 / 54) ** 0.5), (6 / 54) ** 0.5)  # of the cell's one kernel
model = keras.Sequential(
    [
        keras.layers.Input((5, 4)),
        keras.layers.LSTM(10, kernel_initializer=uniform, recurrent_initializer=uniform),
        keras.layers.Dense(
            2,
            kernel_initializer=keras.initializers.TruncatedNormal(stddev=0.1),
            bias_initializer=keras.initializers.Constant(0.1),
        ),
    ]
)
model.compile(
    optimizer=keras.optimizers.Adam(0.01, epsilon=1e-8, global_clipnorm=0.2),
    loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
)
model.fit(x, y, batch_size=10, epochs=1, shuffle=False, verbose=0)
