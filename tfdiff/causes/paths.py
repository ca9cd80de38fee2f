"""Ways on which the elements of a tensor are only put in another order: reshaped, transposed, mapped one by one."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from tfdiff.causes import replay
from tfdiff.causes.scene import RESHAPES
from tfdiff.pairing.layouts import permutations_between
from tfdiff.pairing.turns import turns

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from tfdiff.causes.scene import Floats, Side

    Integers = npt.NDArray[np.int64]
    Permutation = tuple[int, ...]

ONE_BY_ONE = frozenset({"Relu", "Tanh", "Sigmoid", "Neg", "Square", "Exp"})
"""Ops on each element by itself that the order of the elements does not concern."""
MOST = 24
"""Paths that are followed from a tensor."""
MAX_AXES = 5
MAX_LOOKED_AT = 64


@dataclass(frozen=True)
class Path:
    """A way from a tensor to one with the same elements."""

    end: int
    """The observation at its end."""
    value: Floats
    """The tensor there."""
    order: Integers
    """Shape of `value`: which element of the tensor at the beginning stands there (counted as the caller did)."""
    steps: tuple[int, ...] = ()
    """The observations on the way, the end included."""
    turned: str = ""
    """What was done to the channels or to an axis, in words."""


def paths(side: Side, start: int, x: Floats, order: Integers, tolerance: float, *, batch: bool) -> list[Path]:
    """Every tensor that has the elements of `x` in some order, the nearest first, `x` itself included.

    `order` counts the elements of `x`. Of a `batch` the channels may be in another order too, or an axis reversed.
    """
    found = [Path(start, x, order)]
    for path in found:
        for user in side.consumers.get(path.end, []):
            if len(found) < MOST and all(user not in known.steps for known in found):
                further = _step(side, path, user, tolerance)
                if further is not None:
                    found.append(further)
        if batch and path is found[0]:
            found += _turned(side, path, tolerance)
    return found


def _step(side: Side, path: Path, user: int, tolerance: float) -> Path | None:
    seen = side.observations[user]
    op = seen.site.op
    moves = op in RESHAPES and seen.inputs[:1] == (path.end,)
    if seen.size != path.value.size or not (moves or (op in ONE_BY_ONE and seen.inputs == (path.end,))):
        return None
    value, order = path.value, path.order
    if op == "Transpose":
        axes = _axes(side, user, value, tolerance)
        if axes is None:
            return None
        value, order = value.transpose(axes), order.transpose(axes)
    elif op in ONE_BY_ONE:
        mapped = replay.apply(op, seen.site.attrs, [value], seen.shape)
        if mapped is None:
            return None
        value = mapped
    value, order = value.reshape(seen.shape), order.reshape(seen.shape)
    if side.error(user, value) > tolerance:
        return None
    return replace(path, end=user, value=value, order=order, steps=(*path.steps, user))


def _axes(side: Side, user: int, x: Floats, tolerance: float) -> Permutation | None:
    """By which permutation an op transposes: read where it is kept, else the one that gives what was recorded."""
    seen = side.observations[user]
    known = side.array(seen.inputs[1]) if len(seen.inputs) > 1 else None
    if known is not None and sorted(np.ravel(known)) == list(range(x.ndim)):
        return tuple(int(axis) for axis in np.ravel(known))
    fitting = permutations_between(x.shape, seen.shape) if x.ndim <= MAX_AXES else []
    return next((axes for axes in fitting if side.error(user, x.transpose(axes)) <= tolerance), None)


def _turned(side: Side, path: Path, tolerance: float) -> Iterator[Path]:
    """Tensors behind a batch that are it with the channels in another order, or with an axis reversed."""
    x, norm = path.value, float(np.linalg.norm(path.value))
    looked_at = [index for index in side.bad if side.observations[index].shape == x.shape][:MAX_LOOKED_AT]
    for index in looked_at:
        if abs(side.observations[index].stats.norm - norm) > 1e-4 * norm or side.error(index, x) <= tolerance:
            continue
        for words, turn in turns(x.shape):
            if side.error(index, turn(x)) <= tolerance:
                yield Path(index, turn(x), turn(path.order), (index,), words)
                break


def axes_of(counted: Integers, order: Integers) -> Permutation | None:
    """The permutation of the axes of `counted` after which a reshape gives `order`, None where there is none."""
    if counted.ndim > MAX_AXES:
        return None
    wanted = order.reshape(-1)
    choices = itertools.permutations(range(counted.ndim))
    return next((axes for axes in choices if np.array_equal(counted.transpose(axes).reshape(-1), wanted)), None)
