"""What the recorder relies on in Keras to tell evaluation and prediction passes."""

from __future__ import annotations

import numpy as np
import pytest

from tfdiff.recorder.evaluation import METHODS


@pytest.fixture
def model(tf):
    """A compiled Keras 3 model with two outputs' worth of metrics."""
    made = tf.keras.Sequential([tf.keras.Input((3,)), tf.keras.layers.Dense(1)])
    made.compile("sgd", "mse", metrics=["mae"])
    return made


def test_keras_evaluates_through_these_methods(model):
    """`evaluate`, `predict` and their on-batch forms are `TensorFlowTrainer`'s; `fit` validates by `evaluate`."""
    from keras.src.backend.tensorflow.trainer import TensorFlowTrainer

    assert all(name in vars(TensorFlowTrainer) for name in METHODS)
    called = []
    original = TensorFlowTrainer.evaluate

    def evaluate(self, *args, **kwargs):
        called.append(kwargs.get("return_dict"))
        return original(self, *args, **kwargs)

    x, y = np.ones((4, 3)), np.ones((4, 1))
    TensorFlowTrainer.evaluate = evaluate
    try:
        model.fit(x, y, verbose=0, validation_data=(x, y))
    finally:
        TensorFlowTrainer.evaluate = original
    assert called == [True]


def test_keras_makes_a_list_of_named_numbers(model):
    """`_flatten_metrics_in_order(logs)` gets the names; what `evaluate` returns has none."""
    names = []
    original = model._flatten_metrics_in_order
    model._flatten_metrics_in_order = lambda logs: names.append(list(logs)) or original(logs)
    assert len(model.evaluate(np.ones((4, 3)), np.ones((4, 1)), verbose=0)) == 2
    assert [sorted(each) for each in names] == [["loss", "mae"]]


def test_tf_keras_evaluates_through_these_methods(tf):
    """tf_keras has the same methods on its `Model`, and `metrics_names` in the order of what `evaluate` returns."""
    from tf_keras.src.engine.training import Model

    assert tf is not None
    assert all(name in vars(Model) for name in METHODS)
    assert isinstance(vars(Model)["metrics_names"], property)
