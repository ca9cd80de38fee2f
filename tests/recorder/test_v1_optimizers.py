"""`tf.compat.v1.train` optimizers in eager code and in functions, and what is relied on in them."""

from __future__ import annotations

import numpy as np
import pytest

import tfdiff
from tfdiff.recorder import v1_optimizers
from tfdiff.trace.reader import open_trace

X = np.random.RandomState(1).normal(size=(8, 4)).astype("float32")


@pytest.fixture(params=["eager", "function"])
def wrap(request, tf):
    """Each step as written, and compiled."""
    return tf.function if request.param == "function" else (lambda function: function)


def trained(tf, path, wrap, optimizer, *, minimize=False):
    """Two steps of `optimizer` on a linear layer, recorded; the open trace."""
    w = tf.Variable(np.linspace(-1, 1, 12, dtype="float32").reshape(4, 3), name="w")

    @wrap
    def step(x):
        def loss():
            return tf.reduce_mean(tf.square(tf.matmul(x, w)))

        if minimize:
            optimizer.minimize(loss, var_list=[w])
            return
        with tf.GradientTape() as tape:
            value = loss()
        optimizer.apply_gradients(zip(tape.gradient(value, [w]), [w], strict=True))

    with tfdiff.record(path, steps=0, quiet=True):
        for _ in range(2):
            step(tf.constant(X))
    return open_trace(path).__enter__()


@pytest.mark.parametrize("minimize", [False, True])
def test_what_an_optimizer_is_handed(tf, tmp_path, wrap, minimize):
    """Gradients, rate and settings as for a Keras optimizer, and where the optimizer was made."""
    optimizer = tf.compat.v1.train.AdamOptimizer(0.25, beta1=0.5, epsilon=1e-3)
    trace = trained(tf, tmp_path / "a.h5", wrap, optimizer, minimize=minimize)
    assert trace.steps == 2
    block = trace.step(1)
    (told,) = block.info.optimizers
    assert (told["class"], told["learning_rate"]) == ("AdamOptimizer", 0.25)
    assert (told["config"]["beta_1"], told["config"]["epsilon"]) == (0.5, 1e-3)
    taken, handed = (
        [block.array(o.index) for o in block.observations if o.site.role == role]
        for role in ("weight gradient", "applied gradient")
    )
    np.testing.assert_array_equal(taken, handed)


def test_slots_and_settings(tf, tmp_path, wrap):
    """Slots are slots; the powers of Adam's betas are settings, not states of the network."""
    trace = trained(tf, tmp_path / "a.h5", wrap, tf.compat.v1.train.AdamOptimizer(0.1))
    own = [v for v in trace.variables.values() if v.name.startswith(("w", "beta"))]  # others may still be about
    kinds = {variable.name.partition("_")[0]: variable.kind for variable in own}
    assert kinds == {"w": "weight", "w/Adam": "slot", "beta1": "hyper", "beta2": "hyper"}
    after = [o.site.role for o in trace.step(1).observations if o.site.op == "" and o.size > 1]
    assert sorted(after) == ["slot", "slot", "weight"]


def test_rate_of_a_function(tf, tmp_path, wrap):
    """A rate that is a function of the user's is asked as often as without a recording."""
    asked = []

    def rate():
        asked.append(1)
        return 0.5 / len(asked)

    trace = trained(tf, tmp_path / "a.h5", wrap, tf.compat.v1.train.GradientDescentOptimizer(rate))
    assert len(asked) == (1 if wrap is tf.function else 2)
    told = [trace.step(k).info.optimizers[0]["learning_rate"] for k in range(2)]
    assert told == ([0.5, 0.5] if wrap is tf.function else [0.5, 0.25])


def test_all_optimizers_come_here(tf):
    """`apply_gradients` of the base class is the way to an update for all of them but the wrappers."""
    base = tf.compat.v1.train.Optimizer
    names = [name for name in dir(tf.compat.v1.train) if name.endswith("Optimizer")]
    classes = [getattr(tf.compat.v1.train, name) for name in names]
    own = {cls.__name__ for cls in classes if cls.apply_gradients is not base.apply_gradients}
    assert own == {"SyncReplicasOptimizer"}
    assert len(classes) > 8


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("GradientDescentOptimizer", ()),
        ("MomentumOptimizer", (0.9,)),
        ("AdamOptimizer", ()),
        ("AdagradOptimizer", ()),
        ("RMSPropOptimizer", ()),
        ("AdadeltaOptimizer", ()),
        ("FtrlOptimizer", ()),
        ("ProximalAdagradOptimizer", ()),
        ("ProximalGradientDescentOptimizer", ()),
    ],
)
def test_rate_tensor_relied_on(tf, name, arguments):
    """Behind a call each keeps its rate as a tensor, its slots in `_slots`, and other variables apart from them."""
    optimizer = getattr(tf.compat.v1.train, name)(0.125, *arguments)
    w = tf.Variable([1.0, 2.0])
    assert v1_optimizers.rate_of(optimizer) is None
    optimizer.apply_gradients([(tf.constant([0.5, 0.5]), w)])
    assert float(v1_optimizers.rate_of(optimizer)) == 0.125
    assert v1_optimizers.settings_of(optimizer)["learning_rate"] == 0.125
    known = {id(v) for v in [*v1_optimizers.slots_of(optimizer), *optimizer._non_slot_variables()]}
    assert known == {id(v) for v in optimizer.variables()}
