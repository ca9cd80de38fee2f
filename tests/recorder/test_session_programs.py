"""Programs for TensorFlow 1 as people wrote them: against themselves with other rows and seeds they are equivalent."""

from __future__ import annotations

import json

import pytest

from tfdiff.trace.reader import open_trace

HEAD = """
import sys
import numpy as np
import tensorflow.compat.v1 as tf

tf.disable_v2_behavior()
other = "other" in sys.argv
tf.set_random_seed(7 + other)
random = np.random.RandomState(0)


def order(*arrays):
    rows = np.random.RandomState(1).permutation(len(arrays[0])) if other else slice(None)
    return [array[rows] for array in arrays]
"""

NESTED_CASES = """
step = tf.Variable(0, trainable=False)
x = tf.placeholder(tf.float32, [None, 5])
w = tf.get_variable("w", [5, 3])
loss = tf.reduce_mean(tf.square(tf.matmul(x, w)))
early, late = (tf.less(step, 2), lambda: tf.constant(0.1)), (tf.less(step, 4), lambda: tf.constant(0.05))
rate = tf.case([early, late], default=lambda: tf.constant(0.01))
train = tf.train.MomentumOptimizer(rate, 0.9).minimize(loss, global_step=step)
(X,) = order(random.normal(size=(48, 5)))
with tf.Session() as session:
    session.run(tf.global_variables_initializer())
    for k in range(0, 48, 8):
        session.run(train, {x: X[k : k + 8]})
"""

RECURRENT = """
source, lengths = tf.placeholder(tf.int32, [None, 5]), tf.placeholder(tf.int32, [None])
target = tf.placeholder(tf.int32, [None, 5])
table, w, u = tf.get_variable("table", [10, 6]), tf.get_variable("w", [6, 6]), tf.get_variable("u", [6, 10])
inputs = tf.TensorArray(tf.float32, 5).unstack(tf.transpose(tf.nn.embedding_lookup(table, source), [1, 0, 2]))


def body(t, state, outputs):
    state = tf.tanh(inputs.read(t) + tf.matmul(state, w))
    return t + 1, state, outputs.write(t, state)


start = [tf.constant(0), tf.zeros([tf.shape(source)[0], 6]), tf.TensorArray(tf.float32, 5)]
outputs = tf.while_loop(lambda t, *_: t < 5, body, start)[2].stack()
logits = tf.tensordot(tf.transpose(outputs, [1, 0, 2]), u, [[2], [0]])
mask = tf.sequence_mask(lengths, 5, dtype=tf.float32)
each = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=target, logits=logits)
train = tf.train.RMSPropOptimizer(0.01).minimize(tf.reduce_sum(mask * each) / tf.reduce_sum(mask))
S, L, T = order(random.randint(0, 10, (16, 5)), random.randint(1, 6, 16), random.randint(0, 10, (16, 5)))
with tf.Session() as session:
    session.run(tf.global_variables_initializer())
    for k in range(0, 16, 4):
        rows = slice(k, k + 4)
        session.run(train, {source: S[rows].tolist(), lengths: L[rows].tolist(), target: T[rows].tolist()})
"""

CARRIED_STATES = """
x, y = tf.placeholder(tf.int32, [4, 3]), tf.placeholder(tf.int32, [4, 3])
states = [tf.zeros([4, 6]), tf.zeros([4, 6])]
table, v = tf.get_variable("table", [9, 6]), tf.get_variable("v", [6, 9])
ws = [tf.get_variable(f"w{n}", [12, 6]) for n in range(2)]
carried, outputs = list(states), []
for t in range(3):
    h = tf.nn.dropout(tf.nn.embedding_lookup(table, x[:, t]), rate=0.2)
    for n, w in enumerate(ws):
        h = carried[n] = tf.tanh(tf.matmul(tf.concat([h, carried[n]], 1), w))
    outputs.append(tf.matmul(h, v))
labels = tf.unstack(y, axis=1)
losses = [tf.nn.sparse_softmax_cross_entropy_with_logits(labels=t, logits=h) for t, h in zip(labels, outputs)]
loss = tf.reduce_mean(tf.stack(losses))
variables = tf.trainable_variables()
gradients, _ = tf.clip_by_global_norm(tf.gradients(loss, variables), 1.0)
train = tf.train.AdamOptimizer(0.01).apply_gradients(zip(gradients, variables))
text = random.randint(0, 9, (4, 13))
with tf.Session() as session:
    session.run(tf.global_variables_initializer())
    state = session.run(states)
    for k in range(0, 12, 3):
        feed = {x: text[:, k : k + 3], y: text[:, k + 1 : k + 4], states[0]: state[0], states[1]: state[1]}
        _, state = session.run([train, carried], feed)
"""

TWO_PLAYERS = """
x, z = tf.placeholder(tf.float32, [None, 6]), tf.placeholder(tf.float32, [None, 4])
with tf.variable_scope("generator"):
    made = tf.tanh(tf.matmul(z, tf.get_variable("w", [4, 6])))
with tf.variable_scope("discriminator"):
    w = tf.get_variable("w", [6, 1])
real, fake = tf.matmul(x, w), tf.matmul(made, w)
entropy = tf.nn.sigmoid_cross_entropy_with_logits
d_loss = tf.reduce_mean(entropy(labels=tf.ones_like(real), logits=real))
d_loss += tf.reduce_mean(entropy(labels=tf.zeros_like(fake), logits=fake))
g_loss = tf.reduce_mean(entropy(labels=tf.ones_like(fake), logits=fake))
scope = lambda name: tf.get_collection(tf.GraphKeys.TRAINABLE_VARIABLES, name)
d_train = tf.train.AdamOptimizer(0.01).minimize(d_loss, var_list=scope("discriminator"))
g_train = tf.train.AdamOptimizer(0.01).minimize(g_loss, var_list=scope("generator"))
(X,) = order(random.normal(size=(32, 6)))
drawn = np.random.RandomState(3 + other)
with tf.Session() as session:
    session.run(tf.global_variables_initializer())
    for k in range(0, 32, 8):
        session.run([d_train, d_loss], {x: X[k : k + 8], z: drawn.normal(size=(8, 4))})
        session.run([g_train, g_loss], {z: drawn.normal(size=(8, 4))})
"""

TOWERS = """
X, Y = tf.placeholder(tf.float32, [None, 9]), tf.placeholder(tf.int32, [None])
optimizer, gradients = tf.train.AdagradOptimizer(0.1), []
for i in range(2):
    with tf.device("/gpu:%d" % i), tf.variable_scope("net", reuse=tf.AUTO_REUSE):
        rows = slice(4 * i, 4 * i + 4)
        h = tf.nn.relu(tf.nn.xw_plus_b(X[rows], tf.get_variable("w", [9, 6]), tf.get_variable("b", [6])))
        logits = tf.matmul(h, tf.get_variable("v", [6, 3]))
        each = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=Y[rows], logits=logits)
        gradients.append(optimizer.compute_gradients(tf.reduce_mean(each)))
mean = [((a + b) / 2, variable) for (a, variable), (b, _) in zip(*gradients)]
train = optimizer.apply_gradients(mean)
DX, DY = order(random.normal(size=(32, 9)), random.randint(0, 3, 32))
with tf.Session(config=tf.ConfigProto(allow_soft_placement=True)) as session:
    session.run(tf.global_variables_initializer())
    for k in range(0, 32, 8):
        session.run(train, {X: DX[k : k + 8], Y: DY[k : k + 8]})
"""

PARTITIONED = """
users, items, ratings = (tf.placeholder(kind, [None]) for kind in (tf.int32, tf.int32, tf.float32))
U = tf.get_variable("U", [20, 5], partitioner=tf.fixed_size_partitioner(2))
I = tf.get_variable("I", [15, 5])
found = tf.nn.embedding_lookup(U, users) * tf.nn.embedding_lookup(I, items)
train = tf.train.AdamOptimizer(0.02).minimize(tf.reduce_mean(tf.square(ratings - tf.reduce_sum(found, 1))))
A, B, C = order(random.randint(0, 20, 40), random.randint(0, 15, 40), random.normal(size=40))
with tf.Session() as session:
    session.run(tf.global_variables_initializer())
    for k in range(0, 40, 10):
        rows = slice(k, k + 10)
        session.run(train, {users: list(A[rows]), items: list(B[rows]), ratings: list(C[rows])})
"""

PROGRAMS = {
    "a rate of nested cases": (NESTED_CASES, 6, 1),
    "a recurrent network in a loop of control flow v1": (RECURRENT, 4, 3),
    "states that are fed back": (CARRIED_STATES, 4, 4),
    "two players that take turns": (TWO_PLAYERS, 8, 2),
    "a part of the batch for each device": (TOWERS, 8, 3),
    "a partitioned table": (PARTITIONED, 4, 3),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_program(tfdiff, tmp_path, name):
    """Every step is recorded, and with the reference's start, batches and noise nothing differs."""
    program, steps, weights = PROGRAMS[name]
    (tmp_path / "a.py").write_text(HEAD + program)
    first = tfdiff("record", "--quiet", "--steps", 0, "a.py")
    assert first.code == 0, first.err
    second = tfdiff("record", "--quiet", "-o", "b.h5", "--steps", 0, "--reference", "a.h5", "a.py", "other")
    assert second.code == 0, second.err
    found = json.loads(tfdiff("diff", "--json", "-", "a.h5", "b.h5").out)
    assert (found["verdict"], found["steps"]["a"], found["steps"]["b"]) == ("equivalent", steps, steps)
    assert found["shared"]["weights"]["shared"] == weights
    assert (found["shared"]["batches"], found["shared"]["noise"], found["not_shared"]) == (True, True, [])


SCALARS = """
x, y = tf.placeholder("float"), tf.placeholder("float")
W, b = tf.Variable(0.5, name="weight"), tf.Variable(0.1, name="bias")
y_ = x * W + b
with tf.control_dependencies([tf.Assert(tf.reduce_all(tf.less(tf.abs(y_), 1e6)), [y_])]):
    y_ = tf.identity(y_)
cost = tf.reduce_sum(tf.pow(y_ - y, 2)) / 20
train = tf.train.GradientDescentOptimizer(0.01).minimize(cost)
with tf.Session() as session:
    session.run(tf.global_variables_initializer())
    for k in range(3):
        session.run(train, feed_dict={x: k + 0.5, y: 2.0 * k})
    print(round(float(session.run(cost, {x: np.arange(3.0), y: np.ones(3)})), 4))
    wrong = tf.cond(tf.less(x, 1.0), lambda: x, lambda: y)
    session.run(wrong, {x: np.arange(3.0), y: np.ones(3)})
"""


def test_scalars_and_the_scripts_own_error(tfdiff, tmp_path):
    """Scalars are fed one by one; a condition that is no scalar fails as it does without a recording."""
    (tmp_path / "a.py").write_text(HEAD + SCALARS)
    recorded = tfdiff("record", "--steps", 0, "a.py")
    again = tfdiff("record", "-o", "b.h5", "--steps", 0, "--reference", "a.h5", "a.py")
    for ran in (recorded, again):
        assert (ran.code, float(ran.out)) == (1, pytest.approx(0.0485, abs=1e-3))
        assert "must be a scalar" in ran.err
        assert "tfdiff failed" not in ran.err
    with open_trace(tmp_path / "b.h5") as trace:
        assert trace.steps == 3
        assert [note["what"] for note in trace.header.not_shared] == ["batches"]


TEXTS = """
text, y = tf.placeholder(tf.string, [None]), tf.placeholder(tf.float32, [None])
table = tf.get_variable("table", [30, 4])
found = tf.nn.embedding_lookup(table, tf.string_to_hash_bucket_fast(text, 30))
sampled = tf.nn.nce_loss(table, tf.get_variable("bias", [30]), tf.zeros([6, 1], tf.int64), found, 3, 30)
loss = tf.reduce_mean(tf.square(tf.reduce_sum(found, 1) - y)) + tf.reduce_mean(sampled)
train = tf.train.GradientDescentOptimizer(0.1).minimize(loss)
T, Y = order(np.array([f"word {n}" for n in range(24)]), random.normal(size=24))
with tf.Session() as session:
    session.run(tf.global_variables_initializer())
    for k in range(0, 24, 6):
        session.run(train, {text: T[k : k + 6], y: Y[k : k + 6]})
"""


def test_what_cannot_be_shared_is_named(tfdiff, tmp_path):
    """Labels are not shared without the texts they belong to, and classes that are drawn are named with their line."""
    (tmp_path / "a.py").write_text(HEAD + TEXTS)
    assert tfdiff("record", "--quiet", "--steps", 0, "a.py").code == 0
    assert tfdiff("record", "--quiet", "-o", "b.h5", "--reference", "a.h5", "a.py", "other").code == 0
    with open_trace(tmp_path / "b.h5") as trace:
        shared, said = trace.header.shared, {note["what"]: note["why"] for note in trace.header.not_shared}
        assert (shared["batches"], shared["noise"]) == (False, False)
        assert said["batches"].startswith("texts are part of them (a.py:")
        assert [why for what, why in said.items() if what.endswith(" draws")] == [
            "the draws of LogUniformCandidateSampler are not shared"
        ]


THREADS = """
import threading

x, y = tf.placeholder(tf.float32, [None, 6]), tf.placeholder(tf.float32, [None, 2])
loss = tf.reduce_mean(tf.square(tf.matmul(x, tf.get_variable("w", [6, 2])) - y))
train = tf.train.GradientDescentOptimizer(0.1).minimize(loss)
session = tf.Session()
session.run(tf.global_variables_initializer())
X, Y = order(random.normal(size=(16, 6)), random.normal(size=(16, 2)))


def work(rows):
    return session.run([train, loss], {x: X[rows], y: Y[rows]})[1]


worker = threading.Thread(target=work, args=[slice(0, 8)])
worker.start()
worker.join()
for rows in (8, 7):
    try:
        print(session.run([train, loss], {x: X[8:], y: Y[8 : 8 + rows]})[1] > 0)
    except tf.errors.InvalidArgumentError as error:
        print(type(error).__name__)
"""


def test_threads_and_rows_that_do_not_fit(tfdiff, tmp_path):
    """Training in another thread is named, and a batch whose parts do not fit fails with shared batches as well."""
    (tmp_path / "a.py").write_text(HEAD + THREADS)
    first = tfdiff("record", "--steps", 0, "a.py")
    second = tfdiff("record", "-o", "b.h5", "--steps", 0, "--reference", "a.h5", "a.py")
    for ran, name in ((first, "a.h5"), (second, "b.h5")):
        assert (ran.code, ran.out) == (0, "True\nInvalidArgumentError\n"), ran.err
        with open_trace(tmp_path / name) as trace:
            assert trace.steps == 1
            (note,) = trace.header.not_recorded
            assert note["what"].startswith("training runs at a.py:")
            assert "another thread" in note["why"]


IMPORTED = """
x = tf.placeholder(tf.float32, [None, 6], name="x")
loss = tf.reduce_mean(tf.square(tf.matmul(x, tf.get_variable("w", [6, 2]))), name="loss")
train = tf.train.AdamOptimizer(0.1).minimize(loss, name="train")
X, saver = random.normal(size=(32, 6)), tf.train.Saver()
with tf.Session() as session:
    session.run(tf.global_variables_initializer())
    session.run(train, {x: X[:8]})
    path = saver.save(session, "./model")
tf.reset_default_graph()
with tf.Session() as session:
    tf.train.import_meta_graph(path + ".meta").restore(session, path)
    print(session.run(["train", "loss:0"], {"x:0": X[8:16]})[1] > 0)
"""


def test_an_imported_graph(tfdiff, tmp_path):
    """A graph that is read from a file is trained on; that its steps are not recorded is said."""
    (tmp_path / "a.py").write_text(HEAD + IMPORTED)
    ran = tfdiff("record", "--steps", 0, "a.py")
    assert (ran.code, ran.out, "tfdiff failed" in ran.err) == (0, "True\n", False), ran.err
    with open_trace(tmp_path / "a.h5") as trace:
        assert trace.steps == 1
        assert any(note["what"].startswith("the training graph that runs at") for note in trace.header.not_recorded)
