"""Rows of b that are a's with something done to each: values added at random, or the values of a row moved about."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from tfdiff.pairing.batches import apply_rule, match_parts
from tfdiff.pairing.rows import find_rows, row_signatures

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt

    from tfdiff.comparison.own_batches import Fed

    Array = npt.NDArray[Any]

FEWEST = 8
"""Rows that both must have."""
MOST_ROWS = 512
MOST_COLUMNS = 4096
"""Elements of a row that are looked at."""
FOUND = 0.9
"""Share of b's rows that must have one nearest row among a's."""
NEAR = 0.5
"""The nearest row must be at most this far, of the distance of the second nearest one."""
CHANGED = 0.05
"""Share of the rows that must be changed; of moved ones a plain share must stay."""
LEAST = 1e-2
"""Relative size of a change from which on it is none of rounding."""
RANDOM = 0.5
"""Share of a change that does not follow from the value that is changed."""


def moved_values(a: Fed, b: Fed) -> float | None:
    """Share of b's rows that have the values of one of a's rows in another order, where the other rows have its order.

    Flipped, turned and rolled images keep their values, so that their hashes do not tell them. None where no row, or
    every row, is so: that is another layout.
    """
    whole = _joined(a.parts), _joined(b.parts)
    if not all(whole):
        return None
    place = find_rows(row_signatures(whole[1]), row_signatures(whole[0]))
    common = np.flatnonzero(place >= 0)[:MOST_ROWS]
    if len(common) < FEWEST:
        return None
    x, y = [part[place[common]] for part in whole[0]], [part[common] for part in whole[1]]
    if match_parts(x, y, same_rows=True) is None:
        return None
    shares = [share for i, j in _alike(x, y) if (share := _moved(x[i], y[j])) is not None]
    share = max(shares, default=0.0)
    return share if CHANGED < share <= 1.0 - CHANGED else None


def _moved(x: Array, y: Array) -> float | None:
    """Share of rows whose elements differ though their sums agree, in the layout in which most rows agree."""
    rules = match_parts([x], [y], same_rows=False)
    rule = rules[0] if rules else None
    turned = x if rule is None else apply_rule(rule, [x], x.dtype)
    if turned.shape != y.shape:
        return None
    flat, other = turned.reshape(len(x), -1).astype(np.float64), y.reshape(len(y), -1).astype(np.float64)
    return float((np.abs(flat - other) > 1e-6 * np.maximum(np.abs(flat), np.abs(other))).any(axis=1).mean())


def added_noise(a: Fed, b: Fed) -> float | None:
    """Share of b's rows that are one of a's with something random added to it; None where they are not."""
    whole = _joined(a.parts), _joined(b.parts)
    if not all(whole):
        return None
    for i, j in _alike(*whole):
        x, y = (_flat(parts[n]) for parts, n in ((whole[0], i), (whole[1], j)))
        nearest = _nearest(x, y)
        if nearest is None:
            continue
        known = nearest >= 0
        share = _random_share(x[nearest[known]], y[known])
        if share is not None and _same_labels(whole, (i, j), nearest):
            return share
    return None


def _nearest(x: Array, y: Array) -> npt.NDArray[np.int64] | None:
    """For each row of y the row of x that it is clearly nearest to, -1 where none is; None where too few have one."""
    if min(len(x), len(y)) < FEWEST:
        return None
    squares = (y**2).sum(1)[:, None] + (x**2).sum(1)[None, :] - 2.0 * (y @ x.T)
    distances = np.sqrt(np.maximum(squares, 0.0))
    order = np.argsort(distances, axis=1)[:, :2]
    first, second = (np.take_along_axis(distances, order[:, n : n + 1], axis=1)[:, 0] for n in (0, 1))
    clear = first <= NEAR * second
    found = np.where(clear, order[:, 0], -1)
    once = len(np.unique(found[clear])) >= FOUND * clear.sum()
    return found if clear.mean() >= FOUND and once else None


def _random_share(x: Array, y: Array) -> float | None:
    """Share of the rows that are changed, where the change is random: not the same for equal values, no rounding."""
    change = y - x
    changed = np.linalg.norm(change, axis=1) > LEAST * np.linalg.norm(x, axis=1)
    share = float(changed.mean())
    if share <= CHANGED:
        return None
    order = np.argsort(x[changed], axis=None)
    ordered = change[changed].reshape(-1)[order]
    spread = float(ordered.std())
    between = float(np.sqrt(0.5 * np.mean(np.diff(ordered) ** 2)))
    return share if spread > 0.0 and between > RANDOM * spread else None


def _same_labels(whole: tuple[list[Array], list[Array]], chosen: tuple[int, int], nearest: Array) -> bool:
    """Whether the other parts are those of the rows that were found."""
    rest = [[p[:MOST_ROWS] for n, p in enumerate(parts) if n != c] for parts, c in zip(whole, chosen, strict=True)]
    if not all(rest):
        return not any(rest)
    known = nearest >= 0
    labels = [row_signatures(parts) for parts in rest]
    return bool((labels[0][nearest[known]] == labels[1][known]).mean() >= FOUND)


def _alike(a: Sequence[Array], b: Sequence[Array]) -> Iterator[tuple[int, int]]:
    """Parts of one width that are no labels."""
    for j, y in enumerate(b):
        for i, x in enumerate(a):
            if 1 < prod(x.shape[1:]) == prod(y.shape[1:]) and x.dtype.kind in "iuf" and y.dtype.kind in "iuf":
                yield i, j


def _flat(part: Array) -> Array:
    flat = part[:MOST_ROWS].reshape(min(len(part), MOST_ROWS), -1)[:, :MOST_COLUMNS].astype(np.float64)
    return np.nan_to_num(flat, posinf=0.0, neginf=0.0)


def _joined(steps: Sequence[Sequence[Array]]) -> list[Array]:
    """Each part with the rows of all steps; none where steps have other parts."""
    if not steps or any([p.shape[1:] for p in step] != [p.shape[1:] for p in steps[0]] for step in steps):
        return []
    return [np.concatenate([step[n] for step in steps]) for n in range(len(steps[0]))]
