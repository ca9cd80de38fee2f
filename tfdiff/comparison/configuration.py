"""Which settings of two layers, losses or optimizers are not the same, whatever version of Keras says so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tfdiff.model import Phase
    from tfdiff.settings import Configuration
    from tfdiff.trace.reader import Trace

SAME = 1e-6
"""Relative difference up to which two numbers are one: versions keep them as float32 or float64."""
DEEPEST = 6
MOST_CONFIGURED = 64
"""Settings of one object that are compared."""
IRRELEVANT = frozenset(
    {
        "name", "seed", "trainable", "fn", "module", "registered_name", "implementation", "unroll", "jit_compile",
        "batch_input_shape", "batch_shape", "input_shape", "build_config", "use_locking", "is_legacy_optimizer",
        "synchronized", "loss_scale_factor", "autocast", "rng_type", "registered", "function_type", "output_shape_type",
    }
)  # fmt: skip
"""Names, what is shared or judged by itself, and how something is computed without another result."""
CLASSES = {"gradientdescent": "sgd", "momentum": "sgd"}
"""TensorFlow 1's optimizers and what Keras calls them."""
WORDS = {"auto": "sumoverbatchsize", "l1l2": "l2", "none": None, "linear": None, "": None}
"""Values in the words of another version."""


@dataclass(frozen=True)
class Setting:
    """A setting that is not the same on both sides."""

    key: str
    a: Any
    b: Any


def configuration_of(trace: Trace, kind: str, path: str | None, source: str | None) -> Configuration | None:
    """How the layer at a path (or within it) was set up; a loss is found by its line, or by being the only one.

    None where it is not known, or where two of one name are not told apart by their lines.
    """
    known = [one for one in trace.configurations if one.kind == kind]
    if kind == "layer":
        path = path or ""
        while path and not any(one.path == path for one in known):
            path = path.rpartition("/")[0]
        known = [one for one in known if path and one.path == path]
    if len(known) > 1:
        known = [one for one in known if one.source is not None and one.source == source]
    return known[0] if len(known) == 1 else None


def alike(a: Configuration, b: Configuration) -> bool:
    """Whether two are of one class, so that whatever differs in their settings can be asked about."""
    first, second = (
        {_class(name) for name in (one.class_name, one.base) if name and name != "Layer"} for one in (a, b)
    )
    return a.kind == b.kind and (bool(first & second) or a.kind != "layer")


def differing(a: Configuration, b: Configuration, rank: int | None = None) -> list[Setting]:
    """Settings that both have and that are not the same; `rank`: number of axes that a negative axis counts from."""
    found = []
    if a.kind != "layer" and _class(_kind(a)) != _class(_kind(b)):
        found.append(Setting("class", _kind(a), _kind(b)))
    cut = {*a.cut, *b.cut, *IRRELEVANT}
    both = [key for key in a.settings if key in b.settings and key not in cut][:MOST_CONFIGURED]
    settings = [Setting(key, a.settings[key], b.settings[key]) for key in both]
    return found + [one for one in settings if not same_setting(one.key, one.a, one.b, rank)]


def relevant(settings: Iterable[Setting], phase: Phase) -> list[Setting]:
    """Those that can make a difference in a phase once both sides have the same weights."""
    return [one for one in settings if not one.key.endswith(_without(phase))]


def _without(phase: Phase) -> tuple[str, ...]:
    if phase == "init":
        return ("_regularizer", "_constraint")
    if phase == "forward":
        return ("_initializer", "_regularizer", "_constraint", "momentum")
    return ("_initializer", "_constraint") if phase in ("loss", "eval") else ("_initializer",)


def same_setting(key: str, a: Any, b: Any, rank: int | None = None) -> bool:
    """Whether two values of a setting mean the same."""
    if key in ("axis", "axes"):
        a, b = (_axes(value, rank) for value in (a, b))
        if (
            rank is None
            and a is not None
            and b is not None
            and any((x < 0) != (y < 0) for x, y in zip(a, b, strict=False))
        ):
            return True  # which axis a negative one is cannot be told
    return _same(_canonical(a), _canonical(b))


def _axes(value: Any, rank: int | None) -> list[int] | None:
    found = value if isinstance(value, list) else [value]
    if not all(type(one) is int for one in found):
        return None
    return [one % rank if rank else one for one in found]


def _canonical(value: Any, depth: int = DEEPEST) -> Any:
    """One way of writing for what is written in several: 2 and [2, 2], None, 0, "none" and "linear", "SAME"."""
    if isinstance(value, str):
        text = value.lower().replace("_", "")
        return WORDS.get(text, text)
    if isinstance(value, (bool, int, float)):
        return value or None
    if depth == 0:
        return "..."
    if isinstance(value, list):
        items = [_canonical(item, depth - 1) for item in value]
        return items[0] if items and all(_same(item, items[0]) for item in items) else items
    if isinstance(value, dict):
        inner = {key: _canonical(item, depth - 1) for key, item in value.items() if key not in IRRELEVANT}
        return {key: item for key, item in inner.items() if item is not None} or None
    return value


def _same(a: Any, b: Any) -> bool:
    numbers = isinstance(a, (int, float)) and isinstance(b, (int, float))
    if numbers:
        return bool(abs(a - b) <= SAME * max(abs(a), abs(b))) or bool(a == b)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(_same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    return bool(a == b)


def _kind(one: Configuration) -> str:
    """Its class; of a loss that only wraps a function, that."""
    function = one.settings.get("fn") if one.class_name == "LossFunctionWrapper" else None
    return function if isinstance(function, str) else one.class_name


def _class(name: str) -> str:
    """A class's name without what versions add to it: `AdamOptimizer` and `Adam`, `LSTMCell` and `LSTM`."""
    short = name.removesuffix("V1").removesuffix("V2").removesuffix("Optimizer").removesuffix("Cell")
    short = short.lower().replace("_", "")
    return CLASSES.get(short, short)
