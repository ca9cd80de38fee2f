"""Labels that belong to other rows: features and labels are a's, put together otherwise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tfdiff.pairing.rows import find_rows, row_signatures

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    Array = npt.NDArray[Any]
    Rows = npt.NDArray[np.uint64]

FEWEST = 8
"""Rows whose features both runs have, from which on their labels say something."""
KNOWN = 0.9
"""Share of b's rows whose features, and share of its labels, that must be a's."""
MIN_KINDS = 2
MIN_PARTS = 2
"""Features and labels."""
WRONG = 0.1
"""Share of the rows that must have another label."""


def relabelled(a: Sequence[Sequence[Array]], b: Sequence[Sequence[Array]]) -> dict[str, float] | None:
    """Rows compared and share of other labels, where b pairs a's features with other ones of a's labels.

    `a`, `b`: the parts of the batch of each step. Any part may be the labels; the features are all the others, in
    however many parts either run has them.
    """
    whole = _joined(a), _joined(b)
    if min(map(len, whole)) < MIN_PARTS:
        return None
    found: list[dict[str, float]] = []
    for i in range(len(whole[0])):
        for j in range(len(whole[1])):
            compared = _compared(*whole, i, j)
            if compared is not None and compared["wrong"] <= WRONG:
                return None  # these are the labels, and right
            if compared is not None:
                found.append(compared)
    return found[0] if found else None


def _compared(a: list[Array], b: list[Array], i: int, j: int) -> dict[str, float] | None:
    """The labels of rows with the same features, where part i of a and part j of b are the labels."""
    rest = [row_signatures(parts[:n] + parts[n + 1 :]) for parts, n in ((a, i), (b, j))]
    labels = row_signatures([a[i]]), row_signatures([b[j]])
    place = find_rows(rest[1], rest[0])
    common = np.flatnonzero((place >= 0) & _one_label(rest[0], labels[0])[place])
    if len(common) < FEWEST or len(common) < KNOWN * len(place):
        return None
    x, y = labels[0][place[common]], labels[1][common]
    if len(np.unique(x)) < MIN_KINDS or (find_rows(y, labels[0]) >= 0).mean() < KNOWN:
        return None
    return {"rows": float(len(common)), "wrong": float((x != y).mean())}


def _one_label(features: Rows, labels: Rows) -> npt.NDArray[np.bool_]:
    """Whether all rows with the features of this one have its label."""
    _, group = np.unique(features, return_inverse=True)
    low, high = np.full(group.max() + 1, np.iinfo(np.uint64).max, np.uint64), np.zeros(group.max() + 1, np.uint64)
    np.minimum.at(low, group, labels)
    np.maximum.at(high, group, labels)
    same: npt.NDArray[np.bool_] = (low == high)[group]
    return same


def _joined(steps: Sequence[Sequence[Array]]) -> list[Array]:
    """Each part with the rows of all steps; none where steps have other parts."""
    if not steps or any(len(parts) != len(steps[0]) for parts in steps):
        return []
    parts = [[step[n] for step in steps] for n in range(len(steps[0]))]
    if any(len({part.shape[1:] for part in found}) != 1 for found in parts):
        return []
    return [np.concatenate(found) for found in parts]
