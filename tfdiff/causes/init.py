"""Initial values: which distribution each side drew from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import erf

from tfdiff.causes.hypothesis import Proposal
from tfdiff.causes.words import at, number, plain
from tfdiff.pairing.pairs import taken

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tfdiff.causes.scene import Floats, Scene
    from tfdiff.pairing.pairs import Part, VariablePair
    from tfdiff.trace.reader import Block, Trace

SPREAD_WHEN_CUT = 0.87962566103423978
"""Standard deviation of a unit normal distribution cut at 2 (Keras' variance scaling divides by it)."""
SAMPLING = 2.0
"""Kolmogorov-Smirnov distance times sqrt(n) that a sample keeps from its own distribution (once in 1,500 exceeded)."""
SIGMAS = 3.5
"""Standard errors by which a sample may miss the spread or the mean of an initializer."""
EDGES = 12.0
"""Times 1 / n: by what share of the whole range a uniform sample's extremes may miss its ends."""
LEAST = 30
"""Elements of which a shape can be told."""


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
    ends: tuple[float, float] | None = None
    """Of a uniform distribution that is not centered at zero."""

    @property
    def words(self) -> str:
        """`uniform, std 0.0883 (as glorot_uniform)`."""
        if self.kind in ("zeros", "ones"):
            return self.kind
        if self.kind == "constant":
            return f"constant {number(self.mean)}"
        named = f" (as {self.initializer})" if self.initializer else ""
        shape = "" if self.kind == "other" else f"{self.kind}, "
        if self.ends is not None:
            shape = f"uniform between {number(self.ends[0])} and {number(self.ends[1])}, "
        centre = f", mean {number(self.mean)}" if self.kind == "normal" and self.mean else ""
        return f"{shape}std {number(self.std)}{centre}{named}"

    def code(self, shape: tuple[int, ...]) -> str:
        """How to draw it in TensorFlow."""
        if self.kind in ("zeros", "ones"):
            return f"tf.{self.kind}({list(shape)})"
        if self.kind == "constant":
            return f"tf.fill({list(shape)}, {number(self.mean)})"
        if self.initializer:
            return f"tf.keras.initializers.get('{self.initializer}')({list(shape)})"
        if self.kind == "uniform":
            low, high = self.ends or (-self.limit, self.limit)
            return f"tf.random.uniform({list(shape)}, {number(low)}, {number(high)})"
        draw = "truncated_normal" if self.kind == "truncated normal" else "normal"
        std = self.std / SPREAD_WHEN_CUT if draw == "truncated_normal" else self.std
        mean = f"mean={number(self.mean)}, " if self.mean else ""
        return f"tf.random.{draw}({list(shape)}, {mean}stddev={number(std)})"


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
    ratio = f"; the spread is {number(b.std / a.std)} times A's" if a.std and b.std else ""
    return Proposal(
        scene.finding.divergence.error,
        0.0 if values is None else max(0.0, misfit(values, a) - SAMPLING / values.size**0.5),
        f"B initializes {name} with {b.words}, A with {a.words}{ratio}{more}",
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
    flat = np.sort(values.reshape(-1))
    z = (flat - named.mean) / named.std
    if named.kind == "uniform":
        low, high = named.ends or (-named.limit, named.limit)
        expected = np.clip((flat - low) / (high - low), 0.0, 1.0)
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
    """The distribution that a variable's initial values look drawn from: of those that fit the likeliest one."""
    mean, std, limit = float(values.mean()), float(values.std()), float(np.abs(values).max())
    if values.min() == values.max():
        kind = {0.0: "zeros", 1.0: "ones"}.get(mean, "constant")
        return Distribution(kind, 0.0, mean, limit)
    flat = values.reshape(-1)
    other = Distribution("other", std, mean, limit)
    if flat.size < LEAST:
        return other
    fits = [(likelihood, found) for likelihood, found in _likely(flat) if _agrees(flat, found)]
    found = max(fits, key=lambda fit: fit[0], default=(0.0, other))[1]
    name = _initializer(found, values.shape, flat.size)
    return replace(found, initializer=name)


def _agrees(flat: Floats, found: Distribution) -> bool:
    return bool(misfit(flat, found) <= SAMPLING / flat.size**0.5)


def _likely(flat: Floats) -> Iterator[tuple[float, Distribution]]:
    """(log-likelihood, distribution) of each kind, its spread fitted; what is centered at zero but for chance is so."""
    n, mean, std = flat.size, float(flat.mean()), float(flat.std())
    low, high, limit = float(flat.min()), float(flat.max()), float(np.abs(flat).max())
    if abs(low + high) <= EDGES / n * (high - low):
        yield -n * float(np.log(2.0 * limit)), Distribution("uniform", std, mean, limit)
    else:
        rest = (high - low) / (n - 1.0)
        ends = _plain_number(low - rest, 4.0 * rest), _plain_number(high + rest, 4.0 * rest)
        yield -n * float(np.log(ends[1] - ends[0])), Distribution("uniform", std, mean, limit, ends=ends)
    centre = 0.0 if abs(mean) <= SIGMAS * std / n**0.5 else mean
    squares = float(((flat - centre) ** 2).sum())
    sigma = (squares / n) ** 0.5
    told = Distribution("normal", std, centre, limit)
    yield -n * float(np.log(sigma * (2.0 * np.pi) ** 0.5)) - squares / (2.0 * sigma**2), told
    sigma = max(sigma / SPREAD_WHEN_CUT, 0.5 * float(np.abs(flat - centre).max()))
    inside = float(erf(2.0 / 2**0.5))
    cut = Distribution("truncated normal", std, centre, limit)
    yield -n * float(np.log(sigma * inside * (2.0 * np.pi) ** 0.5)) - squares / (2.0 * sigma**2), cut


def _plain_number(value: float, slack: float) -> float:
    """The number with the fewest digits within the slack: 1 instead of 1.003."""
    rounded = (round(value, digits) for digits in range(-3, 9))
    return next((found for found in rounded if abs(found - value) <= slack), value)


def _initializer(found: Distribution, shape: tuple[int, ...], size: int) -> str | None:
    """The Keras initializer of that kind whose spread for this shape is the sample's; the nearest one of several."""
    if found.kind not in ("uniform", "normal", "truncated normal") or not shape or found.ends is not None:
        return None
    if found.kind != "uniform" and found.mean:
        return None
    known = {"uniform": ("random_uniform", 0.05 / 3**0.5), "normal": ("random_normal", 0.05)}
    known["truncated normal"] = ("truncated_normal", 0.05 * SPREAD_WHEN_CUT)
    wanted = dict([known[found.kind]])
    if len(shape) > 1 and found.kind != "normal":
        fan_in, fan_out = fans(shape)
        ending = "uniform" if found.kind == "uniform" else "normal"
        for name, variance in (("glorot", 2.0 / (fan_in + fan_out)), ("he", 2.0 / fan_in), ("lecun", 1.0 / fan_in)):
            wanted.setdefault(f"{name}_{ending}", variance**0.5)
    # A uniform sample's extremes say more of its spread than its mean square does.
    spread = found.limit / 3**0.5 if found.kind == "uniform" else found.std
    slack = EDGES / size if found.kind == "uniform" else SIGMAS * (0.5 / size) ** 0.5
    misses = {name: abs(spread / std - 1.0) for name, std in wanted.items()}
    best = min(misses, key=lambda name: misses[name])
    return best if misses[best] <= slack + 1e-6 else None


def fans(shape: tuple[int, ...]) -> tuple[float, float]:
    """(fan in, fan out) as Keras' `compute_fans` has them."""
    if len(shape) == 1:
        return float(shape[0]), float(shape[0])
    field = float(np.prod(shape[:-2])) if len(shape) > 2 else 1.0
    return shape[-2] * field, shape[-1] * field
