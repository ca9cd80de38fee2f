"""Variables in a compiled step: kernels stored (out, in), the last layer made first, one-hot labels, 1/sqrt by hand."""

import tensorflow as tf
from task import BATCH, CLASSES, DECAY, EPSILON, FEATURES, HIDDEN, LEARNING_RATE, MOMENTUM, ONE_HOT, RATE, X, limit


def weight(outputs, inputs, name):
    bound = limit(inputs, outputs)
    return tf.Variable(tf.random.uniform((outputs, inputs), -bound, bound), name=name)


p = {
    "out/bias": tf.Variable(tf.zeros(CLASSES), name="out/bias"),
    "out/weight": weight(CLASSES, HIDDEN, "out/weight"),
    "norm/shift": tf.Variable(tf.zeros(HIDDEN), name="norm/shift"),
    "norm/scale": tf.Variable(tf.ones(HIDDEN), name="norm/scale"),
    "in/bias": tf.Variable(tf.zeros(HIDDEN), name="in/bias"),
    "in/weight": weight(HIDDEN, FEATURES, "in/weight"),
}
running_var = tf.Variable(tf.ones(HIDDEN), trainable=False, name="running_var")
running_mean = tf.Variable(tf.zeros(HIDDEN), trainable=False, name="running_mean")
momenta = {k: tf.Variable(tf.zeros(v.shape), trainable=False, name=k + "/momentum") for k, v in p.items()}


def norm(h):
    mu = tf.reduce_mean(h, axis=0)
    var = tf.reduce_mean(tf.square(h - mu), axis=0)
    running_mean.assign_add((mu - running_mean) * (1 - DECAY))  # fault: statistics
    running_var.assign_add((var - running_var) * (1 - DECAY))  # fault: statistics
    return p["norm/scale"] * (h - mu) / tf.sqrt(var + EPSILON) + p["norm/shift"]


@tf.function
def train(x, y):
    with tf.GradientTape() as tape:
        h = tf.nn.relu(tf.linalg.matmul(x, p["in/weight"], transpose_b=True) + p["in/bias"])
        h = tf.nn.dropout(norm(h), RATE)  # fault: rate
        logits = tf.linalg.matmul(h, p["out/weight"], transpose_b=True) + p["out/bias"]
        loss = tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(y, logits))
    gradients = tape.gradient(loss, p)
    for key, gradient in gradients.items():
        momenta[key].assign(MOMENTUM * momenta[key] + gradient)
        p[key].assign_sub(LEARNING_RATE * momenta[key])  # fault: learning-rate
    return loss


for i in range(len(X) // BATCH):
    train(tf.constant(X[i * BATCH : (i + 1) * BATCH]), tf.constant(ONE_HOT[i * BATCH : (i + 1) * BATCH]))
