"""What a planted fault is: b's network, and where it must be found."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from . import spec

if TYPE_CHECKING:
    from collections.abc import Callable

    from .spec import Layer, Network, Optimizer

Kind = TypeVar("Kind", bound=spec.Layer)


@dataclass(frozen=True)
class Fault:
    """A single difference between a and b, and the truth about it."""

    place: str
    """What was changed, for people: `d1 activation relu -> tanh`."""
    b: Network
    phases: tuple[str, ...]
    """More than one where the styles decide, see the kind."""
    steps: tuple[int, ...]
    """More than one where slots show it before weights do."""
    a_labels: frozenset[str]
    """Labels of the lines of a, one of which must be named (where a has something there)."""
    b_labels: frozenset[str]
    codes: tuple[str, ...] = ()
    """Causes that name it; empty where there is no code for it."""
    constants: tuple[float | None, float | None] | None = None
    """What the cause must have fitted or read on either side; None: nothing is, or it is not one number."""


def one_number(old: dict[str, object], new: dict[str, object]) -> tuple[float | None, float | None] | None:
    """The two values of a setting, where a single number (or its being there at all) is changed."""
    if len(new) != 1:
        return None
    values = (*old.values(), *new.values())
    if any(isinstance(value, bool) or not isinstance(value, (int, float, type(None))) for value in values):
        return None
    return (values[0], values[1]) if any(value is not None for value in values) else None  # type: ignore[return-value]


def changed(network: Network, layer: Layer, **values: object) -> Network:
    """The network with other settings of one layer."""
    return replace(network, layers=spec.swapped(network.layers, layer.name, replace(layer, **values)))  # type: ignore[arg-type]


def put(network: Network, layer: Layer, *by: Layer) -> Network:
    """The network with other layers in the place of one."""
    return replace(network, layers=spec.swapped(network.layers, layer.name, *by))


def layers(network: Network, kind: type[Kind], where: Callable[[Kind], bool] = lambda _: True) -> list[Kind]:
    """Layers of a kind."""
    return [layer for layer in spec.walk(network.layers) if isinstance(layer, kind) and where(layer)]


def lines(*names: str) -> frozenset[str]:
    """Labels of the lines where layers are made and run."""
    return frozenset(f"{name}/{what}" for name in names for what in ("make", "forward"))


def around(network: Network, name: str) -> tuple[str, ...]:
    """Names of what feeds a layer and of what it feeds."""
    return (*_in_front(network, network.layers, name, ("input",)), *behind(network, name))


def behind(network: Network, name: str) -> tuple[str, ...]:
    """Names of what a layer feeds: of a residual block its first layer and its sum."""
    end = ("prob",) if network.loss.softmax else ("loss",)
    return _behind(network.layers, name, end) or end


def _behind(sequence: tuple[Layer, ...], name: str, end: tuple[str, ...]) -> tuple[str, ...]:
    for n, layer in enumerate(sequence):
        follower = sequence[n + 1] if n + 1 < len(sequence) else None
        if layer.name == name:
            inner = isinstance(follower, spec.Residual)
            return end if follower is None else (follower.name, *([follower.body[0].name] if inner else []))
        if isinstance(layer, spec.Residual) and (found := _behind(layer.body, name, (layer.name,))):
            return found
    return ()


def _in_front(network: Network, sequence: tuple[Layer, ...], name: str, start: tuple[str, ...]) -> tuple[str, ...]:
    before = start
    for layer in sequence:
        if layer.name == name:
            return before
        if isinstance(layer, spec.Residual) and (found := _in_front(network, layer.body, name, before)):
            return found
        before = (layer.name,)
    return ()


def before_norm(network: Network, name: str) -> bool:
    """Whether a batch norm follows the layer at once: its bias has no effect then."""
    following = behind(network, name)
    return any(layer.name in following and isinstance(layer, spec.BatchNorm) for layer in spec.walk(network.layers))


def of_layer(network: Network, layer: Layer, what: str, codes: tuple[str, ...], **values: object) -> Fault:
    """Other settings of a layer that show in its output at step 0."""
    said = ", ".join(f"{key} {getattr(layer, key)} -> {value}" for key, value in values.items())
    at = lines(layer.name)
    b = changed(network, layer, **values)
    numbers = one_number({key: getattr(layer, key) for key in values}, values)
    return Fault(f"{layer.name} {what}: {said}", b, ("forward",), (0,), at, at, codes, numbers)


def of_optimizer(
    network: Network,
    codes: tuple[str, ...],
    *,
    steps: tuple[int, ...] = (0,),
    phases: tuple[str, ...] = ("update",),
    labels: tuple[str, ...] = (),
    **values: object,
) -> Fault:
    """Other settings of the optimizer."""
    old: Optimizer = network.optimizer
    said = ", ".join(f"{key} {getattr(old, key)} -> {value}" for key, value in values.items())
    at = frozenset({"opt/make", "opt/slot", "apply", *labels})
    b = replace(network, optimizer=replace(old, **values))  # type: ignore[arg-type]
    numbers = one_number({key: getattr(old, key) for key in values}, values)
    return Fault(f"optimizer {said}", b, phases, steps, at, at, codes, numbers)
