"""Keras: a functional model, fit on a tf.data.Dataset with one-hot labels; activations as layers of their own."""

import tensorflow as tf
from task import BATCH, DECAY, EPSILON, FEATURES, LEARNING_RATE, MOMENTUM, ONE_HOT, RATE, X
from tensorflow import keras
from tensorflow.keras import layers

inputs = keras.Input(shape=(FEATURES,), name="features")
h = layers.Dense(16, name="hidden")(inputs)
h = layers.ReLU()(h)
h = layers.BatchNormalization(momentum=DECAY, epsilon=EPSILON, name="norm")(h)  # fault: statistics
h = layers.Dropout(RATE, name="drop")(h)  # fault: rate
outputs = layers.Dense(4, name="logits")(h)
model = keras.Model(inputs, outputs)

optimizer = keras.optimizers.SGD(learning_rate=LEARNING_RATE, momentum=MOMENTUM)  # fault: learning-rate
model.compile(optimizer, keras.losses.CategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
dataset = tf.data.Dataset.from_tensor_slices((X, ONE_HOT)).batch(BATCH).prefetch(tf.data.AUTOTUNE)
model.fit(dataset, epochs=1, verbose=0)
