"""Ways to lay the rows of a batch out anew: channels in another order, an axis reversed, axes exchanged."""

from __future__ import annotations

import itertools
from math import isqrt, prod
from typing import TYPE_CHECKING, Any

import numpy as np

from tfdiff.pairing.layouts import inverse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Shape = tuple[int, ...]
    Turn = Callable[[Any], Any]

MAX_CHANNELS = 4
MAX_AXES = 5
LEAST_SIDE = 4
"""Of an image that is known as a row of numbers only."""


def turns(shape: Shape) -> Iterator[tuple[str, Turn]]:
    """Ways to reorder the channels of rows of at least two axes, or to reverse an axis: in words, and as functions.

    The batch axis, the first one, stays as it is.
    """
    if len(shape) < 3:
        return
    channels = [axis for axis in dict.fromkeys((len(shape) - 1, 1)) if 1 < shape[axis] <= MAX_CHANNELS]
    for axis in channels:
        for order in itertools.permutations(range(shape[axis])):
            if order != tuple(range(shape[axis])):
                yield f"channels in the order {list(order)}", _take(axis, order)
    for axis in range(1, len(shape)):
        if shape[axis] > 1 and axis not in channels:
            yield f"axis {axis} reversed", _take(axis, tuple(range(shape[axis]))[::-1])


def _take(axis: int, order: Shape) -> Turn:
    return lambda values: np.take(values, order, axis=axis)


def transposed(axes: Shape) -> Turn:
    """What transposes an array."""
    return lambda values: values.transpose(axes)


def layouts(shape: Shape, target: Shape) -> Iterator[tuple[str, Turn]]:
    """Ways to make rows of the shape `target` of rows of `shape`, other than by a mere reshape; the first axis is the
    batch's. Rows of numbers are looked at as square images, too.
    """
    for fine in _images(shape, target):
        yield from ((words, _within(fine, target, turn)) for words, turn in turns(fine))
        for axes in _orders(len(fine)):
            words = f"axes in the order {list(axes)} (of {['rows', *fine[1:]]})".replace("'", "")
            yield words, _within(fine, target, transposed(axes))
    for axes in _orders(len(target)):
        made = tuple(target[axis] for axis in axes)
        words = f"values reshaped to {['rows', *made[1:]]}, not transposed".replace("'", "")
        yield words, _within(made, target, transposed(inverse(axes)))


def _images(shape: Shape, target: Shape) -> Iterator[Shape]:
    """The axes that rows may have, those they have first."""
    found = [one for one in (shape, target) if 2 < len(one) <= MAX_AXES]
    yield from dict.fromkeys(found)
    size = prod(shape[1:])
    for channels in (1, 3, 4) if not found else ():
        side = isqrt(size // channels)
        if side >= LEAST_SIDE and side * side * channels == size:
            yield (shape[0], side, side) if channels == 1 else (shape[0], side, side, channels)


def _orders(rank: int) -> Iterator[Shape]:
    """Every other order of the axes, the first one staying."""
    if rank <= MAX_AXES:
        yield from ((0, *axes) for axes in itertools.permutations(range(1, rank)) if axes != tuple(range(1, rank)))


def _within(fine: Shape, target: Shape, turn: Turn) -> Turn:
    return lambda values: turn(values.reshape(-1, *fine[1:])).reshape(-1, *target[1:])
