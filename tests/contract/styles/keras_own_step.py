"""Keras: a subclassed model with a train_step of its own; the output layer is built first."""

import keras
import tensorflow as tf
from task import BATCH, DECAY, EPSILON, LEARNING_RATE, MOMENTUM, RATE, X, Y


class Classifier(keras.Model):
    def __init__(self):
        super().__init__()
        self.head = keras.layers.Dense(4)
        self.drop = keras.layers.Dropout(RATE)  # fault: rate
        self.norm = keras.layers.BatchNormalization(momentum=DECAY, epsilon=EPSILON)  # fault: statistics
        self.body = keras.layers.Dense(16, activation="relu")

    def build(self, input_shape):
        self.head.build((None, 16))
        self.norm.build((None, 16))
        self.body.build(input_shape)
        self.built = True

    def call(self, x, training=False):
        x = self.norm(self.body(x), training=training)
        return self.head(self.drop(x, training=training))

    def train_step(self, data):
        x, y = data
        with tf.GradientTape() as tape:
            loss = self.compute_loss(x=x, y=y, y_pred=self(x, training=True))
        weights = self.trainable_weights
        self.optimizer.apply(tape.gradient(loss, weights), weights)
        return {"loss": loss}


model = Classifier()
model.build((None, X.shape[1]))
sgd = keras.optimizers.SGD(LEARNING_RATE, momentum=MOMENTUM)  # fault: learning-rate
model.compile(optimizer=sgd, loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
model.fit(X, Y, batch_size=BATCH, shuffle=False, verbose=0)
