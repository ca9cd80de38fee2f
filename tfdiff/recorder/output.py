"""The trace of a recording as it grows: header, initial values, steps, end; and what is said of it on stderr."""

from __future__ import annotations

import dataclasses
import platform
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from tfdiff._version import __version__
from tfdiff.model import End, Header
from tfdiff.recorder.evals import MOST_PASSES
from tfdiff.recorder.rowsource import batch_signatures
from tfdiff.trace.writer import TraceWriter

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tfdiff.orders import Isolated, RecordOptions
    from tfdiff.recorder.collect import StepRecords
    from tfdiff.recorder.evals import EvalRecords
    from tfdiff.recorder.rowsource import RowSources
    from tfdiff.recorder.variables import Variables
    from tfdiff.settings import Configuration
    from tfdiff.trace.records import Record


class Output:
    """Writes what a recording hands over. `done` once as many steps as wanted are in the trace."""

    def __init__(self, options: RecordOptions, path: Path, *, quiet: bool) -> None:
        self._writer = TraceWriter(path, force=options.force)
        self.limit = options.steps
        self._detail = options.detail
        self._quiet = quiet or not sys.stderr.isatty()
        self.stops = not options.keep_running
        self.steps = 0
        self.evals = 0
        self.done = False
        self.beats = 0
        """Count of the run's beats up to the end of its last step."""
        self.header = Header(
            script=options.script if options.module else options.script.replace("\\", "/").rpartition("/")[2],
            arguments=options.arguments,
            versions={"tfdiff": __version__, "python": platform.python_version(), "numpy": np.__version__},
            options={"steps": options.steps, "detail": options.detail, "share": sorted(options.share)},
        )
        self.configured: tuple[Configuration, ...] = ()
        """How layers, losses and optimizers were set up; known in the end."""
        self._batches: list[np.ndarray[Any, np.dtype[np.uint64]]] = []
        self._noted: set[tuple[str, str]] = set()

    def update(self, **changes: Any) -> None:
        """Change fields of the header; written with the next step."""
        self.header = dataclasses.replace(self.header, **changes)
        versions = {name: self.header.versions[name] for name in _VERSIONS if name in self.header.versions}
        self.header = dataclasses.replace(self.header, versions=versions)
        self._writer.header(self.header)

    def not_recorded(self, what: str, why: str) -> None:
        """Name something that could not be recorded, once."""
        self._note("not_recorded", what, why)

    def not_shared(self, what: str, why: str) -> None:
        """Name something that could not be made equal to the reference, once."""
        self._note("not_shared", what, why)

    def switched_off(self, what: str, why: str) -> None:
        """Name a setting of the user's that recording had to change, once."""
        self._note("switched_off", what, why)

    def _note(self, field: str, what: str, why: str) -> None:
        if (field, what) not in self._noted:
            self._noted.add((field, what))
            self.update(**{field: (*getattr(self.header, field), {"what": what, "why": why})})

    def initial(self, records: Sequence[Record], own: Sequence[Record]) -> None:
        """Values of variables before the first step."""
        if records:
            self._writer.initial(records, own)

    def step(self, step: StepRecords, variables: Variables, rows: RowSources) -> None:
        """One complete step."""
        if self.done:
            return
        if self.steps == 0:
            self._writer.header(self.header)
        self._writer.variables(variables.describe())
        records = [self._kept(record) for record in step.records]
        self._writer.step(dataclasses.replace(step.info, index=self.steps), records)
        self._batches.append(batch_signatures(records))
        self.steps += 1
        if not self._quiet:
            print(f"\r{_progress(self.steps, self.limit)}", end="", file=sys.stderr, flush=True)
        if self.limit and self.steps >= self.limit:
            self.done = True
            self._writer.rows(rows.described(), self._batches)

    def evaluation(self, found: EvalRecords, variables: Variables) -> None:
        """One complete evaluation or prediction pass."""
        if self.done:
            return
        if self.evals >= MOST_PASSES:
            self.not_recorded(f"evaluation passes after the first {MOST_PASSES}", "they would make the trace too large")
            return
        if self.steps == 0 and self.evals == 0:
            self._writer.header(self.header)
        self._writer.variables(variables.describe())
        info = dataclasses.replace(found.info, index=self.evals)
        self._writer.evaluation(info, [self._kept(record) for record in found.records])
        self.evals += 1

    def isolation(self, done: Isolated) -> None:
        """What an isolated pass did; its steps are those of this trace until they come into that of the free run."""
        self._writer.isolation(dataclasses.replace(done, steps=0), [])

    def _kept(self, record: Record) -> Record:
        if self._detail == "ops":
            return dataclasses.replace(record, keep=True)
        if self._detail == "sketch":
            return dataclasses.replace(record, keep=record.value.size <= _ALWAYS)
        return record

    def close(self, variables: Variables, rows: RowSources, *, complete: bool, why: str, exit_code: int | None) -> None:
        """The recording is over."""
        if not self._quiet and self.steps:
            print(file=sys.stderr)
        self._writer.header(self.header)
        self._writer.variables(variables.describe())
        self._writer.rows(rows.described(), self._batches)
        if self.configured:
            self._writer.configurations(self.configured)
        self._writer.end(End(complete, why, exit_code))
        self._writer.close()


def _progress(done: int, limit: int) -> str:
    """`tfdiff: [####------] 4 of 10 steps`; a plain count where all steps are recorded."""
    if not limit:
        return f"tfdiff: {done} steps recorded"
    filled = _BAR * done // limit
    return f"tfdiff: [{'#' * filled}{'-' * (_BAR - filled)}] {done} of {limit} steps"


_BAR = 20
_VERSIONS = ("tfdiff", "python", "tensorflow", "keras", "tf_keras", "numpy")
_ALWAYS = 16
"""Elements up to which a tensor is kept even at `--detail sketch`: rates, losses, constants."""
