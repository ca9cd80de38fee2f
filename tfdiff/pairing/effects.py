"""At which end of its range a uniform draw has its effect: one program drops where u < rate, another where u > keep.

Both drop the same share, but with the same numbers they drop different units. Told by what the draws did in the
recorded steps: the numbers of the elements that were set to zero (or of the rows that were changed) and those of the
others must not overlap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tfdiff.pairing.noise import distribution

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tfdiff.model import Observation
    from tfdiff.trace.block import Block

Array = npt.NDArray[Any]
_STEPS = 8
"""Steps that are looked at: a few rows may be parted by chance."""
_FEWEST = 8
"""Numbers on both sides together that must be seen."""
_DEPTH = 24
"""Tensors behind a draw that are looked at."""


def mirrored(value: Array) -> Array:
    """The draw with its ends exchanged, still below 1."""
    below = np.nextafter(np.ones((), value.dtype), np.zeros((), value.dtype))
    turned: Array = np.minimum(1 - value, below)
    return turned


def end_of_effect(draws: Sequence[tuple[Block, Observation]]) -> int:
    """1 where high numbers have an effect, -1 where low ones have it, 0 where that cannot be told."""
    for effect in (_zeroed, _changed):
        parts = [found for block, draw in draws[:_STEPS] if (found := _first(block, draw, effect)) is not None]
        if not parts:
            continue
        with_it, without = (np.concatenate(column) for column in zip(*parts, strict=True))
        if not with_it.size or not without.size or with_it.size + without.size < _FEWEST:
            continue
        if with_it.min() >= without.max():
            return 1
        if with_it.max() <= without.min():
            return -1
    return 0


def _first(block: Block, draw: Observation, effect: Any) -> tuple[Array, Array] | None:
    """Numbers with and without the effect, by the first tensor behind the whole draw that shows both."""
    if distribution(draw.site.op) != "uniform" or not draw.stored:
        return None
    numbers = block.array(draw.index)
    behind = _behind(block, draw.index)
    for seen in _cuts(block, draw.index, behind):
        if not _readable(seen) or not seen.shape or seen.size < numbers.size:
            continue
        sources = [before for before in _ancestors(block, seen.index, behind) if before.shape == seen.shape]
        if not sources:
            continue
        found = effect(numbers, block.array(seen.index), block, sources)
        if found is not None and found[0].size and found[1].size:
            return (found[0], found[1])
    return None


def _zeroed(numbers: Array, after: Array, block: Block, sources: list[Observation]) -> tuple[Array, Array] | None:
    """Elements set to zero that were not zero before."""
    if numbers.ndim > after.ndim:
        return None
    try:
        spread = np.broadcast_to(numbers, after.shape)
    except ValueError:
        return None
    before = block.array(sources[-1].index)
    zero = after == 0
    return spread[zero & (before != 0)], spread[~zero & (before != 0)]


def _changed(numbers: Array, after: Array, block: Block, sources: list[Observation]) -> tuple[Array, Array] | None:
    """Rows that were changed, where one number was drawn for each row."""
    if numbers.ndim == 0 or numbers.size != len(numbers) or len(numbers) != len(after):
        return None
    before = block.array(sources[0].index)
    changed = (after != before).reshape(len(after), -1).any(axis=1)
    flat = numbers.reshape(-1)
    return flat[changed], flat[~changed]


def _readable(seen: Observation) -> bool:
    return seen.stored and seen.site.phase == "forward" and seen.dtype.startswith(("float", "bfloat"))


def _behind(block: Block, draw: int) -> set[int]:
    """Everything computed from the draw."""
    found: set[int] = {draw}
    for seen in block.observations:
        if seen.site.phase == "forward" and any(i in found for i in seen.inputs):
            found.add(seen.index)
    return found - {draw}


def _cuts(block: Block, draw: int, behind: set[int]) -> Iterator[Observation]:
    """Tensors that everything the draw has an effect on passes: the sum of a blend, not one of its two parts."""
    used = dict.fromkeys((draw, *behind), 0)
    for index in behind:
        for source in block.observations[index].inputs:
            if source in used:
                used[source] = max(used[source], index)
    pending = used[draw]
    for index in sorted(behind)[:_DEPTH]:
        if pending <= index:
            yield block.observations[index]
        pending = max(pending, used[index])


def _ancestors(block: Block, index: int, behind: set[int]) -> Iterator[Observation]:
    """Data a tensor was computed from that does not come from the draw, in the order of execution."""
    reached: set[int] = set()
    stack = list(block.observations[index].inputs)
    while stack:
        i = stack.pop()
        if i >= 0 and i not in reached:
            reached.add(i)
            if i in behind:  # what lies before the data is of no interest: only the way from the draw is followed
                stack.extend(block.observations[i].inputs)
    for i in sorted(reached - behind):
        seen = block.observations[i]
        if _readable(seen) and seen.site.role in ("activation", "input"):
            yield seen
