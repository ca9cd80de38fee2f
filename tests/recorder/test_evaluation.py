"""Evaluation and prediction passes of real programs: recorded as such, compared, never mistaken for steps."""

from __future__ import annotations

import json
from textwrap import dedent

import pytest

from tfdiff.trace.reader import open_trace

DATA = """
import numpy as np
r = np.random.RandomState(0)
x = r.rand(128, 10).astype("float32"); y = r.randint(0, 3, 128)
xt = r.rand(70, 10).astype("float32"); yt = r.randint(0, 3, 70)
"""
KERAS = (
    DATA
    + """
import keras
keras.utils.set_random_seed(1)
m = keras.Sequential([
    keras.Input((10,)), keras.layers.Dense(16), keras.layers.BatchNormalization(), keras.layers.ReLU(),
    keras.layers.Dropout(0.3), keras.layers.Dense(3, activation="softmax")])
m.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
"""
)
FIT = (
    KERAS
    + """
m.fit(x, y, batch_size=32, epochs=2, shuffle=False, verbose=0, validation_data=(xt, yt))
print(m.evaluate(xt, yt, batch_size=35, verbose=0), m.predict(xt, verbose=0).shape)
"""
)
RAW = (
    DATA
    + """
import tensorflow as tf
tf.random.set_seed(2)
w1, b1 = tf.Variable(tf.random.uniform((10, 16), -0.4, 0.4)), tf.Variable(tf.zeros(16))
g, o = tf.Variable(tf.ones(16)), tf.Variable(tf.zeros(16))
mean, var = tf.Variable(tf.zeros(16), trainable=False), tf.Variable(tf.ones(16), trainable=False)
w2, b2 = tf.Variable(tf.random.uniform((16, 3), -0.4, 0.4)), tf.Variable(tf.zeros(3))
def net(x, training):
    h = x @ w1 + b1
    if training:
        mu, v = tf.nn.moments(h, 0)
        mean.assign(0.99 * mean + 0.01 * mu)
        var.assign(0.99 * var + 0.01 * v)
    else:
        mu, v = mean, var
    h = tf.nn.relu(tf.nn.batch_normalization(h, mu, v, o, g, 1e-3))
    if training:
        h = tf.nn.dropout(h, rate=0.3)
    return h @ w2 + b2
#deco
def train(x, y):
    with tf.GradientTape() as tape:
        logits = net(x, True)
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(y, logits))
    accuracy = tf.reduce_mean(tf.cast(tf.argmax(logits, 1) == y, tf.float32))  # of a training step: no evaluation
    v = [w1, b1, g, o, w2, b2]
    for w, d in zip(v, tape.gradient(loss, v)):
        w.assign_sub(0.01 * d)
    return accuracy
#deco
def accuracy(x, y):
    return tf.reduce_mean(tf.cast(tf.argmax(net(x, False), 1) == y, tf.float32))
def evaluate(x, y):
    return np.mean([float(accuracy(x[i : i + 35], y[i : i + 35])) for i in range(0, len(x), 35)])
for epoch in range(2):
    for i in range(0, 128, 32):
        train(x[i : i + 32], y[i : i + 32])
    print(evaluate(xt, yt), evaluate(x, y))
"""
)


@pytest.fixture
def files(tmp_path):
    """Write scripts into the test's folder."""

    def write(**scripts: str) -> None:
        for name, text in scripts.items():
            (tmp_path / f"{name}.py").write_text(dedent(text))

    return write


@pytest.fixture
def judged(tfdiff):
    """Record a.py, b.py from its start, and compare."""

    def run(*options: str) -> dict:
        options = options or ("--steps", "0")
        for command in (("a.py",), ("--reference", "a.h5", "b.py")):
            ran = tfdiff("record", "--quiet", "--force", *options, *command)
            assert (ran.code, ran.talk) == (0, []), ran.err
        return json.loads(tfdiff("diff", "a.h5", "b.h5", "--json", "-").out)

    return run


def passes(path) -> list[tuple]:
    """Kind, steps before, batches, rows, and the names of the metrics of all passes."""
    with open_trace(path) as trace:
        found = [trace.eval(number).evaluation for number in range(trace.evals)]
    return [(e.kind, e.after, e.batches, e.rows, sorted(e.metrics)) for e in found]


def test_fit_against_a_loop(files, judged, tmp_path):
    """Validation, `evaluate` and `predict` are passes of their own, as are hand-written ones; equal ones agree."""
    files(a=FIT, b=RAW.replace("#deco", "@tf.function"))
    result = judged()
    names = ["accuracy", "loss"]
    assert passes(tmp_path / "a.h5") == [
        ("evaluate", 4, 3, 70, names),
        ("evaluate", 8, 3, 70, names),
        ("evaluate", 8, 2, 70, names),
        ("predict", 8, 3, 70, []),
    ]
    assert passes(tmp_path / "b.h5") == [
        ("forward", 4, 2, 70, []),
        ("forward", 4, 4, 128, []),
        ("forward", 8, 2, 70, []),
        ("forward", 8, 4, 128, []),
    ]
    assert (result["verdict"], result["first"]) == ("equivalent", None), result
    assert result["steps"]["compared"] == 8
    assert result["evaluations"] == {"a": 4, "b": 4, "compared": 2}
    assert result["shared"]["weights"]["shared"] == 8


@pytest.mark.parametrize(
    ("planted", "code"),
    [
        (("argmax(net(x, False), 1)", "argmax(net(x, True), 1)"), "eval-mode"),
        (("evaluate(xt, yt)", "evaluate(xt * 255, yt)"), "eval-data"),
        (("tf.argmax(net(x, False), 1) == y", "tf.nn.in_top_k(y, net(x, False), 2)"), "eval-metric"),
    ],
)
def test_planted(files, judged, planted, code):
    """A fault of the evaluation alone is found there, training being equal."""
    assert planted[0] in RAW
    files(
        a=FIT.replace("keras.layers.BatchNormalization(), ", ""),
        b=_without_norm(RAW).replace("#deco", "").replace(*planted),
    )
    result = judged()
    assert (result["first"] or {}).get("phase") == "eval", result
    assert result["causes"][0]["code"] == code
    assert result["first"]["b"]["called"].startswith("b.py:")


BINARY = (
    DATA
    + """
x, xt = x - 0.5, xt - 0.5
y, yt = (x[:, 0] > 0).astype("float32"), (xt[:, 0] > 0).astype("float32")
import keras, tensorflow as tf
keras.utils.set_random_seed(1)
m = keras.Sequential([keras.Input((10,)), keras.layers.Dense(1, activation="sigmoid")])
m.compile(keras.optimizers.SGD(1.0), "binary_crossentropy", metrics=["accuracy"])
m.fit(x, y, batch_size=32, epochs=2, shuffle=False, verbose=0)
"""
)


@pytest.mark.parametrize(
    ("measured", "formula"),
    [
        ("m.evaluate(xt, yt, batch_size=35, verbose=0)", None),
        ("tf.reduce_mean(tf.cast(tf.equal(tf.cast(m(xt)[:, 0] > 0.5, tf.float32), yt), tf.float32))", None),
        ("tf.reduce_mean(tf.cast(tf.equal(tf.round(m(xt)), yt), tf.float32))", "each output against every label"),
    ],
)
def test_accuracy_of_one_output(files, judged, measured, formula):
    """A column of outputs against labels without one compares all with all; without that two ways are equal."""
    files(a=BINARY + "print(m.evaluate(xt, yt, batch_size=35, verbose=0))\n", b=BINARY + f"print({measured})\n")
    result = judged()
    found = [(cause["code"], cause["constants"]) for cause in result["causes"]]
    assert found == ([] if formula is None else [("eval-metric", {"a": "output > 0.5", "b": formula})])


SESSION = (
    DATA
    + """
import tensorflow.compat.v1 as tf
tf.disable_v2_behavior()
xs, ys = tf.placeholder(tf.float32, [None, 10]), tf.placeholder(tf.int64, [None])
training = tf.placeholder_with_default(False, [])
w1, w2 = tf.get_variable("w1", [10, 16]), tf.get_variable("w2", [16, 3])
mean = tf.get_variable("mean", [16], initializer=tf.zeros_initializer(), trainable=False)
var = tf.get_variable("var", [16], initializer=tf.ones_initializer(), trainable=False)
h = tf.matmul(xs, w1)
mu, v = tf.nn.moments(h, [0])  # of the test batch, too: nobody takes them there
def batch():
    with tf.control_dependencies([mean.assign(0.9 * mean + 0.1 * mu), var.assign(0.9 * var + 0.1 * v)]):
        return tf.identity(mu), tf.identity(v)
mu, v = tf.cond(training, batch, lambda: (tf.identity(mean), tf.identity(var)))
logits = tf.matmul(tf.nn.relu((h - mu) / tf.sqrt(v + 1e-3)), w2)
loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=ys, logits=logits))
accuracy = tf.reduce_mean(tf.cast(tf.equal(tf.argmax(logits, 1), ys), tf.float32))
train = tf.train.GradientDescentOptimizer(0.01).minimize(loss)
with tf.Session() as s:
    s.run(tf.global_variables_initializer())
    for i in range(0, 128, 32):
        s.run(train, {xs: x[i : i + 32], ys: y[i : i + 32], training: True})
    print(s.run(accuracy, {xs: xt, ys: yt, training: False}))
"""
)
LAYERS = (
    DATA
    + """
import keras
keras.utils.set_random_seed(1)
m = keras.Sequential([
    keras.Input((10,)), keras.layers.Dense(16, use_bias=False),
    keras.layers.BatchNormalization(momentum=0.9, center=False, scale=False), keras.layers.ReLU(),
    keras.layers.Dense(3, activation="softmax", use_bias=False)])
m.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
m.fit(x, y, batch_size=32, shuffle=False, verbose=0)
print(m.evaluate(xt, yt, batch_size=35, verbose=0))
"""
)


@pytest.mark.parametrize("training", [False, True])
def test_statistics_that_nobody_takes_are_no_output(files, judged, training):
    """Moments of the test batch that a condition leaves aside are no result of the evaluation."""
    files(a=LAYERS, b=SESSION.replace("training: False", f"training: {training}"))
    assert [cause["code"] for cause in judged()["causes"]] == (["eval-mode"] if training else [])


def _without_norm(text: str) -> str:
    """The program without its batch normalization."""
    start, end = text.index("    if training:\n        mu"), text.index("    if training:\n        h = tf.nn.dropout")
    text = text[:start] + "    h = tf.nn.relu(h)\n" + text[end:]
    return text.replace("g, o = ", "# ").replace("mean, var = ", "# ").replace("g, o, w2", "w2")


def test_norm_by_the_test_batch(files, judged):
    """A batch normalization that uses the test batch's statistics is told from one that uses the moving ones."""
    text = KERAS + "m.fit(x, y, batch_size=32, epochs=1, shuffle=False, verbose=0)\n"
    left = "m.layers[-2].rate = 0.0\nprint((m(xt, training=True).numpy().argmax(1) == yt).mean())\n"
    files(a=text + "m.evaluate(xt, yt, verbose=0)\n", b=text + left)
    result = judged()
    assert result["first"]["phase"] == "eval"
    assert result["first"]["a"]["layer"] == "batch_normalization"
    assert [cause["code"] for cause in result["causes"]] == ["eval-mode"]


def test_steps_stop_the_script(files, tfdiff, tmp_path):
    """With `--steps N` evaluations between the steps are recorded, those behind the last one are not reached."""
    files(a=FIT)
    assert tfdiff("record", "--quiet", "--steps", "6", "a.py").code == 0
    assert [each[:2] for each in passes(tmp_path / "a.h5")] == [("evaluate", 4)]


def test_the_output_of_a_compiled_evaluation_is_what_the_model_returned(files, tfdiff, tmp_path):
    """The losses per row that are computed behind it in the same function are none."""
    files(a=FIT)
    assert tfdiff("record", "--quiet", "--steps", "6", "a.py").code == 0
    with open_trace(tmp_path / "a.h5") as trace:
        block = trace.eval(0)
        assert [block.observations[i].site.op for i in block.evaluation.outputs] == ["Softmax"]


def test_building_is_no_pass(files, tfdiff, tmp_path):
    """Symbolic calls, summaries and weights that are looked at are no passes; a call that is thrown away is one."""
    files(
        a=KERAS + "m.summary()\nm(keras.Input((10,)))\nm(xt)\nm.fit(x, y, verbose=0)\nprint(m.get_weights()[0].sum())\n"
    )
    assert tfdiff("record", "--quiet", "a.py").code == 0
    assert passes(tmp_path / "a.h5") == [("forward", 0, 1, 70, [])]


PREDICT = """
import tensorflow as tf
w1, b1 = tf.Variable(tf.random.uniform((10, 16), -0.4, 0.4)), tf.Variable(tf.zeros(16))
w2, b2 = tf.Variable(tf.random.uniform((16, 3), -0.4, 0.4)), tf.Variable(tf.zeros(3))
#deco
def net(x):
    return tf.nn.softmax(tf.nn.relu(x @ w1 + b1) @ w2 + b2)
w1.assign(tf.random.uniform((10, 16), -0.3, 0.3))  # weights that are loaded after all
for i in range(0, 70, 35):
    print(net(xt[i : i + 35]).shape)
"""


@pytest.mark.parametrize(("deco", "fault"), [("", False), ("@tf.function", True)])
def test_only_predicts(files, judged, deco, fault):
    """Where nothing trains each forward pass is a step: weights and batches are shared, the first layer that parts is
    found.
    """
    text = DATA + PREDICT.replace("#deco", deco)
    a = KERAS.replace("keras.layers.BatchNormalization(), ", "") + "m.predict(xt, batch_size=35, verbose=0)\n"
    files(
        a=a,
        b=text.replace("xt = r.rand", "xt = 0.5 + r.rand") if not fault else text.replace("tf.nn.relu", "tf.nn.elu"),
    )
    result = judged("--steps", "10")
    assert result["steps"] == {"a": 2, "b": 2, "compared": 2, "horizon": None}
    assert result["shared"]["weights"] == {"shared": 4, "a": 4, "b": 4}
    assert result["shared"]["batches"] is not False
    if not fault:
        assert result["first"] is None, result
        return
    assert (result["first"]["phase"], result["first"]["a"]["layer"]) == ("forward", "re_lu")
    assert "activation" in [cause["code"] for cause in result["causes"]]


def test_trains_against_predicts(files, tfdiff):
    """A program that trains and one that never does cannot be compared, and the message says so."""
    files(a=FIT, b=DATA + PREDICT)
    for command in (("a.py",), ("--reference", "a.h5", "b.py")):
        assert tfdiff("record", "--quiet", *command).code == 0
    ran = tfdiff("diff", "a.h5", "b.h5")
    assert ran.code == 3
    assert "b.h5 never does" in ran.err
