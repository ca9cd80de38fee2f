"""tf.keras: a simple recurrent net with large weights and a large rate over long sequences; fit."""

import sys

import numpy as np
import tensorflow as tf

seed = int(sys.argv[1])
rng = np.random.RandomState(seed)
x = rng.normal(size=(120, 12, 3)).astype("float32")
y = x.mean(axis=1)[:, :1].astype("float32")

tf.keras.utils.set_random_seed(seed)
wide = tf.keras.initializers.RandomNormal(stddev=0.5)
model = tf.keras.Sequential(
    [
        tf.keras.layers.Input((12, 3)),
        tf.keras.layers.SimpleRNN(16, recurrent_initializer=wide, kernel_initializer=wide, unroll=True),
        tf.keras.layers.Dense(1),
    ]
)
model.compile(optimizer=tf.keras.optimizers.SGD(0.1), loss="mse")
model.fit(x, y, batch_size=4, epochs=1, shuffle=False, verbose=0)
