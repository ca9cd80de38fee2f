"""Writes a trace, block by block, so that a killed run leaves every completed step."""

from __future__ import annotations

import os
import threading
import weakref
import zlib
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from tfdiff.errors import UsageError
from tfdiff.trace.codec import clean, to_json
from tfdiff.trace.guard import shown
from tfdiff.trace.pack import Packed, bare, pack, pieces
from tfdiff.trace.reader import open_trace
from tfdiff.trace.records import ExistsError, WriteError
from tfdiff.trace.schema import COUNTED, MOST_BLOCKS, SCHEMA, TREES, block_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    import numpy.typing as npt

    from tfdiff.model import End, EvalInfo, Header, Observed, RowSource, Site, StepInfo, Variable
    from tfdiff.orders import Isolated
    from tfdiff.settings import Configuration
    from tfdiff.trace.records import Record

    Hashes = npt.NDArray[np.uint64]

_OPEN: weakref.WeakSet[TraceWriter] = weakref.WeakSet()


class TraceWriter:
    """Writes one trace; a context manager. Thread-safe. In a forked child it does nothing: the file is the parent's.

    The order of writes is the point: data, flush, then the count of complete blocks. Until the count moves, the reader
    does not see the block. Raises WriteError when the disk does not take it; what was complete stays readable.
    """

    def __init__(self, path: Path, *, force: bool = False) -> None:
        self._set_up(path)
        _check_target(path, force=force)
        try:
            self._file, self._handle = self._open(path, "w")
        except OSError as error:
            raise WriteError(_refused(path, error)) from None
        _OPEN.add(self)
        self._write(self._begin)

    @classmethod
    def reopen(cls, path: Path) -> TraceWriter:
        """A writer that adds to a closed trace, behind what it holds and as safely: it stays what it was until a block
        is complete.

        Raises TraceError for a file that is no unbroken trace, WriteError where it cannot be written to.
        """
        with open_trace(path) as trace:
            counts, sites = trace.counts, dict(trace.sites)
        writer = cls.__new__(cls)
        writer._set_up(path)  # noqa: SLF001 - of this class
        writer._counts |= counts  # noqa: SLF001
        writer._sites = sites  # noqa: SLF001
        try:
            with ExitStack() as undo:
                writer._file, writer._handle = writer._open(path, "r+")  # noqa: SLF001
                undo.callback(writer._file.close)  # noqa: SLF001
                writer._commit = writer._file["commit"].id.get_offset()  # noqa: SLF001
                undo.pop_all()
        except OSError as error:
            raise WriteError(_refused(path, error)) from None
        _OPEN.add(writer)
        return writer

    def _set_up(self, path: Path) -> None:
        self.path = path
        self._lock = threading.RLock()
        self._pid = os.getpid()
        self._counts = dict.fromkeys(TREES, 0)
        self._sites: dict[int, Site] = {}
        self._broken = ""

    def header(self, header: Header) -> None:
        """What the trace says of its run; the last call wins."""
        self._document({"kind": "header", "header": header})

    def variables(self, variables: Sequence[Variable]) -> None:
        """New or changed variables, merged by index."""
        self._document({"kind": "variables", "variables": variables})

    def initial(self, records: Sequence[Record], own: Sequence[Record] = ()) -> None:
        """Values of variables before step 0 as used, and what this run had before sharing; later calls append."""
        blocks = [(tree, {"kind": tree}, pack(some)) for tree, some in (("initial", records), ("own", own)) if some]
        self._blocks([record.site for record in (*records, *own)], blocks)

    def step(self, info: StepInfo, records: Sequence[Record]) -> None:
        """One complete step, in order."""
        self._blocks([record.site for record in records], [("steps", {"kind": "steps", "info": info}, pack(records))])

    def evaluation(self, info: EvalInfo, records: Sequence[Record]) -> None:
        """One complete evaluation or prediction pass, in order."""
        self.packed("evals", pack(records), [record.site for record in records], info)

    def packed(self, tree: str, packed: Packed, sites: Iterable[Site], info: StepInfo | EvalInfo | None = None) -> None:
        """A block of `tree` that is packed already, and the sites it needs; `info` for a step or a pass."""
        document = {"kind": tree} if info is None else {"kind": tree, "info": info}
        self._blocks(sites, [(tree, document, packed)])

    def isolated(self, info: StepInfo, packed: Packed) -> None:
        """One step of the isolated pass, in order; it counts once `isolation` was called."""
        self._write(lambda: self._add("isolated", {"kind": "isolated", "info": info}, packed))

    def isolation(self, done: Isolated, sites: Iterable[Site]) -> None:
        """The isolated pass is complete: what it did, and the sites of its steps; the last call wins."""

        def add(new: list[Site]) -> None:
            self._add("documents", {"kind": "isolation", "isolation": done, "sites": new}, bare(None))

        self._write_with(sites, add)

    def rows(self, sources: Sequence[tuple[RowSource, Hashes]], batches: Sequence[Hashes] = ()) -> None:
        """uint64 hashes of the rows of each whole array the run was fed with, and of each step's own batch (before
        sharing); the last call wins.
        """
        hashed = [*(hashes for _, hashes in sources), *batches]
        arrays = [np.ascontiguousarray(hashes, "<u8").reshape(-1) for hashes in hashed]
        data = np.concatenate([*arrays, np.zeros(0, "<u8")]).view(np.uint8)
        counts = [array.size for array in arrays]
        described = [{"source": source, "hashes": count} for (source, _), count in zip(sources, counts, strict=False)]
        lengths = counts[len(sources) :]
        self._document({"kind": "rows", "sources": described, "batches": lengths, "crc32": zlib.crc32(data.data)}, data)

    def noise(
        self, steps: Sequence[npt.NDArray[np.float32]], updates: Sequence[Mapping[int, float]] = (), why: str = ""
    ) -> None:
        """How far values move with the weights moved by one ulp: relative errors per step and observation, NaN where
        it is not known; per step and variable those of what the step changed it by.

        Fewer steps than there are, or none, where `why` says the reason.
        """
        errors = np.concatenate([np.zeros(0, "<f4"), *steps]).astype("<f4", copy=False)
        changes = [{"variable": index, "errors": [step.get(index) for step in updates]} for index in _all(updates)]
        data = errors.view(np.uint8)
        counts = [len(step) for step in steps]
        document = {"kind": "noise", "steps": counts, "updates": changes, "why": why, "crc32": zlib.crc32(data.data)}
        self._document(document, data)

    def observed(self, observed: Observed) -> None:
        """Whether a run that was not recorded ended as this one did."""
        self._document({"kind": "observer", "observed": observed})

    def configurations(self, found: Sequence[Configuration]) -> None:
        """How the script's layers, losses and optimizers were set up; the last call wins."""
        self._document({"kind": "configurations", "configurations": found})

    def end(self, end: End) -> None:
        """How the recording ended; the last call wins."""
        self._document({"kind": "end", "end": end})

    def close(self) -> None:
        """Closes the file; twice is harmless."""
        if os.getpid() != self._pid:
            return
        # Nothing that was committed waits in a buffer, and a full disk was reported when it was met.
        with self._lock, suppress(OSError, RuntimeError):
            self._broken = (
                self._broken or f"{shown(self.path)}: expected an open trace, found a closed one; open another"
            )
            _OPEN.discard(self)
            self._file.close()

    def __enter__(self) -> TraceWriter:  # noqa: PYI034 - Self came with Python 3.11
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open(self, path: Path, mode: str) -> tuple[h5py.File, int]:
        # Formats after v108 mark an open file, and one left by a killed writer would not open.
        file = h5py.File(path, mode, libver=("v108", "v108"))
        return file, file.id.get_vfd_handle()

    def _begin(self) -> None:
        for attribute in SCHEMA.attributes:
            self._file.attrs[attribute.name] = np.bytes_(attribute.value)
        # All of them now: a root group that grew later could be torn by a kill.
        for tree in TREES:
            self._file.create_group(tree)
        # Early, so that its 40 bytes lie in the file's first page: a kill cannot tear a write inside a page.
        self._commit = self._dataset(self._file, "commit", _counted([0] * len(COUNTED)))

    def _document(self, document: dict[str, Any], data: npt.NDArray[np.uint8] | None = None) -> None:
        self._write(lambda: self._add("documents", document, bare(data)))

    def _blocks(self, sites: Iterable[Site], blocks: Sequence[tuple[str, dict[str, Any], Packed]]) -> None:
        """Adds blocks, and before them a document with the sites that no earlier block had."""

        def add(new: list[Site]) -> None:
            if new:
                self._add("documents", {"kind": "sites", "sites": new}, bare(None))
            for block in blocks:
                self._add(*block)
            if any(tree == "evals" for tree, *_ in blocks):
                self._add("documents", {"kind": "evals", "count": self._counts["evals"]}, bare(None))

        self._write_with(sites, add)

    def _write_with(self, sites: Iterable[Site], work: Callable[[list[Site]], None]) -> None:
        """As `_write`, of work that takes those of the sites that were not written yet, and writes them."""
        if os.getpid() != self._pid:
            return  # before the lock, which another thread of the parent may have held
        with self._lock:
            new = self._unknown(sites)
            self._write(lambda: work(list(new.values())))
            self._sites.update(new)

    def _unknown(self, sites: Iterable[Site]) -> dict[int, Site]:
        """Those of the sites that were not written yet."""
        new: dict[int, Site] = {}
        for site in sites:
            known = self._sites.get(site.id) or new.setdefault(site.id, site)
            if known is not site and to_json({"site": known}) != to_json({"site": site}):
                raise ValueError(f"site {site.id} was {known}, now it is {site}")
        return new

    def _write(self, work: Callable[[], None]) -> None:
        """Does the work and commits it, or neither: what was interrupted is written anew by the next call."""
        if os.getpid() != self._pid:
            return
        with self._lock:
            if self._broken:
                raise WriteError(self._broken)
            counts = dict(self._counts)
            try:
                work()
                self._commit_counts()
            except (OSError, RuntimeError, ValueError) as error:
                self._broken = _refused(self.path, error)
                self._detach()
                raise WriteError(self._broken) from None
            except BaseException:
                # Interrupted (Ctrl-C), perhaps behind the count: it goes back before the block is written over.
                self._counts = counts
                self._put_counts()
                raise

    def _add(self, tree: str, document: dict[str, Any], packed: Packed) -> None:
        """Writes a block behind the last one; it counts from the next commit on."""
        number = self._counts[tree]
        if number >= MOST_BLOCKS:
            raise WriteError(
                f"{shown(self.path)}: a trace holds at most {MOST_BLOCKS} steps; give --steps a smaller number"
            )
        name = "/".join(block_path(tree, number))
        if name in self._file:
            del self._file[name]  # left by a call that was interrupted
        group = self._file.create_group(name)
        parts: dict[str, npt.NDArray[Any]] = {"json": np.frombuffer(to_json(document), np.uint8)}
        parts |= {"index": packed.index, "lists": packed.lists, "sketches": packed.sketches}
        if tree == "documents":
            parts = {"json": parts["json"]}
        summed = ("json", "index", "lists", "sketches")
        sums = [zlib.crc32(parts[part].tobytes()) if part in parts else 0 for part in summed]
        parts["head"] = _counted([TREES.index(tree), number, packed.nbytes, len(packed.index), *sums])
        for part, values in parts.items():
            self._dataset(group, part, values)
        start = _allocate(group, "data", np.dtype("u1"), (packed.nbytes,)) or 0
        for offset, piece in pieces(packed):
            self._put(start + offset, piece)
        self._counts[tree] += 1

    def _dataset(self, group: h5py.Group, name: str, values: npt.NDArray[Any]) -> int:
        """A dataset with these values; where they lie in the file."""
        offset = _allocate(group, name, values.dtype, values.shape) or 0
        self._put(offset, np.ascontiguousarray(values).reshape(-1).view(np.uint8))
        return offset

    def _commit_counts(self) -> None:
        """Flush, then count: the order that makes a block complete or absent. What was put is in the file already."""
        self._file.flush()
        self._put_counts()

    def _put_counts(self) -> None:
        row = _counted([self._counts[tree] for tree in COUNTED])
        self._put(self._commit, row.view(np.uint8))

    def _put(self, offset: int, data: npt.NDArray[np.uint8]) -> None:
        """Writes bytes of a dataset past HDF5, which would keep them, and report a full disk when it is too late."""
        view = data.data
        while view:
            written = os.pwrite(self._handle, view, offset)
            offset += written
            view = view[written:]

    def _detach(self) -> None:
        """Points HDF5 at nothing: closing, it would write an end of file that is not (or no longer) true."""
        nothing = os.open(os.devnull, os.O_RDWR)
        os.dup2(nothing, self._handle)
        os.close(nothing)


def _detach_in_child() -> None:
    # HDF5 closes its files when a process exits, also a forked one: that would cut the file under the parent's feet.
    for writer in _OPEN:
        writer._detach()  # noqa: SLF001 - of this module


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_detach_in_child)


def _check_target(path: Path, *, force: bool) -> None:
    if path.is_dir():
        raise UsageError(f"{shown(path)}: expected a file name for the trace, found a folder; name a file in it")
    if path.exists() and not force:
        raise ExistsError(f"{shown(path)}: expected no such file yet, found one; add --force or give another name")
    if not path.parent.is_dir():
        raise UsageError(f"{shown(path)}: expected an existing folder, found none; create {shown(path.parent)} first")


def _refused(path: Path, error: Exception) -> str:
    reason = clean(getattr(error, "strerror", None) or str(error))[:200]
    advice = "make room or choose another place; complete steps stay readable"
    return f"{shown(path)}: expected to write the trace, found: {reason}; {advice}"


def _all(updates: Sequence[Mapping[int, float]]) -> list[int]:
    return sorted({index for step in updates for index in step})


def _counted(numbers: Sequence[int]) -> npt.NDArray[np.uint64]:
    """The numbers as little-endian uint64, with the CRC-32 of their bytes behind them."""
    row = np.array([*numbers, 0], "<u8")
    row[-1] = zlib.crc32(row[:-1].tobytes())
    return row


def _allocate(group: h5py.Group, name: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> int | None:
    """Makes a contiguous dataset without times and fill values; where its bytes belong, None when it has none."""
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_layout(h5py.h5d.CONTIGUOUS)
    plist.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    plist.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    plist.set_obj_track_times(False)
    kind = h5py.h5t.py_create(dtype, logical=True)
    made = h5py.h5d.create(group.id, name.encode(), kind, h5py.h5s.create_simple(shape), plist)
    offset: int | None = made.get_offset()
    return offset
