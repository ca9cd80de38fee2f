"""Assumptions about optimizers of Keras 3, tf_keras and TensorFlow 1: settings as they were given to the constructor.

What an update reads is set before the optimizer builds its variables, and stays until the recording ends; the rate of
Keras' optimizers is another one only while they update, since scripts write to it in between.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from tfdiff.recorder.assumed_layers_hooks import created
from tfdiff.recorder.assuming import set_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tfdiff.recorder.assuming import Assuming
    from tfdiff.recorder.patching import Patches

SETTINGS: dict[str, tuple[str, ...]] = {
    "optimizer-epsilon": ("epsilon", "_epsilon"),
    "optimizer-momentum": ("momentum", "_momentum"),
    "optimizer-nesterov": ("nesterov", "_use_nesterov"),
    "optimizer-amsgrad": ("amsgrad",),
    "optimizer-centered": ("centered", "_centered"),
    "optimizer-accumulator": ("initial_accumulator_value", "_initial_accumulator_value"),
    "weight-decay": ("weight_decay",),
    "grad-clipping": ("clipnorm", "clipvalue", "global_clipnorm"),
}
"""Attributes by code, as Keras and as TensorFlow 1 call them: those that the optimizer has are set."""
_BETAS = (("beta_1", "_beta1"), ("beta_2", "_beta2"))
_RHO = ("rho", "_rho", "_decay")
_RATE_OF_V1 = ("_learning_rate", "_lr")
_CODES = ("lr", "optimizer-betas", *SETTINGS)


class _Setting(float):
    """A number that is also the function that returns it: what Keras has such settings as is not a variable then."""

    __slots__ = ()

    def __call__(self) -> float:
        return float(self)


def install_keras(assuming: Assuming, patches: Patches) -> None:
    """Hook into Keras 3."""
    from keras.src.optimizers.base_optimizer import BaseOptimizer

    if assuming.wants(*_CODES):
        patches.wrap(BaseOptimizer, "__init__", created(assuming))
        patches.wrap(BaseOptimizer, "build", _setting(assuming, patches))
        patches.wrap(BaseOptimizer, "apply", _setting(assuming, patches))


def install_tf_keras(assuming: Assuming, patches: Patches) -> None:
    """Hook into tf_keras, its new and its legacy optimizers."""
    from tf_keras.src.optimizers.legacy.optimizer_v2 import OptimizerV2
    from tf_keras.src.optimizers.optimizer import Optimizer, _BaseOptimizer

    if assuming.wants(*_CODES):
        patches.wrap(_BaseOptimizer, "__init__", created(assuming))
        patches.wrap(_BaseOptimizer, "build", _setting(assuming, patches))
        patches.wrap(Optimizer, "apply_gradients", _setting(assuming, patches))
        patches.wrap(OptimizerV2, "__init__", created(assuming))
        patches.wrap(OptimizerV2, "apply_gradients", _setting(assuming, patches))


def install_v1(assuming: Assuming, patches: Patches) -> None:
    """Hook into the optimizers of TensorFlow 1."""
    from tensorflow.python.training.optimizer import Optimizer

    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        def apply_gradients(self: Any, *args: Any, **kwargs: Any) -> Any:
            if assuming.once(self):
                assuming.set_for_good(self, _v1_values(assuming, self), patches)
            return original(self, *args, **kwargs)

        return apply_gradients

    if assuming.wants(*_CODES):
        patches.wrap(Optimizer, "__init__", created(assuming))
        patches.wrap(Optimizer, "apply_gradients", make)


def _setting(assuming: Assuming, patches: Patches) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(self: Any, *args: Any, **kwargs: Any) -> Any:
            if assuming.once(self):
                assuming.set_for_good(self, _values(assuming, self, vars(self)), patches)
            with _rate(assuming, self):
                return original(self, *args, **kwargs)

        return call

    return make


@contextlib.contextmanager
def _rate(assuming: Assuming, optimizer: Any) -> Iterator[None]:
    """The rate; of legacy optimizers all numbers that they keep as variables."""
    kept = vars(optimizer).get("_hyper")
    own = kept if isinstance(kept, dict) else vars(optimizer)
    values = _values(assuming, optimizer, kept) if isinstance(kept, dict) else {}
    name = "learning_rate" if isinstance(kept, dict) else "_learning_rate"
    value = _asked(assuming, optimizer, "lr") if name in own else None
    if value is not None:
        values[name] = value
    with set_in(own, {name: _Setting(value) for name, value in values.items()}):
        yield


def _values(assuming: Assuming, optimizer: Any, own: dict[str, Any]) -> dict[str, Any]:
    """Entries to set among `own`: the optimizer's attributes, or the numbers a legacy one keeps."""
    found: dict[str, Any] = {}
    for code, names in SETTINGS.items():
        there = [name for name in names if own.get(name) is not None]
        if code == "weight-decay":
            there = [name for name in names if name in own]
        value = _asked(assuming, optimizer, code) if there else None
        if value is not None:
            found.update(dict.fromkeys(there, value))
    return {**found, **_betas(assuming, optimizer, own, rho=_RHO[:1])}


def _betas(assuming: Assuming, optimizer: Any, own: dict[str, Any], rho: tuple[str, ...]) -> dict[str, Any]:
    names = [next((name for name in pair if name in own), None) for pair in _BETAS]
    both = [name for name in names if name is not None]
    one = [name for name in rho if name in own]
    if len(both) != len(_BETAS) and not one:
        return {}
    values = assuming_betas(assuming, optimizer, 2 if len(both) == len(_BETAS) else 1)
    return dict(zip(both if len(both) == len(_BETAS) else one, values, strict=False))


def assuming_betas(assuming: Assuming, optimizer: Any, count: int) -> tuple[float, ...]:
    """The assumed betas where they are as many as the optimizer has; else none."""
    found = _asked(assuming, optimizer, "optimizer-betas", length=count)
    return found or ()


def _v1_values(assuming: Assuming, optimizer: Any) -> dict[str, Any]:
    own = vars(optimizer)
    found = _values(assuming, optimizer, {n: v for n, v in own.items() if n not in _RHO})
    found.update(_betas(assuming, optimizer, own, rho=_RHO))
    there = [name for name in _RATE_OF_V1 if name in own]
    value = _asked(assuming, optimizer, "lr") if there else None
    if value is not None:
        found.update(dict.fromkeys(there, value))
    return found


def _asked(assuming: Assuming, optimizer: Any, code: str, length: int | None = None) -> Any:
    if not assuming.wants(code):
        return None
    name = str(getattr(optimizer, "name", None) or getattr(optimizer, "_name", ""))
    return assuming.value(code, f"{type(optimizer).__name__} '{name}'", assuming.source_of(optimizer), length=length)
