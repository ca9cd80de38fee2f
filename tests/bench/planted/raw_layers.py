"""Variables and tf.nn: layers written out, for eager loops, functions, modules and sessions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import spec

if TYPE_CHECKING:
    from .text import Text

HELPERS = """

def glorot(*shape):
    field = np.prod(shape[:-2]) if len(shape) > 2 else 1
    limit = float((6 / (field * (shape[-2] + shape[-1]))) ** 0.5)
    return tf.random.uniform(shape, -limit, limit)


def orthogonal(rows, columns):
    return tf.transpose(tf.linalg.qr(tf.random.normal((columns, rows)))[0])

"""


def function(name: str, slope: float = 0.2) -> str:
    """An activation as a pattern with a place for its argument."""
    if name == "leaky":
        return f"tf.nn.leaky_relu({{}}, alpha={slope})"
    return f"tf.nn.{name}({{}})"


class RawLayers:
    """Writes variables into `make` and ops into `call`."""

    def __init__(self, make: Text, call: Text, *, prefix: str = "", session: bool = False) -> None:
        self._make, self._call, self._prefix, self._session = make, call, prefix, session
        self.parameters: list[str] = []
        """Names of the variables that are trained."""
        self.penalties: list[tuple[str, str]] = []
        """Of the layers with a penalty: the layer's name, and the expression."""

    def write(self, layers: tuple[spec.Layer, ...], shape: tuple[int, ...], vocabulary: int, batch: int) -> None:
        """All of them; `h` is what goes in and what comes out. `shape` is that of a row."""
        for layer in layers:
            self._write(layer, shape, vocabulary, batch)
            shape = spec.output_shape(layer, shape)

    def softmax(self) -> None:
        """The one behind the last layer."""
        self._call.add("h = tf.nn.softmax(h)", "prob/forward")

    def _write(self, layer: spec.Layer, shape: tuple[int, ...], vocabulary: int, batch: int) -> None:
        if isinstance(layer, (spec.Dense, spec.Conv)):
            (self.dense if isinstance(layer, spec.Dense) else self.conv)(layer, shape)
        elif isinstance(layer, (spec.Pool, spec.Dropout)):
            (self.pool if isinstance(layer, spec.Pool) else self.dropout)(layer)
        elif isinstance(layer, spec.BatchNorm):
            self.batch_norm(layer, shape)
        elif isinstance(layer, spec.Rnn):
            self.rnn(layer, shape, batch)
        elif isinstance(layer, spec.Residual):
            self._residual(layer, shape, vocabulary, batch)
        elif isinstance(layer, spec.Embedding):
            table = self._variable(layer.name, "table", f"tf.random.uniform(({vocabulary}, {layer.size}), -0.05, 0.05)")
            self._op(layer.name, f"h = tf.gather({table}, h{f' + {layer.offset}' if layer.offset else ''})")
        elif isinstance(layer, spec.LayerNorm):
            self._layer_norm(layer, shape)
        elif isinstance(layer, spec.Attention):
            self._attention(layer, shape)
        else:
            self._op(layer.name, f"h = {self._plain(layer, shape)}")

    def _plain(self, layer: spec.Layer, shape: tuple[int, ...]) -> str:
        """A layer without variables, in one expression."""
        return {
            spec.Activation: lambda one: function(one.function, one.slope).format("h"),
            spec.Flatten: lambda one: f"tf.reshape(h, (-1, {spec.output_shape(one, shape)[0]}))",
            spec.Scale: lambda one: f"h * {one.factor}",
            spec.StopGradient: lambda _: "tf.stop_gradient(h)",
            spec.TimeMean: lambda _: "tf.reduce_mean(h, 1)",
        }[type(layer)](layer)

    def _residual(self, layer: spec.Residual, shape: tuple[int, ...], vocabulary: int, batch: int) -> None:
        if layer.bypass:
            self._call.add(f"{layer.name}_in = h", layer.name)
        self.write(layer.body, shape, vocabulary, batch)
        if layer.bypass:
            self._op(layer.name, f"h = {layer.name}_in + h")

    def _layer_norm(self, layer: spec.LayerNorm, shape: tuple[int, ...]) -> None:
        name, size = layer.name, shape[-1]
        gamma, beta = self._variable(name, "gamma", f"tf.ones(({size},))"), self._zeros(name, "beta", size)
        self._op(name, "mean, variance = tf.nn.moments(h, [-1], keepdims=True)")
        self._op(name, f"h = (h - mean) * tf.math.rsqrt(variance + {layer.epsilon}) * {gamma} + {beta}")

    def _op(self, name: str, line: str) -> None:
        self._call.add(line, f"{name}/forward")

    def _variable(self, layer: str, part: str, value: str, *, trained: bool = True, listed: bool = True) -> str:
        name = f"{self._prefix}{layer}_{part}"
        words = "" if trained else ", trainable=False"
        self._make.add(f"{name} = tf.Variable({value}{words})", f"{layer}/make")
        if trained and listed:
            self.parameters.append(name)
        return name

    def _zeros(self, layer: str, part: str, size: int, *, trained: bool = True) -> str:
        return self._variable(layer, part, f"tf.zeros(({size},))", trained=trained)

    def _penalty(self, layer: spec.Dense | spec.Conv, kernel: str) -> None:
        if layer.l2:
            self.penalties.append((layer.name, f"{layer.l2} * tf.reduce_sum(tf.square({kernel}))"))

    def _finish(self, layer: spec.Dense | spec.Conv, line: str, size: int) -> None:
        if layer.bias:
            normal = f"tf.random.normal(({size},), stddev={layer.bias_start})"
            start = normal if layer.bias_start else f"tf.zeros(({size},))"
            line = f"{line} + {self._variable(layer.name, 'bias', start, trained=layer.trainable)}"
        self._op(layer.name, f"h = {function(layer.activation).format(line) if layer.activation else line}")

    def dense(self, layer: spec.Dense, shape: tuple[int, ...]) -> None:
        """Matmul, add, activation."""
        value = f"glorot({shape[-1]}, {layer.units})"
        kernel = self._variable(layer.name, "kernel", value, trained=layer.trainable)
        self._penalty(layer, kernel)
        self._finish(layer, f"tf.matmul(h, {kernel})", layer.units)

    def conv(self, layer: spec.Conv, shape: tuple[int, ...]) -> None:
        """Conv2D, add, activation."""
        value = f"glorot({layer.size}, {layer.size}, {shape[-1]}, {layer.filters})"
        kernel = self._variable(layer.name, "kernel", value, trained=layer.trainable)
        self._penalty(layer, kernel)
        line = f'tf.nn.conv2d(h, {kernel}, strides={layer.stride}, padding="{layer.padding.upper()}")'
        self._finish(layer, line, layer.filters)

    def pool(self, layer: spec.Pool) -> None:
        """Of windows, or of everything."""
        if layer.everything:
            self._op(layer.name, f"h = tf.reduce_{'max' if layer.kind == 'max' else 'mean'}(h, [1, 2])")
        else:
            self._op(layer.name, f'h = tf.nn.{layer.kind}_pool2d(h, 2, 2, "VALID")')

    def batch_norm(self, layer: spec.BatchNorm, shape: tuple[int, ...]) -> None:
        """Moments, moving statistics, normalization."""
        name, size = layer.name, shape[-1]
        gamma, beta = self._variable(name, "gamma", f"tf.ones(({size},))"), self._zeros(name, "beta", size)
        mean = self._zeros(name, "mean", size, trained=False)
        variance = self._variable(name, "variance", f"tf.ones(({size},))", trained=False)
        used = f"{mean}, {variance}"
        if layer.training:
            used = "mean, variance"
            self._op(name, f"mean, variance = tf.nn.moments(h, {list(range(len(shape)))})")
            for moving, value in ((mean, "mean"), (variance, "variance")):
                new = f"{layer.momentum} * {moving} + (1 - {layer.momentum}) * {value}"
                assign = f"updates.append({moving}.assign({new}))" if self._session else f"{moving}.assign({new})"
                self._call.add(assign, f"{name}/moving")
        self._op(name, f"h = tf.nn.batch_normalization(h, {used}, {beta}, {gamma}, {layer.epsilon})")

    def dropout(self, layer: spec.Dropout) -> None:
        """tf.nn.dropout; nothing when it is not training."""
        if layer.training:
            self._op(layer.name, f"h = tf.nn.dropout(h, rate={layer.rate})")

    def rnn(self, layer: spec.Rnn, shape: tuple[int, ...], batch: int) -> None:
        """A loop over the places of the sequence."""
        name, units, gates = layer.name, layer.units, 4 if layer.cell == "lstm" else 1
        w = self._variable(name, "w", f"glorot({shape[-1]}, {gates * units})")
        u = self._variable(name, "u", f"orthogonal({units}, {gates * units})")
        ones = f"tf.concat([tf.zeros(({units},)), tf.ones(({units},)), tf.zeros(({2 * units},))], 0)"
        b = self._variable(name, "b", ones) if layer.cell == "lstm" else self._zeros(name, "b", units)
        act = function(layer.activation)
        self._op(name, f"state = {'carry = ' if gates > 1 else ''}tf.zeros(({batch}, {units}))")
        times = f"range({shape[0] - 1}, -1, -1)" if layer.backwards else f"range({shape[0]})"
        self._op(name, f"for t in {times}:")
        total = f"tf.matmul(h[:, t], {w}) + tf.matmul(state, {u}) + {b}"
        if gates == 1:
            self._op(name, f"    state = {act.format(total)}")
        else:
            self._op(name, f"    i, f, g, o = tf.split({total}, 4, axis=1)")
            self._op(name, f"    carry = tf.sigmoid(f) * carry + tf.sigmoid(i) * {act.format('g')}")
            self._op(name, f"    state = tf.sigmoid(o) * {act.format('carry')}")
        self._op(name, "h = state")

    def _attention(self, layer: spec.Attention, shape: tuple[int, ...]) -> None:
        name = layer.name
        for letter in "qkv":
            kernel = self._variable(name, letter, f"glorot({shape[-1]}, {layer.size})")
            self._op(name, f"{letter} = tf.matmul(h, {kernel})")
        self._op(name, "s = tf.matmul(q, k, transpose_b=True)")
        if layer.scaled:
            self._op(name, f"s = s * {layer.size**-0.5:.6f}")
        self._op(name, "s = tf.nn.softmax(s)")
        self._op(name, "h = tf.matmul(s, v)")
