"""Initial values: which distribution each side drew from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import erf

from tfdiff.causes.hypothesis import Proposal
from tfdiff.causes.words import at, number, plain
from tfdiff.pairing.pairs import taken

if TYPE_CHECKING:
    from tfdiff.causes.scene import Floats, Scene
    from tfdiff.pairing.pairs import Part, VariablePair
    from tfdiff.trace.reader import Block, Trace

SPREAD_WHEN_CUT = 0.87962566103423978
"""Standard deviation of a unit normal distribution cut at 2 (Keras' variance scaling divides by it)."""
SAMPLING = 2.0
"""Kolmogorov-Smirnov distance times sqrt(n) that a sample keeps from its own distribution (once in 1,500 exceeded)."""
NEAR = 0.06
"""Relative distance of a standard deviation from that of a named initializer."""


@dataclass(frozen=True)
class Distribution:
    """What a sample of initial values looks like."""

    kind: str
    """zeros, ones, constant, uniform, normal, truncated normal, or other."""
    std: float
    mean: float
    limit: float
    """Largest magnitude."""
    initializer: str | None = None
    """A Keras initializer with such values for this shape (`glorot_uniform`)."""

    @property
    def words(self) -> str:
        """`uniform, std 0.0883 (as glorot_uniform)`."""
        if self.kind in ("zeros", "ones"):
            return self.kind
        if self.kind == "constant":
            return f"constant {number(self.mean)}"
        named = f" (as {self.initializer})" if self.initializer else ""
        shape = "" if self.kind == "other" else f"{self.kind}, "
        return f"{shape}std {number(self.std)}{named}"

    def code(self, shape: tuple[int, ...]) -> str:
        """How to draw it in TensorFlow."""
        if self.kind in ("zeros", "ones"):
            return f"tf.{self.kind}({list(shape)})"
        if self.kind == "constant":
            return f"tf.fill({list(shape)}, {number(self.mean)})"
        if self.initializer:
            return f"tf.keras.initializers.get('{self.initializer}')({list(shape)})"
        if self.kind == "uniform":
            return f"tf.random.uniform({list(shape)}, -{number(self.limit)}, {number(self.limit)})"
        draw = "truncated_normal" if self.kind == "truncated normal" else "normal"
        std = self.std / SPREAD_WHEN_CUT if draw == "truncated_normal" else self.std
        return f"tf.random.{draw}({list(shape)}, stddev={number(std)})"


def distribution(scene: Scene) -> Proposal | None:
    """Names both sides' distributions, their standard deviations and, where one fits the shape, the initializer."""
    pairs = scene.concerned
    if scene.finding.kind != "init-distribution" or not pairs:
        return None
    told = [(pair, *_both(scene, pair)) for pair in pairs]
    known = [(pair, a, b) for pair, a, b in told if a is not None and b is not None]
    different = [(pair, a, b) for pair, a, b in known if a.words != b.words]
    if not different:
        return None
    # The matrices say more than the biases next to them.
    pair, a, b = max(
        different, key=lambda entry: (len(_shape(scene.finding.a, entry[0].a)) > 1, -different.index(entry))
    )
    name, shape = plain(scene.finding.a.variables[pair.a].name), _shape(scene.finding.b, pair.b)
    more = f", and {len(different) - 1} more of B's variables differ" if len(different) > 1 else ""
    values = _value(scene.finding.a.initial(), pair.a, pair.a_part)
    return Proposal(
        scene.finding.divergence.error,
        0.0 if values is None else max(0.0, misfit(values, a) - SAMPLING / values.size**0.5),
        f"B initializes {name} with {b.words}, A with {a.words}{more}",
        f"tf.Variable({a.code(shape)}){_where(scene, pair)}",
        {"a": _constants(a), "b": _constants(b)},
        fitted=0,
        doubt=0.1 if "other" in (a.kind, b.kind) else 0.02,
    )


def _where(scene: Scene, pair: VariablePair) -> str:
    """The line that creates the variable that is named; it need not be the first one that differs."""
    source = scene.finding.b.variables[pair.b].source
    return f" at {plain(source)}" if source else at(scene.finding.divergence.b)


def misfit(values: Floats, named: Distribution) -> float:
    """Kolmogorov-Smirnov distance between a sample and the distribution that is named; 0 where none is."""
    if named.std == 0.0 or named.kind == "other":
        return 0.0
    z = np.sort((values.reshape(-1) - named.mean) / named.std)
    if named.kind == "uniform":
        expected = np.clip(z / (2.0 * 3**0.5) + 0.5, 0.0, 1.0)
    elif named.kind == "normal":
        expected = 0.5 * (1.0 + erf(z / 2**0.5))
    else:
        inside = erf(2.0 / 2**0.5)  # cut at two standard deviations, which makes the spread 0.88 of what it was
        expected = np.clip(0.5 * (1.0 + erf(np.clip(z * SPREAD_WHEN_CUT, -2.0, 2.0) / 2**0.5) / inside), 0.0, 1.0)
    steps = np.arange(1, z.size + 1) / z.size
    return float(max(np.abs(steps - expected).max(), np.abs(steps - 1.0 / z.size - expected).max()))


def _constants(found: Distribution) -> dict[str, str | float]:
    return {
        "distribution": found.initializer or found.kind,
        "std": float(f"{found.std:.4g}"),
        "mean": float(f"{found.mean:.4g}"),
    }


def _both(scene: Scene, pair: VariablePair) -> tuple[Distribution | None, Distribution | None]:
    own = scene.finding.b.own_initial()
    block_b = own if own.observations else scene.finding.b.initial()
    a, b = _value(scene.finding.a.initial(), pair.a, pair.a_part), _value(block_b, pair.b, pair.b_part)
    return (None if a is None else describe(a)), (None if b is None else describe(b))


def _value(block: Block, variable: int, part: Part | None = None) -> Floats | None:
    for seen in reversed(block.observations):
        if seen.site.variable == variable and seen.stored and seen.size:
            return taken(np.asarray(block.array(seen.index)).astype(np.float64), part)
    return None


def _shape(trace: Trace, variable: int) -> tuple[int, ...]:
    return trace.variables[variable].shape


def describe(values: Floats) -> Distribution:
    """The distribution that a variable's initial values look drawn from."""
    mean, std, limit = float(values.mean()), float(values.std()), float(np.abs(values).max())
    if values.min() == values.max():
        kind = {0.0: "zeros", 1.0: "ones"}.get(mean, "constant")
        return Distribution(kind, 0.0, mean, limit)
    kind = _kind(values.reshape(-1), mean, std, limit)
    return Distribution(kind, std, mean, limit, _initializer(kind, values.shape, std))


def _kind(flat: Floats, mean: float, std: float, limit: float) -> str:
    if flat.size < 30 or abs(mean) > 6.0 * std / flat.size**0.5:
        return "other"
    # Kurtosis of a uniform sample is 1.8, of a normal one cut at two standard deviations 2.1-2.4, of a normal one 3.
    kurtosis = float((((flat - mean) / std) ** 4).mean())
    if limit <= std * 3**0.5 * 1.02 and abs(kurtosis - 1.8) < max(0.15, 6.0 / flat.size**0.5):
        return "uniform"
    if limit <= 2.0 / SPREAD_WHEN_CUT * std * 1.05 and flat.size >= 200:
        return "truncated normal"
    return "normal" if abs(kurtosis - 3.0) < max(0.5, 15.0 / flat.size**0.5) else "other"


def _initializer(kind: str, shape: tuple[int, ...], std: float) -> str | None:
    """The Keras initializer of that kind whose standard deviation for this shape is the sample's."""
    if kind not in ("uniform", "normal", "truncated normal") or not shape:
        return None
    fan_in, fan_out = fans(shape)
    expected = {"glorot": 2.0 / (fan_in + fan_out), "he": 2.0 / fan_in, "lecun": 1.0 / fan_in}
    size = float(np.prod(shape))
    slack = NEAR if size >= 200 else 3.0 * (0.5 / size) ** 0.5
    for name, variance in expected.items():
        if abs(std / variance**0.5 - 1.0) < slack and len(shape) > 1:
            return f"{name}_{'uniform' if kind == 'uniform' else 'normal'}" if kind != "normal" else None
    simple = {"uniform": ("random_uniform", 0.05 / 3**0.5), "normal": ("random_normal", 0.05)}
    simple["truncated normal"] = ("truncated_normal", 0.05 * SPREAD_WHEN_CUT)
    name, wanted = simple[kind]
    return name if abs(std / wanted - 1.0) < slack else None


def fans(shape: tuple[int, ...]) -> tuple[float, float]:
    """(fan in, fan out) as Keras' `compute_fans` has them."""
    if len(shape) == 1:
        return float(shape[0]), float(shape[0])
    field = float(np.prod(shape[:-2])) if len(shape) > 2 else 1.0
    return shape[-2] * field, shape[-1] * field
