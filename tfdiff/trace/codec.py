"""The nouns of `tfdiff.model` as JSON and back; what comes back is checked against the types and cleaned."""

from __future__ import annotations

import dataclasses
import json
import re
import types
from collections.abc import Mapping
from functools import cache
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

import numpy as np

T = TypeVar("T")

# Control characters (terminal escapes begin with one), marks that turn the direction of writing, halves of surrogates.
_UNWANTED = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_SPACES = "\t\n\r\u2028\u2029"


def clean(text: str) -> str:
    """A stranger's text without control characters; line breaks and tabs become spaces."""
    return _UNWANTED.sub(lambda match: " " if match.group() in _SPACES else "", text)


def to_json(document: dict[str, Any]) -> bytes:
    """ASCII JSON of dataclasses, NumPy and plain values; NaN and infinities as Python has them, the rest as text."""
    return json.dumps(_plain(document), separators=(",", ":")).encode("ascii")


def from_json(data: bytes) -> dict[str, Any]:
    """The cleaned document; raises ValueError or TypeError when it is not a JSON object."""
    document = _cleaned(json.loads(data.decode("utf-8")))
    if not isinstance(document, dict):
        raise TypeError("JSON that is no object")
    return document


def build(kind: type[T], value: Any) -> T:
    """An instance of a dataclass from its JSON; ValueError or TypeError where a field is missing or odd."""
    if not isinstance(value, dict):
        raise TypeError(f"{kind.__name__} is no JSON object")
    arguments = {}
    for name, hint, required in _fields(cast("Any", kind)):
        if name in value:
            arguments[name] = _typed(hint, value[name], f"{kind.__name__}.{name}")
        elif required:
            raise ValueError(f"{kind.__name__} without {name}")
    return kind(**arguments)


def build_all(kind: type[T], values: Any) -> list[T]:
    """A list of instances; raises as `build` does."""
    if not isinstance(values, list):
        raise TypeError(f"no list of {kind.__name__}")
    return [build(kind, value) for value in values]


@cache
def _fields(kind: Any) -> list[tuple[str, Any, bool]]:
    hints = get_type_hints(kind)
    missing = dataclasses.MISSING
    return [
        (field.name, hints[field.name], field.default is missing and field.default_factory is missing)
        for field in dataclasses.fields(kind)
    ]


def _typed(hint: Any, value: Any, where: str) -> Any:
    """The value as the annotation wants it; raises ValueError where it cannot be."""
    arguments = get_args(hint)
    if get_origin(hint) in (Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        hint = next(option for option in arguments if option is not type(None))
        arguments = get_args(hint)
    origin = get_origin(hint)
    if hint is Any or (origin is Literal and value in arguments):
        return value
    if origin is tuple and isinstance(value, list):
        hints = (arguments[0],) * len(value) if arguments[-1] is Ellipsis else arguments
        return tuple(_typed(each, item, where) for each, item in zip(hints, value, strict=True))
    if origin is dict and isinstance(value, dict):
        return {key: _typed(arguments[1], item, where) for key, item in value.items()}
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return build(hint, value)
    return _scalar(hint, value, where)


def _scalar(hint: Any, value: Any, where: str) -> Any:
    if isinstance(hint, type) and type(value) is hint:
        return value
    # A text that was recorded as a number or as nothing harms nobody.
    if hint is str and (value is None or isinstance(value, (bool, int, float))):
        return "" if value is None else str(value)
    if hint in (int, float) and isinstance(value, (bool, int)):
        return hint(value)
    raise ValueError(f"{where} is {str(value)[:40]!r}")


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        # What has its default is left out: most fields of most sites.
        defaults = _defaults(type(value))
        found = ((field.name, getattr(value, field.name)) for field in dataclasses.fields(value))
        return {name: _plain(item) for name, item in found if name not in defaults or not _same(item, defaults[name])}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(item) for item in value]
    if isinstance(value, (np.ndarray, np.generic)):
        return _plain(value.tolist())
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return str(value)


@cache
def _defaults(kind: Any) -> dict[str, Any]:
    """Fields with a default; a factory's is what it makes."""
    missing = dataclasses.MISSING
    fields = dataclasses.fields(kind)
    found = {field.name: field.default for field in fields if field.default is not missing}
    return found | {field.name: field.default_factory() for field in fields if field.default_factory is not missing}


def _same(value: Any, default: Any) -> bool:
    """Whether the value is its default, not only equal to it (1 is no True)."""
    return type(value) is type(default) and bool(value == default)


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, list):
        return [_cleaned(item) for item in value]
    if isinstance(value, dict):
        return {clean(key): _cleaned(item) for key, item in value.items()}
    return value
