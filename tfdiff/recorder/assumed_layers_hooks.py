"""Assumptions about layers and losses of Keras 3 and tf_keras: attributes while they are called, and `training=`."""

from __future__ import annotations

import contextlib
import inspect
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from tfdiff.recorder.assuming import Assuming
    from tfdiff.recorder.patching import Patches

    Make = Callable[[Callable[..., Any]], Callable[..., Any]]

ATTRIBUTES: dict[str, str] = {"dropout-rate": "rate", "norm-epsilon": "epsilon", "state-norm-momentum": "momentum"}
"""Attributes of layers, read in each call."""
_LOSS_ARGUMENTS = {"loss-from-logits": "from_logits", "loss-smoothing": "label_smoothing"}
_REDUCTIONS = {"mean": "sum_over_batch_size"}


def install_keras(assuming: Assuming, patches: Patches) -> None:
    """Hook into Keras 3."""
    from keras.src.backend.tensorflow.trainer import TensorFlowTrainer
    from keras.src.layers.layer import Layer
    from keras.src.losses.loss import Loss
    from keras.src.trainers.compile_utils import CompileLoss

    patches.wrap(Layer, "__new__", _created_by_new(assuming))
    patches.wrap(Layer, "__call__", _layer_call(assuming))
    patches.wrap(Loss, "__init__", created(assuming))
    patches.wrap(Loss, "__call__", _loss_call(assuming))
    patches.wrap(CompileLoss, "__call__", _compiled_call(assuming))
    _hook_evaluation(assuming, patches, TensorFlowTrainer)


def install_tf_keras(assuming: Assuming, patches: Patches) -> None:
    """Hook into tf_keras."""
    from tf_keras.src import losses
    from tf_keras.src.engine import base_layer, base_layer_v1
    from tf_keras.src.engine.compile_utils import LossesContainer
    from tf_keras.src.engine.training import Model

    patches.wrap(base_layer.Layer, "__new__", _created_by_new(assuming))
    patches.wrap(base_layer.Layer, "__call__", _layer_call(assuming))
    patches.wrap(base_layer_v1.Layer, "__call__", _layer_call(assuming))
    patches.wrap(losses.Loss, "__init__", created(assuming))
    patches.wrap(losses.Loss, "__call__", _loss_call(assuming))
    patches.wrap(LossesContainer, "__init__", created(assuming))
    patches.wrap(LossesContainer, "__call__", _compiled_call(assuming))
    _hook_evaluation(assuming, patches, Model)


def created(assuming: Assuming) -> Make:
    """Wraps a constructor: remembers the user's line."""

    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
            assuming.created(self)
            original(self, *args, **kwargs)

        return __init__

    return make


def _created_by_new(assuming: Assuming) -> Make:
    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        def __new__(cls: Any, *args: Any, **kwargs: Any) -> Any:
            layer = original(cls, *args, **kwargs)
            assuming.created(layer)
            return layer

        return __new__

    return make


def _layer_call(assuming: Assuming) -> Make:
    running: list[tuple[int, int]] = []

    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        def __call__(self: Any, *args: Any, **kwargs: Any) -> Any:
            call = assuming.here()
            # Layers within a layer are called by it, whatever the user's line is.
            places = [assuming.source_of(self), *([call.called] if call.key not in running else [])]
            args, kwargs = _with_flag(assuming, self, places, args, kwargs)
            running.append(call.key)
            try:
                with assuming.holding(self, _of_layer(assuming, self, places)):
                    return original(self, *args, **kwargs)
            finally:
                running.pop()

        return __call__

    return make


def _of_layer(assuming: Assuming, layer: Any, places: list[str | None]) -> dict[str, Any]:
    found = {}
    for code, attribute in ATTRIBUTES.items():
        if assuming.wants(code) and _settable(layer, attribute):
            value = assuming.value(code, _named(layer), *places)
            if value is not None:
                found[attribute] = value
    return found


def _settable(layer: Any, attribute: str) -> bool:
    """Whether the layer has it as a setting; one that was made without a rate has no seed to draw with."""
    value = vars(layer).get(attribute)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    if attribute != "rate":
        return True
    drops = any(base.__name__.endswith("Dropout") for base in type(layer).__mro__)
    legacy = any(base.__module__.startswith("tf_keras.") for base in type(layer).__mro__)
    return drops and (legacy or value > 0.0 or "seed_generator" in vars(layer))


def _with_flag(
    assuming: Assuming, layer: Any, places: list[str | None], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments with the assumed `training`, where the layer takes one."""
    if not assuming.wants("training-flag") or assuming.evaluating:
        return args, kwargs
    names = list(inspect.signature(layer.call).parameters)
    value = assuming.value("training-flag", _named(layer), *places) if "training" in names else None
    if value is None:
        return args, kwargs
    at = names.index("training")
    if at < len(args):
        return (*args[:at], value, *args[at + 1 :]), kwargs
    return args, {**kwargs, "training": value}


def _loss_call(assuming: Assuming) -> Make:
    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        def __call__(self: Any, *args: Any, **kwargs: Any) -> Any:
            with assuming.holding(self, _of_loss(assuming, self)):
                return original(self, *args, **kwargs)

        return __call__

    return make


def _of_loss(assuming: Assuming, loss: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    places = (assuming.source_of(loss), assuming.here().called)
    if assuming.wants("loss-reduction") and "reduction" in vars(loss):
        value = assuming.value("loss-reduction", _named(loss), *places)
        if value is not None:
            found["reduction"] = _REDUCTIONS.get(value, value)
    given = vars(loss).get("_fn_kwargs")
    for code, name in _LOSS_ARGUMENTS.items():
        if assuming.wants(code) and isinstance(given, dict) and _takes(getattr(loss, "fn", None), name):
            value = assuming.value(code, _named(loss), *places)
            if value is not None:
                found["_fn_kwargs"] = {**found.get("_fn_kwargs", given), name: value}
    return found


def _takes(function: Any, name: str) -> bool:
    with contextlib.suppress(TypeError, ValueError):
        return name in inspect.signature(function).parameters
    return False


def _compiled_call(assuming: Assuming) -> Make:
    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        def __call__(self: Any, *args: Any, **kwargs: Any) -> Any:
            with assuming.compiled(self):
                return original(self, *args, **kwargs)

        return __call__

    return make


def _hook_evaluation(assuming: Assuming, patches: Patches, owner: Any) -> None:
    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        def step(self: Any, *args: Any, **kwargs: Any) -> Any:
            assuming.evaluating += 1
            try:
                return original(self, *args, **kwargs)
            finally:
                assuming.evaluating -= 1

        return step

    for name in ("test_step", "predict_step"):
        patches.wrap(owner, name, make)


def _named(thing: Any) -> str:
    return f"{type(thing).__name__} '{getattr(thing, 'name', '')}'"
