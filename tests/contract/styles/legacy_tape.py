"""tf_keras imported directly: a subclassed model in a compiled loop with a tape."""

import tensorflow as tf
import tf_keras as keras
from task import BATCH, DECAY, EPSILON, LEARNING_RATE, MOMENTUM, RATE, X, Y


class Net(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense1 = keras.layers.Dense(16, activation="relu")
        self.bn = keras.layers.BatchNormalization(momentum=DECAY, epsilon=EPSILON)  # fault: statistics
        self.dropout = keras.layers.Dropout(RATE)  # fault: rate
        self.dense2 = keras.layers.Dense(4)

    def call(self, x, training=False):
        x = self.bn(self.dense1(x), training=training)
        return self.dense2(self.dropout(x, training=training))


net = Net()
loss_of = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
optimizer = keras.optimizers.legacy.SGD(LEARNING_RATE, momentum=MOMENTUM)  # fault: learning-rate


@tf.function
def step(x, y):
    with tf.GradientTape() as tape:
        loss = loss_of(y, net(x, training=True))
    optimizer.minimize(loss, net.trainable_variables, tape=tape)


for x, y in tf.data.Dataset.from_tensor_slices((X, Y)).batch(BATCH):
    step(x, y)
