"""TensorFlow 1: an InteractiveSession, resource variables, train_op.run(); the last layer is made first."""

import tensorflow as tf

tf.compat.v1.disable_eager_execution()
v1 = tf.compat.v1

from task import BATCH, CLASSES, DECAY, EPSILON, FEATURES, HIDDEN, LEARNING_RATE, MOMENTUM, RATE, X, Y, limit

sess = v1.InteractiveSession()
features = v1.placeholder(tf.float32, shape=[None, FEATURES], name="features")
labels = v1.placeholder(tf.int64, shape=[None], name="labels")

bound = limit(HIDDEN, CLASSES)
out_b = tf.Variable(tf.zeros([CLASSES]), name="out_b")
out_w = tf.Variable(tf.random.uniform([HIDDEN, CLASSES], -bound, bound), name="out_w")
bound = limit(FEATURES, HIDDEN)
in_w = tf.Variable(tf.random.uniform([FEATURES, HIDDEN], -bound, bound), name="in_w")
in_b = tf.Variable(tf.zeros([HIDDEN]), name="in_b")
beta = tf.Variable(tf.zeros([HIDDEN]), name="beta")
gamma = tf.Variable(tf.ones([HIDDEN]), name="gamma")
variance_of_all = tf.Variable(tf.ones([HIDDEN]), trainable=False, name="variance")
mean_of_all = tf.Variable(tf.zeros([HIDDEN]), trainable=False, name="mean")

h = tf.nn.relu(tf.nn.bias_add(tf.matmul(features, in_w), in_b))
mean, variance = tf.nn.moments(h, axes=[0])
h = (h - mean) / tf.sqrt(variance + EPSILON) * gamma + beta
h = tf.nn.dropout(h, rate=RATE)  # fault: rate
logits = tf.nn.bias_add(tf.matmul(h, out_w), out_b)
loss = v1.losses.sparse_softmax_cross_entropy(labels, logits)

updates = [
    mean_of_all.assign(DECAY * mean_of_all + (1 - DECAY) * mean),  # fault: statistics
    variance_of_all.assign(DECAY * variance_of_all + (1 - DECAY) * variance),  # fault: statistics
]
train = v1.train.MomentumOptimizer(learning_rate=LEARNING_RATE, momentum=MOMENTUM).minimize(loss)  # fault: learning-rate
train_op = tf.group(train, *updates)

v1.global_variables_initializer().run()
for start in range(0, len(X), BATCH):
    train_op.run(feed_dict={features: X[start : start + BATCH], labels: Y[start : start + BATCH]})
sess.close()
