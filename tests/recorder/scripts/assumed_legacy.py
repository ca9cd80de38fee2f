"""tf_keras with five settings that can be others: `assumed_legacy.py OPTIMIZERS RATE EPSILON LR BETA REDUCTION`."""

import sys

import numpy as np
import tf_keras

kind, rate, epsilon, lr, beta, reduction = sys.argv[1:]
tf_keras.utils.set_random_seed(1)
layers = tf_keras.layers
optimizers = tf_keras.optimizers.legacy if kind == "legacy" else tf_keras.optimizers
x = np.random.default_rng(1).normal(size=(32, 6)).astype("float32")
dropout = layers.Dropout(float(rate))  # mark: dropout
norm = layers.BatchNormalization(epsilon=float(epsilon))  # mark: norm
model = tf_keras.Sequential([layers.Dense(8, "relu", input_shape=(6,)), dropout, norm, layers.Dense(1)])
optimizer = optimizers.Adam(float(lr), beta_1=float(beta))  # mark: optimizer
model.compile(optimizer, tf_keras.losses.MeanSquaredError(reduction=reduction))  # mark: compile
model.fit(x, x[:, :1], batch_size=8, shuffle=False, verbose=0)
