"""Legacy Keras in a TensorFlow 1 graph: eager execution off, train_on_batch."""

import os

os.environ["TF_USE_LEGACY_KERAS"] = "1"

import tensorflow.compat.v1 as tf

tf.disable_eager_execution()

from task import BATCH, DECAY, EPSILON, FEATURES, LEARNING_RATE, MOMENTUM, RATE, X, Y

layers = tf.keras.layers
inputs = layers.Input(shape=(FEATURES,))
net = layers.Dense(16)(inputs)
net = layers.Activation("relu")(net)
net = layers.BatchNormalization(momentum=DECAY, epsilon=EPSILON)(net)  # fault: statistics
net = layers.Dropout(RATE)(net)  # fault: rate
net = layers.Dense(4)(net)
model = tf.keras.models.Model(inputs, net)
optimizer = tf.keras.optimizers.SGD(lr=LEARNING_RATE, momentum=MOMENTUM)  # fault: learning-rate
model.compile(optimizer=optimizer, loss=tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True))
for i in range(0, len(X), BATCH):
    model.train_on_batch(X[i : i + BATCH], Y[i : i + BATCH])
