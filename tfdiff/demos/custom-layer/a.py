# "Why do TensorFlow and Keras produce different results for the same neural network?", example 3: the custom layer in a
# Keras model, with the explicit seeds of example 1.
import numpy as np
import tensorflow as tf
from tensorflow import keras

from data import load_data

# Set seed for both NumPy and TensorFlow
np.random.seed(42)
tf.random.set_seed(42)


# Custom layer definition
class MyCustomLayer(keras.layers.Layer):
    def __init__(self, units):
        super(MyCustomLayer, self).__init__()
        self.units = units
        self.w = self.add_weight(shape=(units,), initializer='random_normal', trainable=True)

    def call(self, inputs):
        return tf.math.multiply(inputs, self.w)


(x_train, y_train), (x_test, y_test) = load_data()
x_train = x_train.reshape(-1, 784).astype('float32') / 255
x_test = x_test.reshape(-1, 784).astype('float32') / 255
y_train = keras.utils.to_categorical(y_train, 10)
y_test = keras.utils.to_categorical(y_test, 10)

model_keras = keras.Sequential([
    keras.layers.Dense(64, activation='relu', input_shape=(784,)),
    MyCustomLayer(64),
    keras.layers.Dense(10, activation='softmax')
])
model_keras.compile(optimizer='adam', loss='categorical_crossentropy', metrics=['accuracy'])
model_keras.fit(x_train, y_train, epochs=3, validation_data=(x_test, y_test), verbose=2)
