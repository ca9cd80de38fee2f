"""How the layers, losses and optimizers that ran were set up: asked once each, never per step.

What the library wrote is asked when it has run for the first time: objects of `tf.compat.v1.layers` do not live long.
Whatever has a `get_config` of the user's is asked at the end of the recording, if it is still there: nothing that the
user's code does then can change what is recorded.
"""

from __future__ import annotations

import contextlib
import io
import warnings
import weakref
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tfdiff.recorder.settings import plain_settings
from tfdiff.settings import Configuration
from tfdiff.trace.reader import MOST_CONFIGURATIONS

if TYPE_CHECKING:
    from collections.abc import Iterator

    Key = tuple[str, str, str | None]

LIBRARIES = frozenset({"keras", "tf_keras", "tensorflow"})
NOT_ASKED = frozenset({"Model", "TensorFlowOpLayer", "TFOpLambda", "SlicingOpLambda", "CompileLoss", "LossesContainer"})
"""Classes that say what others say already (a model all its layers), or that compute to answer."""
INTERNAL = frozenset({"lock", "built", "self_setattr_tracking", "self_update_uid", "run_with_dtensor"})
"""What an optimizer of Keras has among its attributes besides its settings."""
TIMES = 4
"""Objects with one path that are looked at."""
INNER = 3
"""Levels of objects within objects at which a user's `get_config` is looked for."""


class Configurations:
    """What one recording has seen of them."""

    def __init__(self) -> None:
        self._found: dict[Key, Configuration] = {}
        self._seen: dict[Key, list[weakref.ref[Any]]] = {}
        self._waiting: dict[Key, weakref.ref[Any]] = {}
        self._optimizers: dict[Key, weakref.ref[Any]] = {}
        self._unlike: set[Key] = set()
        """Places where two objects that are set up in different ways go by one name: neither is told."""

    def saw(self, kind: str, path: str, thing: Any, source: str | None) -> None:
        """A layer or loss has run; what is known already costs a look into a dictionary."""
        key = (kind, path, source)
        seen = self._seen.get(key)
        if seen is None:
            if len(self._seen) >= MOST_CONFIGURATIONS:
                return
            seen = self._seen[key] = []
        if any(known() is thing for known in seen) or len(seen) >= TIMES:
            return
        seen.append(weakref.ref(thing))
        if not hasattr(thing, "get_config") or any(base.__name__ in NOT_ASKED for base in _of_library(thing)):
            return
        if _by_user(thing, INNER):
            self._waiting[key] = seen[-1]
        else:
            self._keep(key, thing)

    def told(self, optimizer: Any, about: dict[str, Any]) -> None:
        """An optimizer was called that has said of itself what a step says of it.

        While its update is traced it cannot read its own rate: it is asked once more in the end.
        """
        key = ("optimizer", str(about["name"]), about["source"])
        if key in self._found or len(self._found) >= MOST_CONFIGURATIONS:
            return
        config = {name: value for name, value in about["config"].items() if name not in INTERNAL}
        settings, cut = plain_settings(config)
        self._found[key] = Configuration("optimizer", key[1], str(about["class"]), settings, key[2], cut=cut)
        self._optimizers[key] = weakref.ref(optimizer)

    def finish(self) -> tuple[Configuration, ...]:
        """All of them; the recording is over."""
        waiting, self._waiting = self._waiting, {}
        for key, known in waiting.items():
            thing = known()
            if thing is not None:
                self._keep(key, thing)
        optimizers, self._optimizers = self._optimizers, {}
        # in a graph of TensorFlow 1 they would compute to answer; TensorFlow itself is not asked where nothing ran
        for key, known in optimizers.items() if optimizers and _eager() else ():
            config = _config_of(known())
            if config is not None:
                self._found[key] = replace(self._found[key], settings=config[0], cut=config[1])
        return tuple(found for key, found in self._found.items() if key not in self._unlike)

    def _keep(self, key: Key, thing: Any) -> None:
        config = _config_of(thing)
        if config is None:
            return
        kind, path, source = key
        base = next((base.__name__ for base in _of_library(thing)), "") if not _library(type(thing)) else ""
        found = Configuration(kind, path, type(thing).__name__, config[0], source, base, config[1])
        if self._found.setdefault(key, found) != found:
            self._unlike.add(key)


def _config_of(thing: Any) -> tuple[dict[str, Any], tuple[str, ...]] | None:
    """What `get_config` says; where the library's cannot tell, what the constructor's arguments became; else None."""
    # a user's method may do anything, also end the script; whatever it is, there is just no configuration
    with contextlib.suppress(Exception, SystemExit), _unheard():
        if "Lambda" in {base.__name__ for base in _of_library(thing)}:  # it would dump the code, with its path
            return plain_settings({"function": vars(thing).get("function")})
        try:
            return plain_settings(thing.get_config())
        except NotImplementedError:
            return plain_settings(_attributes(thing)) if _library(_owner(type(thing), "get_config")) else None
    return None


def _eager() -> bool:
    from tensorflow.python.eager import context

    return bool(context.executing_eagerly())


def _attributes(thing: Any) -> dict[str, Any]:
    """Plain attributes that go by the name of an argument of the constructor."""
    names = type(thing).__init__.__code__.co_varnames[1 : type(thing).__init__.__code__.co_argcount]
    plain = (bool, int, float, str, type(None))
    return {name: value for name in names if isinstance(value := vars(thing).get(name, thing), plain)}


def _by_user(thing: Any, depth: int) -> bool:
    """Whether asking runs code of the user's: its own `get_config`, or that of something it holds."""
    if not _library(_owner(type(thing), "get_config")):
        return True
    inner = [value for name, value in vars(thing).items() if not name.startswith("__")] if depth else []
    held = [value for value in inner if hasattr(type(value), "get_config")]
    return any(_by_user(value, depth - 1) for value in held)


def _owner(kind: type, method: str) -> type:
    """The class of which a class has a method."""
    return next((base for base in kind.__mro__ if method in vars(base)), kind)


def _library(kind: type) -> bool:
    return kind.__module__.partition(".")[0] in LIBRARIES


def _of_library(thing: Any) -> list[type]:
    """The library's classes that it is, the nearest first."""
    return [base for base in type(thing).__mro__ if _library(base)]


@contextlib.contextmanager
def _unheard() -> Iterator[None]:
    """What is asked here was not asked by the script: neither its words nor its warnings are the script's.

    `warnings.catch_warnings` would make every warning of the script that was shown be shown again.
    """
    warn, warnings.warn = warnings.warn, _no_warning
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        warnings.warn = warn


def _no_warning(*_: Any, **__: Any) -> None:
    pass
