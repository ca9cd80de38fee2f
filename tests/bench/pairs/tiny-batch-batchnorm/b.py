"""Keras 3 layers under an eager tape; batch norm by hand, the variance of convolutions unbiased as in the fused op."""

import sys

import keras
import numpy as np
import tensorflow as tf

seed = int(sys.argv[1])
rng = np.random.RandomState(seed)
images = rng.normal(size=(90, 6, 6, 2)).astype("float32")
labels = rng.randint(0, 3, size=90)

keras.utils.set_random_seed(seed + 100)


class Norm(keras.layers.Layer):
    def build(self, shape):
        self.gamma = self.add_weight(shape=shape[-1:], initializer="ones")
        self.beta = self.add_weight(shape=shape[-1:], initializer="zeros")
        self.mean = self.add_weight(shape=shape[-1:], initializer="zeros", trainable=False)
        self.variance = self.add_weight(shape=shape[-1:], initializer="ones", trainable=False)

    def call(self, x):
        axes = list(range(len(x.shape) - 1))
        mean, variance = tf.nn.moments(x, axes)
        count = tf.cast(tf.size(x) / tf.size(mean), tf.float32)
        unbiased = variance * count / (count - 1) if len(axes) > 1 else variance
        self.mean.assign(self.mean * 0.99 + mean * 0.01)
        self.variance.assign(self.variance * 0.99 + unbiased * 0.01)
        return (x - mean) * tf.math.rsqrt(variance + 1e-3) * self.gamma + self.beta


layers = [
    keras.layers.Conv2D(8, 3, padding="same"),
    Norm(),
    tf.nn.relu,
    keras.layers.Conv2D(8, 3, padding="same", strides=2),
    Norm(),
    tf.nn.relu,
    lambda x: tf.reshape(x, [len(x), -1]),
    keras.layers.Dense(12),
    Norm(),
    tf.nn.relu,
    keras.layers.Dense(3),
]


def network(x):
    for layer in layers:
        x = layer(x)
    return x


network(images[:3])
variables = [w.value for layer in layers if isinstance(layer, keras.layers.Layer) for w in layer.trainable_weights]
for norm in layers:
    if isinstance(norm, Norm):
        norm.mean.assign(tf.zeros_like(norm.mean))
        norm.variance.assign(tf.ones_like(norm.variance))
m = [tf.zeros_like(v) for v in variables]
s = [tf.zeros_like(v) for v in variables]
for t in range(1, 31):
    batch = slice(3 * t - 3, 3 * t)
    with tf.GradientTape() as tape:
        logits = network(tf.constant(images[batch]))
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels[batch], logits))
    rate = 0.01 * np.sqrt(1 - 0.999**t) / (1 - 0.9**t)
    for n, (v, g) in enumerate(zip(variables, tape.gradient(loss, variables))):
        m[n] += 0.1 * (g - m[n])
        s[n] += 0.001 * (g * g - s[n])
        v.assign_sub(rate * m[n] / (tf.sqrt(s[n]) + 1e-7))
