"""The same with einsum in a tf.Module; layer norm, causal mask, schedule and AdamW by hand."""

import math
import sys

import numpy as np
import tensorflow as tf

seed = int(sys.argv[1])
rng = np.random.RandomState(seed)
tokens = rng.randint(0, 30, size=(240, 10))
targets = np.roll(tokens, -1, axis=1)

tf.random.set_seed(seed + 100)
D, HEADS, KEY = 16, 4, 4


def glorot(rows, columns, shape=None):
    limit = math.sqrt(6 / (rows + columns))
    return tf.Variable(tf.random.uniform(shape or [rows, columns], -limit, limit))


class LayerNorm(tf.Module):
    def __init__(self):
        super().__init__()
        self.scale, self.offset = tf.Variable(tf.ones([D])), tf.Variable(tf.zeros([D]))

    def __call__(self, x):
        mean = tf.reduce_mean(x, -1, keepdims=True)
        variance = tf.reduce_mean((x - mean) ** 2, -1, keepdims=True)
        return (x - mean) / tf.sqrt(variance + 1e-6) * self.scale + self.offset


class Attention(tf.Module):
    def __init__(self):
        super().__init__()
        self.q, self.k, self.v = (glorot(D, D, [D, HEADS, KEY]) for _ in range(3))
        self.bq, self.bk, self.bv = (tf.Variable(tf.zeros([HEADS, KEY])) for _ in range(3))
        self.o, self.bo = glorot(D, D, [HEADS, KEY, D]), tf.Variable(tf.zeros([D]))

    def __call__(self, x):
        q = tf.einsum("btd,dhk->bhtk", x, self.q) + self.bq[:, None]
        k = tf.einsum("btd,dhk->bhtk", x, self.k) + self.bk[:, None]
        v = tf.einsum("btd,dhk->bhtk", x, self.v) + self.bv[:, None]
        scores = tf.einsum("bhqk,bhsk->bhqs", q, k) / math.sqrt(KEY)
        mask = tf.linalg.band_part(tf.ones([10, 10]), -1, 0)
        weights = tf.nn.softmax(scores + (1.0 - mask) * -1e9)
        weights = tf.nn.dropout(weights, 0.1)
        return tf.einsum("bhqs,bhsk,hkd->bqd", weights, v, self.o) + self.bo


class Net(tf.Module):
    def __init__(self):
        super().__init__()
        self.words = tf.Variable(tf.random.uniform([30, D], -0.05, 0.05))
        self.places = tf.Variable(tf.random.uniform([10, D], -0.05, 0.05))
        self.norm1, self.attention, self.norm2, self.norm3 = LayerNorm(), Attention(), LayerNorm(), LayerNorm()
        self.w1, self.b1 = glorot(D, 32), tf.Variable(tf.zeros([32]))
        self.w2, self.b2 = glorot(32, D), tf.Variable(tf.zeros([D]))
        self.w3, self.b3 = glorot(D, 30), tf.Variable(tf.zeros([30]))

    def __call__(self, tokens):
        x = tf.nn.embedding_lookup(self.words, tokens) + self.places
        x += self.attention(self.norm1(x))
        h = tf.nn.gelu(tf.tensordot(self.norm2(x), self.w1, 1) + self.b1)
        x += tf.tensordot(tf.nn.dropout(h, 0.1), self.w2, 1) + self.b2
        return tf.tensordot(self.norm3(x), self.w3, 1) + self.b3


def square(g):
    """Keras squares the rows of a repeated token one by one."""
    return tf.IndexedSlices(g.values**2, g.indices, g.dense_shape) if isinstance(g, tf.IndexedSlices) else g**2


net = Net()
variables = net.trainable_variables
m = [tf.Variable(tf.zeros_like(v), trainable=False) for v in variables]
s = [tf.Variable(tf.zeros_like(v), trainable=False) for v in variables]


@tf.function
def train_step(tokens, targets, t):
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(targets, net(tokens)))
    rate = 3e-3 * 0.5 * (1 + tf.cos(math.pi * (t - 1) / 40))
    scaled = rate * tf.sqrt(1 - 0.98**t) / (1 - 0.9**t)
    for v, mi, si, g in zip(variables, m, s, tape.gradient(loss, variables)):
        mi.assign(0.9 * mi + 0.1 * tf.convert_to_tensor(g))
        si.assign(0.98 * si + 0.02 * tf.convert_to_tensor(square(g)))
        v.assign(v * (1 - 0.01 * rate) - scaled * mi / (tf.sqrt(si) + 1e-8))


for step in range(30):
    rows = slice(8 * step, 8 * step + 8)
    train_step(tf.constant(tokens[rows]), tf.constant(targets[rows]), tf.constant(step + 1.0))
