"""The batches of an evaluation pass: the first one cut to what a trace can carry, the others as columns."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tfdiff.trace.records import Record

if TYPE_CHECKING:
    from tfdiff.model import Site
    from tfdiff.recorder.stream import Token

    Array = np.ndarray[Any, Any]

_FIRST_BYTES = 32 << 20
"""What the first batch may take in full; of a larger one only the first rows are recorded."""
_FEWEST_ROWS = 8
_SMALL = 64 << 10
_COLUMN_BYTES = 4 << 20
"""What one column may take; of more rows only statistics are kept (inputs) or nothing (outputs)."""
STATISTICS = "RowStatistics"
"""Op of the site of an input of which only statistics of the rows are kept."""


@dataclass
class Column:
    """One tensor of a pass over all its batches."""

    part: str
    """input, output or number."""
    token: Token
    like: Site
    """Where it stands in the first batch."""
    of: int
    """Its observation there."""
    site: Site | None = None
    summary: Site | None = None
    """Its site where only statistics of its rows are kept."""
    _arrays: list[Array] = field(default_factory=list)
    _summaries: list[Array] = field(default_factory=list)
    _bytes: int = 0

    def add(self, array: Array) -> None:
        """The next batch."""
        if self.part == "number" or not array.ndim:
            array = array.reshape(-1)[:1]
        if self.part == "input":
            self._summaries.append(row_statistics(array))
        self._bytes += array.nbytes
        if self._bytes <= _COLUMN_BYTES or not self._arrays:
            self._arrays.append(array[: max(1, _COLUMN_BYTES // max(array[:1].nbytes, 1))].copy())

    def record(self) -> Record:
        """The column: all rows, the first rows, or, of an input that is too large, statistics of each row."""
        assert self.site is not None  # noqa: S101 - set when the pass begins
        if self._bytes > _COLUMN_BYTES and self.summary is not None:
            return Record(self.summary, _joined(self._summaries), (), self.of)
        return Record(self.site, _joined(self._arrays), (), self.of)


def row_statistics(array: Array) -> Array:
    """float32[n, 4]: mean, root of the mean square, minimum and maximum of each row, however it is laid out."""
    if not len(array) or not array.size or array.dtype.kind not in "biuf":
        return np.zeros((len(array), 4), np.float32)
    flat = array.reshape(len(array), -1).astype(np.float64)
    return np.stack(
        [flat.mean(1), np.sqrt((flat**2).mean(1)), flat.min(1), flat.max(1)], axis=1, dtype=np.float32, casting="unsafe"
    )


def _joined(arrays: list[Array]) -> Array:
    shape = arrays[0].shape[1:]
    alike = [a for a in arrays if a.ndim and a.shape[1:] == shape and a.dtype == arrays[0].dtype]
    return np.concatenate(alike)


def shortened(records: list[Record], rows: int) -> tuple[list[Record], int]:
    """The records of a batch, of a large one only what belongs to its first rows; and how many rows these are."""
    # the trace has the weights already: a sketch says whether they are the same
    records = [
        replace(r, keep=False) if r.site.variable is not None and r.value.nbytes > _SMALL else r for r in records
    ]
    total = sum(record.value.nbytes for record in records if record.keep)
    if total <= _FIRST_BYTES or rows <= _FEWEST_ROWS:
        return records, rows
    kept = max(_FEWEST_ROWS, rows * _FIRST_BYTES // total)
    return [
        replace(record, value=record.value[: len(record.value) // rows * kept])
        if record.site.role in ("activation", "input", "noise")
        and record.value.ndim
        and len(record.value)
        and len(record.value) % rows == 0
        else record
        for record in records
    ], kept
