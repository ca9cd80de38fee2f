"""Keras 3: which layer, loss or optimizer an op belongs to, and what recording has to switch off."""

from __future__ import annotations

import gc
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


def install(parts: Parts, patches: Patches, keras: ModuleType) -> None:
    """Hook into the imported Keras 3; another backend than TensorFlow cannot be recorded."""
    recording = parts.recording
    versions = {**recording.output.header.versions, "keras": str(getattr(keras, "__version__", "?"))}
    recording.output.update(versions=versions)
    if keras.backend.backend() != "tensorflow":
        recording.output.not_recorded("Keras", f"its backend is {keras.backend.backend()}, only tensorflow is recorded")
        return
    _hook_layers(recording, patches)
    _hook_losses(recording, patches)
    _hook_optimizers(parts, patches)
    _hook_loss_scaling(recording, patches)
    _hook_variables(recording, patches)
    _hook_training(recording, patches)


def _hook_layers(recording: Recording, patches: Patches) -> None:
    from keras.src.layers.layer import Layer

    patches.wrap(Layer, "__new__", creation_by_new(recording))
    patches.wrap(Layer, "__call__", layer_call(recording))


def _hook_losses(recording: Recording, patches: Patches) -> None:
    from keras.src.losses.loss import Loss
    from keras.src.trainers.compile_utils import CompileLoss
    from keras.src.trainers.trainer import Trainer

    patches.wrap(Loss, "__init__", creation(recording))
    patches.wrap(Loss, "__call__", loss_call(recording))
    patches.wrap(CompileLoss, "__call__", loss_call(recording))

    def make_compute(original: Callable[..., Any]) -> Callable[..., Any]:
        def compute_loss(self: Any, *args: Any, **kwargs: Any) -> Any:
            """Where the penalties of the layers are added: ops of the loss, too."""
            compiled = getattr(self, "_compile_loss", None)
            if compiled is None or not recording.watching:
                return original(self, *args, **kwargs)
            with recording.context.inside("loss", compiled):
                return original(self, *args, **kwargs)

        return compute_loss

    patches.wrap(Trainer, "compute_loss", make_compute)


def _hook_optimizers(parts: Parts, patches: Patches) -> None:
    recording = parts.recording
    from keras.src.optimizers.base_optimizer import BaseOptimizer
    from tensorflow.python.eager import context
    from tensorflow.python.framework import ops

    def make_apply(original: Callable[..., Any]) -> Callable[..., Any]:
        def apply(self: Any, grads: Any, trainable_variables: Any = None) -> Any:
            if not recording.active or recording.context.within("optimizer"):
                return original(self, grads, trainable_variables)
            graph = None if context.executing_eagerly() else ops.get_default_graph()
            variables = list(trainable_variables if trainable_variables is not None else self._trainable_variables)
            with recording.context.inside("optimizer", self):
                parts.passes.apply(self, list(grads), variables, graph)
                result = original(self, grads, trainable_variables)
            parts.passes.optimizer_variables(self)
            return result

        return apply

    patches.wrap(BaseOptimizer, "__init__", creation(recording))
    patches.wrap(BaseOptimizer, "apply", make_apply)


def _hook_loss_scaling(recording: Recording, patches: Patches) -> None:
    """The scale of the loss and its counter are settings, no weights and no slots."""
    from keras.src.optimizers.loss_scale_optimizer import LossScaleOptimizer

    def make_build(original: Callable[..., Any]) -> Callable[..., Any]:
        def build(self: Any, *args: Any, **kwargs: Any) -> None:
            original(self, *args, **kwargs)
            for variable in (self.dynamic_scale, self.step_counter):
                recording.variables.declare(variable, "hyper")

        return build

    patches.wrap(LossScaleOptimizer, "build", make_build)


def _hook_variables(recording: Recording, patches: Patches) -> None:
    from keras.src.backend.tensorflow.core import Variable
    from keras.src.metrics.metric import Metric

    def make_initialize(original: Callable[..., Any]) -> Callable[..., Any]:
        def _initialize(self: Any, value: Any) -> None:
            original(self, value)
            recording.variables.attach_keras(self._value, self)

        return _initialize

    for known in [v for v in gc.get_objects() if isinstance(v, Variable)]:
        recording.variables.attach_keras(known._value, known)
    patches.wrap(Variable, "_initialize", make_initialize)
    patches.wrap(Metric, "add_variable", declared(recording, "metric"))


def _hook_training(recording: Recording, patches: Patches) -> None:
    from keras.src.backend.tensorflow.trainer import TensorFlowTrainer
    from keras.src.trainers.trainer import Trainer

    patches.wrap(Trainer, "compile", compiling(recording, _one_step))
    patches.wrap(TensorFlowTrainer, "fit", fitting(recording, _one_step))
    hook_evaluation(recording, patches, TensorFlowTrainer)


def one_step_each(patches: Patches, quiet: Callable[[], AbstractContextManager[object]]) -> None:
    """Only one step per execution, where nothing is recorded."""
    from keras.src.backend.tensorflow.trainer import TensorFlowTrainer
    from keras.src.trainers.trainer import Trainer

    make_compile, make_fit = stepwise(_one_step, quiet)
    patches.wrap(Trainer, "compile", make_compile)
    patches.wrap(TensorFlowTrainer, "fit", make_fit)


def _one_step(model: Any) -> bool:
    """One step per call of the compiled function; whether it was more."""
    more = getattr(model, "steps_per_execution", 1) != 1
    if more:
        model.steps_per_execution = 1
    return more
