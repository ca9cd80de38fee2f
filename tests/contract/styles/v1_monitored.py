"""TensorFlow 1: get_variable under scopes, compute_gradients and apply_gradients, MonitoredTrainingSession."""

import tensorflow.compat.v1 as tf
from task import BATCH, CLASSES, DECAY, EPSILON, FEATURES, HIDDEN, LEARNING_RATE, MOMENTUM, RATE, X, Y


def dense(inputs, units, scope):
    with tf.variable_scope(scope):
        kernel = tf.get_variable("kernel", [inputs.shape[-1], units])
        bias = tf.get_variable("bias", [units], initializer=tf.zeros_initializer())
        return tf.nn.xw_plus_b(inputs, kernel, bias)


def batch_norm(inputs, scope):
    with tf.variable_scope(scope):
        size = inputs.shape[-1:]
        zeros, ones = tf.zeros_initializer(), tf.ones_initializer()
        gamma = tf.get_variable("gamma", size, initializer=ones)
        beta = tf.get_variable("beta", size, initializer=zeros)
        moving_mean = tf.get_variable("moving_mean", size, initializer=zeros, trainable=False)
        moving_variance = tf.get_variable("moving_variance", size, initializer=ones, trainable=False)
    mean, variance = tf.nn.moments(inputs, axes=[0])
    for moving, value in ((moving_mean, mean), (moving_variance, variance)):
        step = tf.assign(moving, DECAY * moving + (1 - DECAY) * value)  # fault: statistics
        tf.add_to_collection(tf.GraphKeys.UPDATE_OPS, step)
    return tf.nn.batch_normalization(inputs, mean, variance, beta, gamma, EPSILON)


with tf.Graph().as_default():
    images = tf.placeholder(tf.float32, [BATCH, FEATURES], name="images")
    labels = tf.placeholder(tf.int64, [BATCH], name="labels")
    net = tf.nn.relu(dense(images, HIDDEN, "hidden"))
    net = batch_norm(net, "norm")
    net = tf.nn.dropout(net, rate=RATE)  # fault: rate
    logits = dense(net, CLASSES, "softmax_linear")
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
    loss = tf.reduce_mean(losses, name="xentropy_mean")

    global_step = tf.train.get_or_create_global_step()
    optimizer = tf.train.MomentumOptimizer(LEARNING_RATE, MOMENTUM)  # fault: learning-rate
    gradients = optimizer.compute_gradients(loss)
    with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
        train_op = optimizer.apply_gradients(gradients, global_step=global_step)

    hooks = [tf.train.StopAtStepHook(last_step=len(X) // BATCH), tf.train.NanTensorHook(loss)]
    with tf.train.MonitoredTrainingSession(hooks=hooks) as session:
        start = 0
        while not session.should_stop():
            feed = {images: X[start : start + BATCH], labels: Y[start : start + BATCH]}
            _, step, value = session.run([train_op, global_step, loss], feed_dict=feed)
            start += BATCH
