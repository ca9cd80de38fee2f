"""A model of tf_keras trained in a graph of TensorFlow 1: what its optimizer tells."""

from __future__ import annotations

import pytest

from tfdiff.trace.reader import open_trace

SCRIPT = """
import numpy as np
import tensorflow as tf
import tf_keras as keras

tf.compat.v1.disable_eager_execution()
model = keras.Sequential([keras.layers.Dense(2, input_shape=(3,))])
optimizer = keras.optimizers.legacy.SGD(0.5, momentum=0.9, decay=1.0)
model.compile(optimizer, "mse")
for k in range(3):
    model.train_on_batch(np.eye(4, 3) + k, np.ones((4, 2)))
"""


@pytest.fixture
def trace(tfdiff, tmp_path):
    """Three steps, recorded."""
    (tmp_path / "a.py").write_text(SCRIPT)
    ran = tfdiff("record", "--quiet", "--steps", 0, "a.py")
    assert ran.code == 0, ran.err
    with open_trace(tmp_path / "a.h5") as opened:
        yield opened


def test_optimizer(trace):
    """Its line, the rate that it made of decay and count, what it was handed, and its slots."""
    assert (trace.steps, trace.header.not_recorded) == (3, ())
    for step in range(3):
        block = trace.step(step)
        (told,) = block.info.optimizers
        assert (told["class"], told["source"], told["iterations"]) == ("SGD", "a.py:8", step)
        assert told["learning_rate"] == pytest.approx(0.5 / (1 + step))
        handed = [o for o in block.observations if o.site.role == "applied gradient"]
        assert sorted(o.shape for o in handed) == [(2,), (3, 2)]
    slots = [v.shape for v in trace.variables.values() if v.kind == "slot"]
    assert sorted(slots) == [(2,), (3, 2)]
    settings = {v.name.rpartition("/")[2] for v in trace.variables.values() if v.kind == "hyper"}
    assert {"learning_rate", "decay", "momentum", "iter"} <= settings
