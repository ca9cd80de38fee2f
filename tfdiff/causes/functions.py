"""Activation functions in NumPy, by the names TensorFlow and Keras give them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.special import erf

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Function = Callable[[Floats], Floats]


def sigmoid(x: Floats) -> Floats:
    """1 / (1 + exp(-x)) without overflow."""
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * x)))


def softplus(x: Floats) -> Floats:
    """log(1 + exp(x))."""
    return np.asarray(np.logaddexp(0.0, x))


def softmax(x: Floats) -> Floats:
    """Over the last axis."""
    raised = np.exp(x - x.max(axis=-1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=-1, keepdims=True))


def log_softmax(x: Floats) -> Floats:
    """Logarithm of `softmax`."""
    shifted = x - x.max(axis=-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)))


def _relu(x: Floats) -> Floats:
    return np.maximum(x, 0.0)


def _elu(x: Floats) -> Floats:
    return np.where(x > 0, x, np.expm1(np.minimum(x, 0.0)))


def _selu(x: Floats) -> Floats:
    return np.asarray(1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(np.minimum(x, 0.0))))


def _gelu(x: Floats) -> Floats:
    return np.asarray(0.5 * x * (1.0 + erf(x / np.sqrt(2.0))))


def _gelu_tanh(x: Floats) -> Floats:
    return np.asarray(0.5 * x * (1.0 + np.tanh(np.sqrt(2.0 / np.pi) * (x + 0.044715 * x**3))))


def _hard_sigmoid(x: Floats) -> Floats:
    return np.clip(x / 6.0 + 0.5, 0.0, 1.0)


def _old_hard_sigmoid(x: Floats) -> Floats:
    return np.clip(0.2 * x + 0.5, 0.0, 1.0)


ACTIVATIONS: dict[str, Function] = {
    "relu": _relu,
    "tanh": np.tanh,
    "sigmoid": sigmoid,
    "softmax": softmax,
    "elu": _elu,
    "selu": _selu,
    "gelu": _gelu,
    "gelu (tanh)": _gelu_tanh,
    "swish": lambda x: np.asarray(x * sigmoid(x)),
    "softplus": softplus,
    "softsign": lambda x: np.asarray(x / (1.0 + np.abs(x))),
    "relu6": lambda x: np.clip(x, 0.0, 6.0),
    "exponential": np.exp,
    "hard_sigmoid": _hard_sigmoid,
    "hard_sigmoid (0.2)": _old_hard_sigmoid,
    "hard_swish": lambda x: np.asarray(x * _hard_sigmoid(x)),
    "log_softmax": log_softmax,
}
"""Without a constant of their own; leaky ReLU's slope and ELU's alpha are fitted."""

IN_CODE: dict[str, str] = {
    "gelu": "tf.nn.gelu(x, approximate=False)",
    "gelu (tanh)": "tf.nn.gelu(x, approximate=True)",
    "swish": "tf.nn.silu(x)",
    "exponential": "tf.exp(x)",
    "hard_sigmoid": "tf.keras.activations.hard_sigmoid(x)",
    "hard_sigmoid (0.2)": "tf.clip_by_value(0.2 * x + 0.5, 0, 1)",
    "hard_swish": "tf.keras.activations.hard_silu(x)",
}
"""How to write those whose name is not `tf.nn.<name>`."""

IN_KERAS: dict[str, str] = {
    "gelu (tanh)": "lambda x: tf.nn.gelu(x, approximate=True)",
    "hard_sigmoid (0.2)": "lambda x: tf.clip_by_value(0.2 * x + 0.5, 0, 1)",
    "gelu": "'gelu'",
    "hard_swish": "'hard_silu'",
}
"""As a Keras `activation=` argument, where that is not the name in quotes."""


def fit_leaky(x: Floats, y: Floats) -> float | None:
    """Slope below zero if y = x above zero and slope * x below, else None."""
    below = x < 0
    if not below.any() or not (~below).any():
        return None
    square = float(x[below] @ x[below])
    slope = float(x[below] @ y[below]) / square if square > 0 else 0.0
    return slope if 1e-4 < abs(slope) < 0.999 else None


def fit_elu(x: Floats, y: Floats) -> float | None:
    """Alpha if y = x above zero and alpha * (exp(x) - 1) below, else None."""
    below = x < 0
    if not below.any():
        return None
    base = np.expm1(x[below])
    square = float(base @ base)
    alpha = float(base @ y[below]) / square if square > 0 else 0.0
    return alpha if alpha > 1e-4 else None
