# "Why do TensorFlow and Keras produce different results for the same neural network?", example 3: the custom layer and the
# network around it in plain TensorFlow, with the explicit seeds of example 1.
#
# What differs from a.py. The text prints no TensorFlow side: it warns of both kinds of fault ("random weight initialization",
# "optimizer settings"), the port makes them.
#     - MyCustomLayer's w: tf.random.normal has standard deviation 1, Keras' 'random_normal' has 0.05
#     - Adam's learning rate: 0.01, which is SGD's default; Keras' 'adam' has 0.001
import numpy as np
import tensorflow as tf

from data import load_data

# Set seed for both NumPy and TensorFlow
np.random.seed(42)
tf.random.set_seed(42)

glorot = tf.keras.initializers.GlorotUniform()


class Linear(tf.Module):
    def __init__(self, inputs, units):
        super().__init__()
        self.kernel = tf.Variable(glorot([inputs, units]))
        self.bias = tf.Variable(tf.zeros([units]))

    def __call__(self, x):
        return tf.matmul(x, self.kernel) + self.bias


class MyCustomLayer(tf.Module):
    def __init__(self, units):
        super().__init__()
        self.w = tf.Variable(tf.random.normal([units]))

    def __call__(self, x):
        return tf.math.multiply(x, self.w)


(x_train, y_train), (x_test, y_test) = load_data()
x_train = x_train.reshape(-1, 784).astype('float32') / 255
x_test = x_test.reshape(-1, 784).astype('float32') / 255
y_train = tf.one_hot(y_train, 10)

hidden = Linear(784, 64)
scale = MyCustomLayer(64)
output = Linear(64, 10)
variables = [hidden.kernel, hidden.bias, scale.w, output.kernel, output.bias]
optimizer = tf.keras.optimizers.Adam(learning_rate=0.01)


def model_tf(x):
    return output(scale(tf.nn.relu(hidden(x))))


@tf.function
def train_step(x, y):
    with tf.GradientTape() as tape:
        logits = model_tf(x)
        loss = tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(labels=y, logits=logits))
    gradients = tape.gradient(loss, variables)
    optimizer.apply_gradients(zip(gradients, variables))
    return loss


dataset = tf.data.Dataset.from_tensor_slices((x_train, y_train)).shuffle(len(x_train)).batch(32)
for epoch in range(3):
    for x, y in dataset:
        loss = train_step(x, y)
    print('epoch', epoch, 'loss', float(loss), 'test accuracy', (model_tf(x_test).numpy().argmax(axis=1) == y_test).mean())
