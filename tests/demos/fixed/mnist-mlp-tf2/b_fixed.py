# b.py with every fault named at its top mended, and nothing else changed.
from math import ceil

import numpy as np
import tensorflow as tf

from data import load_data

# Data
(X_train, y_train), (X_test, y_test) = load_data()
X_train = X_train.reshape(-1, 28*28).astype('float32') / 255
X_test = X_test.reshape(-1, 28*28).astype('float32') / 255
y_train = tf.keras.utils.to_categorical(y_train, num_classes = 10)
y_test = tf.keras.utils.to_categorical(y_test, num_classes = 10)

# Training parameters
num_classes = 10
num_neurones = 128
num_layers = 2
dropout_kprob = 1 - 0.3
batch_size = 128
epochs = 5
learning_rate = 0.001

# Weights
glorot = tf.keras.initializers.GlorotUniform()
weights = {}
biases = {}
for i in range(num_layers):
    if (i == 0):
        weights['W_layer_' + str(i)] = tf.Variable(glorot([28*28, num_neurones]))
        biases['b_layer_' + str(i)] = tf.Variable(tf.zeros([num_neurones]))
    else:
        weights['W_layer_' + str(i)] = tf.Variable(glorot([num_neurones, num_neurones]))
        biases['b_layer_' + str(i)] = tf.Variable(tf.zeros([num_neurones]))
weights['out'] = tf.Variable(glorot([num_neurones, num_classes]))
biases['out'] = tf.Variable(tf.zeros([num_classes]))
variables = list(weights.values()) + list(biases.values())

# Model
def model(X, dropout = None):
    prev_X = X
    for i in range(num_layers):
        prev_X = tf.matmul(prev_X, weights['W_layer_' + str(i)]) + biases['b_layer_' + str(i)]
        prev_X = tf.nn.relu(prev_X)
        if dropout is not None:
            prev_X = tf.nn.dropout(prev_X, 1 - dropout)
    prev_X = tf.matmul(prev_X, weights['out']) + biases['out']
    return prev_X

# Loss and optimizer
def loss_op(logits, Y):
    return tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(logits = logits, labels = Y))

optimizer = tf.keras.optimizers.Adam(learning_rate = learning_rate)

# Training
for i in range(epochs):
    order = np.random.permutation(len(X_train))
    for j in range(ceil(len(X_train)/batch_size)):
        batch_x = X_train[order[j * batch_size : (j + 1) * batch_size]]
        batch_y = y_train[order[j * batch_size : (j + 1) * batch_size]]
        with tf.GradientTape() as tape:
            loss = loss_op(model(batch_x, dropout_kprob), batch_y)
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables))

    # Evaluation
    logits = model(X_test)
    test_loss = loss_op(logits, y_test)
    test_acc = tf.reduce_mean(tf.cast(tf.equal(tf.argmax(logits, 1), tf.argmax(y_test, 1)), tf.float32))
    print("Epoch " + str(i) + ", Test Loss = " + "{:.4f}".format(test_loss) + ", Testing Accuracy = " + "{:.3f}".format(test_acc))
