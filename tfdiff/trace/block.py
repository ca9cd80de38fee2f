"""A block of a trace: its observations at once, its arrays one by one, every byte checked."""

from __future__ import annotations

import math
import zlib
from bisect import bisect_right
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tfdiff.model import EvalInfo, Observation, Site, StepInfo
from tfdiff.trace.codec import build, from_json
from tfdiff.trace.guard import damage, dataset, descend, read
from tfdiff.trace.pack import decode, is_small
from tfdiff.trace.records import NotStoredError
from tfdiff.trace.schema import BUCKETS, INDEX_DTYPE, SCHEMA, STORED_AS, TREES, block_path
from tfdiff.trace.sketch import numbers, sketches
from tfdiff.trace.stats import all_stats

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import h5py
    import numpy.typing as npt

_BYTES = np.dtype("u1")
_COUNTS = np.dtype("<u8")
_MOST_DIMENSIONS = 32
_LEAD = 1 << 20
"""Bytes at the beginning of the data that are kept: small arrays lie there."""
_KEPT_SKETCHES = 1 << 21
"""Bytes of sketches that stay with a block nobody looked at for a while."""


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
        self._data: h5py.Dataset | None = None
        self._lead = np.zeros(0, np.uint8)
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
        """The numbers of the sketches, one behind the other."""
        with damage(self._source.path, self.what):
            return self._part("sketches", np.dtype("<f4"), None)

    def data(self, offset: int, nbytes: int, crc: int) -> npt.NDArray[np.uint8]:
        """A stretch of the data that has this checksum."""
        with damage(self._source.path, self.what):
            if self._data is None:
                self._data = self._open_data()
            if offset + nbytes > self._nbytes:
                raise ValueError("an array outside its data")
            inside = offset + nbytes <= self._lead.size
            found: npt.NDArray[np.uint8] = np.array((self._lead if inside else self._data)[offset : offset + nbytes])
            if zlib.crc32(found.data) != crc:
                raise ValueError("checksum of an array")
            return found

    def _open_data(self) -> h5py.Dataset:
        """The data; its beginning is read at once: thousands of small arrays then cost one read."""
        if not self._group:
            raise ValueError("the trace was closed")
        stored = dataset(self._group, "data", _BYTES, self._source.limit)
        if stored.shape != (self._nbytes,):
            raise ValueError("data has another length")
        self._lead = np.asarray(stored[: min(self._nbytes, _LEAD)])
        return stored

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
    evaluation: EvalInfo | None
    """What pass it is; `info.index` is then the number of training steps before it."""
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
        self.info, self.evaluation = StepInfo(index=-1), None
        if number >= 0:
            with damage(path, parts[0].what):
                self._take_info(parts[0].document, number)
        self._sketches: npt.NDArray[np.float32] | None = None

    def _take_info(self, document: dict[str, Any], number: int) -> None:
        if document.get("kind") != "evals":
            self.info = replace(build(StepInfo, document.get("info")), index=number)
            return
        found = replace(build(EvalInfo, document.get("info")), index=number)
        if any(not 0 <= index < len(self.observations) for index in found.outputs) or found.after < 0:
            raise ValueError("a pass with results that it does not have")
        self.evaluation, self.info = found, StepInfo(index=found.after)

    def array(self, index: int) -> npt.NDArray[Any]:
        """The tensor; bfloat16 as float32. NotStoredError where only statistics are kept, TraceError on damage."""
        observation = self.observations[index]
        if not observation.stored:
            place = observation.site.name
            raise NotStoredError(
                f"{place}: expected the whole tensor, found statistics and sketch only; record it with --detail ops"
            )
        data = self.raw(index)
        with damage(self._path, f"{observation.site.name} of step {self.info.index}"):
            return decode(data, observation.dtype, observation.shape)

    def raw(self, index: int) -> npt.NDArray[np.uint8]:
        """The bytes of a stored tensor as they lie in the file; TraceError on damage."""
        part, row = self._row(index)
        return part.data(int(row["offset"]), int(row["nbytes"]), int(row["crc32"]))

    def nbytes(self, index: int) -> int:
        """Length of a stored tensor in the file, 0 of one that is not stored."""
        return int(self._row(index)[1]["nbytes"])

    def written_sketches(self) -> list[npt.NDArray[np.float32] | None]:
        """What the file has of each sketch; None where it is made from the array. `sketches` checks that it fits."""
        found: list[npt.NDArray[np.float32] | None] = []
        for part, index in zip(self._parts, self._indices, strict=True):
            sums = part.sketches()
            for start in index["sketch"].tolist():
                found.append(None if start < 0 else sums[start : start + self._count(len(found))])
        return found

    def _row(self, index: int) -> tuple[Part, npt.NDArray[np.void]]:
        number = bisect_right(self._starts, index) - 1
        return self._parts[number], self._indices[number][index - self._starts[number]]

    def _count(self, index: int) -> int:
        """How many numbers a written sketch has."""
        seen = self.observations[index]
        return min(numbers(seen.size, seen.dtype), BUCKETS)

    def sketch(self, index: int) -> npt.NDArray[np.float32]:
        """float32[256] of one observation."""
        found: npt.NDArray[np.float32] = self.sketches()[index]
        return found

    def sketches(self) -> npt.NDArray[np.float32]:
        """float32[n, 256], read once."""
        found = self._sketches
        if found is None:
            found = np.zeros((len(self.observations), BUCKETS), np.float32)
            for number, part in enumerate(self._parts):
                with damage(self._path, part.what):
                    self._read_sketches(number, found)
            found.flags.writeable = False
            self._sketches = found
        return found

    def rest(self) -> None:
        """Lets go of what is large; it is read again when it is asked for."""
        if self._sketches is not None and self._sketches.nbytes > _KEPT_SKETCHES:
            self._sketches = None

    def _read_sketches(self, number: int, found: npt.NDArray[np.float32]) -> None:
        """The sketches of a part into their rows; ValueError where the index asks for more than there is."""
        sums = self._parts[number].sketches()
        starts = self._indices[number]["sketch"].astype(np.int64)
        mine = self.observations[self._starts[number] : self._starts[number] + len(starts)]
        counts = np.array([self._count(seen.index) for seen in mine], np.int64)
        small = np.array([is_small(seen.size, seen.dtype) for seen in mine], bool)
        made = starts < 0
        stored = np.array([seen.stored for seen in mine], bool)
        if (starts < -1).any() or (made & ~(small & stored)).any():
            raise ValueError("a sketch that is nowhere")
        if (starts + np.where(made, 0, counts) > sums.size).any():
            raise ValueError("a sketch beyond the numbers there are")
        rows = np.flatnonzero(~small)
        found[rows + self._starts[number]] = sums[starts[rows, None] + np.arange(BUCKETS)]
        few = np.flatnonzero(small)
        lines = [
            self.array(mine[row].index) if made[row] else sums[starts[row] : starts[row] + counts[row]]
            for row in few.tolist()
        ]
        found[few + self._starts[number]] = sketches(lines)


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
