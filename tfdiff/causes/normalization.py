"""Batch and layer normalization: which statistics each side uses, and which epsilon.

A normalization is affine in its input, per channel (or row): y = s * x + t. s and t are fitted, and from them follow
the statistics: s = gamma / sqrt(v + epsilon), t = beta - s * m with the batch's own (m, v) or with the moving ones. So
fused ops, `tf.nn.batch_normalization` and hand-written forms are all told alike.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Literal

import numpy as np

from tfdiff.causes.hypothesis import Proposal
from tfdiff.causes.scene import same
from tfdiff.causes.words import at, b_site, number
from tfdiff.pairing.distance import relative_error

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tfdiff.causes.scene import Floats, Scene, Side

FIT = 1e-4
SAMPLE = 64
FEW = 4
"""Channels that are tried first: what fails on these needs no look at the others."""
Mode = Literal["batch", "moving", "row"]
Statistics = tuple["Floats", "Floats"]
Again = Callable[["Floats", "Statistics | None", float], "Floats"]
MODES: dict[Mode, str] = {
    "batch": "the batch's own statistics",
    "moving": "the moving statistics",
    "row": "each row's statistics",
}


@dataclass(frozen=True)
class Norm:
    """A normalization seen in the numbers."""

    index: int
    mode: Mode
    epsilon: float
    again: Again
    """The same gamma and beta with given statistics (None: those of the tensor itself) and a given epsilon."""
    statistics: Statistics | None = None
    """Moving mean and variance, where these are used."""


def training_flag(scene: Scene) -> Proposal | None:
    """One side normalizes with the batch's statistics, the other with the moving ones: s and t tell."""
    for cut in scene.cuts:
        a, b = find_norm(scene.a, cut.a, cut.x_a), find_norm(scene.b, cut.b, cut.x_b)
        if a is None or b is None or a.mode == b.mode or "row" in (a.mode, b.mode):
            continue
        predicted = b.again(cut.x_b, a.statistics, a.epsilon)
        flag = "training=True" if a.mode == "batch" else "training=False"
        site = b_site(scene, b.index)
        if site is not None and site.layer is not None:
            fix = f"call the model with {flag}{at(scene.finding.divergence.b, called=True)}"
        else:
            moments = "tf.nn.moments of the batch" if a.mode == "batch" else "the moving mean and variance"
            fix = f"normalize with {moments} ({flag}){at(scene.finding.divergence.b, called=True)}"
        return Proposal(
            scene.distance(a.index, b.index, cut),
            scene.miss(a.index, predicted, cut),
            f"B's batch normalization uses {MODES[b.mode]}, A's uses {MODES[a.mode]}: B runs with {_flag(b.mode)}",
            fix,
            {"a": a.mode == "batch", "b": b.mode == "batch"},
            fitted=1,
            noise=3e-4,
        )
    return None


def _flag(mode: Mode) -> str:
    return "training=True" if mode == "batch" else "training=False"


def norm_epsilon(scene: Scene) -> Proposal | None:
    """Both sides normalize with the same statistics, but add another epsilon to the variance."""
    for cut in scene.cuts:
        a, b = find_norm(scene.a, cut.a, cut.x_a), find_norm(scene.b, cut.b, cut.x_b)
        if a is None or b is None or a.mode != b.mode or same(a.epsilon, b.epsilon, 0.02):
            continue
        site = b_site(scene, b.index)
        layer = site is not None and site.layer is not None
        argument = f"epsilon={number(a.epsilon)}" if layer else f"variance_epsilon={number(a.epsilon)}"
        return Proposal(
            scene.distance(a.index, b.index, cut),
            scene.miss(a.index, b.again(cut.x_b, b.statistics, a.epsilon), cut),
            f"the normalization adds epsilon {number(b.epsilon)} to the variance in B, {number(a.epsilon)} in A",
            f"{argument}{at(scene.finding.divergence.b)}",
            {"a": float(f"{a.epsilon:.4g}"), "b": float(f"{b.epsilon:.4g}")},
            fitted=2,
        )
    return None


def find_norm(side: Side, index: int, x: Floats) -> Norm | None:
    """The last bad observation that is a normalization of `x` with variables that the step reads."""
    if ("norm", index) not in side.memo:
        side.memo["norm", index] = _find_norm(side, index, x)
    found: Norm | None = side.memo["norm", index]
    return found


def _find_norm(side: Side, index: int, x: Floats) -> Norm | None:
    found = None
    reads = Reads(side)
    for bad in side.bad:
        seen = side.observations[bad]
        y = side.array(bad) if seen.size == x.size and "float" in seen.dtype and bad != index else None
        if y is not None and x.ndim >= 2:
            found = (
                _per_channel(bad, x, y.reshape(x.shape), reads) or _per_row(bad, x, y.reshape(x.shape), reads) or found
            )
    return found


class Reads:
    """Variables read in the forward pass, by size."""

    def __init__(self, side: Side) -> None:
        self._side = side
        self._weights = {s.site.variable: s.index for s in side.with_role("weight") if s.site.phase == "forward"}
        self._states = {s.site.variable: s.index for s in side.with_role("state")}
        self._found: dict[tuple[str, int], list[Floats]] = {}

    def weights(self, size: int, default: float) -> list[Floats]:
        """Trainable vectors of that size, and the one that stands for none."""
        return [*self._of("weight", self._weights, size), np.full(size, default)]

    def states(self, size: int) -> list[Floats]:
        """Moving statistics of that size at the start of the step."""
        return self._of("state", self._states, size)

    def _of(self, role: str, indices: dict[int | None, int], size: int) -> list[Floats]:
        if (role, size) not in self._found:
            values = [self._side.array(i) for i in indices.values() if self._side.observations[i].size == size]
            own = [value.reshape(-1) for value in values if value is not None]
            if role == "state":
                variables = self._side.trace.variables.values()
                kept = [self._side.before(v.index) for v in variables if v.kind == "state" and np.prod(v.shape) == size]
                own += [value.reshape(-1) for value in kept if value is not None]
            unique: list[Floats] = []
            for value in own:
                if not any(np.array_equal(value, other) for other in unique):
                    unique.append(value)
            self._found[role, size] = unique[:12]
        return self._found[role, size]


def _channels(x: Floats) -> Iterator[int]:
    yield x.ndim - 1
    if x.ndim > 2:
        yield 1


def _per_channel(index: int, x: Floats, y: Floats, reads: Reads) -> Norm | None:
    for axis in _channels(x):
        rows = np.moveaxis(x, axis, -1).reshape(-1, x.shape[axis])
        if rows.shape[1] < 2 or rows.shape[0] < 3:
            continue
        values = np.moveaxis(y, axis, -1).reshape(rows.shape)
        if _affine(rows[:, :FEW], values[:, :FEW]) is None:
            continue
        fit = _affine(rows, values)
        if fit is None:
            continue
        found = _statistics(x, axis, index, fit, (rows.mean(axis=0), rows.var(axis=0)), reads)
        if found is not None:
            return found
    return None


def _affine(rows: Floats, values: Floats) -> tuple[Floats, Floats] | None:
    """(s, t) per column where values = s * rows + t, else None."""
    centred = rows - rows.mean(axis=0)
    s = (centred * values).sum(axis=0) / np.maximum((centred**2).sum(axis=0), 1e-30)
    t = values.mean(axis=0) - s * rows.mean(axis=0)
    left = values - rows * s - t
    fits = np.sqrt((left**2).sum()) <= FIT * np.sqrt((values**2).sum()) and np.all(np.abs(s) > 1e-12)
    return (s, t) if fits else None


def _statistics(
    x: Floats, axis: int, index: int, fit: tuple[Floats, Floats], own: tuple[Floats, Floats], reads: Reads
) -> Norm | None:
    """Which statistics, gamma and beta give s and t."""
    s, t = fit
    size = x.shape[axis]
    gammas, betas, states = reads.weights(size, 1.0), reads.weights(size, 0.0), reads.states(size)
    candidates: list[tuple[Mode, Floats, Floats]] = [("batch", *own)]
    candidates += [("moving", m, v) for m, v in product(states, states) if m is not v and v.min() >= 0.0]
    data = np.abs(s) * np.sqrt(own[0] ** 2 + own[1])  # a moving mean of 0 and a beta of 0 have no size of their own
    for mode, mean, variance in candidates:
        beta = next((b for b in betas if _close(t + s * mean, b, np.abs(s * mean) + np.abs(b) + data)), None)
        if beta is None:
            continue
        for gamma in gammas:
            epsilon = epsilon_of(s, gamma, variance)
            if epsilon is not None:
                moving = (mean, variance) if mode == "moving" else None
                return Norm(index, mode, epsilon, _again(axis, gamma, beta), moving)
    return None


def _again(axis: int, gamma: Floats, beta: Floats) -> Again:
    def again(x: Floats, moving: Statistics | None, epsilon: float) -> Floats:
        turned = np.moveaxis(x, axis, -1)
        axes = tuple(range(turned.ndim - 1))
        mean, variance = (turned.mean(axis=axes), turned.var(axis=axes)) if moving is None else moving
        scaled = (turned - mean) / np.sqrt(np.maximum(variance + epsilon, 1e-30)) * gamma + beta
        return np.asarray(np.moveaxis(scaled, -1, axis))

    return again


def _per_row(index: int, x: Floats, y: Floats, reads: Reads) -> Norm | None:
    """Layer normalization over the last axis."""
    size = x.shape[-1]
    if size < 3:
        return None
    centred = x - x.mean(axis=-1, keepdims=True)
    variance = x.var(axis=-1)
    square = np.maximum((centred**2).sum(axis=-1), 1e-30)
    few = slice(0, SAMPLE)  # most candidates fail on a few rows already
    rows, values, squares = (v.reshape(-1, size) for v in (centred, y, np.broadcast_to(square[..., None], y.shape)))
    for gamma, beta in product(reads.weights(size, 1.0)[-7:], reads.weights(size, 0.0)[-7:]):
        if not np.all(np.abs(gamma) > 1e-12):
            continue
        for part in (few, slice(None)):
            z = (values[part] - beta) / gamma
            s = (z * rows[part]).sum(axis=-1) / squares[part, 0]
            fits = relative_error(z, s[:, None] * rows[part]) <= FIT
            if not fits:
                break
        epsilon = epsilon_of(s, np.ones(1), variance.reshape(-1)) if fits else None
        if epsilon is not None:
            return Norm(index, "row", epsilon, _row_again(gamma, beta))
    return None


def _row_again(gamma: Floats, beta: Floats) -> Again:
    def again(x: Floats, _: Statistics | None, epsilon: float) -> Floats:
        centred = x - x.mean(axis=-1, keepdims=True)
        scaled = centred / np.sqrt(np.maximum(x.var(axis=-1, keepdims=True) + epsilon, 1e-30)) * gamma + beta
        return np.asarray(scaled)

    return again


def epsilon_of(s: Floats, gamma: Floats, variance: Floats) -> float | None:
    """The epsilon with which s = gamma / sqrt(variance + epsilon) holds everywhere, else None."""
    s, variance = np.ravel(s), np.ravel(variance)
    gamma = np.broadcast_to(np.ravel(gamma), s.shape)
    usable = (np.abs(s) > 1e-12) & (variance > 1e-12)
    if usable.sum() < 2 or np.any(s[usable] * gamma[usable] < 0):
        return None
    each = (gamma[usable] / s[usable]) ** 2 - variance[usable]
    # Rounding of s shows most where the variance is large: these elements say least of epsilon.
    weight = 1.0 / variance[usable] ** 2
    epsilon = float((each * weight).sum() / weight.sum())
    if not -1e-6 <= epsilon <= 1.0:
        return None
    epsilon = max(epsilon, 0.0)
    predicted = gamma[usable] / np.sqrt(variance[usable] + epsilon)
    return epsilon if relative_error(s[usable], predicted) <= FIT else None


def _close(x: Floats, y: Floats, scale: Floats) -> bool:
    return float(np.linalg.norm(x - y)) <= FIT * max(float(np.linalg.norm(scale)), 1e-12)
