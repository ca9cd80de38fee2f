"""Keras: Sequential, compile, fit on arrays."""

import tensorflow as tf
from task import BATCH, DECAY, EPSILON, FEATURES, LEARNING_RATE, MOMENTUM, RATE, X, Y

model = tf.keras.Sequential(
    [
        tf.keras.layers.Input((FEATURES,)),
        tf.keras.layers.Dense(16, activation="relu"),
        tf.keras.layers.BatchNormalization(momentum=DECAY, epsilon=EPSILON),  # fault: statistics
        tf.keras.layers.Dropout(RATE),  # fault: rate
        tf.keras.layers.Dense(4),
    ]
)
model.compile(
    optimizer=tf.keras.optimizers.SGD(LEARNING_RATE, momentum=MOMENTUM),  # fault: learning-rate
    loss=tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True),
)
model.fit(X, Y, batch_size=BATCH, epochs=1, shuffle=False, verbose=0)
