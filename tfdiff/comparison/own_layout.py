"""Rows of b that are a's in another layout, all of them alike, where what b was given instead is in a's layout.

Hashes of rows know no order of their numbers, so that such rows count as the same. Where b's layout was kept when
batches were shared, the forward passes show what comes of it: nothing, if the network knows of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from tfdiff.comparison.own_batches import arrays_of, batch_of
from tfdiff.pairing.distance import relative_error
from tfdiff.pairing.rows import find_rows, row_signatures
from tfdiff.pairing.turns import layouts

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from tfdiff.comparison.own_batches import Fed
    from tfdiff.comparison.runs import Runs

    Array = npt.NDArray[Any]

FEWEST = 8
"""Rows that both must have."""
MOST_ROWS = 256
SAMPLE = 8
"""Rows on which a layout is tried first."""
EXACT = 1e-6


@dataclass(frozen=True)
class Laid:
    """How all rows of b are laid out, as made of a's."""

    layout: str
    rows: int
    before: float
    """Relative error between a's rows and b's own, number by number."""
    after: float
    """The same with a's rows in b's layout."""

    @property
    def numbers(self) -> dict[str, Any]:
        """What a finding says of it."""
        return {"layout": self.layout, "rows": self.rows, "before": self.before, "after": self.after}


def find_layout(runs: Runs, a: Fed, b: Fed) -> Laid | None:
    """The layout in which b has a's rows; None where it has them as a has, not at all, or was left with its layout."""
    if not a.parts or not b.parts:
        return None
    for x, y in _same_rows(a, b):
        if relative_error(x.reshape(len(x), -1), y.reshape(len(y), -1)) <= EXACT:
            continue
        for words, turn in layouts(x.shape, y.shape):
            if relative_error(turn(x[:SAMPLE]), y[:SAMPLE]) > EXACT:
                continue
            after = relative_error(turn(x), y)
            if after <= EXACT:
                before = relative_error(x.reshape(len(x), -1), y.reshape(len(y), -1))
                return None if _kept(runs, turn) else Laid(words, len(x), before, after)
    return None


def _same_rows(a: Fed, b: Fed) -> Iterator[tuple[Array, Array]]:
    """Parts of one size that have the same numbers row by row, a's rows in b's order."""
    for j, mine in enumerate(b.parts[0]):
        for i, other in enumerate(a.parts[0]):
            if not 1 < prod(mine.shape[1:]) == prod(other.shape[1:]) or {mine.dtype.kind, other.dtype.kind} - set(
                "iuf"
            ):
                continue
            x, y = _stacked(a, i, other), _stacked(b, j, mine)
            hashes = row_signatures([x]), row_signatures([y])
            place = find_rows(hashes[1], hashes[0])
            if np.array_equal(hashes[0], hashes[1]):
                place = np.arange(len(place))
            known = np.flatnonzero(place >= 0)[:MOST_ROWS]
            if len(known) >= FEWEST and 2 * len(known) >= min(len(place), MOST_ROWS):
                yield x[place[known]].astype(np.float64), y[known].astype(np.float64)


def _stacked(fed: Fed, number: int, like: Array) -> Array:
    """One part of all steps that have it in that shape."""
    return np.concatenate([s[number] for s in fed.parts if len(s) > number and s[number].shape[1:] == like.shape[1:]])


def _kept(runs: Runs, turn: Any) -> bool:
    """Whether b's steps were given a's rows in b's layout."""
    for step in range(min(runs.compared, 3)):
        blocks = runs.a.step(step), runs.b.step(step)
        used = [arrays_of(block, batch_of(block, own=False)) for block in blocks]
        for x in used[0]:
            for y in used[1]:
                if x.size != y.size or x.ndim < 2:
                    continue
                turned = _turned(turn, x)
                if turned is not None and turned.shape == y.shape and relative_error(turned, y) <= EXACT:
                    return True
    return False


def _turned(turn: Any, x: Array) -> Array | None:
    try:
        return np.asarray(turn(x.astype(np.float64)))
    except (ValueError, IndexError):  # another tensor of the batch
        return None
