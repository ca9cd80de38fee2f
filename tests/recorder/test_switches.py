"""What recording has to change, and what it cannot see, is named in the trace."""

from __future__ import annotations

import numpy as np
import pytest

import tfdiff
from tfdiff.errors import NoStepsError
from tfdiff.trace.reader import open_trace

X = np.random.RandomState(1).normal(size=(64, 6)).astype("float32")
Y = np.random.RandomState(2).normal(size=(64, 1)).astype("float32")


def model_of(tf, **options):
    """A compiled model."""
    model = tf.keras.Sequential([tf.keras.Input((6,)), tf.keras.layers.Dense(1)])
    model.compile(tf.keras.optimizers.SGD(0.1), "mse", **options)
    return model


def what(entries) -> list[str]:
    """What they name."""
    return [entry["what"] for entry in entries]


def test_steps_per_execution_and_jit_compile_of_fit(tf, tmp_path):
    """Each of `fit`'s steps is recorded although eight were to run at once under XLA, and both are named."""
    path = tmp_path / "a.h5"
    with tfdiff.record(path, steps=0, quiet=True):
        model_of(tf, steps_per_execution=8, jit_compile=True).fit(X, Y, batch_size=4, verbose=0)
    with open_trace(path) as trace:
        assert trace.steps == 16
        assert sorted(what(trace.header.switched_off)) == ["jit_compile", "steps_per_execution"]
        assert all(entry["why"] for entry in trace.header.switched_off)
        assert {"loss", "weight gradient", "activation gradient"} <= {o.site.role for o in trace.step(15).observations}


def test_jit_compile_of_a_function(tf, tmp_path):
    """A `tf.function(jit_compile=True)` is recorded without XLA and named; one that is never called is not."""
    w = tf.Variable(np.ones((6, 1), "float32"))
    path = tmp_path / "a.h5"
    with tfdiff.record(path, quiet=True):

        @tf.function(jit_compile=True)
        def step(x, y):
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean(tf.square(x @ w - y))
            w.assign_sub(0.1 * tape.gradient(loss, w))

        @tf.function(jit_compile=True)
        def unused(x):
            return x

        step(tf.constant(X), tf.constant(Y))
        step(tf.constant(X), tf.constant(Y))
    assert unused is not None
    with open_trace(path) as trace:
        assert trace.steps == 2
        assert what(trace.header.switched_off) == ["jit_compile of step"]
        assert "input" in {o.site.role for o in trace.step(1).observations}


def test_nothing_is_named_where_nothing_was_changed(tf, tmp_path):
    """A run without XLA has nothing switched off."""
    path = tmp_path / "a.h5"
    with tfdiff.record(path, quiet=True):
        model_of(tf, jit_compile=False).fit(X, Y, verbose=0)
    with open_trace(path) as trace:
        assert (trace.header.switched_off, trace.header.not_recorded) == ((), ())


def test_function_traced_before(tf, tmp_path):
    """A training function that was traced before the recording began: the error names it."""
    w = tf.Variable(np.ones((6, 1), "float32"))

    @tf.function
    def step(x, y):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(x @ w - y))
        w.assign_sub(0.1 * tape.gradient(loss, w))

    step(tf.constant(X), tf.constant(Y))
    path = tmp_path / "a.h5"
    with pytest.raises(NoStepsError, match=r"step.*traced before"), tfdiff.record(path, quiet=True):
        step(tf.constant(X), tf.constant(Y))
    assert not path.exists()


def test_function_traced_before_beside_one_that_is_seen(tf, tmp_path):
    """Where other steps were recorded, the function that was not is named in the trace."""
    w = tf.Variable(np.ones((6, 1), "float32"))

    @tf.function
    def features(x):
        return tf.nn.relu(x)

    features(tf.constant(X))
    path = tmp_path / "a.h5"
    with tfdiff.record(path, quiet=True):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(features(tf.constant(X)) @ w - Y))
        w.assign_sub(0.1 * tape.gradient(loss, w))
    with open_trace(path) as trace:
        assert trace.steps == 1
        named = what(trace.header.not_recorded)
        seen = {o.site.op for o in trace.step(0).observations}
        assert ("Relu" in seen) or any("features" in name for name in named)


def test_model_that_was_fitted_before(tf, tmp_path):
    """`fit` again inside a recording: its function was traced before; the error says so."""
    model = model_of(tf)
    model.fit(X, Y, batch_size=32, verbose=0)
    path = tmp_path / "a.h5"
    with pytest.raises(NoStepsError, match="traced before"), tfdiff.record(path, quiet=True):
        model.fit(X, Y, batch_size=32, verbose=0)
    assert not path.exists()


@pytest.mark.parametrize("kind", ["evaluate", "predict"])
def test_evaluation_is_no_step(tf, tmp_path, kind):
    """Evaluation between two fits adds no step and changes none."""
    path = tmp_path / "a.h5"
    with tfdiff.record(path, steps=0, quiet=True):
        model = model_of(tf)
        model.fit(X, Y, batch_size=32, verbose=0)
        getattr(model, kind)(X, verbose=0, **({"y": Y} if kind == "evaluate" else {}))
        model.fit(X, Y, batch_size=32, verbose=0)
    with open_trace(path) as trace:
        assert trace.steps == 4
        shapes = [sorted(o.shape for o in trace.step(k).observations if o.site.role == "input") for k in range(4)]
        assert shapes == [[(32, 1), (32, 6)]] * 4
