"""One network in each flavour of Keras: `configured.py FLAVOUR [SETTING=VALUE ...]`."""

import sys

import numpy as np
import tensorflow as tf

FLAVOUR, GIVEN = sys.argv[1], dict(pair.split("=") for pair in sys.argv[2:])
if FLAVOUR == "keras":
    import keras
elif FLAVOUR == "tf_keras":
    import tf_keras as keras
else:
    keras = tf.keras

RATE, EPSILON = float(GIVEN.get("rate", 0.2)), float(GIVEN.get("epsilon", 1e-3))
BETA, MOMENTUM = float(GIVEN.get("beta_1", 0.9)), float(GIVEN.get("momentum", 0.99))
PENALTY = None if GIVEN.get("penalty") == "none" else "l2"
CLIP = float(GIVEN["clipnorm"]) if "clipnorm" in GIVEN else None
RNG = np.random.RandomState(0)
X = RNG.normal(size=(64, 8)).astype("float32") * 0.05
Y = RNG.randint(0, 3, size=64)


class Hostile(keras.layers.Layer):
    """Whoever asks it for its configuration is told off."""

    def call(self, x):
        """Nothing is done."""
        return x * 1.0

    def get_config(self):
        """Never."""
        sys.stdout.write("heard\n")
        if GIVEN["hostile"] == "exit":
            sys.exit(3)
        if GIVEN["hostile"] == "large":
            return {"words": "x" * 100_000, "rate": 0.25, "folder": "/home/somebody/vocabulary.txt", "of": object()}
        raise RuntimeError("no")


def network():
    """Dense, normalization, dropout, dense."""
    layers = keras.layers
    return keras.Sequential(
        [
            layers.Dense(16, activation=GIVEN.get("activation", "relu"), kernel_regularizer=PENALTY, name="hidden"),
            *([Hostile(name="hostile")] if "hostile" in GIVEN else []),
            layers.BatchNormalization(epsilon=EPSILON, momentum=MOMENTUM, name="norm"),
            layers.Dropout(RATE, name="dropout"),  # mark: dropout
            layers.Dense(3, kernel_initializer=GIVEN.get("initializer", "glorot_uniform"), name="last"),
        ],
        name=GIVEN.get("name", "net"),
    )


def main():
    """A few steps."""
    model = network()
    logits = GIVEN.get("logits", "yes") == "yes"
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=logits)  # mark: loss
    optimizer = keras.optimizers.Adam(0.01, beta_1=BETA, clipnorm=CLIP)  # mark: optimizer
    model.compile(optimizer=optimizer, loss=GIVEN.get("loss", loss))
    model.fit(X, Y, batch_size=16, epochs=1, shuffle=False, verbose=0)


main()
