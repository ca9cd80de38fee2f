"""Keras 3: which layer, loss or optimizer an op belongs to, and what recording has to switch off."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Any

from tfdiff.recorder.evaluation import hook_evaluation

if TYPE_CHECKING:
    from collections.abc import Callable
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
    _hook_variables(recording, patches)
    _hook_training(recording, patches)


def _creation(recording: Recording) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def make_init(original: Callable[..., Any]) -> Callable[..., Any]:
        def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
            recording.context.created(self)
            original(self, *args, **kwargs)

        return __init__

    return make_init


def _hook_layers(recording: Recording, patches: Patches) -> None:
    from keras.src.layers.layer import Layer

    def make_call(original: Callable[..., Any]) -> Callable[..., Any]:
        def __call__(self: Any, *args: Any, **kwargs: Any) -> Any:
            if not recording.active:
                return original(self, *args, **kwargs)
            with recording.context.inside("layer", self):
                result = original(self, *args, **kwargs)
            import tensorflow as tf

            recording.layer_output(tf.nest.flatten(result))
            return result

        return __call__

    def make_new(original: Callable[..., Any]) -> Callable[..., Any]:
        # not __init__: a warning raised there names the line that called it, which must stay the user's
        def __new__(cls: Any, *args: Any, **kwargs: Any) -> Any:
            layer = original(cls, *args, **kwargs)
            recording.context.created(layer)
            return layer

        return __new__

    patches.wrap(Layer, "__new__", make_new)
    patches.wrap(Layer, "__call__", make_call)


def _hook_losses(recording: Recording, patches: Patches) -> None:
    from keras.src.losses.loss import Loss
    from keras.src.trainers.compile_utils import CompileLoss

    def make_call(original: Callable[..., Any]) -> Callable[..., Any]:
        def __call__(self: Any, *args: Any, **kwargs: Any) -> Any:
            with recording.context.inside("loss", self):
                return original(self, *args, **kwargs)

        return __call__

    patches.wrap(Loss, "__init__", _creation(recording))
    patches.wrap(Loss, "__call__", make_call)
    patches.wrap(CompileLoss, "__call__", make_call)


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

    patches.wrap(BaseOptimizer, "__init__", _creation(recording))
    patches.wrap(BaseOptimizer, "apply", make_apply)


def _hook_variables(recording: Recording, patches: Patches) -> None:
    from keras.src.backend.tensorflow.core import Variable
    from keras.src.metrics.metric import Metric

    def make_initialize(original: Callable[..., Any]) -> Callable[..., Any]:
        def _initialize(self: Any, value: Any) -> None:
            original(self, value)
            recording.variables.attach_keras(self._value, self)

        return _initialize

    def make_add(original: Callable[..., Any]) -> Callable[..., Any]:
        def add_variable(self: Any, *args: Any, **kwargs: Any) -> Any:
            variable = original(self, *args, **kwargs)
            entry = recording.variables.of(variable)
            if entry is not None:
                entry.kind = "metric"
            return variable

        return add_variable

    for known in [v for v in gc.get_objects() if isinstance(v, Variable)]:
        recording.variables.attach_keras(known._value, known)
    patches.wrap(Variable, "_initialize", make_initialize)
    patches.wrap(Metric, "add_variable", make_add)


def _hook_training(recording: Recording, patches: Patches) -> None:
    from keras.src.backend.tensorflow.trainer import TensorFlowTrainer
    from keras.src.trainers.trainer import Trainer

    def make_compile(original: Callable[..., Any]) -> Callable[..., Any]:
        def compile(self: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: A001 - its name
            result = original(self, *args, **kwargs)
            if recording.output.done:
                return result
            if getattr(self, "steps_per_execution", 1) != 1:
                self.steps_per_execution = 1
                recording.output.switched_off(
                    "steps_per_execution", "each step is recorded by itself; 1 while recording"
                )
            if self.jit_compile:
                self.jit_compile = False
                recording.output.switched_off("jit_compile", "XLA cannot carry the taps of a recording")
            return result

        return compile

    def make_fit(original: Callable[..., Any]) -> Callable[..., Any]:
        def fit(self: Any, x: Any = None, y: Any = None, *args: Any, **kwargs: Any) -> Any:
            if recording.active:
                import tensorflow as tf

                parts = tf.nest.flatten((x, y)) if hasattr(y, "shape") or isinstance(y, (list, tuple, dict)) else [x]
                recording.rows.add("fit", recording.frames.here().called, parts)
            return original(self, x, y, *args, **kwargs)

        return fit

    hook_evaluation(recording, patches, TensorFlowTrainer)
    patches.wrap(Trainer, "compile", make_compile)
    patches.wrap(TensorFlowTrainer, "fit", make_fit)
