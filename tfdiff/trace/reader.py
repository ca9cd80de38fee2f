"""Opens traces: everything but the tensors at once, the tensors on demand."""

from __future__ import annotations

import itertools
import threading
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tfdiff.errors import TraceError
from tfdiff.model import End, Header, Observed, RowSource, Site, Variable
from tfdiff.orders import Isolated
from tfdiff.settings import Configuration
from tfdiff.trace.block import Block, Part, Source, read_counted
from tfdiff.trace.codec import build, build_all
from tfdiff.trace.guard import damage, damaged, open_file, shown
from tfdiff.trace.schema import COUNTED, MOST_BLOCKS, SCHEMA

if TYPE_CHECKING:
    from types import TracebackType

    import h5py
    import numpy.typing as npt

    from tfdiff.model import Observation

    Hashes = npt.NDArray[np.uint64]
    _Noise = tuple[list[npt.NDArray[np.float32]], list[dict[int, float]]]

__all__ = ["Block", "Trace", "open_trace"]

_TRIES = 5
"""How often a trace that changes meanwhile is looked at again before what was read counts as damage."""
MOST_CONFIGURATIONS = 2000
"""Of layers, losses and optimizers; a recorder writes no more."""
_CACHED_BLOCKS = 24
_FRESH_BLOCKS = 4
"""Of the cached ones, those that also keep what is large."""
_SNAPSHOT_ROLES = ("weight", "slot", "state")


def open_trace(path: Path | str) -> Trace:
    """The trace in a file; raises TraceError (one line) for anything that is none, is damaged or is too new."""
    path = Path(path)
    for _ in range(_TRIES):
        before = _written(path)
        try:
            return _opened(path)
        except TraceError:
            if _written(path) == before:
                raise
    return _opened(path)


def _opened(path: Path) -> Trace:
    file = open_file(path)
    try:
        return Trace(path, file)
    except BaseException:
        file.close()
        raise


def _written(path: Path) -> tuple[int, int] | None:
    """What changes while a trace is written; None where there is no such file."""
    try:
        seen = path.stat()
    except (OSError, ValueError):
        return None
    return seen.st_mtime_ns, seen.st_size


class Trace:
    """An open trace; a context manager. Threads may share it."""

    path: Path
    header: Header
    end: End | None
    """None: the writer was killed."""
    observed: Observed | None
    """Whether a run that was not recorded ended as this one did; None where that was not looked at."""
    steps: int
    """Complete steps."""
    variables: dict[int, Variable]
    sites: dict[int, Site]
    isolation: Isolated | None
    """What the isolated pass did, where one was made."""
    configurations: tuple[Configuration, ...]
    """How layers, losses and optimizers were set up; empty in older traces."""

    def __init__(self, path: Path, file: h5py.File) -> None:
        self.path = path
        self._files = [file]
        self._seen = _written(path)
        with damage(path, "the count of its steps"):
            self._source = Source(path, file, path.stat().st_size)
            counts = read_counted(file, "commit", len(SCHEMA.commit), self._source.limit)
            if max(counts[:-1]) > MOST_BLOCKS:
                raise ValueError("more blocks than a trace can hold")
        self._counts = {**dict(zip(COUNTED, counts, strict=False)), "evals": 0, "isolated": 0}
        self.steps = self._counts["steps"]
        self.variables, self.sites = {}, {}
        self.end, self.isolation = None, None
        self.observed = None
        self.configurations = ()
        self._rows: Part | None = None
        self._noise: Part | None = None
        self._errors: _Noise | None = None
        self._hashes: tuple[list[tuple[RowSource, Hashes]], list[Hashes]] | None = None
        self._blocks: OrderedDict[tuple[str, int], Block] = OrderedDict()
        self._lock = threading.Lock()
        self._snapshots: dict[int, dict[int, int]] = {}
        header: Header | None = None
        for number in range(self._counts["documents"]):
            part = Part(self._source, "documents", number)
            with damage(path, part.what):
                header = self._take(part) or header
        if header is None:
            raise TraceError(
                f"{shown(path)}: expected a header, found none: the recording ended before it began; record again"
            )
        self.header = header

    @property
    def counts(self) -> dict[str, int]:
        """Complete blocks per tree."""
        return dict(self._counts)

    @property
    def evals(self) -> int:
        """Complete evaluation and prediction passes."""
        return self._counts["evals"]

    @property
    def isolated_steps(self) -> int:
        """Complete steps of the isolated pass, 0 where none was made."""
        return self._counts["isolated"]

    @property
    def row_sources(self) -> list[tuple[RowSource, Hashes]]:
        """Whole arrays the run was fed with, and a uint64 hash per row."""
        return self._row_hashes()[0]

    @property
    def batch_rows(self) -> list[Hashes]:
        """uint64 hashes of the rows of each step's own batch (before sharing); empty where the writer was killed.

        A trace that was cut still has those of all the steps that were recorded.
        """
        return self._row_hashes()[1]

    @property
    def calibrated(self) -> int:
        """Steps of which it was measured what noise does."""
        return len(self._measured()[0])

    @property
    def not_calibrated(self) -> str | None:
        """Why noise is not known of every step, "" where it is; None where it was not to be measured."""
        return None if self._noise is None else str(self._noise.document.get("why", ""))

    def noise(self, step: int) -> npt.NDArray[np.float32] | None:
        """float32 per observation of a step: the relative error between the run and the run with its weights moved by
        one ulp, NaN where unknown. None where it was not measured.
        """
        measured = self._measured()[0]
        return measured[step] if step < len(measured) else None

    def update_noise(self, step: int) -> dict[int, float]:
        """By variable the same of what a step changed it by; empty where it was not measured."""
        measured = self._measured()[1]
        return measured[step] if step < len(measured) else {}

    def step(self, index: int) -> Block:
        """The block of a step, 0 to `steps` - 1; the last few are kept."""
        if not 0 <= index < self.steps:
            raise IndexError(f"step {index} of {self.steps}")
        return self._block("steps", index)

    def eval(self, index: int) -> Block:
        """The block of an evaluation or prediction pass, 0 to `evals` - 1; `Block.evaluation` says what it is."""
        if not 0 <= index < self.evals:
            raise IndexError(f"evaluation {index} of {self.evals}")
        return self._block("evals", index)

    def isolated(self, index: int) -> Block:
        """The block of a step of the isolated pass, 0 to `isolated_steps` - 1."""
        if not 0 <= index < self.isolated_steps:
            raise IndexError(f"isolated step {index} of {self.isolated_steps}")
        return self._block("isolated", index)

    def initial(self) -> Block:
        """Values of the variables before step 0 as used; `info.index` is -1."""
        return self._block("initial", -1)

    def own_initial(self) -> Block:
        """The same before sharing; empty where nothing was shared."""
        return self._block("own", -1)

    def value_after(self, variable: int, step: int) -> npt.NDArray[Any] | None:
        """The newest value of a variable after `step` or an earlier one, else the initial one.

        Step -1 gives the initial value. Values are snapshots: role weight, slot or state, op "", after a step. None
        where there is none, or where of the newest only statistics are kept: an older one would be another value.
        """
        for number in range(min(step, self.steps - 1), -1, -1):
            if number not in self._snapshots:
                self._snapshots[number] = _snapshots(self.step(number).observations)
            found = self._snapshots[number].get(variable)
            if found is not None:
                return _array(self.step(number), found)
        block = self.initial()
        for observation in reversed(block.observations):
            if observation.site.variable == variable:
                return _array(block, observation.index)
        return None

    def close(self) -> None:
        """Closes the file; arrays that were read stay valid."""
        for file in self._files:
            file.close()

    def __enter__(self) -> Trace:  # noqa: PYI034 - Self came with Python 3.11
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _take(self, part: Part) -> Header | None:
        """Takes in a document; a kind that is not known is an addition of a later tfdiff and is left alone."""
        document = part.document
        kind = document.get("kind")
        if kind == "header":
            return build(Header, document.get("header"))
        if kind == "variables":
            self.variables |= {item.index: item for item in build_all(Variable, document.get("variables"))}
        elif kind == "sites":
            self.sites |= {item.id: item for item in build_all(Site, document.get("sites"))}
        elif kind == "rows":
            self._rows = part
        elif kind == "noise":
            self._noise = part
        elif kind in ("end", "observer", "configurations"):
            self._take_said(kind, document)
        elif kind == "evals":
            self._count("evals", document.get("count"))
        elif kind == "isolation":
            self.isolation = build(Isolated, document.get("isolation"))
            self._count("isolated", self.isolation.steps)
            self.sites |= {item.id: item for item in build_all(Site, document.get("sites"))}
        return None

    def _take_said(self, kind: str, document: dict[str, Any]) -> None:
        """What is said of the run in its end and behind it."""
        if kind == "end":
            self.end = build(End, document.get("end"))
        elif kind == "observer":
            self.observed = build(Observed, document.get("observed"))
        else:
            found = build_all(Configuration, document.get("configurations"))
            self.configurations = tuple(found[:MOST_CONFIGURATIONS])

    def _count(self, tree: str, count: Any) -> None:
        """Notes how many blocks a tree has that /commit does not count."""
        if type(count) is not int or not 0 <= count <= MOST_BLOCKS:
            raise ValueError(f"an impossible number of blocks of {tree}")
        self._counts[tree] = count

    def _block(self, tree: str, number: int) -> Block:
        key = (tree, number)
        with self._lock:
            if key not in self._blocks:
                self._blocks[key] = self._read_block(tree, number)
                if len(self._blocks) > _CACHED_BLOCKS:
                    self._blocks.popitem(last=False)
            self._blocks.move_to_end(key)
            if len(self._blocks) > _FRESH_BLOCKS:
                self._blocks[list(self._blocks)[-_FRESH_BLOCKS - 1]].rest()
            return self._blocks[key]

    def _read_block(self, tree: str, number: int) -> Block:
        """The block; of a trace that is being written perhaps only after another look at the file.

        HDF5 moves the lists of a group when it grows, to where the file ended after it was opened.
        """
        numbers = [number] if number >= 0 else range(self._counts[tree])
        for _ in range(_TRIES):
            try:
                return Block(self.path, [Part(self._source, tree, each) for each in numbers], self.sites, number)
            except TraceError:
                now = _written(self.path)
                if self.end is not None or not self._files[-1] or now == self._seen:
                    raise
            self._seen = now
            self._files.append(open_file(self.path))  # blocks that were read hold on to the earlier ones
            self._source = Source(self.path, self._files[-1], self.path.stat().st_size)
        return Block(self.path, [Part(self._source, tree, each) for each in numbers], self.sites, number)

    def _row_hashes(self) -> tuple[list[tuple[RowSource, Hashes]], list[Hashes]]:
        if self._hashes is None:
            self._hashes = ([], []) if self._rows is None else self._read_rows(self._rows)
        return self._hashes

    def _measured(self) -> _Noise:
        if self._errors is None:
            self._errors = ([], []) if self._noise is None else self._read_noise(self._noise)
        return self._errors

    def _read_noise(self, part: Part) -> _Noise:
        with damage(self.path, part.what):
            sizes, crc = part.document["steps"], part.document["crc32"]
            if type(crc) is not int or any(type(size) is not int or size < 0 for size in sizes):
                raise damaged(self.path, "what noise does", "their number")
            errors = part.data(0, 4 * sum(sizes), crc).view("<f4")
            ends = np.cumsum([0, *sizes])
            steps = [errors[start:end] for start, end in itertools.pairwise(ends.tolist())][: self.steps]
            updates: list[dict[int, float]] = [{} for _ in steps]
            for change in part.document["updates"]:
                for found, error in zip(updates, change["errors"], strict=False):
                    if error is not None:
                        found[int(change["variable"])] = float(error)
            return steps, updates

    def _read_rows(self, part: Part) -> tuple[list[tuple[RowSource, Hashes]], list[Hashes]]:
        with damage(self.path, part.what):
            entries, crc = part.document["sources"], part.document["crc32"]
            sources = [build(RowSource, entry["source"]) for entry in entries]
            sizes = [*(entry["hashes"] for entry in entries), *part.document["batches"]]
            if type(crc) is not int or any(type(size) is not int or size < 0 for size in sizes):
                raise damaged(self.path, "row hashes", "their number")
            hashes = part.data(0, 8 * sum(sizes), crc).view("<u8")
            ends = np.cumsum([0, *sizes])
            pieces = [hashes[start:end] for start, end in itertools.pairwise(ends.tolist())]
            return list(zip(sources, pieces, strict=False)), pieces[len(sources) :]


def _array(block: Block, index: int) -> npt.NDArray[Any] | None:
    return block.array(index) if block.observations[index].stored else None


def _snapshots(observations: tuple[Observation, ...]) -> dict[int, int]:
    """Variable to the index of its value after the step; the last one counts."""
    return {
        seen.site.variable: seen.index
        for seen in observations
        if seen.site.variable is not None
        and not seen.site.op
        and seen.site.phase in ("update", "state")
        and seen.site.role in _SNAPSHOT_ROLES
    }
