"""Programs that are no plain chain of layers: what is a step of them, and what is in it."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import pytest

import tfdiff
from tfdiff.errors import NoStepsError
from tfdiff.trace.reader import open_trace

if TYPE_CHECKING:
    from collections.abc import Iterator

X = np.random.RandomState(1).normal(size=(64, 6)).astype("float32")
Y = np.random.RandomState(2).randint(0, 3, size=64).astype("int64")


@pytest.fixture(params=["eager", "function"])
def wrap(request, tf):
    """Each step as written, and compiled."""
    return tf.function if request.param == "function" else (lambda function: function)


@pytest.fixture
def recording(tmp_path):
    """Record a block, then look into its trace."""
    path = tmp_path / "a.h5"

    class Found:
        """The trace, and each step's observations."""

        def __init__(self) -> None:
            self.trace = None

        def count(self, step: int) -> Counter:
            """How many observations of each role the step has."""
            return Counter(o.site.role for o in self.trace.step(step).observations)

        def arrays(self, step: int, role: str, **site: object) -> list[np.ndarray]:
            """The arrays of a role."""
            block = self.trace.step(step)
            chosen = [
                o
                for o in block.observations
                if o.site.role == role and all(getattr(o.site, k) == v for k, v in site.items())
            ]
            return [block.array(o.index) for o in chosen]

    found = Found()

    @contextmanager
    def start() -> Iterator[Found]:
        with tfdiff.record(path, steps=0, quiet=True):
            yield found
        found.trace = open_trace(path).__enter__()

    yield start
    if found.trace is not None:
        found.trace.__exit__(None, None, None)


def crossentropy(tf, y, logits):
    """Mean softmax crossentropy."""
    return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=logits))


@pytest.mark.parametrize("style", ["fit", "fit_eagerly", "loop", "function"])
def test_batch_norm(tf, recording, style):
    """Moving statistics are states of the step, as read by nobody, as assigned, and as they stand afterwards."""
    with recording() as found:
        layers = tf.keras.layers
        norm = layers.BatchNormalization(momentum=0.9)
        model = tf.keras.Sequential([tf.keras.Input((6,)), norm, layers.Dense(3)])
        loss_of = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        optimizer = tf.keras.optimizers.SGD(0.1)
        if style.startswith("fit"):
            model.compile(optimizer, loss_of, run_eagerly=style == "fit_eagerly")
            model.fit(X[:32], Y[:32], batch_size=16, shuffle=False, verbose=0, validation_data=(X, Y))
        else:
            optimizer.build(model.trainable_variables)

            def step(x, y):
                with tf.GradientTape() as tape:
                    loss = loss_of(y, model(x, training=True))
                gradients = tape.gradient(loss, model.trainable_variables)
                optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))

            step = tf.function(step) if style == "function" else step
            for start in (0, 16):
                step(tf.constant(X[start : start + 16]), tf.constant(Y[start : start + 16]))
    assert found.trace.steps == 2
    kinds = {v.name.rpartition("/")[2]: v for v in found.trace.variables.values() if v.kind == "state"}
    assert set(kinds) == {"moving_mean", "moving_variance"}
    mean = np.zeros(6, "float32")
    for step in range(2):
        rows = X[step * 16 : step * 16 + 16]
        mean = 0.9 * mean + 0.1 * rows.mean(0)
        (after,) = found.arrays(step, "state", op="", variable=kinds["moving_mean"].index)
        np.testing.assert_allclose(after, mean, rtol=1e-4, atol=1e-6)
        assert len(found.arrays(step, "assign", phase="state")) == 2
        assert found.count(step)["input"] == 2
    assert found.count(0) == found.count(1) or style == "fit_eagerly"
    assert {v.layer for v in kinds.values()} == {f"{model.name}/{norm.name}"}


def test_evaluation_after_an_epoch(tf, recording):
    """Eager evaluation behind the last step of an epoch leaves that step as it is."""
    with recording() as found:
        model = tf.keras.Sequential([tf.keras.Input((6,)), tf.keras.layers.Dense(3)])
        loss_of = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile("sgd", loss_of, metrics=["accuracy"], run_eagerly=True)
        model.fit(X[:48], Y[:48], batch_size=16, verbose=0, epochs=2, validation_data=(X, Y))
    assert found.trace.steps == 6
    counts = [found.count(step) for step in range(1, 6)]  # step 0 also makes the optimizer's variables
    assert counts == [counts[0]] * 5


def test_accumulation(tf, recording, wrap):
    """Each micro-batch is a step; only every second one is applied."""
    w = tf.Variable(np.ones((6, 3), "float32"))
    total = tf.Variable(tf.zeros((6, 3)), trainable=False)
    with recording() as found:

        @wrap
        def micro(x, y):
            with tf.GradientTape() as tape:
                loss = crossentropy(tf, y, x @ w)
            total.assign_add(tape.gradient(loss, w))

        @wrap
        def update():
            w.assign_sub(0.1 * total / 2)
            total.assign(tf.zeros_like(total))

        for k in range(4):
            micro(tf.constant(X[k * 16 : k * 16 + 16]), tf.constant(Y[k * 16 : k * 16 + 16]))
            if k % 2:
                update()
    assert found.trace.steps == 4
    assert [found.trace.step(k).info.applied for k in range(4)] == [False, True, False, True]
    assert [len(found.arrays(k, "assign")) for k in range(4)] == [1, 3, 1, 3]
    gradients = [found.arrays(k, "weight gradient")[0] for k in range(2)]
    (before,) = {a.tobytes() for a in found.arrays(0, "weight", phase="forward")}
    (after,) = found.arrays(1, "weight", op="", phase="update")
    start = np.frombuffer(before, "float32").reshape(6, 3)
    np.testing.assert_allclose(after, start - 0.1 * sum(gradients) / 2, rtol=1e-5, atol=1e-7)


def test_two_optimizers(tf, recording, wrap):
    """A GAN's two passes over one forward pass are two steps, each with its own gradients, noise and update."""
    g, d = (tf.keras.Sequential([tf.keras.Input((n,)), tf.keras.layers.Dense(m)]) for n, m in ((4, 6), (6, 1)))
    optimizers = tf.keras.optimizers.SGD(0.1), tf.keras.optimizers.SGD(0.2)
    optimizers[0].build(g.trainable_variables)
    optimizers[1].build(d.trainable_variables)
    with recording() as found:

        @wrap
        def step(x):
            noise = tf.random.normal((16, 4))
            with tf.GradientTape() as of_g, tf.GradientTape() as of_d:
                fake, real = d(g(noise)), d(x)
                loss_g = -tf.reduce_mean(fake)
                loss_d = tf.reduce_mean(fake) - tf.reduce_mean(real)
            gradients_g = of_g.gradient(loss_g, g.trainable_variables)
            gradients_d = of_d.gradient(loss_d, d.trainable_variables)
            optimizers[0].apply_gradients(zip(gradients_g, g.trainable_variables, strict=True))
            optimizers[1].apply_gradients(zip(gradients_d, d.trainable_variables, strict=True))

        for k in range(3):
            step(tf.constant(X[k * 16 : k * 16 + 16]))
    assert found.trace.steps == 6
    for k in range(6):
        counts, (optimizer,) = found.count(k), found.trace.step(k).info.optimizers
        assert optimizer["learning_rate"] == pytest.approx(0.2 if k % 2 else 0.1)
        assert optimizer["iterations"] == k // 2
        assert (counts["noise"], counts["weight gradient"], counts["applied gradient"]) == (1, 2, 2)
        assert counts["activation gradient"] >= 2
        shapes = {a.shape for a in found.arrays(k, "assign")}
        assert shapes == ({(6, 1), (1,)} if k % 2 else {(4, 6), (6,)})
        assert found.trace.step(k).info.applied


def test_two_tapes_one_after_the_other(tf, recording, wrap):
    """Two networks with tapes of their own, both updated at the end: each step has its own update."""
    w, v = (tf.Variable(np.full((6, 3), value, "float32")) for value in (0.1, 0.2))
    with recording() as found:

        @wrap
        def step(x):
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean(tf.square(x @ w))
            of_w = tape.gradient(loss, w)
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean(tf.abs(x @ v))
            of_v = tape.gradient(loss, v)
            w.assign_sub(0.1 * of_w)
            v.assign_sub(0.1 * of_v)

        for _ in range(2):
            step(tf.constant(X))
    assert found.trace.steps == 4
    for k in range(4):
        (assign,) = [o for o in found.trace.step(k).observations if o.site.role == "assign"]
        (gradient,) = [o for o in found.trace.step(k).observations if o.site.role == "weight gradient"]
        assert assign.site.variable == gradient.site.variable
    assert [found.trace.step(k).info.applied for k in range(4)] == [True] * 4


def test_gradient_penalty(tf, recording, wrap):
    """An inner gradient that feeds the loss is forward: one step, one loss."""
    d = tf.keras.Sequential(
        [tf.keras.Input((6,)), tf.keras.layers.Dense(4, activation="tanh"), tf.keras.layers.Dense(1)]
    )
    optimizer = tf.keras.optimizers.SGD(0.1)
    optimizer.build(d.trainable_variables)
    with recording() as found:

        @wrap
        def step(x):
            with tf.GradientTape() as tape:
                with tf.GradientTape() as inner:
                    inner.watch(x)
                    score = d(x)
                loss = tf.reduce_mean(score) + tf.reduce_mean(tf.square(inner.gradient(score, x)))
            gradients = tape.gradient(loss, d.trainable_variables)
            optimizer.apply_gradients(zip(gradients, d.trainable_variables, strict=True))

        for _ in range(2):
            step(tf.constant(X))
    assert found.trace.steps == 2
    ops = {o.site.op for o in found.trace.step(1).observations if o.site.phase == "forward"}
    assert "TanhGrad" in ops
    assert (found.count(1)["loss"], found.count(1)["weight gradient"]) == (1, 4)


def test_sparse_gradients(tf, recording, wrap):
    """An embedding's gradient is written densely, ids that repeat added up; what was read is the whole table."""
    table, ids = tf.Variable(np.ones((10, 4), "float32")), np.array([[1, 2, 1], [1, 9, 9]])
    with recording() as found:

        @wrap
        def step(x):
            with tf.GradientTape() as tape:
                loss = tf.reduce_sum(tf.gather(table, x))
            (gradient,) = tape.gradient(loss, [table])
            table.scatter_sub(tf.IndexedSlices(0.1 * gradient.values, gradient.indices))

        for _ in range(2):
            step(tf.constant(ids))
    assert found.trace.steps == 2
    (gradient,) = found.arrays(1, "weight gradient")
    assert gradient[:, 0].tolist() == [0, 3, 1, 0, 0, 0, 0, 0, 0, 2]
    assert found.arrays(1, "weight", phase="forward")[0].shape == (10, 4)
    (after,) = found.arrays(1, "weight", op="", phase="update")
    np.testing.assert_allclose(after[:, 0], 1 - 0.2 * gradient[:, 0], rtol=1e-5)


def test_clipping(tf, recording, wrap):
    """What the tape gave and what the optimizer was handed are two sites."""
    w, optimizer = tf.Variable(np.ones((6, 3), "float32")), tf.keras.optimizers.SGD(0.1)
    optimizer.build([w])
    with recording() as found:

        @wrap
        def step(x, y):
            with tf.GradientTape() as tape:
                loss = crossentropy(tf, y, 9 * x @ w)
            gradients, _ = tf.clip_by_global_norm(tape.gradient(loss, [w]), 0.01)
            optimizer.apply_gradients(zip(gradients, [w], strict=True))

        step(tf.constant(X), tf.constant(Y))
    (given,), (applied,) = found.arrays(0, "weight gradient"), found.arrays(0, "applied gradient")
    assert np.linalg.norm(given) > 0.02
    np.testing.assert_allclose(np.linalg.norm(applied), 0.01, rtol=1e-4)


def test_branches_and_loops(tf, recording):
    """Control flow inside a compiled step: the branch that was taken and every iteration are there, others are not."""
    w = tf.Variable(np.full((6, 6), 0.1, "float32"))
    with recording() as found:

        @tf.function
        def step(x, k):
            with tf.GradientTape() as tape:
                h = x @ w
                h = tf.nn.relu(h) if k > 0 else tf.nn.tanh(h)
                for _ in tf.range(k + 1):
                    h = tf.sin(h @ w)
                loss = tf.reduce_mean(tf.square(h))
            gradient = tape.gradient(loss, w)
            if k > 1:
                w.assign_sub(0.1 * gradient)
            else:
                w.assign_sub(0.2 * gradient)

        for k in range(3):
            step(tf.constant(X), tf.constant(k))
    assert found.trace.steps == 3
    for k in range(3):
        ops = Counter(o.site.op for o in found.trace.step(k).observations if o.site.role == "activation")
        assert (ops["Tanh"], ops["Relu"]) == ((0, 1) if k else (1, 0))
        assert ops["Sin"] == k + 1
        assert len(found.arrays(k, "assign")) == 1
        assert len(found.arrays(k, "weight gradient")) == 1
        assert found.count(k)["activation gradient"] >= 3


def test_loop_of_steps_inside_a_function(tf, recording):
    """A training loop inside one compiled function: each iteration is a step, each has its batch."""
    w = tf.Variable(np.ones((6, 3), "float32"))
    with recording() as found:

        @tf.function
        def train(x, y):
            for _ in tf.range(5):
                with tf.GradientTape() as tape:
                    loss = crossentropy(tf, y, x @ w)
                w.assign_sub(0.1 * tape.gradient(loss, w))

        train(tf.constant(X), tf.constant(Y))
    assert found.trace.steps == 5
    assert [found.count(k)["input"] for k in range(5)] == [2] * 5
    losses = [float(found.arrays(k, "loss")[0]) for k in range(5)]
    assert losses == sorted(losses, reverse=True)


def test_step_inside_a_function_of_a_dataset(tf, tmp_path):
    """What tf.data runs in its own threads cannot be recorded: the error names the line and what to do."""
    w = tf.Variable(np.ones((6, 3), "float32"))
    rows = tf.data.Dataset.from_tensor_slices((X, Y)).batch(16)

    def train(count, batch):
        with tf.GradientTape() as tape:
            loss = crossentropy(tf, batch[1], batch[0] @ w)
        w.assign_sub(0.1 * tape.gradient(loss, w))
        return count + 1

    expected = r"step inside a function of tf\.data \(test_networks\.py:\d+\): .* loop over the dataset instead"
    with pytest.raises(NoStepsError, match=expected), tfdiff.record(tmp_path / "a.h5", quiet=True):
        rows.reduce(0, train)


def test_functions_inside_functions(tf, recording):
    """Layers and updates in compiled functions of their own are written out where they are called."""
    w = tf.Variable(np.ones((6, 3), "float32"))
    with recording() as found:

        @tf.function
        def layer(x):
            return tf.nn.relu(x @ w)

        @tf.function
        def update(gradient):
            w.assign_sub(0.1 * gradient)

        @tf.function
        def step(x):
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean(layer(x))
            update(tape.gradient(loss, w))

        for _ in range(2):
            step(tf.constant(X))
    assert found.trace.steps == 2
    ops = [o.site.op for o in found.trace.step(1).observations if o.site.role == "activation"]
    assert ops == ["MatMul", "Relu", "Mean"]
    assert found.count(1)["assign"] == 1


def test_recurrent_layer(tf, recording):
    """Every iteration of an LSTM under `fit` is written out."""
    with recording() as found:
        layers = [tf.keras.Input((5, 6)), tf.keras.layers.LSTM(4), tf.keras.layers.Dense(3)]
        model = tf.keras.Sequential(layers)
        model.compile("adam", tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        model.fit(np.stack([X] * 5, 1), Y, batch_size=32, verbose=0)
    assert found.trace.steps == 2
    ops = Counter(o.site.op for o in found.trace.step(1).observations if o.site.role == "activation")
    assert ops["Tanh"] == 10
    assert found.count(1)["weight gradient"] == 5


def test_custom_gradient(tf, recording, wrap):
    """A custom gradient is the one that is recorded."""
    w = tf.Variable(np.ones((6, 1), "float32"))

    @tf.custom_gradient
    def twice(x):
        return x, lambda upstream: 2 * upstream

    with recording() as found:

        @wrap
        def step(x):
            with tf.GradientTape() as tape:
                loss = tf.reduce_sum(twice(x @ w))
            w.assign_sub(0.01 * tape.gradient(loss, w))

        step(tf.constant(X))
    (gradient,) = found.arrays(0, "weight gradient")
    np.testing.assert_allclose(gradient[:, 0], 2 * X.sum(0), rtol=1e-5, atol=1e-5)
