"""What a planted network is, said without any API: layers, loss, optimizer. Writers turn it into scripts."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@dataclass(frozen=True)
class Layer:
    """What every layer has: a name that a and b share, so that a fault can say where it is."""

    name: str


@dataclass(frozen=True)
class Dense(Layer):
    units: int
    activation: str | None = None
    bias: bool = True
    bias_start: float = 0.0
    """Standard deviation of the normal distribution it starts from; 0: zeros."""
    l2: float = 0.0
    trainable: bool = True


@dataclass(frozen=True)
class Conv(Layer):
    filters: int
    activation: str | None = None
    bias: bool = True
    bias_start: float = 0.0
    """Standard deviation of the normal distribution it starts from; 0: zeros."""
    l2: float = 0.0
    trainable: bool = True
    padding: str = "same"
    stride: int = 1
    size: int = 3


@dataclass(frozen=True)
class Pool(Layer):
    """2 by 2, or over all places when `everything`."""

    kind: str = "max"
    everything: bool = False


@dataclass(frozen=True)
class BatchNorm(Layer):
    momentum: float = 0.99
    epsilon: float = 1e-3
    training: bool = True


@dataclass(frozen=True)
class LayerNorm(Layer):
    epsilon: float = 1e-3


@dataclass(frozen=True)
class Dropout(Layer):
    rate: float
    training: bool = True


@dataclass(frozen=True)
class Activation(Layer):
    function: str
    """relu, tanh, sigmoid, elu, softplus, silu, or leaky."""
    slope: float = 0.2


@dataclass(frozen=True)
class Flatten(Layer):
    pass


@dataclass(frozen=True)
class Scale(Layer):
    """Multiplies by a constant."""

    factor: float


@dataclass(frozen=True)
class StopGradient(Layer):
    pass


@dataclass(frozen=True)
class Embedding(Layer):
    size: int
    offset: int = 0
    """Added to the ids before they are looked up."""


@dataclass(frozen=True)
class TimeMean(Layer):
    """Mean over the places of a sequence."""


@dataclass(frozen=True)
class Rnn(Layer):
    """A simple recurrent layer or an LSTM; hands out its last state."""

    units: int
    cell: str = "simple"
    activation: str = "tanh"
    backwards: bool = False


@dataclass(frozen=True)
class Attention(Layer):
    """Self-attention with one head, no biases."""

    size: int
    scaled: bool = True


@dataclass(frozen=True)
class Residual(Layer):
    """x + body(x), or the body alone when its bypass is missing."""

    body: tuple[Layer, ...]
    bypass: bool = True


@dataclass(frozen=True)
class Loss:
    """Crossentropy of one-hot or integer labels, or the mean squared error (`mse`)."""

    kind: str = "onehot"
    softmax: bool = False
    """Whether the network ends in a softmax."""
    from_logits: bool = True
    """Whether the loss makes one itself."""
    smoothing: float = 0.0
    sum: bool = False


@dataclass(frozen=True)
class Optimizer:
    """sgd (with or without momentum), adam or rmsprop, and what is done to the gradients before."""

    kind: str = "adam"
    rate: float = 0.01
    boundary: int | None = None
    """The last step (from 0) that uses `rate`; then a tenth of it."""
    momentum: float = 0.0
    nesterov: bool = False
    beta1: float = 0.9
    beta2: float = 0.999
    rho: float = 0.9
    epsilon: float = 1e-7
    decay: float = 0.0
    """Decoupled weight decay."""
    clip: float | None = None
    """Of the global norm."""


@dataclass(frozen=True)
class Network:
    name: str
    shape: tuple[int, ...]
    """Of one row."""
    layers: tuple[Layer, ...]
    outputs: int
    vocabulary: int = 0
    """Rows are ids below this; 0: they are floats."""
    loss: Loss = field(default_factory=Loss)
    optimizer: Optimizer = field(default_factory=Optimizer)
    batch: int = 16
    steps: int = 4


def walk(layers: tuple[Layer, ...]) -> Iterator[Layer]:
    """All layers, those inside residual blocks too, in order."""
    for layer in layers:
        yield layer
        if isinstance(layer, Residual):
            yield from walk(layer.body)


def swapped(layers: tuple[Layer, ...], name: str, *by: Layer) -> tuple[Layer, ...]:
    """The layers with others in the place of one."""
    out: list[Layer] = []
    for layer in layers:
        if layer.name == name:
            out += by
        elif isinstance(layer, Residual):
            out.append(replace(layer, body=swapped(layer.body, name, *by)))
        else:
            out.append(layer)
    return tuple(out)


def output_shape(layer: Layer, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Shape of a row behind the layer, given the one before it."""
    if isinstance(layer, Residual):
        for inner in layer.body:
            shape = output_shape(inner, shape)
        return shape
    rule = _SHAPES.get(type(layer))
    return shape if rule is None else rule(layer, shape)


def _of_conv(layer: Conv, shape: tuple[int, ...]) -> tuple[int, ...]:
    lost = 0 if layer.padding == "same" else layer.size - 1
    return (*((extent - lost + layer.stride - 1) // layer.stride for extent in shape[:-1]), layer.filters)


def _of_pool(layer: Pool, shape: tuple[int, ...]) -> tuple[int, ...]:
    return shape[-1:] if layer.everything else (*(extent // 2 for extent in shape[:-1]), shape[-1])


_SHAPES: dict[type[Layer], Callable[[Any, tuple[int, ...]], tuple[int, ...]]] = {
    Dense: lambda layer, shape: (*shape[:-1], layer.units),
    Conv: _of_conv,
    Pool: _of_pool,
    Flatten: lambda _, shape: (math.prod(shape),),
    Embedding: lambda layer, shape: (*shape, layer.size),
    TimeMean: lambda _, shape: shape[1:],
    Rnn: lambda layer, _: (layer.units,),
    Attention: lambda layer, shape: (shape[0], layer.size),
}


def input_shapes(layers: tuple[Layer, ...], shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """Shape of a row in front of each layer, by name."""
    found: dict[str, tuple[int, ...]] = {}
    for layer in layers:
        found[layer.name] = shape
        if isinstance(layer, Residual):
            found |= input_shapes(layer.body, shape)
        shape = output_shape(layer, shape)
    return found
