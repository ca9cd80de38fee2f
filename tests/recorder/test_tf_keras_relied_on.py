"""What the recorder relies on in tf_keras' private parts, and in Keras 3's loss scaling and evaluation.

A new version that changes one of these breaks one test here, and its name says what to mend.
"""

from __future__ import annotations

import inspect

import numpy as np
import pytest

from tfdiff.recorder.patching import Patches

X, Y = np.ones((8, 3), "float32"), np.ones((8, 1), "float32")


@pytest.fixture(scope="module", name="keras")
def tf_keras(tf):  # noqa: ARG001 - TensorFlow's switches come first
    """tf_keras in this process."""
    import tf_keras

    return tf_keras


@pytest.fixture
def spy():
    """Note every call of a method as (self, arguments), until the test ends."""
    patches = Patches()

    def watch(owner, name, look=lambda self, *_: self):
        seen = []

        def make(original):
            def replacement(self, *args, **kwargs):
                seen.append(look(self, *args))
                return original(self, *args, **kwargs)

            return replacement

        patches.wrap(owner, name, make)
        return seen

    yield watch
    patches.undo()


def small(keras, optimizer="sgd", **options):
    """A compiled model."""
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile(optimizer, "mse", **options)
    return model


def test_layers_are_made_and_called_through_the_base(tf, keras, spy):
    """`Layer.__new__(cls, ...)` makes and `Layer.__call__` runs every layer and model, inner ones before outer ones."""
    from tf_keras.src.engine.base_layer import Layer

    assert isinstance(vars(Layer)["__new__"], staticmethod)
    called = spy(Layer, "__call__")
    model = small(keras)
    symbolic = len(called)
    model(tf.constant(X))
    assert symbolic >= 1
    assert [type(layer).__name__ for layer in called[symbolic:]] == ["Sequential", "Dense"]


def test_symbolic_calls_run_in_a_scratch_graph(keras, spy):
    """A call on symbolic tensors goes through `_infer_output_signature`; its result is no tensor of a graph."""
    from tf_keras.src.engine.base_layer import Layer

    inferred = spy(Layer, "_infer_output_signature")
    layer = keras.layers.Dense(2)
    result = layer(keras.Input((3,)))
    assert inferred == [layer]
    assert not hasattr(result, "_id")
    assert hasattr(layer.kernel, "handle")
    assert hasattr(layer.kernel.handle, "numpy")


def test_layers_of_a_tf1_graph(tf, keras, spy):
    """In a plain graph `base_layer_v1.Layer.__call__` runs layers, and does not pass through the base's."""
    from tf_keras.src.engine import base_layer, base_layer_v1

    base, called = spy(base_layer.Layer, "__call__"), spy(base_layer_v1.Layer, "__call__")
    with tf.Graph().as_default():
        layer = keras.layers.Dense(2)
        layer(tf.compat.v1.placeholder(tf.float32, (None, 3)))
    assert (base, called) == ([], [layer])


def test_fused_lstm_never_calls_its_cell(tf, keras, spy):
    """The weights of an LSTM are its cell's, which does not run: the LSTM has to own them."""
    from tf_keras.src.engine.base_layer import Layer

    called = spy(Layer, "__call__")
    layer = keras.layers.LSTM(2)
    layer(tf.zeros((1, 4, 3)))
    assert called == [layer]
    assert len(layer.weights) == 3
    assert layer._trainable_weights == []


def test_losses_from_strings_are_made_inside_the_container(keras, spy):
    """`LossesContainer` is made by `compile`, makes the losses when it is first called, and calls them."""
    from tf_keras.src.engine.compile_utils import LossesContainer
    from tf_keras.src.losses import Loss

    made, called = spy(LossesContainer, "__init__"), spy(LossesContainer, "__call__")
    losses = spy(Loss, "__init__"), spy(Loss, "__call__")
    model = small(keras, run_eagerly=True)
    assert (len(made), len(losses[0])) == (1, 0)
    model.train_on_batch(X, Y)
    assert (len(called), len(losses[0]), len(losses[1])) == (1, 1, 1)


def test_metrics_make_their_variables_with_add_weight(keras, spy):
    """`Metric.add_weight` makes and returns them."""
    from tf_keras.src.metrics.base_metric import Metric

    made = spy(Metric, "add_weight")
    metric = keras.metrics.MeanSquaredError()
    assert made == [metric] * len(metric.variables)


@pytest.mark.parametrize("legacy", [False, True], ids=["new", "legacy"])
def test_optimizers_apply_through_their_base(keras, spy, legacy):
    """`apply_gradients(pairs)` of the base class runs for every optimizer; its constructor too."""
    from tf_keras.src.optimizers.legacy.optimizer_v2 import OptimizerV2
    from tf_keras.src.optimizers.optimizer import Optimizer, _BaseOptimizer

    kinds, base = (keras.optimizers.legacy, OptimizerV2) if legacy else (keras.optimizers, Optimizer)
    made = spy(base if legacy else _BaseOptimizer, "__init__")
    applied = spy(base, "apply_gradients", lambda self, pairs: (self, len(list(pairs))) if legacy else (self, None))
    optimizer = kinds.Adam()
    if not legacy:
        small(keras, optimizer, run_eagerly=True).train_on_batch(X, Y)
    assert made == [optimizer]
    assert legacy or applied == [(optimizer, None)]


def test_legacy_optimizers_prepare_with_their_settings_made(keras, spy):
    """`OptimizerV2._prepare` runs in `apply_gradients` when the variables of settings and slots are there, but no
    weight is written yet; before, `_hyper` holds numbers and `_iterations` is None.
    """
    from tf_keras.src.optimizers.legacy.optimizer_v2 import OptimizerV2

    seen = spy(
        OptimizerV2,
        "_prepare",
        lambda self, variables: (
            self._hypers_created,
            hasattr(self._hyper["learning_rate"], "handle"),
            float(variables[0].numpy().sum()),
        ),
    )
    for kind in (keras.optimizers.legacy.SGD, keras.optimizers.legacy.Nadam):
        optimizer = kind(0.5)
        assert (optimizer._hyper["learning_rate"], optimizer._iterations) == (0.5, None)
        assert optimizer._initial_decay is not None
        model = small(keras, optimizer, run_eagerly=True)
        before = float(model.trainable_variables[0].numpy().sum())
        model.train_on_batch(X, Y)
        assert seen[-1][:2] == (True, True)
        assert seen[-1][2] == pytest.approx(before)


def test_a_schedule_leaves_the_rate_of_the_step_before(keras):
    """Only with a schedule has an optimizer `_current_learning_rate`, which is set inside `apply_gradients`."""
    assert not hasattr(keras.optimizers.SGD(0.1), "_current_learning_rate")
    schedule = keras.optimizers.schedules.ExponentialDecay(0.1, 1, 0.5)
    assert any(base.__name__ == "LearningRateSchedule" for base in type(schedule).__mro__)
    optimizer = keras.optimizers.SGD(schedule)
    model = small(keras, optimizer, run_eagerly=True)
    for _ in range(2):
        model.train_on_batch(X, Y)
    assert float(optimizer.learning_rate) == pytest.approx(0.05)
    assert float(optimizer._learning_rate(optimizer.iterations)) == pytest.approx(0.025)
    assert float(optimizer._current_learning_rate) == pytest.approx(0.05)


@pytest.mark.parametrize("legacy", [False, True], ids=["new", "legacy"])
def test_loss_scaling_hands_finite_gradients_on(keras, spy, legacy):
    """A LossScaleOptimizer calls `apply_gradients` of the one inside, and makes its variables with `_add_weight`."""
    from tf_keras.src.mixed_precision.loss_scale_optimizer import _DynamicLossScaleState
    from tf_keras.src.optimizers.legacy.optimizer_v2 import OptimizerV2
    from tf_keras.src.optimizers.optimizer import Optimizer

    made = spy(_DynamicLossScaleState, "_add_weight", lambda _self: None)
    applied = spy(OptimizerV2 if legacy else Optimizer, "apply_gradients", lambda self, _pairs: self)
    inner = (keras.optimizers.legacy if legacy else keras.optimizers).SGD()
    small(keras, keras.mixed_precision.LossScaleOptimizer(inner), run_eagerly=True).train_on_batch(X, Y)
    assert applied == [inner]
    assert len(made) == 2


def test_several_steps_and_xla_can_be_switched_off_after_compile(keras):
    """`steps_per_execution` and `jit_compile` can be set on a compiled model; the tuner is off by a flag."""
    model = small(keras, steps_per_execution=4, jit_compile=True)
    assert int(model._steps_per_execution.numpy()) == 4
    assert model._autotune_steps_per_execution is False
    assert model.jit_compile
    model.steps_per_execution, model.jit_compile = 1, False
    assert int(model._steps_per_execution.numpy()) == 1
    assert small(keras, steps_per_execution="auto")._autotune_steps_per_execution is True


def test_methods_that_train_nothing(tf, keras):
    """Both Kerases have these methods, and `fit` validates through `evaluate` of the model's own class."""
    from keras.src.backend.tensorflow.trainer import TensorFlowTrainer
    from tf_keras.src.engine.training import Model

    from tfdiff.recorder.evaluation import METHODS

    for owner in (Model, TensorFlowTrainer):
        assert all(name in vars(owner) for name in METHODS)
        assert "self.evaluate(" in inspect.getsource(owner.fit)
    assert issubclass(keras.Model, Model)
    assert issubclass(tf.keras.Model, TensorFlowTrainer)


def test_keras_3_loss_scale_makes_its_variables_in_build(tf):
    """`LossScaleOptimizer.build` leaves `dynamic_scale` and `step_counter` behind."""
    optimizer = tf.keras.mixed_precision.LossScaleOptimizer(tf.keras.optimizers.SGD())
    optimizer.build([tf.keras.Variable(1.0)])
    assert optimizer.dynamic_scale.shape == optimizer.step_counter.shape == ()


def test_a_branch_takes_outer_tensors_as_arguments(tf):
    """`FuncGraph.capture` gives the placeholder for a tensor of an outer graph, the same one each time."""
    seen = []

    @tf.function
    def function(x):
        y = x * 2.0

        def branch():
            graph = tf.compat.v1.get_default_graph()
            seen.extend([graph.capture(y), graph.capture(y)])
            return y + 1.0

        return tf.cond(x > 0.0, branch, lambda: x)

    assert float(function(tf.constant(3.0))) == 7.0
    assert seen[0] is seen[1]
    assert seen[0].op.type == "Placeholder"
