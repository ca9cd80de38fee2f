"""The same as a tf.Module on channels-first images, RMSprop by hand; the tape in a tf.function."""

import sys

import numpy as np
import tensorflow as tf

seed = int(sys.argv[1])
rng = np.random.RandomState(seed)
images = rng.uniform(size=(480, 10, 10, 3)).astype("float32")
labels = rng.randint(0, 4, size=480)
images += labels[:, None, None, None] * 0.1
images = np.ascontiguousarray(images.transpose(0, 3, 1, 2))

tf.random.set_seed(seed + 100)


class Conv(tf.Module):
    def __init__(self, inputs, filters, strides=1, bias=False):
        super().__init__()
        limit = np.sqrt(6 / (9 * inputs + 9 * filters))
        self.kernel = tf.Variable(tf.random.uniform([3, 3, inputs, filters], -limit, limit))
        self.bias = tf.Variable(tf.zeros([filters])) if bias else None
        self.strides = strides

    def __call__(self, x):
        y = tf.nn.conv2d(tf.transpose(x, [0, 2, 3, 1]), self.kernel, self.strides, "SAME")
        if self.bias is not None:
            y = tf.nn.bias_add(y, self.bias)
        return tf.transpose(y, [0, 3, 1, 2])


class Norm(tf.Module):
    def __init__(self, channels):
        super().__init__()
        self.gamma = tf.Variable(tf.ones([channels, 1, 1]))
        self.beta = tf.Variable(tf.zeros([channels, 1, 1]))
        self.mean = tf.Variable(tf.zeros([channels, 1, 1]), trainable=False)
        self.variance = tf.Variable(tf.ones([channels, 1, 1]), trainable=False)

    def __call__(self, x):
        mean = tf.reduce_mean(x, axis=[0, 2, 3], keepdims=True)
        variance = tf.reduce_mean(tf.square(x - mean), axis=[0, 2, 3], keepdims=True)
        self.mean.assign_sub(0.1 * (self.mean - mean[0]))
        self.variance.assign_sub(0.1 * (self.variance - variance[0]))
        return (x - mean) * tf.math.rsqrt(variance + 1e-5) * self.gamma + self.beta


class Block(tf.Module):
    def __init__(self, filters):
        super().__init__()
        self.conv1, self.norm1 = Conv(filters, filters), Norm(filters)
        self.conv2, self.norm2 = Conv(filters, filters), Norm(filters)

    def __call__(self, x):
        y = tf.nn.relu(self.norm1(self.conv1(x)))
        return tf.nn.relu(self.norm2(self.conv2(y)) + x)


class Net(tf.Module):
    def __init__(self):
        super().__init__()
        self.stem = Conv(3, 8, strides=2, bias=True)
        self.blocks = [Block(8), Block(8)]
        limit = np.sqrt(6 / (8 + 4))
        self.w = tf.Variable(tf.random.uniform([8, 4], -limit, limit))
        self.b = tf.Variable(tf.zeros([4]))

    def __call__(self, x):
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return tf.reduce_mean(x, axis=[2, 3]) @ self.w + self.b


net = Net()
velocities = [tf.Variable(tf.zeros_like(w), trainable=False) for w in net.trainable_variables]


@tf.function
def train_step(x, y):
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(tf.one_hot(y, 4), net(x)))
    grads = tape.gradient(loss, net.trainable_variables)
    for w, v, g in zip(net.trainable_variables, velocities, grads):
        v.assign(0.9 * v + 0.1 * tf.square(g))
        w.assign_sub(1e-3 * g / tf.sqrt(v + 1e-7))
    return loss


dataset = tf.data.Dataset.from_tensor_slices((images, labels)).shuffle(480, seed=seed + 7).batch(16)
for x, y in dataset:
    train_step(x, y)
