# "Performance problem TF VS Keras" (a GitHub issue, after the Kaggle kernel "keras model for beginners"): "the TensorFlow
# normal model", as printed there but for the import (tf.compat.v1), tf.contrib (gone: batch_norm below does what contrib's did,
# flatten is tf.layers'), everything behind y_estimated, which was not printed, and the first pooling: there it had windows of
# 2 x 2 where the Keras model has 3 x 3, a slip in front of what the question is about.
#
# What differs from a.py, from the front of the pipeline to its end (all of it the issue's own):
#     - dropout rates 0.8, 0.8, 0.7, 0.7, 0.8, 0.8: keep probabilities where tf.layers.dropout takes the rate
#     - batch_norm puts its updates into UPDATE_OPS, nobody runs them: the moving statistics stay at 0 and 1
#     - two output units where the Keras model has one with a sigmoid
# and three defaults: contrib's batch_norm has decay 0.999 (Keras: 0.99), AdamOptimizer epsilon 1e-8 (Keras: 1e-7).
import os
os.environ['TF_USE_LEGACY_KERAS'] = '1'  # tf.layers needs it

import numpy as np
import tensorflow.compat.v1 as tf

from data import load_icebergs

tf.disable_v2_behavior()


def batch_norm(inputs, decay=0.999, center=True, scale=False, epsilon=0.001, is_training=True, scope=None,
               updates_collections=tf.GraphKeys.UPDATE_OPS):
    # what tf.contrib.layers.batch_norm did with these arguments
    axes = list(range(inputs.shape.ndims - 1))
    depth = inputs.shape[-1:]
    with tf.variable_scope(scope):
        beta = tf.get_variable('beta', depth, initializer=tf.zeros_initializer()) if center else None
        gamma = tf.get_variable('gamma', depth, initializer=tf.ones_initializer()) if scale else None
        moving_mean = tf.get_variable('moving_mean', depth, initializer=tf.zeros_initializer(), trainable=False)
        moving_variance = tf.get_variable('moving_variance', depth, initializer=tf.ones_initializer(), trainable=False)
        batch_mean, batch_variance = tf.nn.moments(inputs, axes)
        mean, variance = tf.cond(is_training, lambda: (batch_mean, batch_variance), lambda: (moving_mean, moving_variance))
        rate = tf.cond(is_training, lambda: 1. - decay, lambda: 0.)
        tf.add_to_collection(updates_collections, tf.assign_sub(moving_mean, rate * (moving_mean - mean)))
        tf.add_to_collection(updates_collections, tf.assign_sub(moving_variance, rate * (moving_variance - variance)))
        return tf.nn.batch_normalization(inputs, mean, variance, beta, gamma, epsilon)


(x_train, y_train), (x_test, y_test) = load_icebergs()
y_train, y_test = np.eye(2)[y_train], np.eye(2)[y_test]

x = tf.placeholder(tf.float32, [None, 75,75,3], name="DNN_Input")
y = tf.placeholder(tf.float32, [None, 2])
learningRateIn= tf.placeholder(tf.float32)
keep_prob = tf.placeholder(tf.float32)
isTrainPlace=tf.placeholder(tf.bool)

with tf.name_scope('conv_1'):
    conv_1=tf.layers.conv2d(x,64,[3,3],activation=tf.nn.relu)
    batch_n1 = batch_norm(conv_1,center=True, scale=True, is_training=isTrainPlace, scope='bn1')
    mpool_1=tf.layers.max_pooling2d(batch_n1,pool_size=(3,3),strides=(2,2))
    dropout_1=tf.layers.dropout(mpool_1,rate=0.8,training=isTrainPlace)
with tf.name_scope('conv_2'):
    conv_2=tf.layers.conv2d(dropout_1,128,[3,3],activation=tf.nn.relu)
    batch_n2 = batch_norm(conv_2, center=True, scale=True,is_training=isTrainPlace,scope='bn2')
    mpool_2=tf.layers.max_pooling2d(batch_n2,pool_size=(2,2),strides=(2,2))
    dropout_2=tf.layers.dropout(mpool_2,rate=0.8,training=isTrainPlace)
with tf.name_scope('conv_3'):
    conv_3=tf.layers.conv2d(dropout_2,128,[3,3],activation=tf.nn.relu)
    batch_n3 = batch_norm(conv_3, center=True, scale=True,is_training=isTrainPlace,scope='bn3')
    mpool_3=tf.layers.max_pooling2d(batch_n3,pool_size=(2,2),strides=(2,2))
    dropout_3=tf.layers.dropout(mpool_3,rate=0.7,training=isTrainPlace)
with tf.name_scope('conv_4'):
    conv_4=tf.layers.conv2d(dropout_3,64,[3,3],activation=tf.nn.relu)
    batch_n4 = batch_norm(conv_4,center=True, scale=True,is_training=isTrainPlace,scope='bn4')
    mpool_4=tf.layers.max_pooling2d(batch_n4,pool_size=(2,2),strides=(2,2))
    dropout_4=tf.layers.dropout(mpool_4,rate=0.7,training=isTrainPlace)
    h4=tf.layers.flatten(dropout_4)
with tf.name_scope('dense_1'):
    y_dense_1=tf.layers.dense(h4,512,activation=tf.nn.relu)
    batch_dense_1 = batch_norm(y_dense_1,center=True, scale=True,is_training=isTrainPlace, scope='bn5')
    dropout_dense_1=tf.layers.dropout(batch_dense_1,rate=0.8,training=isTrainPlace)
with tf.name_scope('dense_2'):
    y_dense_2=tf.layers.dense(dropout_dense_1,256,activation=tf.nn.relu)
    batch_dense_2 = batch_norm(y_dense_2, center=True, scale=True, is_training=isTrainPlace,scope='bn6')
    dropout_dense_2=tf.layers.dropout(batch_dense_2 ,rate=0.8, training=isTrainPlace)

y_estimated=tf.layers.dense(dropout_dense_2,2)

loss = tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(labels=y, logits=y_estimated))
train_step = tf.train.AdamOptimizer(learning_rate=learningRateIn).minimize(loss)
accuracy = tf.reduce_mean(tf.cast(tf.equal(tf.argmax(y_estimated, 1), tf.argmax(y, 1)), tf.float32))

with tf.Session() as sess:
    sess.run(tf.global_variables_initializer())
    for epoch in range(2):
        order = np.random.permutation(len(x_train))
        for i in range(0, len(x_train), 4):
            rows = order[i:i + 4]
            sess.run(train_step, feed_dict={x: x_train[rows], y: y_train[rows], learningRateIn: 0.01, isTrainPlace: True})
        print('epoch', epoch, 'test accuracy', sess.run(accuracy, feed_dict={x: x_test, y: y_test, isTrainPlace: False}))
