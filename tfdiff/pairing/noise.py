"""Which random draw of one step is which of the other, so that both runs can be given the same noise."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tfdiff.pairing.alignment import align
from tfdiff.pairing.layouts import permutations_between

if TYPE_CHECKING:
    from collections.abc import Sequence

# TensorFlow op type (without "Stateless", "Stateful", "V2"...) -> what it draws.
_DISTRIBUTIONS = {
    "RandomUniform": "uniform",
    "Uniform": "uniform",
    "RandomStandardNormal": "normal",
    "RandomNormal": "normal",
    "StandardNormal": "normal",
    "TruncatedNormal": "truncated normal",
    "ParameterizedTruncatedNormal": "truncated normal",
    "RandomUniformInt": "int",
    "RandomUniformFullInt": "int",
    "UniformInt": "int",
    "UniformFullInt": "int",
    "RandomShuffle": "shuffle",
    "Shuffle": "shuffle",
    "Multinomial": "categorical",
    "RandomGamma": "gamma",
    "RandomPoisson": "poisson",
    "RandomBinomial": "binomial",
}


@dataclass(frozen=True)
class Draw:
    """One execution of a random op within a step."""

    index: int
    """Number of the draw (or of its observation) in the step; only breaks ties."""
    op: str
    """TensorFlow op type."""
    shape: tuple[int, ...]
    dtype: str
    layer: str | None = None
    api: str | None = None


def distribution(op: str) -> str | None:
    """What an op type draws (`uniform`, `normal`, `truncated normal`, `int`, `shuffle`, ...); None for other ops.

    Stateful and stateless versions of an op draw the same: Keras 3 uses these where `tf.nn.dropout` uses those.
    """
    name = op
    for prefix in ("Stateless", "Stateful"):
        name = name.removeprefix(prefix)
    for suffix in ("V3", "V2"):
        name = name.removesuffix(suffix)
    return _DISTRIBUTIONS.get(name)


def draw_permutation(shape: tuple[int, ...], target: tuple[int, ...]) -> tuple[int, ...] | None:
    """The permutation that turns `shape` into `target`, keeping the batch axis in front where possible.

    Of several the one that changes least: H stays before W. None when there is none, or when the shapes are equal.
    """
    if shape == target:
        return None
    choices = permutations_between(shape, target, fixed=1) or permutations_between(shape, target)
    return choices[0] if choices else None


def convert_draw(
    value: npt.NDArray[Any], permutation: tuple[int, ...] | None, shape: tuple[int, ...]
) -> npt.NDArray[Any]:
    """The draw `value` of a in the layout of b: transposed by `permutation`, then reshaped to b's `shape`."""
    turned = value if permutation is None else np.transpose(value, permutation)
    return np.ascontiguousarray(turned).reshape(shape)


def draw_target(
    value: npt.NDArray[Any], permutation: tuple[int, ...] | None, static: Sequence[int | None] | None
) -> tuple[int, ...] | None:
    """The shape in which a draw of a fits a tensor of b of which only the extents in `static` are known.

    `static` is None for an unknown rank. None where the draw does not fit.
    """
    shape = value.shape if permutation is None else tuple(value.shape[axis] for axis in permutation)
    if static is None:
        return shape
    if len(static) == len(shape) and all(known in (None, extent) for known, extent in zip(static, shape, strict=True)):
        return shape
    unknown = [axis for axis, extent in enumerate(static) if extent is None]
    known_size = prod(extent for extent in static if extent is not None)
    if len(unknown) > 1 or not known_size or value.size % known_size or (not unknown and value.size != known_size):
        return None
    return tuple(value.size // known_size if extent is None else extent for extent in static)


def _score(a: Draw, b: Draw) -> float:
    """How well two draws fit, 0 when they cannot be the same; the parts are ordered so that each outweighs the next."""
    kind = distribution(a.op)
    if kind is None or kind != distribution(b.op):
        return 0.0
    if a.shape == b.shape:
        shape = 40.0
    elif draw_permutation(a.shape, b.shape) is not None:
        shape = 20.0
    elif kind != "shuffle" and a.shape[:1] == b.shape[:1] and prod(a.shape) == prod(b.shape):
        shape = 0.0  # a draw behind the flatten against one before it
    else:
        return 0.0
    # One more pair is worth more than any better fit of the others: hence 1000.
    same_dtype = 8.0 if a.dtype == b.dtype else 0.0
    same_place = 4.0 * (a.layer is not None and a.layer == b.layer) + 2.0 * (a.api is not None and a.api == b.api)
    number = 1.0 / (1.0 + abs(a.index - b.index))
    return 1000.0 + shape + same_dtype + same_place + number


def _key(draw: Draw) -> tuple[str | None, tuple[int, ...]]:
    return distribution(draw.op), tuple(sorted(draw.shape))


def _only(draws: Sequence[Draw], taken: set[int]) -> dict[tuple[str | None, tuple[int, ...]], int]:
    """Draws left over whose distribution and extents no other draw of the step has."""
    counts = Counter(_key(draw) for draw in draws)
    return {_key(draw): n for n, draw in enumerate(draws) if n not in taken and counts[_key(draw)] == 1}


def pair_draws(a: Sequence[Draw], b: Sequence[Draw]) -> list[tuple[int, int, tuple[int, ...] | None]]:
    """Positions in `a` and `b` that draw the same, with the permutation of axes that turns a's draw into b's.

    Aligned in order on distribution and shape (up to a permutation of axes, or flattened behind the batch axis: use
    `convert_draw`); the number in the step, dtype, layer and API break ties. What the order leaves over is paired only
    where distribution and shape occur once on both sides (branches run in another order). Sorted by position in `a`.
    """
    scores = np.array([[_score(x, y) for y in b] for x in a], dtype=np.float64).reshape(len(a), len(b))
    pairs = align(scores)
    left_a = _only(a, {i for i, _ in pairs})
    left_b = _only(b, {j for _, j in pairs})
    pairs += [(left_a[key], left_b[key]) for key in left_a.keys() & left_b.keys() if key[0] is not None]
    return [(i, j, draw_permutation(a[i].shape, b[j].shape)) for i, j in sorted(pairs)]
