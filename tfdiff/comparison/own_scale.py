"""Values of b's own batches that are a scale of a's: of one part, of all features together, or column by column."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from tfdiff.comparison.own_batches import batch_of
from tfdiff.pairing.rows import is_one_hot
from tfdiff.pairing.scales import input_scale

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from tfdiff.comparison.own_batches import Fed
    from tfdiff.comparison.runs import Runs

    Array = npt.NDArray[Any]

FIT = 0.02
"""An affine map is believed when it leaves less than this share of the spread, and told when it differs from 1 by
more."""
EXACT = 1e-4
"""Share of the spread that a map of the very same rows may leave."""
CLEARLY = 3.0
"""A map of other rows must explain this many times what it leaves, and what the halves of either run differ by: the
same images turned at random differ a little as well."""
MOST_COLUMNS = 64
"""Columns of a table whose columns may be scaled one by one."""
FEWEST_ROWS = 8


@dataclass(frozen=True)
class Scaled:
    """How b's values are made from a's."""

    scale: float
    offset: float
    error: float
    """Relative error without it."""
    part: int
    """Number of b's part; the first of its features where these are cut otherwise than a's."""
    words: str
    columns: int = 0
    """How many columns have a scale of their own; scale and offset are those of the first of them then."""
    pooled: bool = False
    """Whether the features of the two are cut otherwise."""

    @property
    def numbers(self) -> dict[str, Any]:
        """What a finding says of it."""
        known: dict[str, Any] = {"scale": self.scale, "offset": self.offset}
        return {**known, "columns": self.columns, "pooled": self.pooled, "before": self.error, "after": EXACT / 2}


def find_scale(a: Fed, b: Fed) -> Scaled | None:
    """The scale of the first part of b that has one, else of all its features, else of the columns of a part."""
    joined = _joined(a.parts), _joined(b.parts)
    for y_number, y in enumerate(joined[1]):
        for x in joined[0]:
            if x.shape[1:] == y.shape[1:]:
                found = fit_scale(x.reshape(-1), y.reshape(-1))
                if found is not None:
                    scale, offset, error = found
                    words = f"part {y_number} of the batch: b's values are {scale:.6g} times a's plus {offset:.6g}"
                    return Scaled(scale, offset, error, y_number, words)
    return _of_all_features(*joined) or _of_columns(*joined)


def _joined(steps: Sequence[Sequence[Array]]) -> list[Array]:
    """Each part with the rows of all steps that have it in the first step's shape."""
    first = steps[0] if steps else []
    return [
        np.concatenate([np.asarray(s[n], np.float64) for s in steps if len(s) > n and s[n].shape[1:] == p.shape[1:]])
        for n, p in enumerate(first)
        if p.dtype.kind in "biuf"
    ]


def _features(parts: Sequence[Array]) -> list[tuple[int, Array]]:
    """The parts that are no labels: no one-hot rows, no column of whole numbers."""
    return [
        (number, part)
        for number, part in enumerate(parts)
        if not is_one_hot(part) and (prod(part.shape[1:]) > 1 or not np.array_equal(part, np.rint(part)))
    ]


def _of_all_features(a: Sequence[Array], b: Sequence[Array]) -> Scaled | None:
    """Features that are one part in a run and several in the other have one scale in all of them."""
    found = _features(a), _features(b)
    widths = [sum(prod(part.shape[1:]) for _, part in parts) for parts in found]
    if not all(found) or len(found[0]) == len(found[1]) or widths[0] != widths[1]:
        return None
    fitted = fit_scale(*(np.concatenate([part.reshape(-1) for _, part in parts]) for parts in found))
    if fitted is None:
        return None
    scale, offset, error = fitted
    words = f"the features of the batch: b's values are {scale:.6g} times a's plus {offset:.6g}"
    return Scaled(scale, offset, error, found[1][0][0], words, pooled=True)


def _of_columns(a: Sequence[Array], b: Sequence[Array]) -> Scaled | None:
    """Each column of a table has a scale of its own: only where both hold the very same rows, in whatever order."""
    for number, y in enumerate(b):
        for x in a:
            if x.shape != y.shape or y.ndim != 2 or not 1 < y.shape[1] <= MOST_COLUMNS or len(y) < FEWEST_ROWS:
                continue
            columns = [_column(x[:, n], y[:, n]) for n in range(y.shape[1])]
            if any(column is None for column in columns):
                continue
            changed = [(n, c) for n, c in enumerate(columns) if c is not None and _changes(c, y[:, n])]
            if changed:
                first, (scale, offset) = changed[0]
                words = (
                    f"part {number} of the batch: {len(changed)} of its {y.shape[1]} columns are scaled, each by its "
                    f"own numbers; column {first} of b is {scale:.6g} times a's plus {offset:.6g}"
                )
                return Scaled(scale, offset, 1.0, number, words, columns=len(changed))
    return None


def _column(x: Array, y: Array) -> tuple[float, float] | None:
    """Scale and offset of a column whose sorted values are a map of the other's; None where they are not."""
    p, q = np.sort(x), np.sort(y)
    if not (np.isfinite(p).all() and np.isfinite(q).all()):
        return None
    if p.std() == 0.0 or q.std() == 0.0:
        return (1.0, float(q[0] - p[0])) if p.std() == q.std() else None
    scale, offset = (float(value) for value in np.polyfit(p, q, 1))
    left = float(np.std(q - scale * p - offset) / q.std())
    return (scale, offset) if left <= EXACT and scale > 0.0 else None


def _changes(column: tuple[float, float], values: Array) -> bool:
    return abs(column[0] - 1.0) > FIT or abs(column[1]) > FIT * max(float(values.std()), 1e-12)


def scaled_in_the_step(runs: Runs, scaled: Scaled) -> bool:
    """Whether the steps make up for the scale of their data: what the networks see is scaled alike."""
    blocks = runs.a.step(0), runs.b.step(0)
    batches = [batch_of(block, own=False) for block in blocks]
    if len(batches[1]) <= scaled.part or scaled.columns:
        return False
    wanted = batches[1][scaled.part].shape[1:]
    alike = [seen for seen in batches[0] if seen.shape[1:] == wanted or scaled.pooled]
    chains = [input_scale(blocks[0], seen.index) for seen in alike]
    b = input_scale(blocks[1], batches[1][scaled.part].index).behind(scaled.scale, scaled.offset)
    return any(chain.same(b) for chain in chains)


def fit_scale(x: Array, y: Array) -> tuple[float, float, float] | None:
    """Scale, offset and relative error of the best `y = scale * x + offset` over the quantiles; None where it does not
    fit.

    Quantiles, because the rows need not be in the same order. None too where scale and offset are those of equal data.
    """
    x, y = x[np.isfinite(x)], y[np.isfinite(y)]
    if not x.size or not y.size:
        return None
    shares = np.linspace(0.005, 0.995, 199)
    p, q = np.quantile(x, shares), np.quantile(y, shares)
    if p.std() == 0.0 or q.std() == 0.0:
        return None
    scale, offset = np.polyfit(p, q, 1)
    residual = float(np.std(q - scale * p - offset) / q.std())
    changed = abs(scale - 1.0) > FIT or abs(offset) > FIT * float(q.std())
    if residual > EXACT:
        chance = max(residual, *(_apart(*(np.quantile(half, shares) for half in np.array_split(z, 2))) for z in (x, y)))
        changed = changed and _apart(p, q) > CLEARLY * chance
    if residual > FIT or not changed or scale <= 0.0:
        return None
    return float(scale), float(offset), abs(float(scale) - 1.0) / max(1.0, abs(float(scale)))


def _apart(p: Array, q: Array) -> float:
    """Distance between two rows of quantiles, relative to their spread."""
    return float(np.sqrt(np.mean((q - p) ** 2)) / max(float(q.std()), 1e-300))
