"""A block of a trace: its observations at once, its arrays one by one, every byte checked."""

from __future__ import annotations

import math
import zlib
from bisect import bisect_right
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tfdiff.model import Observation, Site, StepInfo
from tfdiff.trace.codec import build, from_json
from tfdiff.trace.guard import damage, dataset, descend, read
from tfdiff.trace.pack import decode
from tfdiff.trace.records import NotStoredError
from tfdiff.trace.schema import BUCKETS, INDEX_DTYPE, SCHEMA, STORED_AS, TREES, block_path
from tfdiff.trace.stats import all_stats

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import h5py
    import numpy.typing as npt

_BYTES = np.dtype("u1")
_COUNTS = np.dtype("<u8")
_MOST_DIMENSIONS = 32
_LITTLE = 1 << 22


@dataclass(frozen=True)
class Source:
    """An open file and what must hold of it."""

    path: Path
    file: h5py.File
    limit: int
    """Length of the file in bytes."""


class Part:
    """One block as it lies in the file. Raises TraceError where anything does not fit its checksum."""

    def __init__(self, source: Source, tree: str, number: int) -> None:
        self._source = source
        self._data: h5py.Dataset | npt.NDArray[np.uint8] | None = None
        self.what = f"block {number} of {tree}"
        with damage(source.path, self.what):
            if not source.file:
                raise ValueError("the trace was closed")
            self._group = descend(source.file, block_path(tree, number))
            head = read_counted(self._group, "head", len(SCHEMA.head), source.limit)
            if head[:2] != [TREES.index(tree), number]:
                raise ValueError("another block lies in its place")
            self._nbytes, self.rows = head[2], head[3]
            self._sums = dict(zip(("json", "index", "lists", "sketches"), head[4:8], strict=True))
            self.document = from_json(self._part("json", _BYTES, None).tobytes())
            if self.document.get("kind") != tree and tree != "documents":
                raise ValueError("its JSON is of another kind")

    def index(self) -> npt.NDArray[np.void]:
        """The rows of the index."""
        with damage(self._source.path, self.what):
            return self._part("index", INDEX_DTYPE, (self.rows,))

    def lists(self) -> npt.NDArray[np.int64]:
        """Shapes and inputs."""
        with damage(self._source.path, self.what):
            return self._part("lists", np.dtype("<i8"), None)

    def sketches(self) -> npt.NDArray[np.float32]:
        """float32[n, 256]."""
        with damage(self._source.path, self.what):
            return self._part("sketches", np.dtype("<f4"), (self.rows, BUCKETS))

    def data(self, offset: int, nbytes: int, crc: int) -> npt.NDArray[np.uint8]:
        """A stretch of the data that has this checksum."""
        with damage(self._source.path, self.what):
            if self._data is None:
                self._data = self._open_data()
            if offset + nbytes > self._nbytes:
                raise ValueError("an array outside its data")
            found: npt.NDArray[np.uint8] = np.array(self._data[offset : offset + nbytes])
            if zlib.crc32(found.data) != crc:
                raise ValueError("checksum of an array")
            return found

    def _open_data(self) -> h5py.Dataset | npt.NDArray[np.uint8]:
        """The data, read at once when it is little: thousands of small arrays then cost one read."""
        if not self._group:
            raise ValueError("the trace was closed")
        stored = dataset(self._group, "data", _BYTES, self._source.limit)
        if stored.shape != (self._nbytes,):
            raise ValueError("data has another length")
        return stored if self._nbytes > _LITTLE else stored[...]

    def _part(self, name: str, dtype: np.dtype[Any], shape: tuple[int, ...] | None) -> npt.NDArray[Any]:
        if not self._group:
            raise ValueError("the trace was closed")
        values = read(self._group, name, dtype, self._source.limit)
        if values.ndim != 1 if shape is None else values.shape != shape:
            raise ValueError(f"{name} has another shape")
        if zlib.crc32(values.tobytes()) != self._sums[name]:
            raise ValueError(f"checksum of {name}")
        return values


class Block:
    """One step, or the values before the first one."""

    info: StepInfo
    observations: tuple[Observation, ...]

    def __init__(self, path: Path, parts: Sequence[Part], sites: dict[int, Site], number: int) -> None:
        self._path = path
        self._parts = tuple(parts)
        self._starts: list[int] = []
        self._indices = []
        observations: list[Observation] = []
        for part in parts:
            self._starts.append(len(observations))
            index = part.index()
            with damage(path, part.what):
                observations += _observations(index, part.lists(), sites, len(observations))
            self._indices.append(index)
        self.observations = tuple(observations)
        self.info = StepInfo(index=-1)
        if number >= 0:
            with damage(path, parts[0].what):
                self.info = replace(build(StepInfo, parts[0].document.get("info")), index=number)
        self._sketches: npt.NDArray[np.float32] | None = None

    def array(self, index: int) -> npt.NDArray[Any]:
        """The tensor; bfloat16 as float32. NotStoredError where only statistics are kept, TraceError on damage."""
        observation = self.observations[index]
        if not observation.stored:
            place = observation.site.name
            raise NotStoredError(
                f"{place}: expected the whole tensor, found statistics and sketch only; record it with --detail ops"
            )
        number = bisect_right(self._starts, observation.index) - 1
        part = self._parts[number]
        row = self._indices[number][observation.index - self._starts[number]]
        data = part.data(int(row["offset"]), int(row["nbytes"]), int(row["crc32"]))
        with damage(self._path, part.what):
            return decode(data, observation.dtype, observation.shape)

    def sketch(self, index: int) -> npt.NDArray[np.float32]:
        """float32[256] of one observation."""
        found: npt.NDArray[np.float32] = self.sketches()[index]
        return found

    def sketches(self) -> npt.NDArray[np.float32]:
        """float32[n, 256], read once."""
        if self._sketches is None:
            empty = np.zeros((0, BUCKETS), np.float32)
            self._sketches = np.concatenate([empty, *(part.sketches() for part in self._parts)])
            self._sketches.flags.writeable = False
        return self._sketches


def read_counted(group: h5py.Group, name: str, count: int, limit: int) -> list[int]:
    """A row of uint64 whose last one is the checksum of the others; raises ValueError."""
    values = read(group, name, _COUNTS, limit)
    if values.shape != (count,) or zlib.crc32(values[:-1].tobytes()) != values[-1]:
        raise ValueError(f"checksum of {name}")
    return [int(value) for value in values]


def _observations(
    index: npt.NDArray[np.void], lists: npt.NDArray[np.int64], sites: dict[int, Site], start: int
) -> list[Observation]:
    """The rows of a part as observations; positions move by `start`. ValueError where they contradict themselves."""
    found = []
    numbers = lists.tolist()
    stats = all_stats(index)
    at, rows = 0, len(index)
    columns = {name: index[name].tolist() for name in ("site", "dtype", "ndim", "inputs", "of", "stored", "nbytes")}
    for row in range(rows):
        ndim, inputs, of = columns["ndim"][row], columns["inputs"][row], columns["of"][row]
        shape = tuple(numbers[at : at + ndim])
        sources = numbers[at + ndim : at + ndim + inputs]
        at += ndim + inputs
        dtype = columns["dtype"][row].decode("ascii")
        stored = STORED_AS.get(dtype)
        site = sites.get(columns["site"][row])
        if ndim > _MOST_DIMENSIONS or at > len(numbers) or stored is None or site is None:
            raise ValueError("index of an unknown site, dtype or shape")
        size = math.prod(shape)
        if any(extent < 0 for extent in shape) or size >= 2**60:
            raise ValueError("index with an impossible shape")
        if columns["stored"][row] and size * stored.itemsize != columns["nbytes"][row]:
            raise ValueError("index with a shape that does not fit its bytes")
        if any(not -1 <= source < rows for source in (*sources, of)):
            raise ValueError("index with an input that does not exist")
        found.append(
            Observation(
                index=start + row,
                site=site,
                shape=shape,
                dtype=dtype,
                stats=stats[row],
                inputs=tuple(source + start if source >= 0 else -1 for source in sources),
                of=of + start if of >= 0 else None,
                stored=bool(columns["stored"][row]),
            )
        )
    if at != len(numbers):
        raise ValueError("lists longer than the index says")
    return found
