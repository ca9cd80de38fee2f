"""Kinds of faults. Each function plants its fault at a random place, or returns None where the network has none.

What cannot show is not planted: a bias in front of a batch norm, an activation missing where there is none, a momentum
of plain SGD, clipping far above the gradients (theirs here are above 0.1; what clips does so at 0.1 or less).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from . import spec
from .fault import Fault, around, before_norm, behind, changed, layers, lines, of_layer, of_optimizer, one_number, put
from .networks import FUNCTIONS

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from .spec import Network

KINDS: dict[str, Callable[[Network, random.Random], Fault | None]] = {}
LATE = {"lr-schedule-missing", "lr-schedule-late", "momentum"}
"""Kinds that begin behind step 0."""


def kind(name: str) -> Callable[[Callable[[Network, random.Random], Fault | None]], Callable[..., Fault | None]]:
    """Enter a function as a kind."""

    def enter(function: Callable[[Network, random.Random], Fault | None]) -> Callable[..., Fault | None]:
        KINDS[name] = function
        return function

    return enter


def _one(draw: random.Random, found: list) -> object:
    return draw.choice(found) if found else None


@kind("activation-swapped")
def _(network, draw):
    found = [*layers(network, spec.Dense), *layers(network, spec.Conv)]
    layer = _one(draw, [one for one in found if one.activation])
    if layer is None:
        return None
    other = draw.choice([name for name in FUNCTIONS if name != layer.activation])
    fault = of_layer(network, layer, "swapped", ("activation",), activation=other)
    # A silu is a sigmoid and a product: where the sigmoid is all, it is the layer behind that comes too early.
    near = lines(*behind(network, layer.name)) | {"loss"}
    if (layer.activation, other) == ("silu", "sigmoid"):
        return replace(fault, b_labels=fault.b_labels | near)
    return replace(fault, a_labels=fault.a_labels | near) if (other, layer.activation) == ("silu", "sigmoid") else fault


@kind("activation-missing")
def _(network, draw):
    found = [*layers(network, spec.Dense), *layers(network, spec.Conv)]
    layer = _one(draw, [one for one in found if one.activation])
    fault = layer and of_layer(network, layer, "missing", ("activation",), activation=None)
    return fault and replace(fault, b_labels=lines(layer.name, *behind(network, layer.name)) | {"loss"})


@kind("leaky-slope")
def _(network, draw):
    layer = _one(draw, layers(network, spec.Activation, lambda one: one.function == "leaky"))
    return layer and of_layer(network, layer, "slope", ("activation",), slope=draw.choice((0.3, layer.slope * 1.05)))


@kind("rate-small")
def _(network, draw):
    layer = _one(draw, layers(network, spec.Dropout))
    return layer and of_layer(network, layer, "rate", ("dropout-rate",), rate=round(layer.rate + 0.01, 3))


@kind("rate-inverted")
def _(network, draw):
    layer = _one(draw, layers(network, spec.Dropout))
    return layer and of_layer(network, layer, "rate", ("dropout-rate",), rate=round(1 - layer.rate, 3))


@kind("bn-epsilon")
def _(network, draw):
    layer = _one(draw, layers(network, spec.BatchNorm))
    return layer and of_layer(network, layer, "", ("norm-epsilon",), epsilon=1e-5)


@kind("ln-epsilon")
def _(network, draw):
    layer = _one(draw, layers(network, spec.LayerNorm))
    other = layer and (1e-5 if layer.epsilon == 1e-3 else 1e-3)
    return layer and of_layer(network, layer, "", ("norm-epsilon",), epsilon=other)


@kind("bn-momentum")
def _(network, draw):
    layer = _one(draw, layers(network, spec.BatchNorm))
    if layer is None:
        return None
    other = {0.99: draw.choice((0.999, 0.9)), 0.9: draw.choice((0.99, 0.91))}[layer.momentum]
    fault = of_layer(network, layer, "", ("state-norm-momentum",), momentum=other)
    at = frozenset({f"{layer.name}/make", f"{layer.name}/moving", f"{layer.name}/forward"})
    return replace(fault, phases=("state",), a_labels=at, b_labels=at)


@kind("bn-inference")
def _(network, draw):
    layer = _one(draw, layers(network, spec.BatchNorm))
    return layer and of_layer(network, layer, "", ("training-flag",), training=False)


@kind("dropout-inference")
def _(network, draw):
    layer = _one(draw, layers(network, spec.Dropout))
    fault = layer and of_layer(network, layer, "", ("training-flag", "arch-missing-layer"), training=False)
    return fault and replace(fault, b_labels=lines(layer.name, *around(network, layer.name)))


@kind("bias-missing")
def _(network, draw):
    found = [one for one in [*layers(network, spec.Dense), *layers(network, spec.Conv)] if one.bias]
    layer = _one(draw, [one for one in found if not before_norm(network, one.name)])
    if layer is None:
        return None
    fault = of_layer(network, layer, "", ("bias-missing",), bias=False)
    near = lines(layer.name, *behind(network, layer.name)) | {"loss"}
    # One of zeros changes nothing before it has moved, but for the norm of all gradients, if they are clipped by it.
    steps = (0,) if layer.bias_start else (1,) if network.optimizer.clip is None else (0, 1)
    return replace(fault, b_labels=near, steps=steps)


def _before_pool(network: Network) -> list[spec.Conv]:
    """Convolutions whose output may have any size: everything behind them is pooled, and nothing is added to them."""
    whole = any(isinstance(layer, spec.Pool) and layer.everything for layer in network.layers)
    return [layer for layer in network.layers if isinstance(layer, spec.Conv)] if whole else []


@kind("padding")
def _(network, draw):
    layer = _one(draw, _before_pool(network))
    return layer and of_layer(network, layer, "", ("padding",), padding="valid")


@kind("stride")
def _(network, draw):
    layer = _one(draw, _before_pool(network))
    return layer and of_layer(network, layer, "", ("stride-or-pool",), stride=2)


@kind("pool-kind")
def _(network, draw):
    layer = _one(draw, layers(network, spec.Pool))
    return layer and of_layer(network, layer, "", ("stride-or-pool",), kind="avg" if layer.kind == "max" else "max")


@kind("input-scale")
def _(network, draw):
    layer = _one(draw, layers(network, spec.Scale))
    factor = layer and layer.factor * draw.choice((2, 1.01, 255 / 256))
    return layer and of_layer(network, layer, "", ("data-scale",), factor=factor)


@kind("embedding-offset")
def _(network, draw):
    layer = _one(draw, layers(network, spec.Embedding))
    fault = layer and of_layer(network, layer, "", ("embedding-offset",), offset=1)
    return fault and replace(fault, b_labels=fault.b_labels | {f"{layer.name}/offset"})


@kind("bypass-missing")
def _(network, draw):
    layer = _one(draw, layers(network, spec.Residual))
    if layer is None:
        return None
    near = lines(layer.body[-1].name, *behind(network, layer.name))
    b = changed(network, layer, bypass=False)
    code = ("arch-missing-layer",)
    return Fault(f"{layer.name} without its bypass", b, ("forward",), (0,), lines(layer.name), near, code)


@kind("attention-scale")
def _(network, draw):
    layer = _one(draw, layers(network, spec.Attention))
    return layer and of_layer(network, layer, "", (), scaled=False)


@kind("rnn-activation")
def _(network, draw):
    layer = _one(draw, layers(network, spec.Rnn))
    return layer and of_layer(network, layer, "", ("activation",), activation=draw.choice(("relu", "sigmoid")))


@kind("rnn-direction")
def _(network, draw):
    layer = _one(draw, layers(network, spec.Rnn))
    return layer and of_layer(network, layer, "", ("arch-order",), backwards=True)


def _doubled(network: Network, layer: spec.Layer) -> Fault:
    other = replace(layer, name=f"{layer.name}x")
    return Fault(
        f"{layer.name} twice", put(network, layer, layer, other), ("forward",), (0,),
        lines(layer.name, *around(network, layer.name)), lines(layer.name, other.name), ("arch-extra-layer",),
    )  # fmt: skip


@kind("layer-doubled")
def _(network, draw):
    shapes = spec.input_shapes(network.layers, network.shape)
    found = [*layers(network, spec.Dense, lambda one: shapes[one.name][-1] == one.units)]
    found += [one for one in layers(network, spec.Conv) if shapes[one.name][-1] == one.filters]
    found += layers(network, spec.Dropout)
    layer = _one(draw, found)
    return layer and _doubled(network, layer)


def _alike(one: spec.Layer, other: spec.Layer) -> bool:
    return isinstance(one, spec.Dense) and isinstance(other, spec.Dense) and one.units == other.units


@kind("layer-missing")
def _(network, draw):
    shapes = spec.input_shapes(network.layers, network.shape)
    found = [*layers(network, spec.Dense, lambda one: shapes[one.name][-1] == one.units and not one.l2)]
    found += [*layers(network, spec.Dropout), *layers(network, spec.BatchNorm), *layers(network, spec.LayerNorm)]
    found += layers(network, spec.Activation)
    blocks = [layer.body for layer in layers(network, spec.Residual)]
    layer = _one(draw, [one for one in found if not any(len(body) == 1 and one in body for body in blocks)])
    if layer is None:
        return None
    # Of neighbours of one kind and size any may be the one that is missing: no weight says which.
    near = around(network, layer.name)
    alike = [one.name for one in spec.walk(network.layers) if one.name in near and _alike(one, layer)]
    at = lines(layer.name, *alike)
    code = "activation" if isinstance(layer, spec.Activation) else "arch-missing-layer"
    near = lines(*near, *(name for one in alike for name in around(network, one))) | {"loss"}
    return Fault(f"{layer.name} missing", put(network, layer), ("forward",), (0,), at, near, (code,))


@kind("width")
def _(network, draw):
    blocks = {one.name for layer in layers(network, spec.Residual) for one in layer.body}
    last = network.layers[-1]
    found = [one for one in layers(network, spec.Dense) if one.name not in blocks and one != last]
    behind = {one.name: network.layers[network.layers.index(one) + 1] for one in found}
    layer = _one(draw, [one for one in found if not isinstance(behind[one.name], spec.Residual)])
    return layer and of_layer(network, layer, "", ("arch-width",), units=layer.units + draw.choice((1, 4)))


@kind("loss-from-logits")
def _(network, draw):
    loss = network.loss
    if loss.kind == "mse":
        return None
    # Softmax twice, or none at all.
    other = replace(loss, softmax=loss.softmax, from_logits=not loss.from_logits)
    at = frozenset({"loss", "prob/make", "prob/forward"})
    said = f"loss from_logits {loss.from_logits} -> {other.from_logits}"
    return Fault(said, replace(network, loss=other), ("loss",), (0,), at, at, ("loss-from-logits",))


def _of_loss(network: Network, codes: tuple[str, ...], **values: object) -> Fault:
    said = ", ".join(f"{key} {getattr(network.loss, key)} -> {value}" for key, value in values.items())
    b = replace(network, loss=replace(network.loss, **values))
    at, numbers = frozenset({"loss"}), one_number({key: getattr(network.loss, key) for key in values}, values)
    return Fault(f"loss {said}", b, ("loss",), (0,), at, at, codes, numbers)


@kind("loss-sum")
def _(network, draw):
    return _of_loss(network, ("loss-reduction",), sum=True)


@kind("loss-smoothing")
def _(network, draw):
    if network.loss.kind != "onehot":
        return None
    other = draw.choice([0.12, 0.05] if network.loss.smoothing else [0.1, 0.01])
    return _of_loss(network, ("loss-smoothing",), smoothing=other)


def _penalized(network: Network, draw: random.Random, factor: float, code: str) -> Fault | None:
    layer = _one(draw, [one for one in spec.walk(network.layers) if getattr(one, "l2", 0.0)])
    if layer is None:
        return None
    fault = of_layer(network, layer, "", (code,), l2=layer.l2 * factor)
    at = frozenset({"loss", f"{layer.name}/make", f"{layer.name}/l2", f"{layer.name}/forward"})
    return replace(fault, phases=("loss",), a_labels=at, b_labels=at)


@kind("l2-missing")
def _(network, draw):
    return _penalized(network, draw, 0.0, "loss-regularization-missing")


@kind("l2-strength")
def _(network, draw):
    return _penalized(network, draw, draw.choice((0.5, 2.0, 1.1)), "loss-regularization-missing")


@kind("lr-percent")
def _(network, draw):
    rate = network.optimizer.rate
    return of_optimizer(network, ("lr",), rate=round(rate * 1.01, 8), labels=("opt/schedule",))


@kind("lr-tenfold")
def _(network, draw):
    factor = draw.choice((10, 0.1))
    rate = round(network.optimizer.rate * factor, 8)
    return of_optimizer(network, ("lr",), rate=rate, labels=("opt/schedule",))


@kind("optimizer-epsilon")
def _(network, draw):
    if network.optimizer.kind == "sgd":
        return None
    return of_optimizer(network, ("optimizer-epsilon",), epsilon=draw.choice((1e-5, 1e-3)))


@kind("beta1")
def _(network, draw):
    if network.optimizer.kind != "adam":
        return None
    return of_optimizer(network, ("optimizer-betas",), beta1=draw.choice((0.5, 0.91)), steps=(0, 1))


@kind("beta2")
def _(network, draw):
    if network.optimizer.kind != "adam":
        return None
    return of_optimizer(network, ("optimizer-betas",), beta2=draw.choice((0.99, 0.9)), steps=(0, 1))


@kind("rho")
def _(network, draw):
    if network.optimizer.kind != "rmsprop":
        return None
    return of_optimizer(network, ("optimizer-betas",), rho=draw.choice((0.99, 0.91)))


@kind("momentum")
def _(network, draw):
    if not network.optimizer.momentum:
        return None
    steps = (0,) if network.optimizer.nesterov else (1,)
    return of_optimizer(network, ("optimizer-momentum",), momentum=draw.choice((0.5, 0.89)), steps=steps)


@kind("nesterov")
def _(network, draw):
    if not network.optimizer.momentum:
        return None
    return of_optimizer(network, ("optimizer-nesterov",), nesterov=not network.optimizer.nesterov)


@kind("optimizer-kind")
def _(network, draw):
    other = draw.choice([name for name in ("sgd", "adam", "rmsprop") if name != network.optimizer.kind])
    values = {"momentum": 0.0, "nesterov": False} if other != "sgd" else {"decay": 0.0}
    return of_optimizer(network, ("optimizer-kind",), kind=other, **values)


@kind("weight-decay")
def _(network, draw):
    if network.optimizer.kind != "adam":
        return None
    old = network.optimizer.decay
    return of_optimizer(network, ("weight-decay",), decay=draw.choice((0.0, 0.1) if old else (0.05, 0.004)))


def _of_clipping(network: Network, clip: float | None) -> Fault:
    """Backward where the clipped gradients are handed to an optimizer, update where the updates are written by hand."""
    at = ("opt/clip", "gradient")
    return of_optimizer(network, ("grad-clipping",), clip=clip, phases=("backward", "update"), labels=at)


@kind("clip-norm")
def _(network, draw):
    return None if network.optimizer.clip is None else _of_clipping(network, draw.choice((0.1, 0.051)))


@kind("clip-missing")
def _(network, draw):
    return None if network.optimizer.clip is None else _of_clipping(network, None)


@kind("frozen")
def _(network, draw):
    layer = _one(draw, [*layers(network, spec.Dense), *layers(network, spec.Conv)])
    if layer is None or layers(network, spec.StopGradient):
        return None
    at = lines(layer.name) | {"apply", "gradient", "parameters", "opt/make"}
    b = changed(network, layer, trainable=False)
    return Fault(f"{layer.name} frozen", b, ("update",), (0,), at, at, ("frozen-layer",))


@kind("stop-gradient")
def _(network, draw):
    names = [layer.name for layer in network.layers]
    trained = (spec.Dense, spec.Conv, spec.Rnn, spec.Embedding, spec.Residual, spec.Attention)
    first = next(n for n, layer in enumerate(network.layers) if isinstance(layer, trained))
    at = draw.randrange(first, len(names) - 1)
    layer = network.layers[at]
    if isinstance(layer, spec.Residual):
        return None
    if any(not getattr(one, "trainable", True) for one in spec.walk(network.layers)):
        return None  # a frozen layer in front would have no gradient anyway
    b = put(network, layer, layer, spec.StopGradient("stop"))
    near = lines(layer.name, *behind(network, layer.name)) | {"loss"}
    b_lines = near | lines("stop")
    return Fault(f"{layer.name} gradient stopped behind it", b, ("backward",), (0,), near, b_lines, ("grad-stopped",))


def _schedule(network: Network, boundary: int | None) -> Fault:
    old = network.optimizer.boundary
    step = min(one for one in (old, boundary) if one is not None) + 1
    codes = ("lr-schedule",)
    fault = of_optimizer(network, codes, steps=(step,), labels=("opt/schedule",), boundary=boundary)
    return replace(fault, constants=None)  # the rates are what is fitted, and the boundary is the step


@kind("lr-schedule-missing")
def _(network, draw):
    return None if network.optimizer.boundary is None else _schedule(network, None)


@kind("lr-schedule-late")
def _(network, draw):
    return None if network.optimizer.boundary is None else _schedule(network, draw.choice((0, 2)))
