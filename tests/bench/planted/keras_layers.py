"""Keras' way to write layers, of Keras 3 and of tf_keras."""

from __future__ import annotations

from functools import singledispatch
from typing import TYPE_CHECKING

from . import spec

if TYPE_CHECKING:
    from .text import Text

POOLS = {
    ("max", False): "MaxPooling2D(2)",
    ("avg", False): "AveragePooling2D(2)",
    ("max", True): "GlobalMaxPooling2D()",
    ("avg", True): "GlobalAveragePooling2D()",
}


@singledispatch
def made(layer: spec.Layer, *, legacy: bool) -> str:
    """The expression that makes the layer."""
    raise NotImplementedError(layer)


@made.register
def _(layer: spec.Dense, *, legacy: bool) -> str:
    return f"layers.Dense({layer.units}{_common(layer)})"


@made.register
def _(layer: spec.Conv, *, legacy: bool) -> str:
    stride = f", strides={layer.stride}" if layer.stride > 1 else ""
    return f'layers.Conv2D({layer.filters}, {layer.size}{stride}, padding="{layer.padding}"{_common(layer)})'


def _common(layer: spec.Dense | spec.Conv) -> str:
    words = [f'activation="{keras_name(layer.activation)}"'] if layer.activation else []
    words += [] if layer.bias else ["use_bias=False"]
    start = f"keras.initializers.RandomNormal(stddev={layer.bias_start})"
    words += [f"bias_initializer={start}"] if layer.bias and layer.bias_start else []
    words += [f"kernel_regularizer=keras.regularizers.L2({layer.l2})"] if layer.l2 else []
    words += [] if layer.trainable else ["trainable=False"]
    return "".join(f", {word}" for word in words)


def keras_name(function: str) -> str:
    """What both versions of Keras call an activation."""
    return "swish" if function == "silu" else function


@made.register
def _(layer: spec.Pool, *, legacy: bool) -> str:
    return f"layers.{POOLS[layer.kind, layer.everything]}"


@made.register
def _(layer: spec.BatchNorm, *, legacy: bool) -> str:
    return f"layers.BatchNormalization(momentum={layer.momentum}, epsilon={layer.epsilon})"


@made.register
def _(layer: spec.LayerNorm, *, legacy: bool) -> str:
    return f"layers.LayerNormalization(epsilon={layer.epsilon})"


@made.register
def _(layer: spec.Dropout, *, legacy: bool) -> str:
    return f"layers.Dropout({layer.rate})"


@made.register
def _(layer: spec.Activation, *, legacy: bool) -> str:
    if layer.function == "leaky":
        return f"layers.LeakyReLU({'alpha' if legacy else 'negative_slope'}={layer.slope})"
    return f'layers.Activation("{keras_name(layer.function)}")'


@made.register
def _(layer: spec.Flatten, *, legacy: bool) -> str:
    return "layers.Flatten()"


@made.register
def _(layer: spec.Scale, *, legacy: bool) -> str:
    return f"layers.Rescaling({layer.factor})"


@made.register
def _(layer: spec.StopGradient, *, legacy: bool) -> str:
    return "layers.Lambda(lambda t: tf.stop_gradient(t))"


@made.register
def _(layer: spec.TimeMean, *, legacy: bool) -> str:
    return "layers.GlobalAveragePooling1D()"


@made.register
def _(layer: spec.Rnn, *, legacy: bool) -> str:
    name = "SimpleRNN" if layer.cell == "simple" else "LSTM"
    act = "" if layer.activation == "tanh" else f', activation="{keras_name(layer.activation)}"'
    return f"layers.{name}({layer.units}{act}{', go_backwards=True' if layer.backwards else ''})"


class KerasLayers:
    """Writes layers in one of three forms.

    sequential: an element of a list; functional: made and called in one line; objects: made in `make` under a name
    with a prefix, called in `call`.
    """

    def __init__(self, form: str, make: Text, call: Text, *, prefix: str = "", legacy: bool = False) -> None:
        self._form, self._make, self._call, self._prefix, self._legacy = form, make, call, prefix, legacy
        self.names: list[str] = []
        """Names of the layer objects that were made."""

    def write(self, layers: tuple[spec.Layer, ...], vocabulary: int) -> None:
        """All of them; `h` is what goes in and what comes out."""
        for layer in layers:
            if isinstance(layer, spec.Residual):
                self._residual(layer, vocabulary)
            elif isinstance(layer, spec.Attention):
                self._attention(layer)
            elif isinstance(layer, spec.Embedding):
                if layer.offset:
                    self._call.add(f"h = h + {layer.offset}", f"{layer.name}/offset")
                self._one(layer.name, layer.name, f"layers.Embedding({vocabulary}, {layer.size})")
            else:
                self._one(layer.name, layer.name, made(layer, legacy=self._legacy), training=_training(layer))

    def softmax(self) -> None:
        """The one behind the last layer."""
        self._one("prob", "prob", "layers.Softmax()")

    def _one(
        self, name: str, label: str, expression: str, given: str = "h", out: str = "h", *, training: bool | None = None
    ) -> None:
        if self._form == "sequential":
            self._make.add(f"{expression},", f"{label}/make")
        elif self._form == "functional":
            words = ", training=False" if training is False else ""
            self._call.add(f"{out} = {expression}({given}{words})", f"{label}/make")
        else:
            self._make.add(f"{self._prefix}{name} = {expression}", f"{label}/make")
            words = "" if training is None else ", training=training" if training else ", training=False"
            self._call.add(f"{out} = {self._prefix}{name}({given}{words})", f"{label}/forward")
            self.names.append(f"{self._prefix}{name}")

    def _residual(self, layer: spec.Residual, vocabulary: int) -> None:
        if layer.bypass:
            self._call.add(f"{layer.name}_in = h", layer.name)
        self.write(layer.body, vocabulary)
        if not layer.bypass:
            return
        if self._form == "functional":
            self._call.add(f"h = layers.Add()([{layer.name}_in, h])", f"{layer.name}/forward")
        else:
            self._call.add(f"h = {layer.name}_in + h", f"{layer.name}/forward")

    def _attention(self, layer: spec.Attention) -> None:
        name = layer.name
        for letter in "qkv":
            self._one(f"{name}_{letter}", name, f"layers.Dense({layer.size}, use_bias=False)", out=letter)
        scale = layer.size**-0.5
        if self._form == "functional":
            self._one("", name, "layers.Dot(axes=2)", "[q, k]", "s")
            if layer.scaled:
                self._one("", f"{name}", f"layers.Rescaling({scale:.6f})", "s", "s")
            self._one("", name, "layers.Softmax()", "s", "s")
            self._one("", name, "layers.Dot(axes=(2, 1))", "[s, v]")
            return
        self._call.add("s = tf.matmul(q, k, transpose_b=True)", f"{name}/forward")
        if layer.scaled:
            self._call.add(f"s = s * {scale:.6f}", f"{name}/forward")
        self._call.add("s = tf.nn.softmax(s)", f"{name}/forward")
        self._call.add("h = tf.matmul(s, v)", f"{name}/forward")


def _training(layer: spec.Layer) -> bool | None:
    return layer.training if isinstance(layer, (spec.BatchNorm, spec.Dropout)) else None
