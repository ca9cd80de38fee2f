"""Legacy Keras by its switch: tf.keras.Sequential, fit on arrays with one-hot labels."""

import os

os.environ["TF_USE_LEGACY_KERAS"] = "1"

import tensorflow as tf
from task import BATCH, DECAY, EPSILON, FEATURES, LEARNING_RATE, MOMENTUM, ONE_HOT, RATE, X

model = tf.keras.models.Sequential(
    [
        tf.keras.layers.Dense(16, activation="relu", input_dim=FEATURES),
        tf.keras.layers.BatchNormalization(momentum=DECAY, epsilon=EPSILON),  # fault: statistics
        tf.keras.layers.Dropout(RATE),  # fault: rate
        tf.keras.layers.Dense(4, activation="softmax"),
    ]
)
sgd = tf.keras.optimizers.SGD(learning_rate=LEARNING_RATE, momentum=MOMENTUM)  # fault: learning-rate
model.compile(loss="categorical_crossentropy", optimizer=sgd, metrics=["accuracy"])
model.fit(X, ONE_HOT, batch_size=BATCH, epochs=1, shuffle=False, verbose=0)
