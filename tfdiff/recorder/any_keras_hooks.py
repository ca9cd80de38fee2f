"""What the hooks into Keras 3 and into tf_keras have in common: scopes, places of creation, rows and switches."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from tfdiff.recorder.recording import Recording

    Make = Callable[[Callable[..., Any]], Callable[..., Any]]

_NO_XLA = "XLA cannot carry the taps of a recording"
_ONE_STEP = "each step is recorded by itself; 1 while recording"


def creation(recording: Recording) -> Make:
    """Wraps a constructor: remembers the user's line that runs it."""

    def make_init(original: Callable[..., Any]) -> Callable[..., Any]:
        def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
            recording.context.created(self)
            original(self, *args, **kwargs)

        return __init__

    return make_init


def creation_by_new(recording: Recording) -> Make:
    """The same for layers: not `__init__`, because a warning raised there names the line that called it, which must
    stay the user's.
    """

    def make_new(original: Callable[..., Any]) -> Callable[..., Any]:
        def __new__(cls: Any, *args: Any, **kwargs: Any) -> Any:
            layer = original(cls, *args, **kwargs)
            recording.context.created(layer)
            return layer

        return __new__

    return make_new


def layer_call(recording: Recording, own: Callable[[Any], None] = lambda _: None) -> Make:
    """Wraps `Layer.__call__`: ops that run in it are the layer's; `own` is told of a layer that has run."""

    def make_call(original: Callable[..., Any]) -> Callable[..., Any]:
        def __call__(self: Any, *args: Any, **kwargs: Any) -> Any:
            if not recording.watching:
                return original(self, *args, **kwargs)
            with recording.context.inside("layer", self):
                result = original(self, *args, **kwargs)
                tensors = _tensors(result) if recording.active else []
                if tensors:
                    own(self)
                    recording.saw("layer", recording.context.layer, self)
            if tensors:
                recording.layer_output(tensors)
            return result

        return __call__

    return make_call


def _tensors(result: Any) -> list[Any]:
    """The tensors a layer returned; none where it was only asked what it would return (a symbolic call)."""
    import tensorflow as tf

    return [tensor for tensor in tf.nest.flatten(result) if hasattr(tensor, "_id")]


def loss_call(recording: Recording) -> Make:
    """Wraps `Loss.__call__`: ops that run in it are the loss's."""

    def make_call(original: Callable[..., Any]) -> Callable[..., Any]:
        def __call__(self: Any, *args: Any, **kwargs: Any) -> Any:
            if not recording.watching:
                return original(self, *args, **kwargs)
            recording.saw("loss", str(getattr(self, "name", None) or type(self).__name__), self)
            with recording.context.inside("loss", self):
                return original(self, *args, **kwargs)

        return __call__

    return make_call


def declared(recording: Recording, kind: str) -> Make:
    """Wraps the method with which a metric or a loss scale makes its variables: these are of that kind."""

    def make_add(original: Callable[..., Any]) -> Callable[..., Any]:
        def add(self: Any, *args: Any, **kwargs: Any) -> Any:
            variable = original(self, *args, **kwargs)
            recording.variables.declare(variable, kind)
            return variable

        return add

    return make_add


def compiling(recording: Recording, one_step: Callable[[Any], bool]) -> Make:
    """Wraps `Model.compile`; `one_step` sets `steps_per_execution` to 1 and says whether it was something else."""

    def make_compile(original: Callable[..., Any]) -> Callable[..., Any]:
        def compile(self: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: A001 - its name
            result = original(self, *args, **kwargs)
            _switch_off(recording, self, one_step)
            return result

        return compile

    return make_compile


def fitting(recording: Recording, one_step: Callable[[Any], bool]) -> Make:
    """Wraps `Model.fit`: notes the arrays it is given, and switches off what was switched on after `compile`."""

    def make_fit(original: Callable[..., Any]) -> Callable[..., Any]:
        def fit(self: Any, x: Any = None, y: Any = None, *args: Any, **kwargs: Any) -> Any:
            if recording.active:
                _note_rows(recording, x, y, kwargs.get("validation_split") or 0.0)
                _switch_off(recording, self, one_step)
            return original(self, x, y, *args, **kwargs)

        return fit

    return make_fit


def stepwise(one_step: Callable[[Any], bool], quiet: Callable[[], AbstractContextManager[object]]) -> tuple[Make, Make]:
    """Wraps `Model.compile` and `Model.fit` where nothing is recorded: one step per execution, as in a recording."""

    def make_compile(original: Callable[..., Any]) -> Callable[..., Any]:
        def compile(self: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: A001 - its name
            result = original(self, *args, **kwargs)
            with quiet():
                one_step(self)
            return result

        return compile

    def make_fit(original: Callable[..., Any]) -> Callable[..., Any]:
        def fit(self: Any, *args: Any, **kwargs: Any) -> Any:
            with quiet():
                one_step(self)
            return original(self, *args, **kwargs)

        return fit

    return make_compile, make_fit


def _note_rows(recording: Recording, x: Any, y: Any, validation_split: float) -> None:
    import tensorflow as tf

    given = (x, y) if hasattr(y, "shape") or isinstance(y, (list, tuple, dict)) else x
    arrays = [a for a in tf.nest.flatten(given) if isinstance(a, np.ndarray) and a.ndim]
    if validation_split:  # the last rows are never trained on
        arrays = [a[: math.floor(len(a) * (1.0 - validation_split))] for a in arrays]
    recording.rows.add("fit", recording.frames.here().called, arrays)


def _switch_off(recording: Recording, model: Any, one_step: Callable[[Any], bool]) -> None:
    if recording.output.done:
        return
    with recording.quiet():
        if one_step(model):
            recording.output.switched_off("steps_per_execution", _ONE_STEP)
        if getattr(model, "jit_compile", None):
            model.jit_compile = False
            recording.output.switched_off("jit_compile", _NO_XLA)
