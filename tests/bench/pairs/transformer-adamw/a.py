"""Keras: a functional transformer block (pre-norm) on tokens, AdamW with a cosine schedule."""

import sys

import keras
import numpy as np
from keras import layers

seed = int(sys.argv[1])
rng = np.random.RandomState(seed)
tokens = rng.randint(0, 30, size=(240, 10))
targets = np.roll(tokens, -1, axis=1)

keras.utils.set_random_seed(seed)


class Places(layers.Layer):
    def build(self, shape):
        self.table = self.add_weight(shape=shape[1:], initializer="uniform", name="table")

    def call(self, inputs):
        return inputs + self.table


inputs = keras.Input((10,), dtype="int32")
x = Places()(layers.Embedding(30, 16)(inputs))
n = layers.LayerNormalization(epsilon=1e-6)(x)
x = x + layers.MultiHeadAttention(num_heads=4, key_dim=4, dropout=0.1)(n, n, use_causal_mask=True)
n = layers.LayerNormalization(epsilon=1e-6)(x)
n = layers.Dense(32, activation="gelu")(n)
n = layers.Dropout(0.1)(n)
x = x + layers.Dense(16)(n)
outputs = layers.Dense(30)(layers.LayerNormalization(epsilon=1e-6)(x))
model = keras.Model(inputs, outputs)
schedule = keras.optimizers.schedules.CosineDecay(3e-3, decay_steps=40)
model.compile(
    optimizer=keras.optimizers.AdamW(schedule, weight_decay=0.01, beta_2=0.98, epsilon=1e-8),
    loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
)
model.fit(tokens, targets, batch_size=8, epochs=1, shuffle=False, verbose=0)
