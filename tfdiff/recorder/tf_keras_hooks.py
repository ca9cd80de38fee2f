"""Legacy Keras (`tf_keras`, and `tf.keras` under TF_USE_LEGACY_KERAS=1): the same hooks as for Keras 3."""

from __future__ import annotations

import contextlib
import weakref
from functools import partial
from typing import TYPE_CHECKING, Any

from tfdiff.recorder.any_keras_hooks import (
    compiling,
    creation,
    creation_by_new,
    declared,
    fitting,
    layer_call,
    loss_call,
    stepwise,
)
from tfdiff.recorder.evaluation import hook_evaluation

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from types import ModuleType

    from tfdiff.recorder.parts import Parts
    from tfdiff.recorder.patching import Patches
    from tfdiff.recorder.recording import Recording


def install(parts: Parts, patches: Patches, tf_keras: ModuleType) -> None:
    """Hook into the imported tf_keras."""
    recording = parts.recording
    versions = {**recording.output.header.versions, "tf_keras": str(getattr(tf_keras, "__version__", "?"))}
    recording.output.update(versions=versions)
    _hook_layers(recording, patches)
    _hook_losses(recording, patches)
    _hook_metrics(recording, patches)
    _hook_optimizers(parts, patches)
    _hook_loss_scaling(recording, patches)
    _hook_training(recording, patches)


def _hook_layers(recording: Recording, patches: Patches) -> None:
    from tf_keras.src.engine import base_layer, base_layer_v1

    known: weakref.WeakSet[Any] = weakref.WeakSet()

    def own(layer: Any) -> None:
        # inner layers have run before; an LSTM that never calls its cell has the cell's weights itself
        with contextlib.suppress(Exception):  # a user's own `weights` or `__eq__`; only the path hangs on it
            if layer not in known:
                known.add(layer)
                for variable in layer.weights:
                    recording.variables.own(variable, recording.context.layer or layer.name)

    def make_symbolic(original: Callable[..., Any]) -> Callable[..., Any]:
        # a graph that only tells shapes and never runs; the variables that are built in it are real ones
        def _infer_output_signature(self: Any, *args: Any, **kwargs: Any) -> Any:
            with recording.quiet():
                return original(self, *args, **kwargs)

        return _infer_output_signature

    patches.wrap(base_layer.Layer, "__new__", creation_by_new(recording))
    patches.wrap(base_layer.Layer, "__call__", layer_call(recording, own))
    patches.wrap(base_layer.Layer, "_infer_output_signature", make_symbolic)
    patches.wrap(base_layer_v1.Layer, "__call__", layer_call(recording, own))


def _hook_losses(recording: Recording, patches: Patches) -> None:
    from tf_keras.src import losses
    from tf_keras.src.engine.compile_utils import LossesContainer

    for owner in (losses.Loss, LossesContainer):
        patches.wrap(owner, "__init__", creation(recording))
        patches.wrap(owner, "__call__", loss_call(recording))


def _hook_metrics(recording: Recording, patches: Patches) -> None:
    from tf_keras.src.metrics.base_metric import Metric

    patches.wrap(Metric, "add_weight", declared(recording, "metric"))


def _hook_optimizers(parts: Parts, patches: Patches) -> None:
    """`apply_gradients` of the optimizer that really applies: a LossScaleOptimizer only hands finite gradients on."""
    from tf_keras.src.optimizers.legacy.optimizer_v2 import OptimizerV2
    from tf_keras.src.optimizers.optimizer import Optimizer, _BaseOptimizer

    recording = parts.recording
    waiting: dict[int, Callable[[], None]] = {}
    built: dict[int, Any] = {}

    def make_apply(original: Callable[..., Any]) -> Callable[..., Any]:
        def apply_gradients(self: Any, grads_and_vars: Any, *args: Any, **kwargs: Any) -> Any:
            if not recording.active or recording.context.within("optimizer"):
                return original(self, grads_and_vars, *args, **kwargs)
            in_graph, graph = _graph()
            pairs = list(grads_and_vars)
            if in_graph and graph is None:
                with (
                    parts.building.applying(self, pairs, lambda: _rate(built.pop(id(self), {}))),
                    recording.context.inside("optimizer", self),
                ):
                    result = original(self, pairs, *args, **kwargs)
                parts.passes.optimizer_variables(self)
                return result
            with recording.context.inside("optimizer", self):
                tell = partial(parts.passes.apply, self, [g for g, _ in pairs], [v for _, v in pairs], graph)
                if isinstance(self, OptimizerV2):
                    waiting[id(self)] = tell
                else:
                    tell()
                try:
                    result = original(self, pairs, *args, **kwargs)
                finally:
                    waiting.pop(id(self), None)
            parts.passes.optimizer_variables(self)
            return result

        return apply_gradients

    def make_prepare(original: Callable[..., Any]) -> Callable[..., Any]:
        # a legacy optimizer has made the variables of its settings by now: before, a number would stand for the rate
        def _prepare(self: Any, *args: Any, **kwargs: Any) -> Any:
            waiting.pop(id(self), _nothing)()
            built[id(self)] = state = original(self, *args, **kwargs)
            return state

        return _prepare

    patches.wrap(_BaseOptimizer, "__init__", creation(recording))
    patches.wrap(OptimizerV2, "__init__", creation(recording))
    patches.wrap(Optimizer, "apply_gradients", make_apply)
    patches.wrap(OptimizerV2, "apply_gradients", make_apply)
    patches.wrap(OptimizerV2, "_prepare", make_prepare)


def _rate(state: Any) -> Any:
    """The tensor of the rate, decayed or scheduled, among what a legacy optimizer has prepared for its update."""
    return next((values["lr_t"] for values in (state or {}).values() if "lr_t" in values), None)


def _nothing() -> None:
    pass


def _graph() -> tuple[bool, Any]:
    """Whether a graph is being built, and the one of a tf.function; None for one of TensorFlow 1."""
    from tensorflow.python.eager import context
    from tensorflow.python.framework import ops

    if context.executing_eagerly():
        return False, None
    graph = ops.get_default_graph()
    return True, graph if hasattr(graph, "captures") else None


def _hook_loss_scaling(recording: Recording, patches: Patches) -> None:
    from tf_keras.src.mixed_precision import loss_scale_optimizer as scaling

    patches.wrap(scaling._DynamicLossScaleState, "_add_weight", declared(recording, "hyper"))


def _hook_training(recording: Recording, patches: Patches) -> None:
    from tf_keras.src.engine.training import Model

    patches.wrap(Model, "compile", compiling(recording, _one_step))
    patches.wrap(Model, "fit", fitting(recording, _one_step))
    hook_evaluation(recording, patches, Model)


def one_step_each(patches: Patches, quiet: Callable[[], AbstractContextManager[object]]) -> None:
    """Only one step per execution, where nothing is recorded."""
    from tf_keras.src.engine.training import Model

    make_compile, make_fit = stepwise(_one_step, quiet)
    patches.wrap(Model, "compile", make_compile)
    patches.wrap(Model, "fit", make_fit)


def _one_step(model: Any) -> bool:
    """One step per call of the compiled function; whether it was more."""
    from tensorflow.python.eager import context

    if not context.executing_eagerly():  # compiled for a graph of TensorFlow 1: one step per run
        return False
    count = model._steps_per_execution
    more = model._autotune_steps_per_execution or (count is not None and int(count.numpy()) != 1)
    if more:
        model._autotune_steps_per_execution = False
        model.steps_per_execution = 1
    return bool(more)
