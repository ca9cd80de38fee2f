"""Updates of real programs: tables, repeated updates, schedules and decays, in several ways of writing a program."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import tfdiff
from tests.recorder.conftest import Zygote

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tfdiff.model import Result

IDS = """
import numpy as np
r = np.random.RandomState(0)
x = r.randint(0, 40, (64, 6)).astype("int32"); y = r.randint(0, 3, 64)
"""
TABLE = (
    IDS
    + """
import keras, tensorflow as tf
keras.utils.set_random_seed(1)
m = keras.Sequential([
    keras.Input((6,), dtype="int32"), keras.layers.Embedding(40, 4), keras.layers.GlobalAveragePooling1D(),
    keras.layers.Dense(3)])
m.compile(keras.optimizers.OPTIMIZER, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
m.fit(x, y, batch_size=16, shuffle=False, verbose=0)
"""
)
OLD_TABLE = TABLE.replace("import keras,", "import tf_keras as keras,")
DENSE_TABLE = TABLE.replace(
    "m.compile(keras.optimizers.OPTIMIZER,",
    """class Dense(keras.optimizers.KIND):
    def apply(self, grads, trainable_variables=None):
        return super().apply([tf.convert_to_tensor(g) for g in grads], trainable_variables)
m.compile(Dense(0.01),""",
)
SESSION_TABLE = (
    IDS
    + """
import tensorflow.compat.v1 as tf
tf.disable_v2_behavior()
ids = tf.placeholder(tf.int32, [None, 6]); labels = tf.placeholder(tf.int64, [None])
table, w = tf.get_variable("table", [40, 4]), tf.get_variable("w", [4, 3])
b = tf.get_variable("b", [3], initializer=tf.zeros_initializer())
h = tf.reduce_mean(tf.nn.embedding_lookup(table, ids), axis=1)
loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=tf.matmul(h, w) + b))
train = tf.train.OPTIMIZER.minimize(loss)
with tf.Session() as s:
    s.run(tf.global_variables_initializer())
    for i in range(0, 64, 16):
        s.run(train, {ids: x[i : i + 16], labels: y[i : i + 16]})
"""
)
RAW_TABLE = (
    IDS
    + """
import tensorflow as tf
tf.random.set_seed(2)
table, w = tf.Variable(tf.random.uniform((40, 4), -0.05, 0.05)), tf.Variable(tf.random.normal((4, 3)) * 0.5)
b = tf.Variable(tf.zeros(3))
for i in range(0, 64, 16):
    with tf.GradientTape() as tape:
        h = tf.reduce_mean(tf.nn.embedding_lookup(table, x[i : i + 16]), axis=1)
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(y[i : i + 16], h @ w + b))
    g = tape.gradient(loss, [table, w, b])
    ids, rows = g[0].indices, g[0].values
    #rows
    table.scatter_update(tf.IndexedSlices(tf.gather(table, ids) - 0.5 * rows, ids))
    w.assign_sub(0.5 * g[1])
    b.assign_sub(0.5 * g[2])
"""
)
SUMMED = "ids, at = tf.unique(ids); rows = tf.math.unsorted_segment_sum(rows, at, tf.size(ids))"
NUMBERS = """
import numpy as np
r = np.random.RandomState(0)
x = r.rand(64, 10).astype("float32"); y = r.randint(0, 3, 64)
"""
NET = (
    NUMBERS
    + """
import keras, tensorflow as tf
keras.utils.set_random_seed(1)
m = keras.Sequential([keras.Input((10,)), keras.layers.Dense(16, activation="relu"), keras.layers.Dense(3)])
loss_of = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
"""
)
FIT = NET + "m.compile(keras.optimizers.OPTIMIZER, loss_of)\nm.fit(x, y, batch_size=16, shuffle=False, verbose=0)\n"
TAPE = (
    NET
    + """
optimizer = keras.optimizers.OPTIMIZER
@tf.function
def step(x, y):
    with tf.GradientTape() as tape:
        loss = loss_of(y, m(x, training=True))
    v = m.trainable_variables
    g = tape.gradient(loss, v)
    #before
    optimizer.apply_gradients(zip(g, v))
    #after
for i in range(0, 64, 16):
    step(x[i : i + 16], y[i : i + 16])
"""
)
RAW = (
    NUMBERS
    + """
import tensorflow as tf
tf.random.set_seed(2)
w1, b1 = tf.Variable(tf.random.uniform((10, 16), -0.4, 0.4)), tf.Variable(tf.zeros(16))
w2, b2 = tf.Variable(tf.random.uniform((16, 3), -0.5, 0.5)), tf.Variable(tf.zeros(3))
weights = [w1, b1, w2, b2]
for t, i in enumerate(range(0, 64, 16)):
    with tf.GradientTape() as tape:
        logits = tf.nn.relu(x[i : i + 16] @ w1 + b1) @ w2 + b2
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(y[i : i + 16], logits))
    for w, g in zip(weights, tape.gradient(loss, weights)):
        w.assign_sub(RATE * g)
"""
)
SCHEDULE = "SGD(keras.optimizers.schedules.PiecewiseConstantDecay([1], [0.1, 0.02]))"


def of(text: str, optimizer: str) -> str:
    """The program with an optimizer."""
    return text.replace("OPTIMIZER", optimizer)


ADAM = of(TABLE, "Adam(0.01)")


@pytest.fixture(scope="module")
def zygote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zygote]:
    """Processes in which TensorFlow is imported already."""
    started = Zygote(tmp_path_factory.mktemp("zygote"))
    yield started
    started.close()


@pytest.fixture
def compared(zygote: Zygote, tmp_path: Path) -> Callable[[str, str], Result]:
    """Record two programs, three steps each, and compare them."""

    def run(a: str, b: str) -> Result:
        for name, text, more in (("a", a, ()), ("b", b, ("--reference", "a.h5"))):
            (tmp_path / f"{name}.py").write_text(text)
            done = zygote.run("record", "--force", "--steps", 3, *more, f"{name}.py", cwd=tmp_path)
            assert done.code == 0, done.err
        return tfdiff.diff(tmp_path / "a.h5", tmp_path / "b.h5")

    return run


@pytest.mark.parametrize(
    ("a", "b", "constants"),
    [
        pytest.param(ADAM, of(SESSION_TABLE, "AdamOptimizer(0.01, epsilon=1e-7)"), ("squared", "summed"), id="session"),
        pytest.param(of(OLD_TABLE, "RMSprop(0.01)"), of(TABLE, "RMSprop(0.01)"), ("summed", "squared"), id="tf_keras"),
        pytest.param(of(TABLE, "SGD(0.5)"), RAW_TABLE, ("summed", "last"), id="scattered"),
        pytest.param(
            of(SESSION_TABLE, "MomentumOptimizer(0.5, 0.9)"), of(TABLE, "SGD(0.5, momentum=0.9)"), (1.0, 0.0), id="lazy"
        ),
    ],
)
def test_tables_whose_rows_are_treated_otherwise(compared, a, b, constants):
    """Keras 3 squares repeated rows one by one, others add them up; some leave rows that are not looked up."""
    result = compared(a, b)
    cause = next(cause for cause in result.causes if cause.phase == "update")
    assert cause.code == "optimizer-sparse-duplicates", cause
    assert cause.constants == {"a": constants[0], "b": constants[1]}
    assert cause.error_after < 1e-4


@pytest.mark.parametrize(
    ("a", "b"),
    [
        pytest.param(
            DENSE_TABLE.replace("KIND", "RMSprop"), of(OLD_TABLE, "RMSprop(0.01)"), id="dense gradients in Keras 3"
        ),
        pytest.param(of(TABLE, "SGD(0.5)"), RAW_TABLE.replace("#rows", SUMMED), id="rows added up"),
        pytest.param(of(TABLE, "SGD(0.5)"), of(SESSION_TABLE, "GradientDescentOptimizer(0.5)"), id="plain SGD"),
    ],
)
def test_tables_that_are_mended_are_equal(compared, a, b):
    """With dense gradients, or with rows that are added up, nothing is left; plain SGD does not mind."""
    assert [cause for cause in compared(a, b).causes if cause.phase != "init"] == []


def test_another_beta_of_a_table_is_no_treatment_of_rows(compared):
    """Where both sides square row by row, what differs is the beta."""
    cause = compared(ADAM, of(TABLE, "Adam(0.01, beta_2=0.9)")).causes[0]
    assert (cause.code, cause.constants) == (
        "optimizer-betas",
        {"a": pytest.approx(0.999), "b": pytest.approx(0.9)},
    )


@pytest.mark.parametrize(
    ("after", "weights"),
    [("optimizer.apply_gradients(zip(g, v))", 4), ("second.apply_gradients(zip(g[2:], v[2:]))", 2)],
)
def test_gradients_that_are_applied_twice(compared, after, weights):
    """By one optimizer or by a second one, all of them or those of one layer."""
    second = "second = keras.optimizers.Adam(0.01)\n@tf.function"
    b = of(TAPE, "Adam(0.01)").replace("#after", after).replace("@tf.function", second)
    cause = compared(of(FIT, "Adam(0.01)"), b).causes[0]
    assert (cause.code, cause.constants) == ("update-twice", {"a": 1, "b": 2})
    assert ("and 1 more" in cause.summary) == (weights == 4)


def test_gradients_that_are_applied_once_are_equal(compared):
    """The loop without the second call."""
    assert compared(of(FIT, "Adam(0.01)"), of(TAPE, "Adam(0.01)")).first is None


def test_a_boundary_that_is_one_step_early(compared):
    """Keras changes the rate behind the boundary, the loop at it."""
    a = of(FIT, SCHEDULE)
    cause = compared(a, RAW.replace("RATE", "(0.1 if t < 1 else 0.02)")).causes[-1]
    assert (cause.code, cause.step) == ("lr-schedule", 1)
    assert cause.constants == {"a": pytest.approx(0.1), "b": pytest.approx(0.02)}
    assert "B's schedule is 1 step ahead of A's (A: 0.1, from step 2 on 0.02; B: 0.1, from step 1 on 0.02)" in (
        cause.summary
    )
    assert compared(a, RAW.replace("RATE", "(0.1 if t <= 1 else 0.02)")).first is None


LOSS = "loss = loss_of(y, m(x, training=True))"
SCALED_OPTIMIZER = (
    of(TAPE, "LossScaleOptimizer(keras.optimizers.Adam(RATE), initial_scale=1024.0)")
    .replace(LOSS, f"{LOSS}; scaled = optimizer.scale_loss(loss)")
    .replace("tape.gradient(loss", "tape.gradient(scaled")
)
SCALED_BY_HAND = of(TAPE, "Adam(0.01)").replace(LOSS, f"{LOSS} * 128.0")


@pytest.mark.parametrize(
    ("b", "expected"),
    [
        pytest.param(SCALED_OPTIMIZER.replace("RATE", "0.01"), [], id="taken out by the optimizer"),
        pytest.param(SCALED_BY_HAND.replace("#before", "g = [each / 128.0 for each in g]"), [], id="taken out by hand"),
        pytest.param(SCALED_BY_HAND, [("grad-scale", {"a": 1.0, "b": 128.0})], id="left in"),
        pytest.param(
            SCALED_BY_HAND.replace("128.0", "0.3"),
            [("loss-weights", {"a": 1.0, "b": pytest.approx(0.3)})],
            id="a weight, no scale",
        ),
        pytest.param(
            SCALED_OPTIMIZER.replace("RATE", "0.001"),
            [("lr", {"a": pytest.approx(0.01), "b": pytest.approx(0.001)})],
            id="another rate behind it",
        ),
    ],
)
def test_loss_scales(compared, b, expected):
    """A loss scale that is taken out of the gradients again is no difference; one that is left in is."""
    assert [(cause.code, cause.constants) for cause in compared(of(FIT, "Adam(0.01)"), b).causes] == expected


def test_another_loss_is_no_scale_because_clipping_hides_it(compared):
    """Gradients clipped to one norm are equal whatever the loss is multiplied by: the loss is told all the same."""
    optimizer = "Adam(0.01, global_clipnorm=0.001)"
    assert compared(of(FIT, optimizer), of(TAPE, optimizer)).first is None
    cause = compared(of(FIT, optimizer), of(TAPE, optimizer).replace(LOSS, f"{LOSS} * 16.0")).causes[0]
    assert (cause.code, cause.constants) == ("grad-scale", {"a": 1.0, "b": pytest.approx(16.0)})


def test_gradients_that_an_adaptive_optimizer_is_handed_in_another_size(compared):
    """Adam's updates hardly show it, what it is handed does."""
    b = of(TAPE, "Adam(0.01)").replace("#before", "g = [100.0 * each for each in g]")
    cause = compared(of(FIT, "Adam(0.01)"), b).causes[0]
    assert (cause.code, cause.constants) == ("grad-scale", {"a": 1.0, "b": pytest.approx(100.0)})


def test_a_decay_written_into_the_gradients_of_adam(compared):
    """Added before the moments it is not what AdamW does."""
    b = of(TAPE, "Adam(0.01)").replace("#before", "g = [each + 0.02 * w for each, w in zip(g, v)]")
    cause = compared(of(FIT, "AdamW(0.01, weight_decay=0.02)"), b).causes[0]
    assert (cause.code, cause.constants) == ("weight-decay", {"a": 0.0, "b": pytest.approx(0.02, rel=0.02)})
    assert "AdamW(weight_decay=0.02)" in cause.fix
