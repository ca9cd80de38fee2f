"""A configuration as JSON values that may leave the machine: small, without code, without folders and user names."""

from __future__ import annotations

import contextlib
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

MOST_TEXT = 200
MOST_ITEMS = 16
MOST_KEYS = 64
MOST_CHARACTERS = 4000
"""Of all settings of one object together, as JSON."""
DEEPEST = 5
MOST_INTEGER = 1 << 63
_FOLDER = re.compile(r"^(~|/|\\|[A-Za-z]:[\\/]|file:)")
_POLICIES = frozenset({"DTypePolicy", "Policy", "PolicyV1", "FloatDTypePolicy"})
_VALUES = frozenset({"__tensor__", "__numpy__"})
_INNER = frozenset({"name", "seed", "trainable", "dtype"})
"""Settings of an object within a setting that say nothing of what it does."""


class _TooLargeError(Exception):
    """The value is too large to keep."""


def plain_settings(config: Mapping[Any, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """(settings, names of those that were too large), from what a `get_config` has returned.

    Functions stand as their names, objects as their class's name or {"class": name, ...}, a path as its last part.
    """
    found: dict[str, Any] = {}
    cut: list[str] = []
    left = MOST_CHARACTERS
    for name, value in list(config.items())[:MOST_KEYS]:
        key = str(name)[:MOST_TEXT]
        try:
            plain = (
                "lambda" if key == "function" and config.get("function_type") == "lambda" else _value(value, DEEPEST)
            )
            size = len(json.dumps(plain)) + len(key)
            _fitting(None, size <= left)
        except _TooLargeError:
            cut.append(key)
        else:
            found[key] = plain
            left -= size
    return found, tuple(cut)


def _value(value: Any, depth: int) -> Any:  # noqa: PLR0911 - one line per kind of value
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return _fitting(int(value), -MOST_INTEGER < value < MOST_INTEGER)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, str):
        return _text(str(value))
    if isinstance(value, (np.ndarray, np.generic)):
        _fitting(None, value.size <= MOST_ITEMS)
        return _value(value.tolist(), depth)
    if isinstance(value, (list, tuple)):
        _fitting(None, depth > 0 and len(value) <= MOST_ITEMS)
        return [_value(item, depth - 1) for item in value]
    if isinstance(value, dict):
        _fitting(None, depth > 0 and len(value) <= MOST_ITEMS)
        return _object(value, depth - 1)
    name = getattr(value, "__name__", None)  # a function or a class
    if isinstance(name, str):
        return "lambda" if name == "<lambda>" else _text(name)
    dtype = getattr(value, "name", None) if hasattr(value, "as_numpy_dtype") else None
    return _text(dtype if isinstance(dtype, str) else type(value).__name__)


def _object(value: dict[Any, Any], depth: int) -> Any:  # noqa: PLR0911 - one line per kind of object
    """What Keras serializes an object to, short; any other mapping as it is."""
    kind, config = value.get("class_name"), value.get("config")
    if not isinstance(kind, str):
        return {_text(str(key)): _value(item, depth) for key, item in value.items()}
    if kind == "__lambda__":
        return "lambda"
    if kind == "__tuple__":
        return _value(value.get("items"), depth)
    if isinstance(config, str):  # a function or a class that is registered under this name
        return _text(config)
    if not isinstance(config, dict):
        return _text(kind)
    if kind in _POLICIES:
        return _value(config.get("name"), depth)
    if kind in _VALUES:
        return _value(config.get("value"), depth)
    inner = {key: item for key, item in config.items() if key not in _INNER and item is not None}
    plain = {_text(str(key)): _value(item, depth) for key, item in inner.items()}
    return {"class": _text(kind), **plain} if plain else _text(kind)


def _text(text: str) -> str:
    _fitting(None, len(text) <= MOST_TEXT)
    if _FOLDER.match(text):
        text = re.split(r"[\\/]", text.rstrip("\\/"))[-1]
    with contextlib.suppress(RuntimeError):  # no home
        text = text.replace(str(Path.home()), "~")
    return text


def _fitting(value: Any, fits: bool) -> Any:  # noqa: FBT001 - said right there
    if not fits:
        raise _TooLargeError
    return value
