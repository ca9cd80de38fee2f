"""Ops that write several variables at once, or a part of one: all they write is recorded."""

from __future__ import annotations

import numpy as np
import pytest

import tfdiff
from tfdiff.trace.reader import open_trace

X = np.random.RandomState(1).normal(size=(8, 4)).astype("float32")


@pytest.fixture(params=["eager", "function"])
def wrap(request, tf):
    """Each step as written, and compiled."""
    return tf.function if request.param == "function" else (lambda function: function)


def trained(tf, path, wrap, update, shape=(4, 3)):
    """Two steps of `update(w, gradient)` on a linear layer; the open trace and the weight's last value."""
    w = tf.Variable(np.linspace(-1, 1, int(np.prod(shape)), dtype="float32").reshape(shape), name="w")

    @wrap
    def step(x):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(tf.matmul(x, w)))
        update(w, tape.gradient(loss, w))

    with tfdiff.record(path, steps=0, quiet=True):
        for _ in range(2):
            step(tf.constant(X))
    return open_trace(path).__enter__(), w.numpy()


def values(trace, block, role, **site):
    """Name of the variable and value of each observation of a role."""
    found = [o for o in block.observations if o.site.role == role]
    found = [o for o in found if all(getattr(o.site, key) == wanted for key, wanted in site.items())]
    return [(trace.variables[o.site.variable].name, block.array(o.index)) for o in found]


def test_fused_adam(tf, tmp_path, wrap):
    """Weight, both slots and the state of the optimizer after the step, as the variables then are."""
    m, v = (tf.Variable(np.zeros((4, 3), "float32"), trainable=False, name=name) for name in "mv")

    def update(w, gradient):
        tf.raw_ops.ResourceApplyAdam(
            var=w.handle, m=m.handle, v=v.handle, beta1_power=0.9, beta2_power=0.999, lr=0.1,
            beta1=0.9, beta2=0.999, epsilon=1e-7, grad=gradient,
        )  # fmt: skip

    trace, last = trained(tf, tmp_path / "a.h5", wrap, update)
    assert trace.steps == 2
    block = trace.step(1)
    after = dict(values(trace, block, "slot", op="") + values(trace, block, "weight", op=""))
    assert sorted(after) == ["m", "v", "w"]
    for name, wanted in (("w", last), ("m", m.numpy()), ("v", v.numpy())):
        np.testing.assert_array_equal(after[name], wanted)
    assert [name for name, _ in values(trace, block, "assign", op="ResourceApplyAdam")] == ["w", "m", "v"]
    assert block.info.applied


def test_rows_of_a_variable(tf, tmp_path, wrap):
    """A scatter is recorded as what it adds, in its place; its outcome is the variable's value after the step."""

    def update(w, gradient):
        w.scatter_nd_sub([[0], [2], [0]], tf.gather(gradient, [0, 2, 0]))

    trace, last = trained(tf, tmp_path / "a.h5", wrap, update)
    block = trace.step(1)
    ((_, gradient),) = values(trace, block, "weight gradient")
    ((_, taken),) = values(trace, block, "assign")
    np.testing.assert_allclose(taken[[0, 2]], gradient[[0, 2]] * [[2], [1]])
    assert not taken[[1, 3]].any()
    ((_, after),) = values(trace, block, "weight", op="")
    np.testing.assert_array_equal(after, last)


def test_update_in_a_branch_that_is_handed_all(tf, tmp_path):
    """A branch that only assigns what it is handed is an update, where it is taken."""
    count = tf.Variable(0)

    def update(w, gradient):
        count.assign_add(1)
        new = w - 0.1 * gradient
        tf.cond(tf.equal(count, 2), lambda: w.assign(new), w.read_value)

    trace, last = trained(tf, tmp_path / "a.h5", tf.function, update)
    assert [trace.step(k).info.applied for k in range(2)] == [False, True]
    np.testing.assert_array_equal(dict(values(trace, trace.step(1), "weight", op=""))["w"], last)
