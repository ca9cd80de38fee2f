"""A step's tensors as one block of bytes with an index."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from tfdiff.errors import TraceError
from tfdiff.trace.schema import ALIGNMENT, BUCKETS, INDEX_DTYPE, STORED_AS
from tfdiff.trace.sketch import exact, numbers, sketches
from tfdiff.trace.stats import STATS_DTYPE, table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt

    from tfdiff.trace.records import Record

_PIECE = 1 << 24
_MADE = -1
"""Begin of a sketch that is made from the stored array."""


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


@dataclass(frozen=True)
class Tensor:
    """One row of a block on its way into it."""

    site: int
    dtype: str
    shape: tuple[int, ...]
    inputs: tuple[int, ...]
    of: int
    """Index of the activation, -1 for none."""
    data: npt.NDArray[np.uint8] | None
    """The array as it is stored; None: statistics and sketch only."""
    sketch: npt.NDArray[np.float32] | None
    """What is written of the sketch; None: it is made from the array."""


@dataclass
class _Once:
    """Arrays one behind the other, equal ones once: a gradient and what the optimizer got of it are one."""

    alignment: int
    spans: list[tuple[int, npt.NDArray[np.uint8]]] = field(default_factory=list)
    end: int = 0
    _known: dict[tuple[int, int], list[tuple[int, npt.NDArray[np.uint8]]]] = field(default_factory=dict)

    def place(self, line: npt.NDArray[np.uint8]) -> tuple[int, int]:
        """(offset, CRC-32) of these bytes."""
        crc = zlib.crc32(line.data)
        alike = self._known.setdefault((line.size, crc), [])
        for offset, other in alike:
            if other is line or np.array_equal(other, line):
                return offset, crc
        offset = self.end
        alike.append((offset, line))
        self.spans.append((offset, line))
        self.end += -(-line.size // self.alignment) * self.alignment
        return offset, crc


def bare(data: npt.NDArray[np.uint8] | None) -> Packed:
    """A block without observations."""
    spans = () if data is None else ((0, data),)
    empty = np.zeros(0, "<f4")
    return Packed(np.zeros(0, INDEX_DTYPE), np.zeros(0, np.int64), empty, spans, 0 if data is None else data.size)


def pack(records: Sequence[Record]) -> Packed:
    """The parts for these records; raises TraceError for a dtype that a trace cannot hold."""
    seen = []
    lines = []
    for record in records:
        encoded = encode(record.value)
        lines.append(as_bytes(encoded) if record.keep else None)
        seen.append(_numeric(record.value))
    small = [is_small(value.size, value.dtype.name) for value in seen]
    wide = [row for row, few in enumerate(small) if not few]
    sums = dict(zip(wide, sketches([seen[row] for row in wide]), strict=True))
    tensors = []
    for row, record in enumerate(records):
        line = lines[row]
        sketch = sums.get(row)
        if sketch is None and line is None:
            sketch = exact(seen[row])
        of = -1 if record.of is None else record.of
        value = record.value
        tensors.append(Tensor(record.site.id, value.dtype.name, value.shape, record.inputs, of, line, sketch))
    return assemble(tensors, table(seen))


def assemble(tensors: Sequence[Tensor], stats: npt.NDArray[np.void]) -> Packed:
    """The parts of a block; `stats` has a row of `STATS_DTYPE` per tensor."""
    index = np.zeros(len(tensors), INDEX_DTYPE)
    for name in STATS_DTYPE.names or ():
        index[name] = stats[name]
    lists: list[int] = []
    arrays, numbers_ = _Once(ALIGNMENT), _Once(1)
    # Small arrays first: who wants the sketches needs all of them, and then finds them side by side.
    for row in sorted(range(len(tensors)), key=lambda row: not is_small(_size(tensors[row]), tensors[row].dtype)):
        data, sketch = tensors[row].data, tensors[row].sketch
        if data is not None:
            index["offset"][row], index["crc32"][row] = arrays.place(data)
            index["nbytes"][row] = data.size
        start = _MADE if sketch is None else numbers_.place(as_bytes(sketch.astype("<f4", copy=False)))[0] // 4
        index["sketch"][row] = start
    for row, tensor in enumerate(tensors):
        lists += [*tensor.shape, *tensor.inputs]
        fields = (tensor.site, tensor.dtype.encode(), len(tensor.shape), len(tensor.inputs), tensor.of)
        for name, value in zip(("site", "dtype", "ndim", "inputs", "of"), fields, strict=True):
            index[name][row] = value
        index["stored"][row] = tensor.data is not None
    joined = [line.view("<f4") for _, line in numbers_.spans]
    sums = np.concatenate([np.zeros(0, "<f4"), *joined])
    return Packed(index, np.array(lists, "<i8"), sums, tuple(arrays.spans), arrays.end)


def is_small(size: int, dtype: str) -> bool:
    """Whether a tensor has no more numbers than a sketch has buckets: it is its own sketch."""
    return numbers(size, dtype) <= BUCKETS


def as_bytes(values: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """The array's bytes in C order."""
    return np.ascontiguousarray(values).reshape(-1).view(np.uint8)


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


def _size(tensor: Tensor) -> int:
    product = 1
    for extent in tensor.shape:
        product *= extent
    return product


def _numeric(value: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The array in one of NumPy's own dtypes, for statistics."""
    return value if value.dtype.kind in "biufc" else value.astype(np.float32)
