"""Networks whose tensors, kernels or means can be laid out otherwise: NAME, then at most one fault.

NAME: keras, tape, v1 or planes (images; channels first), sequence (attention and layer normalization, by hand), kernels
(fixed, depthwise and tied ones). A fault that the network does not have is refused.
"""

import sys

import numpy as np
import tensorflow as tf

NAME, FAULT = sys.argv[1], "".join(sys.argv[2:])
IMAGES = NAME != "sequence"
rng, init = np.random.default_rng(0), np.random.default_rng(1)
x = rng.normal(size=(36, 6, 6, 3) if IMAGES else (36, 5, 8)).astype("float32")
y = rng.integers(0, 3, 36).astype("int32")
asked = set()


def fault(name):
    """Whether something is done otherwise."""
    asked.add(name)
    return name == FAULT


if fault("own sideways"):
    x = np.ascontiguousarray(x.transpose(0, 2, 1, 3))
if fault("own channels"):
    x = np.ascontiguousarray(x[..., ::-1])
if fault("own reshaped"):
    x = x.transpose(0, 3, 1, 2).reshape(36, 6, 6, 3)
if fault("own noise"):
    x = x + 0.1 * rng.normal(size=x.shape).astype("float32")

if NAME == "keras":
    import keras

    layers = keras.layers
    h = inputs = keras.Input((6, 6, 3))
    if fault("sideways"):
        h = layers.Permute((2, 1, 3))(h)  # mark: keras sideways
    if fault("channels"):
        h = layers.Lambda(lambda t: t[..., ::-1])(h)  # mark: keras channels
    h = layers.Conv2D(4, 3, padding="same", activation="relu")(h)  # mark: keras conv
    h = layers.BatchNormalization(axis=1 if fault("axis") else -1)(h)  # mark: keras norm
    if fault("channels first"):
        h = layers.Permute((3, 1, 2))(h)  # mark: keras channels first
    h = layers.Flatten()(h)  # mark: keras flatten
    h = layers.Dense(8, activation="tanh")(h)  # mark: keras dense
    model = keras.Model(inputs, layers.Dense(3)(h))
    model.compile(keras.optimizers.SGD(0.1), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    assert FAULT in asked | {""}
    model.fit(x, y, batch_size=12, epochs=1, shuffle=False, verbose=0)
    raise SystemExit

if NAME == "v1":
    tf = tf.compat.v1
    tf.disable_eager_execution()


def uniform(*shape):
    """A weight."""
    limit = (6 / (np.prod(shape[:-1]) + np.prod(shape[:-2]) * shape[-1])) ** 0.5
    return tf.Variable(init.uniform(-limit, limit, shape).astype("float32"))


def laid_out(h):
    """A batch, as the network takes it."""
    if fault("sideways"):
        h = tf.transpose(h, [0, 2, 1, 3])  # mark: sideways
    if fault("channels"):
        r, g, b = tf.split(h, 3, axis=3)  # mark: channels
        h = tf.concat([b, g, r], 3)
    if fault("upside down"):
        h = tf.reverse(h, [1])  # mark: upside down
    if fault("reshaped"):
        h = tf.transpose(tf.reshape(h, [-1, 3, 6, 6]), [0, 2, 3, 1])  # mark: reshaped
    return h


def images(h):
    """Convolution, batch normalization, two dense layers."""
    h = laid_out(h)
    kernel = tf.reverse(k, [0, 1]) if fault("flipped") else k
    if fault("kept sideways"):  # where the kernel is kept so, it is shared so
        kernel = tf.transpose(k, [1, 0, 2, 3])
    h = tf.nn.conv2d(h, kernel, strides=[1, 1, 1, 1], padding="SAME") + kb  # mark: conv
    h = tf.nn.relu(h)
    if fault("shuffled"):
        h = tf.gather(h, [2, 0, 3, 1], axis=3)  # mark: shuffled
    if fault("mirrored"):
        h = tf.reverse(h, [-1])  # mark: mirrored
    axes = [0, 1, 2]
    axes = [0] if fault("batch only") else [3] if fault("pixels") else [1, 2] if fault("instances") else axes
    mean, variance = tf.nn.moments(h, axes, keepdims=True)  # mark: moments
    h = tf.nn.batch_normalization(h, mean, variance, beta, gamma, 1e-3)
    if fault("channels first"):
        h = tf.transpose(h, [0, 3, 1, 2])  # mark: channels first
    if fault("reshaped inside"):
        h = tf.transpose(tf.reshape(h, [-1, 4, 6, 6]), [0, 2, 3, 1])  # mark: reshaped inside
    if fault("turned"):
        h = tf.transpose(h, [0, 2, 1, 3])  # mark: turned
        h = tf.nn.relu(h) - tf.nn.relu(-h)
    h = tf.nn.tanh(tf.matmul(tf.reshape(h, [-1, 144]), w1) + b1)  # mark: dense
    return tf.matmul(h, w2) + b2


def planes(h):
    """As `images`, with the channels first from the convolution to the dense layers."""
    h = tf.transpose(tf.nn.conv2d(h, k, 1, "SAME"), [0, 3, 1, 2]) + kb[:, None, None]  # mark: first conv
    if fault("shuffled"):
        h = tf.gather(h, [2, 0, 3, 1], axis=1)  # mark: first shuffled
    h = tf.nn.elu(h) if fault("elu") else tf.nn.relu(h)  # mark: first activation
    mean, variance = tf.nn.moments(h, [0, 2, 3], keepdims=True)
    h = (h - mean) * tf.math.rsqrt(variance + 1e-3) * gamma[:, None, None] + beta[:, None, None]
    h = h if fault("left first") else tf.transpose(h, [0, 2, 3, 1])
    h = tf.nn.tanh(tf.matmul(tf.reshape(h, [-1, 144]), w1) + b1)  # mark: left first
    return tf.matmul(h, w2) + b2


def heads(h, *, wrong=False):
    """[batch, time, 8] cut into [batch, 2 heads, time, 4]."""
    if wrong:
        return tf.reshape(h, [-1, 2, 5, 4])  # mark: heads
    return tf.transpose(tf.reshape(h, [-1, 5, 2, 4]), [0, 2, 1, 3])  # mark: right heads


def sequence(h):
    """Attention, layer normalization, all steps into one dense layer."""
    every = fault("heads")
    q, k, v = (heads(tf.einsum("btd,de->bte", h, w), wrong=every) for w in (wq, wk, wv))
    o = tf.matmul(tf.nn.softmax(tf.matmul(q, k, transpose_b=True) / 2.0), v)  # mark: scores
    if not fault("heads behind"):
        o = tf.transpose(o, [0, 2, 1, 3])
    h = h + tf.einsum("btd,de->bte", tf.reshape(o, [-1, 5, 8]), wo)  # mark: joined
    mean, variance = tf.nn.moments(h, [1, 2] if fault("rows") else [-1], keepdims=True)  # mark: row moments
    h = (h - mean) / tf.sqrt(variance + 1e-5) * gamma + beta
    if fault("time major"):
        h = tf.transpose(h, [1, 0, 2])  # mark: time major
    if fault("softmax"):
        h = tf.nn.softmax(h, axis=1)
    return tf.matmul(tf.reshape(h, [-1, 40]), w1)


def kernels(h):
    """A convolution, a fixed filter, a depthwise one, a code and its decoder with one weight."""
    edges = np.outer([1, 2, 1], [1, 0, -1]).astype("float32")
    edges = edges.T if fault("filter") else edges
    h = tf.nn.tanh(tf.nn.conv2d(h, k, 1, "SAME"))
    h = tf.nn.depthwise_conv2d(h, np.tile(edges[:, :, None, None], [1, 1, 4, 1]), [1] * 4, "SAME")  # mark: filter
    d = tf.reverse(depthwise, [0]) if fault("depthwise") else depthwise
    h = tf.nn.depthwise_conv2d(h, d, [1, 1, 1, 1], "VALID")  # mark: depthwise
    h = tf.nn.tanh(tf.matmul(tf.reshape(h[:, :2, :2], [-1, 16]), code))
    return tf.matmul(tf.nn.tanh(tf.matmul(h, code, transpose_b=not fault("tied"))), w2)  # mark: tied


if NAME == "sequence":
    wq, wk, wv, wo = (uniform(8, 8) for _ in range(4))
    w1, gamma = uniform(40, 3), tf.Variable(init.uniform(0.5, 1.5, 8).astype("float32"))
    beta = tf.Variable(init.uniform(-0.5, 0.5, 8).astype("float32"))
    network, variables = sequence, [wq, wk, wv, wo, w1, gamma, beta]
elif NAME == "kernels":
    k, depthwise, code, w2 = uniform(3, 3, 3, 4), uniform(3, 3, 4, 1), uniform(16, 16), uniform(16, 3)
    network, variables = kernels, [k, depthwise, code, w2]
else:
    k, kb, gamma, beta = (
        uniform(3, 3, 3, 4),
        tf.Variable(tf.zeros([4])),
        tf.Variable(tf.ones([4])),
        tf.Variable([0.0] * 4),
    )
    w1, b1, w2, b2 = uniform(144, 8), tf.Variable(tf.zeros([8])), uniform(8, 3), tf.Variable(tf.zeros([3]))
    network, variables = planes if NAME == "planes" else images, [k, kb, gamma, beta, w1, b1, w2, b2]

if NAME == "v1":
    px, py = tf.placeholder(tf.float32, [None, 6, 6, 3]), tf.placeholder(tf.int32, [None])
    loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=py, logits=network(px)))
    train = tf.train.GradientDescentOptimizer(0.1).minimize(loss)
    assert FAULT in asked | {""}
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        for start in range(0, 36, 12):
            session.run(train, {px: x[start : start + 12], py: y[start : start + 12]})
    raise SystemExit

for start in range(0, 36, 12):
    with tf.GradientTape() as tape:
        logits = network(tf.constant(x[start : start + 12]))
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(y[start : start + 12], logits))
    for variable, gradient in zip(variables, tape.gradient(loss, variables), strict=True):
        variable.assign_sub(0.1 * gradient)
assert FAULT in asked | {""}
