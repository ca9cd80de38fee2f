"""Networks to plant faults in, each with sizes, loss and optimizer of its own draw."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from . import spec
from .spec import (
    Activation,
    Attention,
    BatchNorm,
    Conv,
    Dense,
    Dropout,
    Embedding,
    Flatten,
    Layer,
    LayerNorm,
    Loss,
    Network,
    Optimizer,
    Pool,
    Residual,
    Rnn,
    Scale,
    TimeMean,
)

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

FUNCTIONS = ("relu", "tanh", "sigmoid", "elu", "softplus", "silu")


def mlp(draw: random.Random) -> Network:
    """Three layers, a leaky relu, dropout; the input is scaled inside."""
    wide = draw.choice((12, 16, 20))
    layers = (
        Scale("scale", draw.choice((0.5, 0.25))),
        Dense("d1", wide, draw.choice(FUNCTIONS), l2=draw.choice((0.0, 1e-2))),
        Dropout("drop1", draw.choice((0.3, 0.2))),
        Dense("d2", wide),
        Activation("leaky", "leaky", draw.choice((0.2, 0.1))),
        Dense("d3", 10, draw.choice(FUNCTIONS)),
        Dense("out", 4),
    )
    return Network("mlp", (draw.choice((9, 14)),), layers, 4)


def mlp_bn(draw: random.Random) -> Network:
    """Batch norm behind each hidden layer."""
    wide = draw.choice((12, 18))
    layers = (
        Dense("d1", wide),
        BatchNorm("bn1", draw.choice((0.99, 0.9))),
        Activation("act1", draw.choice(FUNCTIONS)),
        Dropout("drop1", draw.choice((0.3, 0.4))),
        Dense("d2", wide, draw.choice(FUNCTIONS)),
        BatchNorm("bn2", draw.choice((0.99, 0.9))),
        Dense("out", 5),
    )
    return Network("mlp_bn", (11,), layers, 5)


def mlp_ln(draw: random.Random) -> Network:
    """Layer norm."""
    layers = (
        Dense("d1", draw.choice((10, 16))),
        LayerNorm("ln1", draw.choice((1e-3, 1e-5))),
        Activation("act1", draw.choice(FUNCTIONS)),
        Dense("d2", 12, draw.choice(FUNCTIONS)),
        LayerNorm("ln2", 1e-3),
        Dense("out", 3),
    )
    return Network("mlp_ln", (13,), layers, 3)


def cnn(draw: random.Random) -> Network:
    """Two convolutions, pooling, a dense head."""
    layers = (
        Conv("c1", draw.choice((4, 6)), draw.choice(FUNCTIONS)),
        Pool("pool1", draw.choice(("max", "avg"))),
        Conv("c2", 8, draw.choice(FUNCTIONS), l2=draw.choice((0.0, 1e-2))),
        Pool("pool2", everything=True, kind="avg") if draw.random() < 0.5 else Flatten("flat"),
        Dropout("drop1", 0.3),
        Dense("d1", 12, draw.choice(FUNCTIONS)),
        Dense("out", 4),
    )
    return Network("cnn", (8, 8, draw.choice((1, 3))), layers, 4)


def cnn_bn(draw: random.Random) -> Network:
    """Convolutions with batch norm, a residual block, a pool over all places."""
    block = (Conv("c2", 6), BatchNorm("bn2"), Activation("act2", "relu"), Conv("c3", 6))
    layers = (
        Conv("c1", 6, bias=False),
        BatchNorm("bn1", draw.choice((0.99, 0.9))),
        Activation("act1", draw.choice(FUNCTIONS)),
        Residual("res1", block),
        Activation("act3", "relu"),
        Pool("pool1", everything=True, kind="avg"),
        Dense("out", 4),
    )
    return Network("cnn_bn", (6, 6, 2), layers, 4)


def residual(draw: random.Random) -> Network:
    """Two residual blocks of dense layers."""
    size = draw.choice((10, 12))

    def block(n: int) -> tuple[Layer, ...]:
        inner = Dense(f"r{n}a", size, draw.choice(FUNCTIONS)), Dense(f"r{n}b", size, l2=draw.choice((0.0, 1e-2)))
        return (LayerNorm(f"ln{n}"), *inner) if n == 2 else inner

    layers = (
        Dense("d1", size, draw.choice(FUNCTIONS)),
        Residual("res1", block(1)),
        Residual("res2", block(2)),
        Dropout("drop1", 0.3),
        Dense("out", 4),
    )
    return Network("residual", (9,), layers, 4)


def recurrent(draw: random.Random) -> Network:
    """A simple recurrent layer or an LSTM."""
    cell = draw.choice(("simple", "lstm"))
    layers = (
        Rnn("rnn", draw.choice((6, 8)), cell),
        Dropout("drop1", 0.3),
        Dense("d1", 10, draw.choice(FUNCTIONS)),
        Dense("out", 3),
    )
    return Network("recurrent", (4, draw.choice((5, 7))), layers, 3)


def embedding(draw: random.Random) -> Network:
    """Embedded ids, their mean, a dense head."""
    layers = (
        Embedding("emb", draw.choice((6, 8))),
        TimeMean("mean"),
        Dense("d1", 12, draw.choice(FUNCTIONS)),
        Dropout("drop1", 0.3),
        Dense("out", 3),
    )
    return Network("embedding", (7,), layers, 3, vocabulary=30)


def attention(draw: random.Random) -> Network:
    """Embedded ids, self-attention, layer norm."""
    layers = (
        Embedding("emb", 8),
        Attention("att", draw.choice((6, 8))),
        LayerNorm("ln1"),
        TimeMean("mean"),
        Dense("d1", 10, draw.choice(FUNCTIONS)),
        Dense("out", 3),
    )
    return Network("attention", (6,), layers, 3, vocabulary=25)


NETWORKS: tuple[Callable[[random.Random], Network], ...] = (
    mlp, mlp_bn, mlp_ln, cnn, cnn_bn, residual, recurrent, embedding, attention,
)  # fmt: skip


def drawn(draw: random.Random, steps: int) -> Network:
    """One of the networks, with a loss and an optimizer."""
    network = draw.choice(NETWORKS)(draw)
    optimizer = _optimizer(draw)
    if (
        network.vocabulary
    ):  # repeated rows of a sparse gradient mean something else to every other optimizer, and to clipping
        optimizer = Optimizer("sgd", 0.1, boundary=draw.choice((None, 1)))
    layers = network.layers
    for layer in spec.walk(layers):
        if isinstance(layer, (Dense, Conv)) and layer.bias and draw.random() < 0.4:
            layers = spec.swapped(layers, layer.name, replace(layer, bias_start=0.1))
    return replace(network, layers=layers, loss=_loss(draw), optimizer=optimizer, steps=steps)


def _loss(draw: random.Random) -> Loss:
    kind = draw.choice(("onehot", "onehot", "sparse", "mse"))
    if kind == "mse":
        return Loss(kind)
    softmax = draw.random() < 0.3
    smoothing = draw.choice((0.0, 0.1)) if kind == "onehot" else 0.0
    return Loss(kind, softmax=softmax, from_logits=not softmax, smoothing=smoothing)


def _optimizer(draw: random.Random) -> Optimizer:
    clip = draw.choice((None, None, 0.05))
    kind = draw.choice(("sgd", "momentum", "adam", "adam", "rmsprop"))
    if kind == "momentum":
        return Optimizer("sgd", 0.05, momentum=0.9, nesterov=draw.random() < 0.4, clip=clip)
    boundary = draw.choice((None, 1)) if kind != "rmsprop" else None
    decay = draw.choice((0.0, 0.05)) if kind == "adam" else 0.0
    rate = {"sgd": 0.1, "adam": 0.01, "rmsprop": 0.005}[kind]
    return Optimizer(kind, rate, boundary=boundary, decay=decay, clip=clip)
