"""What the user wrote, as evidence: settings that differ raise what the numbers have proved, and never prove anything.

A setting supports a cause where its two values are the constants that were fitted, or where it is what the code stands
for and cannot be read off a number. Where only one side says how it is set up (the other is raw code), its value must
be that side's constant.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tfdiff.causes.words import argument, number, plain
from tfdiff.comparison.configuration import Setting, alike, configuration_of, differing, relevant, same_setting
from tfdiff.settings import Configuration

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tfdiff.causes.scene import Scene, Side
    from tfdiff.model import Cause

    Pair = tuple[Configuration | None, Configuration | None]

BONUS = 0.02
"""What a setting that agrees adds to the confidence: twice what a fitted constant takes."""
MOST = 0.995
FITTED = 0.02
"""Relative error of a fitted constant up to which it is the setting."""
SHOWN = 3
MOST_SHOWN = 60
MOST_KEPT = 8
MOST_LAYERS = 200
ACTIVATIONS = {"none": "none", "linear": "none", "silu": "swish", "hard_silu": "hard_swish"}
"""What fitted functions are called, by Keras' names for them."""
KEYS: dict[str, tuple[str, ...]] = {
    "activation": ("activation", "recurrent_activation", "negative_slope", "alpha", "approximate"),
    "arch-width": ("units", "filters"),
    "bias-missing": ("use_bias",),
    "data-scale": ("scale", "offset"),
    "dropout-rate": ("rate", "dropout", "recurrent_dropout"),
    "dtype": ("dtype",),
    "grad-clipping": ("clipnorm", "clipvalue", "global_clipnorm"),
    "init-distribution": (
        "kernel_initializer",
        "bias_initializer",
        "embeddings_initializer",
        "recurrent_initializer",
        "depthwise_initializer",
        "gamma_initializer",
        "beta_initializer",
    ),
    "loss-from-logits": ("from_logits",),
    "loss-kind": ("class", "delta", "gamma", "alpha"),
    "loss-reduction": ("reduction",),
    "loss-regularization-missing": (
        "kernel_regularizer",
        "bias_regularizer",
        "activity_regularizer",
        "embeddings_regularizer",
        "recurrent_regularizer",
    ),
    "loss-smoothing": ("label_smoothing",),
    "lr": ("learning_rate",),
    "lr-schedule": ("learning_rate",),
    "mask": ("mask_zero", "mask_value"),
    "norm-axis": ("axis",),
    "norm-epsilon": ("epsilon",),
    "optimizer-accumulator": ("initial_accumulator_value",),
    "optimizer-amsgrad": ("amsgrad",),
    "optimizer-betas": ("beta_1", "beta_2", "rho"),
    "optimizer-centered": ("centered",),
    "optimizer-epsilon": ("epsilon",),
    "optimizer-kind": ("class",),
    "optimizer-momentum": ("momentum",),
    "optimizer-nesterov": ("nesterov",),
    "padding": ("padding",),
    "state-norm-momentum": ("momentum",),
    "stride-or-pool": ("strides", "pool_size", "kernel_size", "dilation_rate"),
    "weight-decay": ("weight_decay",),
}
"""What Keras calls the setting that a code stands for; of other codes only settings that are numbers are asked."""


def supported(scene: Scene, cause: Cause) -> Cause:
    """The cause, raised and in the user's words, where the configuration of the two places agrees with it."""
    for pair in _asked(scene, cause):
        evidence = _evidence(scene, cause, pair)
        if evidence:
            raised = max(cause.confidence, min(cause.confidence + BONUS, MOST))
            return replace(
                cause,
                confidence=round(raised, 3),
                summary=f"{cause.summary}; {_written(pair, evidence)}",
                fix=_fix(cause.fix, pair[1], evidence),
                evidence=as_evidence(evidence),
            )
    return cause


def _asked(scene: Scene, cause: Cause) -> Iterator[Pair]:
    """The places of the divergence; for a penalty, which stands in the loss, the layers that may have it."""
    yield from pairs(scene)
    if cause.code == "loss-regularization-missing":
        for pair in scene.finding.variables[:MOST_LAYERS]:
            yield _of_variable(scene.a, pair.a), _of_variable(scene.b, pair.b)


def hints(scene: Scene) -> list[Setting]:
    """Settings that differ at the place of a divergence that nothing explains."""
    found: dict[str, Setting] = {}
    for a, b in pairs(scene):
        if a is not None and b is not None and alike(a, b):
            for one in relevant(differing(a, b, _rank(scene)), scene.phase):
                found.setdefault(one.key, one)
    return list(found.values())


def as_evidence(settings: list[Setting]) -> tuple[dict[str, Any], ...]:
    """As a cause has them; what a stranger's trace holds is kept short."""
    return tuple({"key": value(one.key), "a": _short(one.a), "b": _short(one.b)} for one in settings[:MOST_KEPT])


def _short(told: Any) -> Any:
    numbers = isinstance(told, list) and len(told) <= MOST_KEPT and all(map(_is_number, told))
    return told if told is None or isinstance(told, (bool, int, float)) or numbers else value(told)


def in_words(settings: list[Setting]) -> str:
    """`configuration differs: data_format channels_first / channels_last`; empty for none."""
    said = [f"{value(one.key)} {value(one.a)} / {value(one.b)}" for one in settings[:SHOWN]]
    more = f" and {len(settings) - SHOWN} more" if len(settings) > SHOWN else ""
    return f"configuration differs: {', '.join(said)}{more}" if said else ""


def pairs(scene: Scene) -> Iterator[Pair]:
    """What says how the two places are set up, the nearest first: layers, losses, optimizers."""
    if scene.phase in ("backward", "update"):
        yield _optimizer(scene.a), _optimizer(scene.b)
    if scene.phase in ("forward", "loss", "state", "eval"):
        yield _layer(scene.a), _layer(scene.b)
    if scene.phase in ("forward", "loss"):
        yield _loss(scene, scene.a), _loss(scene, scene.b)
    if scene.phase not in ("forward", "eval"):
        yield _layer_of_variable(scene, scene.a), _layer_of_variable(scene, scene.b)


def _layer(side: Side) -> Configuration | None:
    if side.frontier is None or side.frontier >= len(side.observations):
        return None
    site = side.observations[side.frontier].site
    return configuration_of(side.trace, "layer", site.layer, site.source) if site.layer else None


def _loss(scene: Scene, side: Side) -> Configuration | None:
    place = scene.place(side)
    inside = place is not None and place.layer is not None
    return None if inside else configuration_of(side.trace, "loss", None, place.source if place is not None else None)


def _optimizer(side: Side) -> Configuration | None:
    found = side.optimizer()
    if not found:
        return None
    known = configuration_of(side.trace, "optimizer", None, found.get("source"))
    config = found.get("config")
    if known is not None or not isinstance(config, dict):
        return known
    return Configuration("optimizer", str(found.get("name", "")), str(found.get("class", "")), config)


def _layer_of_variable(scene: Scene, side: Side) -> Configuration | None:
    if not scene.concerned:
        return None
    pair = scene.concerned[0]
    return _of_variable(side, pair.a if side is scene.a else pair.b)


def _of_variable(side: Side, index: int) -> Configuration | None:
    variable = side.trace.variables.get(index)
    return None if variable is None else configuration_of(side.trace, "layer", variable.layer, variable.source)


def _rank(scene: Scene) -> int | None:
    """Number of axes of what goes into the two places."""
    cut = scene.finding.cut
    return None if cut is None else len(scene.a.observations[cut.a].shape) or None


def _evidence(scene: Scene, cause: Cause, pair: Pair) -> list[Setting]:
    """Settings that agree with the cause."""
    a, b = pair
    keys = KEYS.get(cause.code, ())
    if a is not None and b is not None:
        settings = relevant(differing(a, b, _rank(scene)), scene.phase)
        return [one for one in settings if _agrees(cause, one, meant=one.key in keys)]
    return [one for key in keys if (one := _one_sided(cause, pair, key)) is not None]


def _agrees(cause: Cause, setting: Setting, *, meant: bool) -> bool:
    """Whether both values are the constants; `meant`: the code stands for this setting, so that words may differ."""
    sides = {"a": setting.a, "b": setting.b}
    if not meant and not all(_is_number(one) and one not in (0, 1) for one in sides.values()):
        return False  # any two counts agree with 0 and 1
    if setting.key in ("activation", "recurrent_activation"):
        return all(_named(one, cause.constants.get(side)) for side, one in sides.items())
    if setting.key.endswith("_regularizer"):
        told = {side: one if isinstance(one, dict) else {} for side, one in sides.items()}
        return all(any(_among(strength, cause, side) for strength in one.values()) for side, one in told.items() if one)
    asked = [side for side, one in sides.items() if _is_number(one) or isinstance(one, list)]
    return all(_among(sides[side], cause, side) for side in asked)


def _named(told: Any, fitted: Any) -> bool:
    """Whether a function is the one that was fitted (`gelu (tanh)` is a gelu)."""
    name = ACTIVATIONS.get(str(told).lower(), str(told).lower())
    return isinstance(fitted, str) and fitted.startswith(name)


def _one_sided(cause: Cause, pair: Pair, key: str) -> Setting | None:
    """The setting of the one side that has one, where it is what was fitted there; the other's is what was fitted."""
    own = 0 if pair[0] is not None else 1
    config, side, other = pair[own], "ab"[own], "ab"[1 - own]
    if config is None or key not in config.settings or key in config.cut or not {"a", "b"} <= cause.constants.keys():
        return None
    told, fitted = config.settings[key], cause.constants[other]
    if isinstance(told, bool) or isinstance(fitted, (bool, dict, type(None))) or not _among(told, cause, side):
        return None
    if same_setting(key, told, fitted) or isinstance(told, str) != isinstance(fitted, str):
        return None
    return Setting(key, *((told, fitted) if own == 0 else (fitted, told)))


def _among(told: Any, cause: Cause, side: str) -> bool:
    """Whether a setting is one of the constants of a side."""
    constants = cause.constants.get(side)
    values = list(constants.values()) if isinstance(constants, dict) else [constants]
    if isinstance(constants, list):
        values += constants
    return any(_fits(told, one) for one in values)


def _fits(told: Any, fitted: Any) -> bool:
    if _is_number(told) and _is_number(fitted):
        return bool(abs(told - fitted) <= FITTED * max(abs(told), abs(fitted)))
    return same_setting("", told, fitted)


def _is_number(told: Any) -> bool:
    return isinstance(told, (int, float)) and not isinstance(told, bool)


def _written(pair: Pair, evidence: list[Setting]) -> str:
    """`Dropout(rate=0.8) in B, rate=0.2 in A`: how the two are written; raw code has no such words."""
    a, b = pair
    first, second = (
        [_argument(of, one.key, getattr(one, side)) for one in evidence] for of, side in zip(pair, "ab", strict=True)
    )
    if evidence[0].key == "class":
        return f"{value(evidence[0].b)} in B, {value(evidence[0].a)} in A"
    if b is None:
        return f"{_call(a, first)} in A"
    if a is None:
        return f"{_call(b, second)} in B"
    same = a.class_name == b.class_name
    return f"{_call(b, second)} in B, {', '.join(first) if same else _call(a, first)} in A"


def _call(config: Configuration | None, arguments: list[str]) -> str:
    name = value(config.class_name) if config is not None else ""
    return f"{name}({', '.join(arguments[:SHOWN])})"


def _fix(fix: str, b: Configuration | None, evidence: list[Setting]) -> str:
    """The fix with the setting by its name, where B has it and the fix does not say it yet."""
    if b is None:
        return fix
    for one in evidence:
        fix = fix.replace(_call(b, [value(one.a)]), _call(b, [_argument(b, one.key, one.a)]))
    missing = [one for one in evidence if f"{argument(b.class_name, one.key)}=" not in fix and one.key != "class"]
    if not missing:
        return fix
    return f"{fix}: {_call(b, [_argument(b, one.key, one.a) for one in missing])}"


def _argument(of: Configuration | None, key: str, told: Any) -> str:
    """`rate=0.2`, `padding='same'`, by the name that its class has for it."""
    key = argument(of.class_name, key) if of is not None else key
    return f"{value(key)}='{value(told)}'" if isinstance(told, str) else f"{value(key)}={value(told)}"


def value(told: Any) -> str:
    """A setting as one writes it, short, of a stranger's trace too."""
    if isinstance(told, float):
        return number(told)
    if isinstance(told, dict) and isinstance(told.get("class"), str):
        inner = [f"{key}={value(item)}" for key, item in list(told.items())[:SHOWN] if key != "class"]
        text = f"{told['class']}({', '.join(inner)})"
    elif isinstance(told, list):
        text = f"[{', '.join(value(item) for item in told[: 2 * SHOWN])}]"
    else:
        text = str(told)
    text = plain(text)
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}..."
