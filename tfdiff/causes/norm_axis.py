"""Normalization over other axes: for each side the axes over which mean and variance are taken are found by trying."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tfdiff.causes.hypothesis import Proposal
from tfdiff.causes.normalization import FIT, Reads, epsilon_of
from tfdiff.causes.scene import RESHAPES
from tfdiff.causes.words import at, b_site
from tfdiff.pairing.distance import relative_error

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tfdiff.causes.scene import Cut, Floats, Scene, Side

    Axes = tuple[int, ...]

MAX_AXES = 4
FEWEST = 3
"""Elements that a mean must be of: of two, the normalized values are 1 and -1 whatever they were."""
MAX_VECTORS = 7
"""Weights of a shape that are tried."""
MAX_TENSORS = 12
"""Tensors behind the input that are looked at."""


@dataclass(frozen=True)
class _Norm:
    """(x - mean) / sqrt(variance + epsilon) * gamma + beta, mean and variance taken over `axes`."""

    index: int
    axes: Axes
    epsilon: float
    gamma: Floats
    beta: Floats
    """Both as they are broadcast."""

    def of(self, x: Floats) -> Floats:
        """The same of another tensor of that shape."""
        mean, variance = x.mean(axis=self.axes, keepdims=True), x.var(axis=self.axes, keepdims=True)
        scaled: Floats = (x - mean) / np.sqrt(np.maximum(variance + self.epsilon, 1e-30)) * self.gamma + self.beta
        return scaled


def norm_axis(scene: Scene) -> Proposal | None:
    """Both sides normalize the same tensor, each over axes of its own: over A's, B's tensor becomes A's."""
    for cut in scene.cuts:
        if cut.x_a.shape != cut.x_b.shape or cut.permutation is not None:
            continue
        a = _find(scene.a, cut.a, cut.x_a)
        b = None if a is None else _find(scene.b, cut.b, cut.x_b)
        if a is None or b is None or a.axes == b.axes:
            continue
        predicted = a.of(cut.x_b)
        return Proposal(
            relative_error(predicted, b.of(cut.x_b)),
            scene.miss(a.index, predicted, cut),
            f"the normalization takes mean and variance over {_said(cut, b.axes)} in B, over {_said(cut, a.axes)} in A",
            f"{_fix(scene, b, cut, a.axes)}{at(scene.finding.divergence.b)}",
            {"a": list(a.axes), "b": list(b.axes)},
            fitted=2,
        )
    return None


def _said(cut: Cut, axes: Axes) -> str:
    word = "axes" if len(axes) > 1 else "axis"
    return f"{word} {', '.join(map(str, axes))} of {list(cut.x_a.shape)}"


def _fix(scene: Scene, b: _Norm, cut: Cut, wanted: Axes) -> str:
    """The axes as B's API takes them: those of the mean, or in a layer of batch normalization the one left."""
    site = b_site(scene, b.index)
    rank = cut.x_b.ndim
    if site is not None and site.layer_class == "BatchNormalization" and 0 in wanted and len(wanted) == rank - 1:
        (left,) = set(range(rank)) - set(wanted)
        return f"BatchNormalization(axis={-1 if left == rank - 1 else left})"
    if site is not None and site.layer_class == "LayerNormalization" and 0 not in wanted:
        return f"LayerNormalization(axis={list(wanted) if len(wanted) > 1 else wanted[0]})"
    if site is not None and site.layer is not None:
        kind = "BatchNormalization" if 0 in wanted else "LayerNormalization"
        return f"take mean and variance over the axes {list(wanted)}: keras.layers.{kind}"
    return f"tf.nn.moments(x, {list(wanted)})"


def _find(side: Side, index: int, x: Floats) -> _Norm | None:
    """The first tensor behind `x` that is a normalization of it over some axes, with weights that the step reads."""
    if ("norm over axes", index) not in side.memo:
        side.memo["norm over axes", index] = _searched(side, index, x)
    found: _Norm | None = side.memo["norm over axes", index]
    return found


def _searched(side: Side, index: int, x: Floats) -> _Norm | None:
    if not 2 <= x.ndim <= MAX_AXES:
        return None
    reads = Reads(side)
    alike = [i for i in side.bad if side.observations[i].size == x.size and "float" in side.observations[i].dtype]
    alike = [i for i in alike if i != index and side.observations[i].site.op not in RESHAPES]
    last: _Norm | None = None
    for bad in alike[:MAX_TENSORS]:
        y = side.array(bad)
        found = None if y is None else _fitted(bad, x, y.reshape(x.shape), reads)
        # The last one has gamma and beta; before them it may be a normalization already.
        last = found or last
    return last


def _fitted(index: int, x: Floats, y: Floats, reads: Reads) -> _Norm | None:
    for axes in _choices(x.shape):
        mean, variance = x.mean(axis=axes, keepdims=True), x.var(axis=axes, keepdims=True)
        centred = x - mean
        square = np.maximum((centred**2).sum(axis=axes, keepdims=True), 1e-30)
        for gamma, beta in _weights(x.shape, reads):
            z = (y - beta) / gamma
            s = (z * centred).sum(axis=axes, keepdims=True) / square
            if relative_error(z, s * centred) > FIT:
                continue
            epsilon = epsilon_of(s, np.ones(1), variance)
            if epsilon is not None:
                return _Norm(index, axes, epsilon, gamma, beta)
    return None


def _choices(shape: tuple[int, ...]) -> Iterator[Axes]:
    """Every set of axes over which enough is averaged and that leaves several means, the usual ones first."""
    rank = len(shape)
    every = [axes for count in range(1, rank + 1) for axes in itertools.combinations(range(rank), count)]
    usual = [tuple(range(rank - 1)), (rank - 1,), tuple(range(1, rank))]
    for axes in dict.fromkeys([*usual, *every]):
        count = int(np.prod([shape[axis] for axis in axes]))
        if count >= FEWEST and int(np.prod(shape)) // count >= 2:
            yield axes


def _weights(shape: tuple[int, ...], reads: Reads) -> Iterator[tuple[Floats, Floats]]:
    """Gamma and beta as they may be broadcast: along one axis, with the shape of a row, or none."""
    rank = len(shape)
    layouts = [(shape[axis], [shape[axis] if i == axis else 1 for i in range(rank)]) for axis in range(rank - 1, 0, -1)]
    layouts.append((int(np.prod(shape[1:])), [1, *shape[1:]]))
    seen = set()
    for size, layout in layouts:
        if size < 2:
            continue
        gammas, betas = reads.weights(size, 1.0)[-MAX_VECTORS:], reads.weights(size, 0.0)[-MAX_VECTORS:]
        for gamma, beta in itertools.product(gammas, betas):
            plain = bool(np.ptp(gamma) == 0.0 and np.ptp(beta) == 0.0)
            key = (float(gamma[0]), float(beta[0])) if plain else None
            if np.all(np.abs(gamma) > 1e-12) and (key is None or key not in seen):
                seen.add(key)
                yield gamma.reshape(layout), beta.reshape(layout)
