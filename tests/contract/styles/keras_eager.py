"""Keras layers in an eager loop with a tape; the optimizer makes its slots at the first step."""

import tensorflow as tf
from task import BATCH, DECAY, EPSILON, LEARNING_RATE, MOMENTUM, RATE, X, Y

hidden = tf.keras.layers.Dense(16, activation=tf.nn.relu)
norm = tf.keras.layers.BatchNormalization(momentum=DECAY, epsilon=EPSILON)  # fault: statistics
logits = tf.keras.layers.Dense(4)
optimizer = tf.keras.optimizers.SGD(LEARNING_RATE, momentum=MOMENTUM)  # fault: learning-rate


def forward(x):
    h = norm(hidden(x), training=True)
    h = tf.nn.dropout(h, rate=RATE)  # fault: rate
    return logits(h)


hidden.build((None, X.shape[1]))
norm.build((None, 16))
logits.build((None, 16))
weights = [*hidden.trainable_variables, *norm.trainable_variables, *logits.trainable_variables]
for start in range(0, len(X), BATCH):
    with tf.GradientTape() as tape:
        losses = tf.keras.losses.sparse_categorical_crossentropy(
            Y[start : start + BATCH], forward(X[start : start + BATCH]), from_logits=True
        )
        loss = tf.reduce_mean(losses)
    gradients = tape.gradient(loss, weights)
    optimizer.apply_gradients(zip(gradients, weights))
