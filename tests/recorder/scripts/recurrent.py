"""Recurrent networks, each with Keras and written out by hand: `recurrent.py NAME [FAULT]`."""

import sys

import numpy as np
import tensorflow as tf
from train import BATCH, ROWS, fit, glorot, loop, orthogonal

NAME, FAULT = sys.argv[1], (sys.argv[2:] or [""])[0]
tf.keras.utils.set_random_seed(3 if NAME.startswith("keras") else 4)
L = tf.keras.layers
T, D, H = 5, 4, 4  # as many inputs as units: nothing but the dataflow tells a kernel from a recurrent kernel
_data = np.random.RandomState(0)
X = _data.normal(size=(ROWS, T, D)).astype("float32")
IDS = _data.randint(1, 20, size=(ROWS, T))
IDS[::3, 3:] = 0
Y = _data.randint(0, 2, size=ROWS)


def lstm_step(gate, c):
    """One step of an LSTM, from the sums of its gates."""
    candidate = gate["g"] if FAULT == "no tanh" else tf.tanh(gate["g"])  # mark: no tanh
    c = tf.sigmoid(gate["f"]) * c + tf.sigmoid(gate["i"]) * candidate
    return tf.sigmoid(gate["o"]) * tf.tanh(c), c


def forget(order):
    """A bias that is one for the forget gate."""
    return tf.concat([tf.fill([H], float(name == "f")) for name in order], 0)


def variable(value):
    """A weight."""
    return tf.Variable(value)


def head():
    """The weights of the output layer."""
    return variable(glorot(H, 2)), variable(tf.zeros(2))


def keras_lstm():
    """fit, a while loop."""
    fit(tf.keras.Sequential([L.Input((T, D)), L.LSTM(H), L.Dense(2)]), X, Y)


def lstm_split():
    """Four matrices for each of Keras' one, made and run in another order."""
    wide, deep = glorot(D, 4 * H), orthogonal(H, 4 * H)
    cut = {g: slice(n * H, n * H + H) for n, g in enumerate("ogfi")}
    w = {g: variable(wide[:, cut[g]]) for g in "ogfi"}
    u = {g: variable(deep[:, cut[g]]) for g in "ogfi"}
    b = {g: variable(tf.fill([H], float(g == "f"))) for g in "ogfi"}
    v, bias = head()

    def forward(x):
        h = c = tf.zeros((BATCH, H))
        for k in range(T):
            gate = {g: x[:, k] @ w[g] + h @ u[g] for g in "ogfi"}
            gate = {g: z if FAULT == "no bias" and g == "f" else z + b[g] for g, z in gate.items()}  # mark: no bias
            h, c = lstm_step(gate, c)
        return h @ v + bias

    without = {"no bias": b["f"], "frozen": u["f"]}.get(FAULT)
    loop(forward, [p for p in (*b.values(), *w.values(), *u.values(), v, bias) if p is not without], X, Y)


def lstm_cell():
    """BasicLSTMCell's layout: one kernel for input and state, gates i j f o."""
    kernel = variable(tf.concat([glorot(D, 4 * H), orthogonal(H, 4 * H)], 0))
    b = variable(forget("igfo"))
    v, bias = head()

    def forward(x):
        h = c = tf.zeros((BATCH, H))
        for xt in tf.unstack(x, axis=1):
            z = tf.nn.bias_add(tf.matmul(tf.concat([xt, h], 1), kernel), b)
            h, c = lstm_step(dict(zip("igfo", tf.split(z, 4, axis=1), strict=True)), c)
        return h @ v + bias

    loop(forward, [v, bias, kernel, b], X, Y)


def lstm_forget():
    """A bias of zeros, and a forget bias that is added as a constant, as TF1's cells do."""
    kernel = variable(tf.concat([glorot(D, 4 * H), orthogonal(H, 4 * H)], 0))
    b = variable(tf.zeros(4 * H))
    v, bias = head()

    def forward(x):
        h = c = tf.zeros((BATCH, H))
        for k in range(T):
            gate = dict(zip("igfo", tf.split(tf.concat([x[:, k], h], 1) @ kernel + b, 4, axis=1), strict=True))
            gate["f"] = gate["f"] if FAULT == "no forget bias" else gate["f"] + 1.0
            h, c = lstm_step(gate, c)
        return h @ v + bias

    loop(forward, [v, bias, kernel, b], X, Y)


def lstm_while():
    """tf.while_loop, fused kernels with the gates in another order."""
    w, u, b = variable(glorot(D, 4 * H)), variable(orthogonal(H, 4 * H)), variable(forget("ofgi"))
    v, bias = head()

    def forward(x):
        xs = tf.transpose(x, (1, 0, 2))

        def body(k, h, c):
            z = xs[k] @ w + h @ u + b
            return k + 1, *lstm_step(dict(zip("ofgi", tf.split(z, 4, axis=1), strict=True)), c)

        zero = tf.zeros((BATCH, H))
        return tf.while_loop(lambda k, *_: k < T, body, (0, zero, zero))[1] @ v + bias

    loop(forward, [w, u, b, v, bias], X, Y)


def keras_gru():
    """GRU with reset_after: its two biases are rows of one variable."""
    layer = L.GRU(H, bias_initializer="uniform")
    fit(tf.keras.Sequential([L.Input((T, D)), layer, L.Dense(2)]), X, Y, tf.keras.optimizers.Adam(0.01))


def gru_torch():
    """Transposed kernels, gates r z n, two biases."""
    w, u = variable(tf.transpose(glorot(D, 3 * H))), variable(tf.transpose(orthogonal(H, 3 * H)))
    bw, bu = (variable(tf.random.uniform([3 * H], -0.05, 0.05)) for _ in range(2))
    v, bias = head()

    def forward(x):
        h = tf.zeros((BATCH, H))
        for k in range(T):
            xr, xz, xn = tf.split(tf.matmul(x[:, k], w, transpose_b=True) + bw, 3, 1)
            hr, hz, hn = tf.split(tf.matmul(h, u, transpose_b=True) + bu, 3, 1)
            r, z = tf.sigmoid(xr + hr), tf.sigmoid(xz + hz)
            n = tf.tanh(xn + (z if FAULT == "wrong gate" else r) * hn)  # mark: wrong gate
            h = (1 - z) * n + z * h
        return h @ v + bias

    loop(forward, [w, u, bw, bu, v, bias], X, Y, tf.keras.optimizers.Adam(0.01))


def keras_gru_before():
    """GRU without reset_after."""
    fit(tf.keras.Sequential([L.Input((T, D)), L.GRU(H, reset_after=False), L.Dense(2)]), X, Y)


def gru_cell():
    """GRUCell's layout: a kernel for both gates, one for the candidate, the state in front there."""
    wide, deep = glorot(D, 3 * H), orthogonal(H, 3 * H)
    gates, candidate = (
        variable(tf.concat(rows, 0))
        for rows in ([wide[:, : 2 * H], deep[:, : 2 * H]], [deep[:, 2 * H :], wide[:, 2 * H :]])
    )
    bg, bc = variable(tf.zeros(2 * H)), variable(tf.zeros(H))
    v, bias = head()

    def forward(x):
        h = tf.zeros((BATCH, H))
        for k in range(T):
            r, z = tf.split(tf.sigmoid(tf.concat([x[:, k], h], 1) @ gates + bg), 2, 1)
            n = tf.tanh(tf.concat([r * h, x[:, k]], 1) @ candidate + bc)
            h = z * h + (1 - z) * n
        return h @ v + bias

    loop(forward, [v, bias, candidate, bc, gates, bg], X, Y)


def keras_rnn():
    """Two simple cells, the second from the back."""
    cells = [L.SimpleRNN(H, return_sequences=True, unroll=True), L.SimpleRNN(H, go_backwards=True)]
    fit(tf.keras.Sequential([L.Input((T, D)), *cells, L.Dense(2)]), X, Y)


def rnn_scan():
    """tf.scan over time-major data."""
    cells = [tuple(map(variable, (glorot(D, H), orthogonal(H, H), tf.zeros(H)))) for _ in range(2)]
    v, bias = head()

    def run(cell, xs):
        w, u, b = cell
        return tf.scan(lambda h, x: tf.tanh(h @ u + x @ w + b), xs, tf.zeros((BATCH, H)))

    def forward(x):
        hs = run(cells[0], tf.transpose(x, (1, 0, 2)))
        hs = hs if FAULT == "forwards" else tf.reverse(hs, [0])  # mark: forwards
        return run(cells[1], hs)[-1] @ v + bias

    loop(forward, [*cells[1], *cells[0], v, bias], X, Y)


def keras_both_ways():
    """Embedding with a mask, both directions."""
    layers = [L.Embedding(20, D, mask_zero=True), L.Bidirectional(L.LSTM(H)), L.Dense(2)]
    fit(tf.keras.Sequential([L.Input((T,), dtype="int32"), *layers]), IDS, Y)


def both_ways():
    """The backward cell made and run first; masked steps keep the state."""
    table = variable(tf.random.uniform((20, D), -0.05, 0.05))
    cells = [tuple(map(variable, (glorot(D, 4 * H), orthogonal(H, 4 * H), forget("ifgo")))) for _ in range(2)]
    v, bias = variable(glorot(2 * H, 2)), variable(tf.zeros(2))

    def run(cell, x, keep, times):
        w, u, b = cell
        h = c = tf.zeros((BATCH, H))
        for k in times:
            gate = dict(zip("ifgo", tf.split(x[:, k] @ w + h @ u + b, 4, axis=1), strict=True))
            new_h, new_c = lstm_step(gate, c)
            if FAULT == "no mask":
                h, c = new_h, new_c
            else:
                h, c = tf.where(keep[:, k, None], new_h, h), tf.where(keep[:, k, None], new_c, c)  # mark: mask
        return h

    def forward(ids):
        x, keep = tf.gather(table, ids), ids != 0
        back = run(cells[0], x, keep, range(T - 1, -1, -1))
        return tf.concat([run(cells[1], x, keep, range(T)), back], 1) @ v + bias

    loop(forward, [table, *cells[0], *cells[1], v, bias], IDS, Y)


def keras_stateful():
    """The state outlives the batch."""
    given = L.Input(batch_shape=(BATCH, T, D))
    fit(tf.keras.Model(given, L.Dense(2)(L.LSTM(H, stateful=True)(given))), X, Y)


def stateful():
    """Two variables keep the state, or nothing does."""
    w, u, b = variable(glorot(D, 4 * H)), variable(orthogonal(H, 4 * H)), variable(forget("ifgo"))
    kept = [tf.Variable(tf.zeros((BATCH, H)), trainable=False) for _ in range(2)]
    v, bias = head()

    def forward(x):
        h, c = (state.read_value() for state in kept)
        for k in range(T):
            h, c = lstm_step(dict(zip("ifgo", tf.split(x[:, k] @ w + h @ u + b, 4, axis=1), strict=True)), c)
        for state, value in zip(kept, (h, c), strict=True):
            state.assign(value)
        return h @ v + bias

    loop(forward, [w, u, b, v, bias], X, Y)


def handed_on():
    """Each step gives its state back, and the next one begins with it."""
    w, u, b = variable(glorot(D, 4 * H)), variable(orthogonal(H, 4 * H)), variable(forget("ifgo"))
    v, bias = head()

    @tf.function
    def step(x, y, h, c):
        with tf.GradientTape() as tape:
            for k in range(T):
                h, c = lstm_step(dict(zip("ifgo", tf.split(x[:, k] @ w + h @ u + b, 4, axis=1), strict=True)), c)
            each = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=h @ v + bias)
            loss = tf.reduce_mean(each)
        params = [w, u, b, v, bias]
        for param, gradient in zip(params, tape.gradient(loss, params), strict=True):
            param.assign_sub(0.1 * gradient)
        return h, c

    h = c = tf.zeros((BATCH, H))
    for k in range(0, ROWS, BATCH):
        h, c = step(tf.constant(X[k : k + BATCH]), tf.constant(Y[k : k + BATCH]), h, c)


globals()[NAME]()
