"""Keras: the same with a train_step of its own; the moving variance as the fused op has it (unbiased)."""

import sys

import keras
import numpy as np
import tensorflow as tf
from keras import layers

seed = int(sys.argv[1])
rng = np.random.RandomState(seed)
x = rng.normal(size=(360, 8, 8, 3)).astype("float32")
y = rng.randint(0, 5, size=360)

keras.utils.set_random_seed(seed + 100)


class FusedNorm(layers.Layer):
    def build(self, shape):
        size = shape[-1]
        self.gamma = self.add_weight(shape=(size,), initializer="ones")
        self.beta = self.add_weight(shape=(size,), initializer="zeros")
        self.mean = self.add_weight(shape=(size,), initializer="zeros", trainable=False)
        self.variance = self.add_weight(shape=(size,), initializer="ones", trainable=False)

    def call(self, inputs, training=False):
        if not training:
            return tf.nn.batch_normalization(inputs, self.mean, self.variance, self.beta, self.gamma, 1e-3)
        outputs, mean, variance = tf.compat.v1.nn.fused_batch_norm(inputs, self.gamma, self.beta, epsilon=1e-3)
        self.mean.assign(self.mean * 0.9 + mean * 0.1)
        self.variance.assign(self.variance * 0.9 + variance * 0.1)
        return outputs


class Net(keras.Model):
    def __init__(self):
        super().__init__()
        self.conv = layers.Conv2D(6, 3, padding="same")
        self.norm = FusedNorm()
        self.drop = layers.Dropout(0.4)
        self.hidden = layers.Dense(16, activation="elu")
        self.head = layers.Dense(5)

    def call(self, x, training=False):
        x = tf.nn.avg_pool2d(tf.nn.relu(self.norm(self.conv(x), training=training)), 2, 2, "VALID")
        x = tf.reshape(x, [-1, 96])
        return self.head(self.hidden(self.drop(x, training=training)))

    def train_step(self, data):
        x, y = data
        with tf.GradientTape() as tape:
            logits = self(x, training=True)
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=logits))
            for kernel in (self.conv.kernel, self.hidden.kernel):
                loss += 2e-3 * tf.nn.l2_loss(kernel)
        self.optimizer.apply(tape.gradient(loss, self.trainable_variables), self.trainable_variables)
        return {"loss": loss}


model = Net()
model.compile(optimizer=keras.optimizers.SGD(0.02, momentum=0.9))
model.fit(x, y, batch_size=12, shuffle=False, verbose=0)
