"""Two residual blocks and two layers, with Keras; the words are faults: a layer twice, and another one behind it."""

import sys

import keras
import numpy as np

FAULTS = set(sys.argv[1:])
ROWS, STEPS = 12, 3
X = np.random.RandomState(3).normal(size=(STEPS * ROWS, 9)).astype("float32")
Y = np.random.RandomState(4).randint(0, 3, STEPS * ROWS).astype("int64")


def dense(units, activation=None):
    """A layer whose bias shows."""
    return keras.layers.Dense(units, activation, bias_initializer=keras.initializers.RandomUniform(-0.3, 0.3))


inputs = keras.Input((9,))
h = dense(8, "sigmoid")(inputs)
branch = dense(8)(dense(8, "tanh")(h))
if "branch-twice" in FAULTS:
    branch = dense(8)(branch)
h = keras.layers.Add()([h, branch])
h = keras.layers.Add()([h, dense(8)(dense(8, "tanh")(h))])
h = keras.layers.Dropout(0.5 if "rate" in FAULTS else 0.25)(h)
h = dense(8)(h) if "layer-twice" in FAULTS else h
h = keras.layers.LeakyReLU(negative_slope=0.3 if "slope" in FAULTS else 0.2)(dense(8)(h))
model = keras.Model(inputs, dense(3)(h))
model.compile(keras.optimizers.SGD(0.1), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
for step in range(STEPS):
    rows = slice(step * ROWS, (step + 1) * ROWS)
    model.train_on_batch(X[rows], Y[rows])
