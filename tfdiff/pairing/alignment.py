"""Monotone alignment of two sequences by the score of each pair (Needleman and Wunsch 1970, gaps cost nothing)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


def align(scores: npt.NDArray[np.float64]) -> list[tuple[int, int]]:
    """Rows and columns of `scores` paired in order so that the sum of their scores is as large as can be.

    A score of 0 (or less) forbids a pair. Among alignments of equal sum the front ones of several alike pair.
    """
    rows, columns = scores.shape
    table = scores.tolist()
    best = [[0.0] * (columns + 1) for _ in range(rows + 1)]
    for i in range(rows - 1, -1, -1):
        below, here, row = best[i + 1], best[i], table[i]
        for j in range(columns - 1, -1, -1):
            value = max(below[j], here[j + 1])
            if row[j] > 0:
                value = max(value, below[j + 1] + row[j])
            here[j] = value
    pairs = []
    i = j = 0
    while i < rows and j < columns:
        if table[i][j] > 0 and best[i][j] == best[i + 1][j + 1] + table[i][j]:
            pairs.append((i, j))
            i, j = i + 1, j + 1
        elif best[i][j] == best[i][j + 1]:
            j += 1
        else:
            i += 1
    return pairs
