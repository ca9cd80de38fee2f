"""tf.Module of modules with a Keras optimizer on its variables; softmax crossentropy written out."""

import tensorflow as tf
from task import BATCH, CLASSES, DECAY, EPSILON, FEATURES, HIDDEN, LEARNING_RATE, MOMENTUM, ONE_HOT, RATE, X, limit


class Linear(tf.Module):
    def __init__(self, inputs, outputs, name=None):
        super().__init__(name=name)
        bound = limit(inputs, outputs)
        self.w = tf.Variable(tf.random.uniform([inputs, outputs], -bound, bound), name="w")
        self.b = tf.Variable(tf.zeros([outputs]), name="b")

    def __call__(self, x):
        return tf.matmul(x, self.w) + self.b


class Norm(tf.Module):
    def __init__(self, size, name=None):
        super().__init__(name=name)
        self.scale = tf.Variable(tf.ones([size]), name="scale")
        self.offset = tf.Variable(tf.zeros([size]), name="offset")
        self.mean = tf.Variable(tf.zeros([size]), trainable=False, name="mean")
        self.variance = tf.Variable(tf.ones([size]), trainable=False, name="variance")

    def __call__(self, x):
        mean, variance = tf.nn.moments(x, [0])
        self.mean.assign_sub((1 - DECAY) * (self.mean - mean))  # fault: statistics
        self.variance.assign_sub((1 - DECAY) * (self.variance - variance))  # fault: statistics
        return (x - mean) * tf.math.rsqrt(variance + EPSILON) * self.scale + self.offset


class Network(tf.Module):
    def __init__(self):
        super().__init__(name="network")
        self.body = Linear(FEATURES, HIDDEN, name="body")
        self.norm = Norm(HIDDEN, name="norm")
        self.head = Linear(HIDDEN, CLASSES, name="head")

    @tf.function
    def __call__(self, x):
        h = self.norm(tf.nn.relu(self.body(x)))
        return self.head(tf.nn.dropout(h, rate=RATE))  # fault: rate


network = Network()
optimizer = tf.keras.optimizers.SGD(LEARNING_RATE, momentum=MOMENTUM)  # fault: learning-rate
for x, y in tf.data.Dataset.from_tensor_slices((X, ONE_HOT)).batch(BATCH):
    with tf.GradientTape() as tape:
        log_p = tf.nn.log_softmax(network(x))
        loss = -tf.reduce_mean(tf.reduce_sum(y * log_p, axis=-1))
    gradients = tape.gradient(loss, network.trainable_variables)
    optimizer.apply_gradients(zip(gradients, network.trainable_variables))
