"""Keras layers in a compiled training step, fed from a tf.data.Dataset."""

import tensorflow as tf
from task import BATCH, DECAY, EPSILON, FEATURES, LEARNING_RATE, MOMENTUM, RATE, X, Y

model = tf.keras.Sequential(
    [
        tf.keras.layers.Dense(16, activation="relu", input_shape=(FEATURES,)),
        tf.keras.layers.BatchNormalization(momentum=DECAY, epsilon=EPSILON),  # fault: statistics
        tf.keras.layers.Dropout(RATE),  # fault: rate
        tf.keras.layers.Dense(4),
    ]
)
loss_object = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
optimizer = tf.keras.optimizers.SGD(learning_rate=LEARNING_RATE, momentum=MOMENTUM)  # fault: learning-rate
train_loss = tf.keras.metrics.Mean(name="train_loss")


@tf.function
def train_step(features, labels):
    with tf.GradientTape() as tape:
        predictions = model(features, training=True)
        loss = loss_object(labels, predictions)
    gradients = tape.gradient(loss, model.trainable_variables)
    optimizer.apply_gradients(zip(gradients, model.trainable_variables))
    train_loss(loss)


for features, labels in tf.data.Dataset.from_tensor_slices((X, Y)).batch(BATCH):
    train_step(features, labels)
