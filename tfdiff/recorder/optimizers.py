"""The learning rate an optimizer is about to use, and the variables in which it keeps its settings."""

from __future__ import annotations

from typing import Any

from tfdiff.recorder import v1_optimizers
from tfdiff.recorder.attributes import plain_config


def describe(optimizer: Any, created: str | None, called: str | None) -> dict[str, Any]:
    """What a step says of an optimizer: name, class, settings, the lines that made it and called it."""
    return {
        "name": str(getattr(optimizer, "name", None) or getattr(optimizer, "_name", "")),
        "class": type(optimizer).__name__,
        "config": plain_config(optimizer) or v1_optimizers.settings_of(optimizer),
        "source": created or called,
        "called": called,
    }


def settings_of(optimizer: Any) -> list[Any]:
    """Variables in which a tf_keras optimizer keeps its rate and the like."""
    settings = getattr(optimizer, "_hyper", None)
    known = [*settings.values(), optimizer._iterations] if isinstance(settings, dict) else []
    own = [vars(optimizer).get(name) for name in ("_learning_rate", "_current_learning_rate")]
    return [variable for variable in [*known, *own] if hasattr(variable, "handle")]


def variables_of(optimizer: Any) -> list[Any]:
    """Slots and settings of an optimizer: a property in Keras 3, a method elsewhere."""
    found = getattr(optimizer, "variables", [])
    return list(found() if callable(found) else found)


def rate_and_iterations(optimizer: Any) -> tuple[Any, Any]:
    """Learning rate and iteration count about to be used, as tensors (None where the optimizer has none)."""
    import tensorflow as tf

    found: list[Any] = []
    for value, dtype in zip(_rate_and_iterations(optimizer), (tf.float32, tf.int64), strict=True):
        if value is None:
            found.append(None)
        else:
            found.append(tf.cast(tf.convert_to_tensor(value), dtype))
    return found[0], found[1]


def declared(optimizer: Any) -> tuple[Any, Any]:
    """The same of an optimizer whose update has just been built into a graph: tensors, variables, numbers or None.

    A schedule would have to be built into the graph once more to be read: None.
    """
    settings = getattr(optimizer, "_hyper", None)
    if isinstance(settings, dict):
        rate = settings.get("learning_rate")
        return (None if callable(rate) and not hasattr(rate, "dtype") else rate), optimizer._iterations
    return v1_optimizers.rate_of(optimizer), None


def _rate_and_iterations(optimizer: Any) -> tuple[Any, Any]:
    """A schedule of tf_keras is asked here: what such optimizers call their rate is that of the step before.

    The legacy ones of tf_keras make their variables when they are asked for a rate, under another name than otherwise.
    """
    settings = getattr(optimizer, "_hyper", None)
    if isinstance(settings, dict):
        iterations = 0 if optimizer._iterations is None else optimizer._iterations
        rate = _scheduled(settings.get("learning_rate"), iterations)
        decay = getattr(optimizer, "_initial_decay", 0.0)
        return (rate / (1.0 + decay * _as_float(iterations)) if decay else rate), iterations
    iterations = getattr(optimizer, "iterations", None)
    if hasattr(optimizer, "_current_learning_rate"):
        return _scheduled(optimizer._learning_rate, iterations), iterations
    rate = getattr(optimizer, "learning_rate", None)
    return (v1_optimizers.rate_of(optimizer) if rate is None else rate), iterations


def _scheduled(rate: Any, iterations: Any) -> Any:
    if _is_schedule(rate):
        return rate(_as_float(iterations))
    return rate() if callable(rate) and not hasattr(rate, "dtype") else rate


def _is_schedule(rate: Any) -> bool:
    return any(base.__name__ == "LearningRateSchedule" for base in type(rate).__mro__)


def _as_float(iterations: Any) -> Any:
    import tensorflow as tf

    return tf.cast(tf.convert_to_tensor(iterations), tf.float32)
