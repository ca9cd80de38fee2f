"""Tensors as flat float64 vectors, many small ones at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

CHUNK = 65536
"""Elements looked at together: as float64 they fit into a core's cache."""
_PACK = 1 << 19


@dataclass(frozen=True)
class Pack:
    """Small tensors, one behind the other."""

    rows: npt.NDArray[np.intp]
    """Which tensors of the sequence these are."""
    values: Floats
    starts: npt.NDArray[np.intp]
    lengths: npt.NDArray[np.intp]


def flat(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """One dimension, C order; complex numbers become pairs of real and imaginary part. A view where possible."""
    line = np.ascontiguousarray(values).reshape(-1)
    return line.view(line.real.dtype) if line.dtype.kind == "c" else line


def chunks(line: npt.NDArray[Any]) -> Iterator[Floats]:
    """Pieces of `CHUNK` elements as float64."""
    for start in range(0, line.size, CHUNK):
        yield line[start : start + CHUNK].astype(np.float64)


def split(lines: Sequence[npt.NDArray[Any]]) -> tuple[list[Pack], list[int]]:
    """Packs of the tensors with 1 to `CHUNK` elements, and positions of the larger ones; empty ones are in neither."""
    packs: list[Pack] = []
    large: list[int] = []
    rows: list[int] = []
    total = 0
    for row, line in enumerate(lines):
        if line.size > CHUNK:
            large.append(row)
        elif line.size:
            if total + line.size > _PACK:
                packs.append(_pack(lines, rows))
                rows, total = [], 0
            rows.append(row)
            total += line.size
    if rows:
        packs.append(_pack(lines, rows))
    return packs, large


def _pack(lines: Sequence[npt.NDArray[Any]], rows: list[int]) -> Pack:
    lengths = np.array([lines[row].size for row in rows], np.intp)
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.intp)
    values = np.empty(int(lengths.sum()), np.float64)
    for row, start, length in zip(rows, starts.tolist(), lengths.tolist(), strict=True):
        values[start : start + length] = lines[row]
    return Pack(np.array(rows, np.intp), values, starts, lengths)
