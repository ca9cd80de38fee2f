"""Legacy Keras: what is recorded of it, that recording leaves it alone, and `tf.keras` under TF_USE_LEGACY_KERAS=1."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import tfdiff
from tfdiff.trace.reader import open_trace

X = np.random.RandomState(1).normal(size=(32, 6)).astype("float32")
Y = np.random.RandomState(2).randint(0, 3, size=32)
LEGACY = Path(__file__).parent / "scripts" / "legacy_keras.py"
LINES = {
    line.rpartition("# mark: ")[2]: f"legacy_keras.py:{number}"
    for number, line in enumerate(LEGACY.read_text().splitlines(), 1)
    if "# mark: " in line
}


@pytest.fixture(scope="module", name="keras")
def tf_keras(tf):  # noqa: ARG001 - TensorFlow's switches come first
    """tf_keras in this process."""
    import tf_keras

    return tf_keras


@pytest.fixture
def trained(tmp_path):
    """Record a block and open its trace."""
    opened = []

    def run(train, steps=0):
        with tfdiff.record(tmp_path / "a.h5", steps=steps, quiet=True):
            train()
        opened.append(open_trace(tmp_path / "a.h5"))
        return opened[-1].__enter__()

    yield run
    for trace in opened:
        trace.__exit__(None, None, None)


def nested(keras, *, recurrent):
    """A model in a model, the inner one built only when it is first called."""
    layers = keras.layers
    second = layers.LSTM(4, name="second") if recurrent else layers.GlobalAveragePooling1D(name="second")
    block = keras.Sequential([layers.Dense(5, activation="relu", name="dense"), second], name="block")
    inputs = keras.Input((2, 3))
    outputs = layers.Dense(3, name="last")(layers.BatchNormalization(name="norm")(block(inputs)))
    return keras.Model(inputs, outputs, name="net")


@pytest.mark.parametrize("eagerly", [True, False], ids=["eagerly", "graph"])
def test_what_is_recorded(keras, trained, eagerly):
    """Layers have their whole path, variables their layer and kind, losses from strings the line of `compile`."""

    def train():
        model = nested(keras, recurrent=eagerly)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile("adam", loss, ["accuracy"], run_eagerly=eagerly)
        model.fit(X.reshape(32, 2, 3), Y, batch_size=16, verbose=0, validation_split=0.25, epochs=2)
        model.evaluate(X.reshape(32, 2, 3), Y, verbose=0)

    trace = trained(train)
    assert trace.steps == 4
    assert "tf_keras" in trace.header.versions
    by_kind = {kind: [v for v in trace.variables.values() if v.kind == kind] for kind in ("weight", "state", "metric")}
    weighted = {"net/block/dense", "net/norm", "net/last"} | ({"net/block/second"} if eagerly else set())
    assert {v.layer for v in by_kind["weight"]} == weighted
    assert {v.layer for v in by_kind["state"]} == {"net/norm"}
    assert len(by_kind["metric"]) >= 4
    for step in range(4):
        sites = [o.site for o in trace.step(step).observations]
        paths = {site.layer for site in sites if site.role == "activation" and site.layer}
        assert weighted <= paths
        assert sum(site.role == "input" for site in sites) == 2
        assert sum(site.role == "state" and site.phase == "state" and not site.op for site in sites) == 2


@pytest.mark.parametrize("kind", ["new", "legacy", "legacy decay", "new schedule", "legacy schedule"])
def test_rates(keras, trained, kind):
    """The rate an optimizer uses in each step is recorded, whatever changes it, and its slots and settings as such."""
    kinds = keras.optimizers.legacy if "legacy" in kind else keras.optimizers
    rate = keras.optimizers.schedules.ExponentialDecay(0.1, 1, 0.5) if "schedule" in kind else 0.1
    by_hand = kind in ("new", "legacy")

    def train():
        model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(3)])
        optimizer = kinds.Adam(rate, **({"decay": 1.0} if "decay" in kind else {}))
        model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        halve = keras.callbacks.LearningRateScheduler(lambda epoch: 0.1 * 0.5**epoch)
        model.fit(X, Y, batch_size=32, verbose=0, epochs=3, callbacks=[halve] if by_hand else [])

    trace = trained(train)
    infos = [trace.step(step).info.optimizers[0] for step in range(3)]
    expected = [0.1, 0.05, 0.1 / 3] if "decay" in kind else [0.1, 0.05, 0.025]
    assert [info["learning_rate"] for info in infos] == pytest.approx(expected)
    assert [info["iterations"] for info in infos] == [0, 1, 2]
    assert {info["class"] for info in infos} == {"Adam"}
    slots = {v.index for v in trace.variables.values() if v.kind == "slot"}
    assert {trace.variables[index].shape for index in slots} == {(6, 3), (3,)}
    assert len(slots) == 4
    after = [o for o in trace.step(1).observations if o.site.role == "slot" and not o.site.op]
    assert {o.site.variable for o in after} == slots
    settings = {v.name.rpartition("/")[2] for v in trace.variables.values() if v.kind == "hyper"}
    assert {"iter" if "legacy" in kind else "iteration"} <= settings
    assert kind == "legacy schedule" or any("learning_rate" in name for name in settings)


def test_loss_scale(keras, trained):
    """With mixed precision the optimizer inside tells what it is handed; the scale of the loss is no state."""

    def train():
        policy = keras.mixed_precision.Policy("mixed_float16")
        model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(3, dtype=policy)])
        optimizer = keras.mixed_precision.LossScaleOptimizer(keras.optimizers.Adam(0.1))
        model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        model.fit(X, Y, batch_size=32, verbose=0, epochs=2)

    trace = trained(train)
    block = trace.step(1)
    assert [info["class"] for info in block.info.optimizers] == ["Adam"]
    assert not [v for v in trace.variables.values() if v.kind == "state"]
    found = {
        role: {o.site.variable: block.array(o.index) for o in block.observations if o.site.role == role}
        for role in ("weight gradient", "applied gradient")
    }
    assert len(found["applied gradient"]) == 2
    for variable, applied in found["applied gradient"].items():
        np.testing.assert_allclose(applied * 2.0**15, found["weight gradient"][variable], rtol=1e-6)


@pytest.mark.parametrize("legacy", [False, True], ids=["new", "legacy"])
def test_left_alone(keras, tmp_path, legacy):
    """Eager training ends in the very same weights when it is recorded, and variables keep their names."""

    def train():
        keras.backend.clear_session()
        keras.utils.set_random_seed(3)
        kinds = keras.optimizers.legacy if legacy else keras.optimizers
        layers = [keras.Input((6,)), keras.layers.Dense(8), keras.layers.Dropout(0.3), keras.layers.Dense(3)]
        model = keras.Sequential(layers)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(kinds.RMSprop(0.01), loss, run_eagerly=True)
        model.fit(X, Y, batch_size=8, verbose=0, epochs=2, validation_split=0.25)
        slots = model.optimizer.variables() if legacy else model.optimizer.variables
        return model.get_weights(), [v.name for v in [*model.weights, *slots]]

    weights, names = train()
    with tfdiff.record(tmp_path / "a.h5", steps=0, quiet=True):
        recorded, recorded_names = train()
    assert all(np.array_equal(a, b) for a, b in zip(weights, recorded, strict=True))
    assert names == recorded_names


def test_undone(keras, tmp_path):
    """When the block is over, every class of tf_keras has the very methods it had before."""
    from tf_keras.src import losses
    from tf_keras.src.engine import base_layer, base_layer_v1, training
    from tf_keras.src.optimizers import optimizer
    from tf_keras.src.optimizers.legacy import optimizer_v2

    owners = (
        base_layer.Layer,
        base_layer_v1.Layer,
        training.Model,
        losses.Loss,
        optimizer.Optimizer,
        optimizer_v2.OptimizerV2,
    )
    before = [dict(vars(owner)) for owner in owners]
    with tfdiff.record(tmp_path / "a.h5", quiet=True):
        assert all(dict(vars(owner)) != was for owner, was in zip(owners, before, strict=True))
        model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(1)])
        model.compile("sgd", "mse", run_eagerly=True)
        model.train_on_batch(X, X[:, :1])
    assert [dict(vars(owner)) for owner in owners] == before


def test_layers_in_a_tf1_graph(tf, keras, trained):
    """Layers called in a plain graph of TensorFlow 1 are known by their names."""

    def train():
        with tf.Graph().as_default(), tf.compat.v1.Session() as session:
            x, y = (tf.compat.v1.placeholder(tf.float32, (None, n)) for n in (6, 1))
            hidden = keras.layers.Dense(4, activation="relu", name="hidden")(x)
            loss = tf.reduce_mean(tf.square(keras.layers.Dense(1, name="last")(hidden) - y))
            step = tf.compat.v1.train.GradientDescentOptimizer(0.1).minimize(loss)
            session.run(tf.compat.v1.global_variables_initializer())
            for _ in range(2):
                session.run(step, {x: X, y: X[:, :1]})

    trace = trained(train)
    assert trace.steps == 2
    found = {o.site.layer for o in trace.step(0).observations if o.site.role == "activation" and o.site.layer}
    assert found == {"hidden", "last"}


def test_a_real_process_with_the_switch(python, tfdiff, tmp_path):
    """A script that sets TF_USE_LEGACY_KERAS=1 is recorded with tf_keras, and Keras 3 compares with it."""
    ran = python("-m", "tfdiff", "record", "--no-calibrate", "-o", "a.h5", "--steps", "4", LEGACY)
    assert ran.code == 0, ran.err
    with open_trace(tmp_path / "a.h5") as trace:
        assert "tf_keras" in trace.header.versions
        assert "keras" not in trace.header.versions
        sources = {o.site.layer: o.site.source for o in trace.step(0).observations if o.site.role == "activation"}
    assert sources["sequential/dense"] == LINES["dense"]
    assert sources[None] == LINES["compile"]
    ran = tfdiff("record", "-o", "b.h5", "--steps", "4", "--reference", "a.h5", LEGACY, "keras3")
    assert ran.code == 0, ran.err
    ran = tfdiff("diff", "a.h5", "b.h5")
    assert ran.code == 0, ran.out
