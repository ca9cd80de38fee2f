"""tf.compat.v1.layers where it has the layer, variables and tf.nn where not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .raw_layers import RawLayers

if TYPE_CHECKING:
    from . import spec


class V1Layers(RawLayers):
    """In a session's graph, under the name `tf` for tensorflow.compat.v1."""

    def _layer(self, name: str, call: str, *words: str) -> None:
        self._op(name, f"h = tf.layers.{call}(h{''.join(f', {word}' for word in words if word)})")

    def _settings(self, layer: spec.Dense | spec.Conv) -> list[str]:
        if layer.l2:
            self.penalties.append((layer.name, ""))
        start = layer.bias and layer.bias_start
        return [
            f"activation=tf.nn.{layer.activation}" if layer.activation else "",
            "" if layer.bias else "use_bias=False",
            f"bias_initializer=tf.random_normal_initializer(stddev={layer.bias_start})" if start else "",
            f"kernel_regularizer=tf.keras.regularizers.l2({layer.l2})" if layer.l2 else "",
            "" if layer.trainable else "trainable=False",
        ]

    def dense(self, layer: spec.Dense, shape: tuple[int, ...]) -> None:  # noqa: ARG002, D102
        self._layer(layer.name, "dense", str(layer.units), *self._settings(layer))

    def conv(self, layer: spec.Conv, shape: tuple[int, ...]) -> None:  # noqa: ARG002, D102
        stride = f"strides={layer.stride}" if layer.stride > 1 else ""
        words = [str(layer.filters), str(layer.size), stride, f'padding="{layer.padding}"', *self._settings(layer)]
        self._layer(layer.name, "conv2d", *words)

    def pool(self, layer: spec.Pool) -> None:  # noqa: D102
        if layer.everything:
            super().pool(layer)
        else:
            self._layer(layer.name, "max_pooling2d" if layer.kind == "max" else "average_pooling2d", "2", "2")

    def batch_norm(self, layer: spec.BatchNorm, shape: tuple[int, ...]) -> None:  # noqa: ARG002, D102
        words = f"momentum={layer.momentum}", f"epsilon={layer.epsilon}", f"training={layer.training}"
        self._layer(layer.name, "batch_normalization", *words)

    def dropout(self, layer: spec.Dropout) -> None:  # noqa: D102
        self._layer(layer.name, "dropout", f"rate={layer.rate}", f"training={layer.training}")

    def rnn(self, layer: spec.Rnn, shape: tuple[int, ...], batch: int) -> None:  # noqa: D102
        if layer.cell == "lstm" or layer.backwards:
            super().rnn(layer, shape, batch)
            return
        cell = f"tf.nn.rnn_cell.BasicRNNCell({layer.units}, activation=tf.nn.{layer.activation})"
        self._call.add(f"cell = {cell}", f"{layer.name}/make")
        self._op(layer.name, "h = tf.nn.dynamic_rnn(cell, h, dtype=tf.float32)[1]")
