"""Small networks in TensorFlow whose structure differs; all weights are set by name, so that traces start equal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

import tfdiff

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ROWS, STEPS, WIDTH, HIDDEN = 6, 5, 6, 7


class Networks:
    """Records each network once."""

    def __init__(self, tf: Any, folder: Path) -> None:
        self.tf, self.layers, self.folder = tf, tf.keras.layers, folder
        draw = np.random.default_rng(0)
        self.rows = draw.normal(size=(ROWS, WIDTH)).astype(np.float32)
        self.sequence = draw.normal(size=(ROWS, STEPS, WIDTH)).astype(np.float32)
        self.images = draw.normal(size=(ROWS, 6, 6, 3)).astype(np.float32)
        self.target = draw.normal(size=(ROWS, 3)).astype(np.float32)

    def cause(self, a: str, b: str) -> Any:
        """The first cause of two networks, None where they are equivalent."""
        result = tfdiff.diff(self.trace(a), self.trace(b))
        assert result.verdict != "incomparable", result.notes
        assert bool(result.causes) == (result.verdict == "diverged")
        return result.causes[0] if result.causes else None

    def trace(self, name: str) -> Path:
        """The trace of a network, e.g. `residual keras plain`: recorded when it is asked for first."""
        path = self.folder / f"{name.replace(' ', '-')}.h5"
        if not path.exists():
            family, style, kind = name.split()
            with tfdiff.record(path, steps=3, quiet=True):
                getattr(self, f"{family}_{style}")(kind)
        return path

    # What they are made of.

    def values(self, name: str, *shape: int) -> np.ndarray:
        """The values of a weight: its name says all."""
        scale = 0.1 if len(shape) == 1 else 0.5
        return (scale * np.random.default_rng(sum(map(ord, name))).normal(size=shape)).astype(np.float32)

    def constant(self, name: str, *shape: int, plus: float = 0.0) -> Any:
        """The same as an initializer."""
        return self.tf.keras.initializers.Constant(self.values(name, *shape) + np.float32(plus))

    def dense(self, name: str, width: int, units: int, activation: str | None = None, *, bias: bool = True) -> Any:
        """A layer with given weights."""
        starts = self.constant(f"{name}/w", width, units), self.constant(f"{name}/b", units)
        return self.layers.Dense(units, activation, bias, *starts, name=name)

    def norm(self, kind: str, width: int) -> Any:
        """Batch or layer normalization with given weights."""
        make = {"batch": self.layers.BatchNormalization, "layer": self.layers.LayerNormalization}[kind]
        gamma, beta = self.constant("gamma", width, plus=1.0), self.constant("beta", width)
        return make(gamma_initializer=gamma, beta_initializer=beta, name="norm")

    def variables(self, **shapes: tuple[int, ...]) -> dict[str, Any]:
        """Variables with given values; `in_w` is the kernel of the layer `in`."""
        return {name: self.tf.Variable(self.values(name.replace("_", "/"), *shape)) for name, shape in shapes.items()}

    def fit(self, x: np.ndarray, network: Callable[[Any], Any]) -> None:
        """Three steps of `fit` on one batch."""
        inputs = self.tf.keras.Input(batch_shape=x.shape)
        model = self.tf.keras.Model(inputs, network(inputs))
        model.compile(self.tf.keras.optimizers.SGD(0.05), loss="mse")
        for _ in range(3):
            model.fit(x, self.target, batch_size=ROWS, verbose=0, shuffle=False)

    def by_hand(self, x: np.ndarray, network: Callable[[Any], Any], weights: list[Any]) -> None:
        """Three steps with a tape."""
        optimizer = self.tf.keras.optimizers.SGD(0.05)
        for _ in range(3):
            with self.tf.GradientTape() as tape:
                loss = self.tf.reduce_mean(self.tf.square(network(self.tf.constant(x)) - self.target))
            optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights, strict=True))

    # Networks.

    def residual_keras(self, kind: str) -> None:
        """Dense, a block of two with or without its bypass, dense."""
        one, two = self.dense("one", WIDTH, 10, "relu"), self.dense("two", 10, WIDTH, bias=False)
        norm = self.norm("layer", WIDTH) if kind in ("pre", "post", "inside") else None

        def network(x: Any) -> Any:
            h = self.dense("in", WIDTH, WIDTH)(x)
            h = {
                "plain": lambda: h + two(one(h)),
                "missing": lambda: two(one(h)),
                "half": lambda: h + 0.5 * two(one(h)),
                "pre": lambda: h + two(one(norm(h))),
                "post": lambda: norm(h + two(one(h))),
                "inside": lambda: h + norm(two(one(h))),
            }[kind]()
            return self.dense("out", WIDTH, 3)(h)

        self.fit(self.rows, network)

    def residual_raw(self, kind: str) -> None:
        """The same with variables."""
        w = self.variables(
            in_w=(WIDTH, WIDTH), in_b=(WIDTH,), one_w=(WIDTH, 10), one_b=(10,), two_w=(10, WIDTH),
            out_w=(WIDTH, 3), out_b=(3,),
        )  # fmt: skip

        def network(x: Any) -> Any:
            h = x @ w["in_w"] + w["in_b"]
            f = self.tf.nn.relu(h @ w["one_w"] + w["one_b"]) @ w["two_w"]
            h = {"plain": lambda: h + f, "missing": lambda: f, "half": lambda: h + 0.5 * f}[kind]()
            return h @ w["out_w"] + w["out_b"]

        self.by_hand(self.rows, network, list(w.values()))

    def order_keras(self, kind: str) -> None:
        """Dense, layers in an order, dense."""
        made = {
            "batch": lambda: self.norm("batch", HIDDEN),
            "layer": lambda: self.norm("layer", HIDDEN),
            "relu": lambda: self.layers.Activation("relu", name="relu"),
            "tanh": lambda: self.layers.Activation("tanh", name="tanh"),
            "half": lambda: self.layers.Rescaling(0.5),
            "drop": lambda: self.layers.Dropout(0.4, seed=3, name="drop"),
            "plain": lambda: self.layers.LayerNormalization(center=False, scale=False),
            "square": lambda: self.dense("square", HIDDEN, HIDDEN),
            "dense": lambda: self.dense("middle", HIDDEN, 9, "tanh"),
        }

        def network(x: Any) -> Any:
            h = self.dense("in", WIDTH, HIDDEN, bias=False)(x)
            for word in kind.split("-"):
                h = made[word]()(h)
            return self.dense("out", 9 if "dense" in kind else HIDDEN, 3)(h)

        self.fit(self.rows, network)

    def order_raw(self, kind: str) -> None:
        """A normalization written out, and a function."""
        w = self.variables(in_w=(WIDTH, HIDDEN), out_w=(HIDDEN, 3), out_b=(3,))
        gamma, beta = (
            self.tf.Variable(self.values("gamma", HIDDEN) + 1.0),
            self.tf.Variable(self.values("beta", HIDDEN)),
        )

        def layer(h: Any) -> Any:
            mean, variance = self.tf.nn.moments(h, [1], keepdims=True)
            return (h - mean) * self.tf.math.rsqrt(variance + 1e-3) * gamma + beta

        def network(x: Any) -> Any:
            h = x @ w["in_w"]
            for word in kind.split("-"):
                h = {"layer": layer, "tanh": self.tf.tanh}[word](h)
            return h @ w["out_w"] + w["out_b"]

        self.by_hand(self.rows, network, [*w.values(), *([gamma, beta] if "layer" in kind else [])])

    def pool_keras(self, kind: str) -> None:
        """A convolution, a pooling and a function in an order."""
        made = {
            "average": lambda: self.layers.AveragePooling2D(2, name="pool"),
            "max": lambda: self.layers.MaxPooling2D(2, name="pool"),
            "tanh": lambda: self.layers.Activation("tanh", name="tanh"),
        }

        def network(x: Any) -> Any:
            h = self.layers.Conv2D(4, 3, kernel_initializer=self.constant("c", 3, 3, 3, 4))(x)
            for word in kind.split("-"):
                h = made[word]()(h)
            return self.dense("out", 4, 3)(self.layers.GlobalAveragePooling2D()(h))

        self.fit(self.images, network)

    def recurrent_keras(self, kind: str) -> None:
        """A recurrent layer, forward or backwards."""
        name, _, way = kind.partition("-")
        make, gates = {
            "lstm": (self.layers.LSTM, 4),
            "gru": (self.layers.GRU, 3),
            "simple": (self.layers.SimpleRNN, 1),
        }[name]
        starts = {
            "kernel_initializer": self.constant("k", WIDTH, 4 * gates),
            "recurrent_initializer": self.constant("r", 4, 4 * gates),
        }
        layer = make(4, go_backwards=way == "back", name="recurrent", **starts)
        self.fit(self.sequence, lambda x: self.dense("out", 4, 3)(layer(x)))

    def recurrent_raw(self, kind: str) -> None:
        """The simple one as a loop, over the steps in some order."""
        w = self.variables(k=(WIDTH, 4), r=(4, 4), out_w=(4, 3), out_b=(3,))
        bias = self.tf.Variable(self.tf.zeros(4))
        order = {"forward": [0, 1, 2, 3, 4], "back": [4, 3, 2, 1, 0], "rolled": [1, 2, 3, 4, 0]}[kind]

        def network(x: Any) -> Any:
            h = self.tf.zeros((ROWS, 4))
            for step in order:
                h = self.tf.tanh(x[:, step] @ w["k"] + h @ w["r"] + bias)
            return h @ w["out_w"] + w["out_b"]

        self.by_hand(self.sequence, network, [*w.values(), bias])

    def state_keras(self, kind: str) -> None:
        """A recurrent layer that keeps its state, or not, or is reset in front of each batch."""
        starts = {
            "kernel_initializer": self.constant("k", WIDTH, 4),
            "recurrent_initializer": self.constant("r", 4, 4),
        }
        layer = self.layers.SimpleRNN(4, stateful=kind != "stateless", name="recurrent", **starts)
        inputs = self.tf.keras.Input(batch_shape=self.sequence.shape)
        model = self.tf.keras.Model(inputs, self.dense("out", 4, 3)(layer(inputs)))
        model.compile(self.tf.keras.optimizers.SGD(0.05), loss="mse")
        for _ in range(3):
            model.train_on_batch(self.sequence, self.target)
            if kind == "reset":
                layer.reset_state()

    def state_raw(self, kind: str) -> None:
        """A loop whose state is handed on as an array, whole or halved, or starts from zeros."""
        w = self.variables(k=(WIDTH, 4), r=(4, 4), out_w=(4, 3), out_b=(3,))
        bias = self.tf.Variable(self.tf.zeros(4))
        params = [*w.values(), bias]
        optimizer = self.tf.keras.optimizers.SGD(0.05)

        @self.tf.function
        def step(x: Any, h: Any) -> Any:
            with self.tf.GradientTape() as tape:
                for place in range(STEPS):
                    h = self.tf.tanh(x[:, place] @ w["k"] + h @ w["r"] + bias)
                loss = self.tf.reduce_mean(self.tf.square(h @ w["out_w"] + w["out_b"] - self.target))
            optimizer.apply_gradients(zip(tape.gradient(loss, params), params, strict=True))
            return h

        factor = {"zeros": 0.0, "half": 0.5, "carried": 1.0}[kind]
        state = self.tf.zeros((ROWS, 4))
        for _ in range(3):
            new = step(self.tf.constant(self.sequence), state)
            state = self.tf.constant(factor * new.numpy())
