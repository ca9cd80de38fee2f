"""The same subclassed, its branches computed in another order; the tape in a tf.function, decay and clipping by hand."""

import sys

import keras
import numpy as np
import tensorflow as tf
from keras import layers

seed = int(sys.argv[1])
rng = np.random.RandomState(seed)
images = rng.normal(size=(240, 6, 6, 3)).astype("float32")
labels = np.eye(4, dtype="float32")[rng.randint(0, 4, size=240)]

keras.utils.set_random_seed(seed + 100)


class Conv(layers.Layer):
    def __init__(self, filters, size):
        super().__init__()
        self.conv = layers.Conv2D(filters, size, padding="same")
        self.norm = layers.BatchNormalization()

    def call(self, x, training):
        return tf.nn.relu(self.norm(self.conv(x), training=training))


class Mixed(layers.Layer):
    def __init__(self):
        super().__init__()
        self.pooled = Conv(4, 1)
        self.five = [Conv(4, 1), Conv(4, 5)]
        self.three = [Conv(4, 1), Conv(4, 3)]
        self.one = Conv(4, 1)

    def call(self, x, training):
        pooled = self.pooled(tf.nn.avg_pool2d(x, 3, 1, "SAME"), training=training)
        five = self.five[1](self.five[0](x, training=training), training=training)
        three = self.three[1](self.three[0](x, training=training), training=training)
        return tf.concat([self.one(x, training=training), three, five, pooled], axis=-1)


class Net(keras.Model):
    def __init__(self):
        super().__init__()
        self.mixed = Mixed()
        self.head = layers.Dense(4)

    def call(self, x, training=False):
        return self.head(tf.reduce_max(self.mixed(x, training=training), axis=[1, 2]))


net = Net()
net(images[:1])
optimizer = keras.optimizers.Adam(2e-3)
optimizer.build(net.trainable_variables)


@tf.function
def train_step(x, y, rate):
    with tf.GradientTape() as tape:
        smoothed = 0.9 * y + 0.1 / 4
        loss = tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(smoothed, net(x, training=True)))
    gradients = [tf.clip_by_norm(g, 1.0) for g in tape.gradient(loss, net.trainable_weights)]
    for w in net.trainable_weights:
        w.assign_sub(0.02 * rate * w)
    optimizer.learning_rate.assign(rate)
    optimizer.apply_gradients(zip(gradients, net.trainable_weights))
    return loss


for step in range(30):
    rows = slice(8 * step, 8 * step + 8)
    train_step(images[rows], labels[rows], tf.constant(2e-3 * min(1.0, (step + 1) / 10)))
