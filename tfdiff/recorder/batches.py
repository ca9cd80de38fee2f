"""The batches of an evaluation pass: the first one cut to what a trace can carry, the others as columns."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tfdiff.trace.records import Record

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tfdiff.model import Site
    from tfdiff.recorder.stream import Token

    Array = np.ndarray[Any, Any]

_FIRST_BYTES = 8 << 20
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


def shortened(records: list[Record], rows: int, full: Mapping[int, int]) -> tuple[list[Record], int]:
    """The records of a batch, of a large one only what belongs to its first rows; and how many rows these are.

    `full` has the number of rows of those (by position) of which only some were kept in the first place.
    """
    # the trace has the weights already: a sketch says whether they are the same
    records = [
        replace(record, keep=False) if record.site.variable is not None and record.value.nbytes > _SMALL else record
        for record in records
    ]
    a_row = sum(_bytes_of_row(record, rows, full.get(place)) for place, record in enumerate(records) if record.keep)
    if rows <= 1 or (a_row * rows <= _FIRST_BYTES and not full):
        return records, rows
    kept = max(min(_FEWEST_ROWS, rows), min(rows, int(_FIRST_BYTES / max(a_row, 1.0))))
    for place, length in full.items():  # a tensor may have several rows for each of the batch
        kept = min(kept, max(1, len(records[place].value) * rows // length))
    return [_first_rows(record, rows, kept, full.get(place)) for place, record in enumerate(records)], kept


def _bytes_of_row(record: Record, rows: int, length: int | None) -> float:
    """What one row of the batch takes in a tensor that has rows."""
    value = record.value
    if not value.ndim or not len(value) or not rows or (length or len(value)) % rows:
        return 0.0
    return value.nbytes / len(value) * ((length or len(value)) // rows)


def _first_rows(record: Record, rows: int, kept: int, length: int | None) -> Record:
    value = record.value
    if record.site.role not in ("activation", "input", "noise") or not value.ndim or not len(value):
        return record
    length = length or len(value)
    return replace(record, value=value[: length // rows * kept]) if length % rows == 0 else record
