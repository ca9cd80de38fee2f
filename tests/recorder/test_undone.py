"""After a recording TensorFlow and Keras are what they were, on the very objects that were patched."""

from __future__ import annotations

import contextlib
import sys

import numpy as np
import pytest

import tfdiff
from tfdiff.errors import NoStepsError, NotBuiltError, UsageError
from tfdiff.trace.reader import open_trace


def owners(tf):
    """Every object that the hooks change, and a few that they might."""
    from keras.src.backend.tensorflow import core
    from keras.src.backend.tensorflow.trainer import TensorFlowTrainer
    from keras.src.layers.layer import Layer
    from keras.src.losses.loss import Loss
    from keras.src.metrics.metric import Metric
    from keras.src.optimizers.base_optimizer import BaseOptimizer
    from keras.src.trainers.compile_utils import CompileLoss
    from keras.src.trainers.trainer import Trainer
    from tensorflow.python import pywrap_tfe
    from tensorflow.python.data.ops import dataset_ops
    from tensorflow.python.eager import backprop
    from tensorflow.python.eager.polymorphic_function import atomic_function, polymorphic_function
    from tensorflow.python.framework import constant_op, ops
    from tensorflow.python.ops import resource_variable_ops

    return [
        pywrap_tfe, dataset_ops.DatasetV2, backprop.GradientTape, atomic_function, atomic_function.AtomicFunction,
        polymorphic_function.Function, constant_op, ops, resource_variable_ops.BaseResourceVariable,
        core.Variable, TensorFlowTrainer, Layer, Loss, Metric, BaseOptimizer, CompileLoss, Trainer, tf, tf.keras.Model,
    ]  # fmt: skip


def photograph(tf):
    """Every attribute of every owner, as it stands in the owner's own dictionary."""
    return {(repr(owner), name): value for owner in owners(tf) for name, value in vars(owner).items()}


def changed(before, after):
    """Names whose value is another object now (caches and counters, which change anyway, left out)."""
    own = {"_abc_impl", "__doc__", "_cache_version"}
    return sorted(
        f"{owner} {name}"
        for owner, name in before.keys() | after.keys()
        if name not in own and before.get((owner, name)) is not after.get((owner, name))
    )


def hooked():
    """What else a recording sets up."""
    from tensorflow.python.eager import context

    return len(context.context().op_callbacks), len(sys.meta_path)


def train(tf):
    """One step."""
    w = tf.Variable([1.0, 2.0])
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.square(w))
    w.assign_sub(0.1 * tape.gradient(loss, w))


@pytest.mark.parametrize("ends", ["well", "raises", "no steps", "stops inside a tape"])
def test_nothing_stays_patched(tf, tmp_path, ends):
    """However the block ends, no attribute of TensorFlow or Keras is another object than before."""
    before, rest = photograph(tf), hooked()
    expected = {"raises": ValueError, "no steps": NoStepsError, "stops inside a tape": ValueError}.get(ends)
    with (
        pytest.raises(expected) if expected else contextlib.nullcontext(),
        tfdiff.record(tmp_path / "a.h5", quiet=True),
    ):
        inside = changed(before, photograph(tf))
        assert len(inside) > 15
        assert hooked() == (rest[0] + 1, rest[1] + 1)
        if ends != "no steps":
            train(tf)
        if ends == "raises":
            int("x")
        if ends == "stops inside a tape":
            with tf.GradientTape():
                ["x"].index("y")
    assert changed(before, photograph(tf)) == []
    assert hooked() == rest


def test_users_own_patch_survives(tf, tmp_path, monkeypatch):
    """A patch that the user's code had made before is there again afterwards, and was called meanwhile."""
    calls = []
    original = tf.GradientTape.gradient

    def mine(self, *args, **kwargs):
        calls.append(1)
        return original(self, *args, **kwargs)

    monkeypatch.setattr(tf.GradientTape, "gradient", mine)
    with tfdiff.record(tmp_path / "a.h5", quiet=True):
        train(tf)
    assert tf.GradientTape.gradient is mine
    assert calls == [1]


def test_results_are_not_changed_in_kind(tf, tmp_path):
    """Under a recording the gradient call returns the structure that was asked for, and nothing more."""
    w, b = tf.Variable([1.0, 2.0]), tf.Variable(3.0)
    with tfdiff.record(tmp_path / "a.h5", quiet=True):
        with tf.GradientTape(persistent=True) as tape:
            loss = tf.reduce_sum(tf.square(w)) * b
        found = tape.gradient(loss, {"w": w, "more": [b]})
        alone = tape.gradient(loss, w)
        none = tape.gradient(loss, [w, tf.Variable(1.0)])
        zero = tape.gradient(loss, [tf.Variable([1.0])], unconnected_gradients=tf.UnconnectedGradients.ZERO)
        w.assign_sub(found["w"])
    assert isinstance(found, dict)
    assert found["w"].numpy().tolist() == [6.0, 12.0]
    assert [g.numpy() for g in found["more"]] == [5.0]
    assert alone.numpy().tolist() == [6.0, 12.0]
    assert none[1] is None
    assert zero[0].numpy().tolist() == [0.0]


def test_zeros_are_for_the_sources_that_are_asked_for(tf, tmp_path):
    """Behind a stopped gradient the tape knows no activation: none of them has a gradient of zero in the trace."""
    v, w = tf.Variable([[1.0, 2.0]]), tf.Variable([[3.0], [4.0]])
    with tfdiff.record(tmp_path / "a.h5", quiet=True):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.stop_gradient(tf.tanh(v)) @ w)
        zero, found = tape.gradient(loss, [v, w], unconnected_gradients="zero")
        v.assign_sub(zero)
        w.assign_sub(found)
    assert zero.numpy().tolist() == [[0.0, 0.0]]
    with open_trace(tmp_path / "a.h5") as trace:
        seen = [o for o in trace.step(0).observations if o.site.role == "activation gradient"]
        assert all(o.stats.norm > 0.0 for o in seen)


def test_errors_of_the_block_are_the_blocks(tf, tmp_path):
    """TensorFlow's own errors come out of a recording as they are; what was recorded before stays readable."""
    path = tmp_path / "a.h5"

    def block():
        train(tf)
        train(tf)
        tf.matmul(tf.ones((2, 3)), tf.ones((2, 3)))

    with pytest.raises(tf.errors.InvalidArgumentError), tfdiff.record(path, quiet=True):
        block()
    with open_trace(path) as trace:
        assert trace.steps == 2
        assert (trace.end.complete, trace.end.exit_code) == (False, 1)
        assert "exception" in trace.end.why


def test_two_recordings_in_a_row(tf, tmp_path):
    """A second recording in the same process holds its own steps only, with equal values for equal runs."""
    for name in ("a.h5", "b.h5"):
        with tfdiff.record(tmp_path / name, quiet=True):
            train(tf)
    with open_trace(tmp_path / "a.h5") as a, open_trace(tmp_path / "b.h5") as b:
        assert (a.steps, b.steps) == (1, 1)
        ops = [[(o.site.role, o.site.op, o.shape) for o in t.step(0).observations] for t in (a, b)]
        assert ops[0] == ops[1]
    assert tfdiff.diff(tmp_path / "a.h5", tmp_path / "b.h5").verdict == "equivalent"


def test_the_block_goes_on_after_its_steps(tf, tmp_path):
    """`steps` says how many are kept; the block runs to its end, unwatched."""
    path, done = tmp_path / "a.h5", []
    with tfdiff.record(path, steps=2, quiet=True):
        for index in range(5):
            train(tf)
            done.append(index)
    with open_trace(path) as trace:
        assert (trace.steps, done) == (2, [0, 1, 2, 3, 4])
        assert trace.end.complete


def test_bad_arguments_of_record(tmp_path):
    """What cannot be is refused before anything is patched or written."""
    there = tmp_path / "there.h5"
    there.write_text("precious")
    with pytest.raises(UsageError, match=r"there\.h5"):
        tfdiff.record(there).__enter__()
    for wrong in ({"share": ["wights"]}, {"detail": "all"}, {"steps": -1}):
        with pytest.raises(UsageError):
            tfdiff.record(tmp_path / "a.h5", **wrong)
    with pytest.raises(NotBuiltError, match="--reference"):
        tfdiff.record(tmp_path / "a.h5", reference=there).__enter__()
    assert there.read_text() == "precious"
    assert not (tmp_path / "a.h5").exists()


def test_arrays_of_the_user_are_not_touched(tf, tmp_path):
    """The recorder neither changes nor keeps the user's arrays."""
    x = np.ones((4, 2), "float32")
    copy = x.copy()
    w = tf.Variable(np.ones((2, 1), "float32"))
    with tfdiff.record(tmp_path / "a.h5", quiet=True):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.matmul(x, w))
        w.assign_sub(tape.gradient(loss, w))
    assert np.array_equal(x, copy)
    x[:] = 7
    with open_trace(tmp_path / "a.h5") as trace:
        block = trace.step(0)
        (batch,) = [o for o in block.observations if o.site.role == "input" and o.shape == (4, 2)]
        assert np.array_equal(block.array(batch.index), copy)
