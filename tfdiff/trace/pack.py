"""A step's tensors as one block of bytes with an index."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tfdiff.errors import TraceError
from tfdiff.trace.schema import ALIGNMENT, BUCKETS, INDEX_DTYPE, STORED_AS
from tfdiff.trace.sketch import sketches
from tfdiff.trace.stats import STATS_DTYPE, table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt

    from tfdiff.trace.records import Record

_PIECE = 1 << 24


@dataclass(frozen=True)
class Packed:
    """The parts of a block, ready to be written."""

    index: npt.NDArray[np.void]
    lists: npt.NDArray[np.int64]
    sketches: npt.NDArray[np.float32]
    spans: tuple[tuple[int, npt.NDArray[np.uint8]], ...]
    """Offset and bytes of each stored array, offsets ascending."""
    nbytes: int
    """Length of the data, padding included."""


def bare(data: npt.NDArray[np.uint8] | None) -> Packed:
    """A block without observations."""
    spans = () if data is None else ((0, data),)
    empty = np.zeros((0, BUCKETS), np.float32)
    return Packed(np.zeros(0, INDEX_DTYPE), np.zeros(0, np.int64), empty, spans, 0 if data is None else data.size)


def pack(records: Sequence[Record]) -> Packed:
    """The parts for these records; raises TraceError for a dtype that a trace cannot hold."""
    encoded = [encode(record.value) for record in records]
    seen = [_numeric(record.value) for record in records]
    index = np.zeros(len(records), INDEX_DTYPE)
    measured = table(seen)
    for name in STATS_DTYPE.names or ():
        index[name] = measured[name]
    lists: list[int] = []
    spans = []
    offset = 0
    placed: dict[int, tuple[int, int, int]] = {}  # one tensor in several roles (gradient, what the optimizer got) is stored once
    for row, record in enumerate(records):
        shape = record.value.shape
        lists += [*shape, *record.inputs]
        of = -1 if record.of is None else record.of
        size, crc = 0, 0
        start = offset
        if record.keep and id(record.value) in placed:
            start, size, crc = placed[id(record.value)]
        elif record.keep:
            line = np.ascontiguousarray(encoded[row]).reshape(-1).view(np.uint8)
            spans.append((offset, line))
            size, crc = line.size, zlib.crc32(line.data)
            placed[id(record.value)] = (offset, size, crc)
            offset += -(-size // ALIGNMENT) * ALIGNMENT
        fields = (
            record.site.id,
            record.value.dtype.name.encode(),
            len(shape),
            len(record.inputs),
            of,
            record.keep,
            start,
            size,
            crc,
        )
        for name, field in zip(INDEX_DTYPE.names or (), fields, strict=False):
            index[name][row] = field
    return Packed(index, np.array(lists, "<i8"), sketches(seen), tuple(spans), offset)


def encode(value: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The array as it is stored: little-endian; bfloat16 as its bits; narrower kinds as float32."""
    name = value.dtype.name
    if name not in STORED_AS:
        raise TraceError(f"expected a numeric tensor, found dtype {name}; leave it out of the trace")
    if name == "bfloat16":
        return np.ascontiguousarray(value).view(np.uint16).astype(STORED_AS[name], copy=False)
    return value.astype(STORED_AS[name], copy=False)


def decode(data: npt.NDArray[np.uint8], name: str, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """The array from its bytes; bfloat16 comes back as float32. Raises KeyError or ValueError where they do not fit."""
    values = data.view(STORED_AS[name])
    if name == "bfloat16":
        values = (values.astype(np.uint32) << np.uint32(16)).view(np.float32)
    return values.reshape(shape)


def pieces(packed: Packed) -> Iterator[tuple[int, npt.NDArray[np.uint8]]]:
    """The data in large pieces, neighbours together: one write for many small arrays, no copy of large ones."""
    waiting: list[tuple[int, npt.NDArray[np.uint8]]] = []
    for offset, line in packed.spans:
        if waiting and offset + line.size - waiting[0][0] > _PIECE:
            yield _joined(waiting)
            waiting = []
        waiting.append((offset, line))
    if waiting:
        yield _joined(waiting)


def _joined(spans: list[tuple[int, npt.NDArray[np.uint8]]]) -> tuple[int, npt.NDArray[np.uint8]]:
    start = spans[0][0]
    if len(spans) == 1:
        return spans[0]
    last, line = spans[-1]
    joined = np.zeros(last + line.size - start, np.uint8)
    for offset, line in spans:
        joined[offset - start : offset - start + line.size] = line
    return start, joined


def _numeric(value: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The array in one of NumPy's own dtypes, for statistics."""
    return value if value.dtype.kind in "biufc" else value.astype(np.float32)
