"""Keras: Embedding with mask_zero, masked LSTM, Adagrad, a tf.data dataset."""

import sys

import keras
import numpy as np
import tensorflow as tf

seed = int(sys.argv[1])
rng = np.random.RandomState(seed)
lengths = rng.randint(2, 6, size=360)
texts = np.where(np.arange(5) < lengths[:, None], rng.randint(1, 25, size=(360, 5)), 0)
labels = (texts.sum(axis=1) % 2).astype("float32")[:, None]

keras.utils.set_random_seed(seed)
model = keras.Sequential(
    [
        keras.layers.Input((5,)),
        keras.layers.Embedding(25, 8, mask_zero=True),
        keras.layers.LSTM(9),
        keras.layers.Dense(1, activation="sigmoid"),
    ]
)
model.compile(optimizer=keras.optimizers.Adagrad(0.05), loss="binary_crossentropy")
dataset = tf.data.Dataset.from_tensor_slices((texts, labels)).batch(12)
model.fit(dataset, epochs=1, verbose=0)
