"""How b can be run without a cause: `tfdiff record --assume`, said only where something in b would take it.

Taken are settings of Keras' layers, losses and optimizers, those of TensorFlow 1's optimizers, and arguments of
functions that b's own line calls. Arithmetic written by hand has none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tfdiff.assumptions import parse
from tfdiff.causes.loss import keras_loss
from tfdiff.causes.scene import same
from tfdiff.causes.words import line_of
from tfdiff.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tfdiff.causes.scene import Scene
    from tfdiff.model import Cause, Site

    Told = tuple[object, str | None] | None
    """The value, and the line at which it would be taken."""

_DROPOUTS = frozenset(
    {"Dropout", "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D", "AlphaDropout", "GaussianDropout"}
)
_WITH_EPSILON = frozenset({"BatchNormalization", "LayerNormalization", "GroupNormalization", "RMSNormalization"})
_NORMS = frozenset({"BatchNormalization", "SyncBatchNormalization"})
_FUNCTIONS = {
    "dropout-rate": ("dropout", "stateless_dropout"),
    "norm-epsilon": ("batch_normalization", "fused_batch_norm", "batch_norm_with_global_normalization"),
}
_SETTINGS = {
    "optimizer-epsilon": "epsilon",
    "optimizer-momentum": "momentum",
    "optimizer-nesterov": "nesterov",
    "optimizer-amsgrad": "amsgrad",
    "optimizer-centered": "centered",
    "optimizer-accumulator": "initial_accumulator_value",
    "weight-decay": "weight_decay",
}
_FLAGS = frozenset({"optimizer-nesterov", "optimizer-amsgrad", "optimizer-centered"})


def assumption(scene: Scene, cause: Cause) -> str | None:
    """`dropout-rate=0.2@b.py:41`, or None."""
    find = _KINDS.get(cause.code)
    told = None if find is None else find(scene, cause)
    if told is None or told[1] is None:
        return None
    text = f"{cause.code}={_text(told[0])}@{told[1]}"
    try:
        return parse(text).text
    except UsageError:  # a place of odd characters, a constant of another kind
        return None


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, (list, tuple)):
        return ",".join(map(_text, value))
    return str(value)


def _sites(scene: Scene) -> Iterator[Site]:
    """B's sites at the divergence: where it is told, where it begins, and what else is unequal on its line."""
    place = scene.finding.divergence.b
    for index in (scene.b.frontier, *scene.b.bad):
        if index is not None and place is not None:
            site = scene.b.observations[index].site
            if (site.source, site.called) == (place.source, place.called):
                yield site


def _number(cause: Cause) -> float | None:
    value = cause.constants.get("a")
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _of_call(classes: frozenset[str]) -> Callable[[Scene, Cause], Told]:
    """A layer of one of these classes, or one of the code's functions."""

    def find(scene: Scene, cause: Cause) -> Told:
        value = _number(cause)
        site = next(_sites(scene), None)
        if value is None or site is None:
            return None
        if site.layer_class in classes:
            return value, site.source
        if any((s.api or "").rpartition(".")[2] in _FUNCTIONS.get(cause.code, ()) for s in _sites(scene)):
            return value, site.called
        return None

    return find


def _momentum(scene: Scene, cause: Cause) -> Told:
    """The moving statistics are those of a layer that has a momentum."""
    for pair in scene.concerned:
        variable = scene.finding.b.variables.get(pair.b)
        layer = None if variable is None else variable.layer
        classes = {s.layer_class for s in scene.finding.b.sites.values() if layer is not None and s.layer == layer}
        if variable is not None and classes & _NORMS:
            return _number(cause), variable.source
    return None


def _flag(scene: Scene, cause: Cause) -> Told:
    """A call of a model or layer. Constants are flags, or rates of a dropout that is off where its rate is 0."""
    wanted = cause.constants.get("a")
    site = next(_sites(scene), None)
    if site is None or site.layer is None or not isinstance(wanted, (bool, float)):
        return None
    if not isinstance(wanted, bool):  # told at the op behind the dropout that is off: its line must call that, too
        layers = {s.layer for s in scene.finding.b.sites.values() if s.called == site.called and s.phase == "forward"}
        if len(layers - {None}) < 2:
            return None
    return bool(wanted), site.called


def _loss_object(scene: Scene) -> bool:
    """Whether an object of Keras' computes the loss there: a function of the user's own has nothing to set."""
    sites = list(_sites(scene))
    return bool(sites) and keras_loss(scene, sites[0]) and all("keras" in (s.api or "keras") for s in sites)


def _logits(scene: Scene, cause: Cause) -> Told:
    a, b = (cause.constants.get(side) for side in "ab")
    if not _loss_object(scene) or not isinstance(a, int) or not isinstance(b, int):
        return None
    return a > b, line_of(scene.finding.divergence.b)


def _smoothing(scene: Scene, cause: Cause) -> Told:
    return (_number(cause), line_of(scene.finding.divergence.b)) if _loss_object(scene) else None


def _reduction(scene: Scene, cause: Cause) -> Told:
    """Sum for mean or mean for sum, where the number that is summed over is the factor between the two losses."""
    ratio, index = cause.constants.get("ratio"), scene.b.frontier
    if not isinstance(ratio, float) or index is None:
        return None
    for at in (index, *scene.b.bad):
        seen = scene.b.observations[at]
        if seen.site.op not in ("Sum", "Mean") or not seen.inputs or seen.inputs[0] < 0:
            continue
        count = scene.b.observations[seen.inputs[0]].size / max(seen.size, 1)
        function = (seen.site.api or "").rpartition(".")[2]
        wanted = "mean" if same(ratio, count, 1e-4) else "sum" if same(ratio, 1.0 / count, 1e-4) else None
        if count > 1 and wanted and (function == f"reduce_{seen.site.op.lower()}"):
            is_other = wanted != seen.site.op.lower()
            return (wanted, seen.site.called) if is_other else None
        if count > 1 and wanted and not function and keras_loss(scene, seen.site):
            return wanted, seen.site.source
    return None


def _rate(scene: Scene, cause: Cause) -> Told:
    optimizer = scene.b.optimizer()
    return (_number(cause), optimizer.get("source")) if optimizer.get("class") else None


def _setting(scene: Scene, cause: Cause) -> Told:
    """The optimizer says that it has the setting."""
    optimizer = scene.b.optimizer()
    config: Any = optimizer.get("config")
    value = cause.constants.get("a")
    if isinstance(value, list) and cause.code == "weight-decay" and {*value[1:]} <= {"", "decoupled"}:
        value = value[0]
    if not isinstance(config, dict) or _SETTINGS[cause.code] not in config or not isinstance(value, float):
        return None
    return bool(value) if cause.code in _FLAGS else value, optimizer.get("source")


def _betas(scene: Scene, cause: Cause) -> Told:
    """Both betas, the one that is alike as B has it; or rho."""
    optimizer = scene.b.optimizer()
    config: Any = optimizer.get("config")
    if not isinstance(config, dict):
        return None
    wanted, own = cause.constants.get("a"), cause.constants.get("b")
    wanted, own = ([x] if isinstance(x, float) else x for x in (wanted, own))
    if not isinstance(wanted, list) or not isinstance(own, list) or len(wanted) != len(own):
        return None
    names = ("beta_1", "beta_2") if "beta_1" in config else ("rho",)
    values = [config.get(name) for name in names]
    if len(wanted) == len(names):
        values = wanted
    else:
        at = [i for i, value in enumerate(values) if isinstance(value, float) and same(value, own[0], 1e-4)]
        if len(at) != 1:
            return None
        values[at[0]] = wanted[0]
    return values, optimizer.get("source")


_KINDS: dict[str, Callable[[Scene, Cause], Told]] = {
    "dropout-rate": _of_call(_DROPOUTS),
    "norm-epsilon": _of_call(_WITH_EPSILON),
    "state-norm-momentum": _momentum,
    "training-flag": _flag,
    "loss-from-logits": _logits,
    "loss-smoothing": _smoothing,
    "loss-reduction": _reduction,
    "lr": _rate,
    "optimizer-betas": _betas,
    **dict.fromkeys(_SETTINGS, _setting),
}
