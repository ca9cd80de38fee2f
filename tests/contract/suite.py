"""Records the styles, compares them, and says what is not as it should be."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tfdiff
from tfdiff.errors import TfdiffError

if TYPE_CHECKING:
    from tfdiff.model import Cause, Divergence, Place, Result

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
FOLDER = HERE / "styles"
STYLES = tuple(sorted({path.stem for path in FOLDER.glob("*.py")} - {"task"}))
STEPS = 3
WEIGHTS = 8
"""Two kernels and biases, scale and offset, two moving statistics."""
PHASES = {"data", "forward", "loss", "backward", "update", "state"}
"""In each of them something must have been compared and found equal."""


@dataclass(frozen=True)
class Fault:
    """What a word on the command line of a style makes wrong."""

    phase: str
    code: str
    a: float
    b: float


FAULTS = {
    "rate": Fault("forward", "dropout-rate", 0.25, 0.6),
    "learning-rate": Fault("update", "lr", 0.1, 0.02),
    "statistics": Fault("state", "state-norm-momentum", 0.9, 0.5),
}


def fault_lines(style: str, fault: str) -> list[str]:
    """`file:line` of the lines of a style that are wrong under this fault."""
    lines = (FOLDER / f"{style}.py").read_text().splitlines()
    return [f"{style}.py:{number}" for number, line in enumerate(lines, 1) if line.endswith(f"# fault: {fault}")]


class Worker:
    """A process of `worker.py`."""

    def __init__(self, log: Path, *, legacy: bool) -> None:
        switches = {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
        if legacy:
            switches["TF_USE_LEGACY_KERAS"] = "1"
        with log.open("ab") as talk:
            self._process = subprocess.Popen(
                [sys.executable, str(HERE / "worker.py")],
                env=os.environ | switches,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=talk,
                text=True,
                start_new_session=True,  # an interrupt is for whoever asked, who then closes stdin
            )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n", log.read_text(errors="replace")

    def run(self, arguments: list[object], log: Path, scout: Path | None) -> tuple[int, str]:
        """A `tfdiff` command in a fresh fork: exit code, and what it had to say.

        The code is 70 where it says that something of its own failed.
        """
        order = {
            "cwd": str(log.parent),
            "arguments": [str(a) for a in arguments],
            "out": str(log),
            "err": str(log),
            "scout": None if scout is None else str(scout),
        }
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps(order), file=self._process.stdin, flush=True)
        code, said = int(self._process.stdout.readline()), log.read_text(errors="replace")
        return (code or 70) if "please report it" in said else code, said

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(30)


def needs_legacy(style: str) -> bool:
    """Whether the style sets the switch of legacy Keras before it imports TensorFlow."""
    return 'os.environ["TF_USE_LEGACY_KERAS"] = "1"' in (FOLDER / f"{style}.py").read_text()


class RecordingError(Exception):
    """A style could not be recorded."""


class Suite:
    """The recordings in a folder; each thread has worker processes of its own."""

    def __init__(self, folder: Path, *, keep_scouts: bool = True, calibrate: bool = False) -> None:
        self._folder = folder
        self._calibrate = "--calibrate" if calibrate else "--no-calibrate"
        self._keep_scouts = keep_scouts
        self._workers: dict[tuple[int, bool], Worker] = {}
        self._locks: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()

    def reference(self, style: str) -> Path:
        """The style recorded without a reference; once."""
        with self._lock:
            lock = self._locks.setdefault(style, threading.Lock())
        path = self._folder / f"{style}.h5"
        with lock:
            if not path.exists():
                self._record(style, path, [], None, self._calibrate)
        return path

    def against(self, a: str, b: str, fault: str | None = None) -> Path:
        """b, with a fault or without, recorded with the start of a; always anew."""
        path = self._folder / f"{a}-{b}-{fault}.h5"
        words = ["shuffled", *([fault] if fault else [])]
        scout = self._folder / f"scout-{b}-{fault}.h5" if self._keep_scouts else None
        self._record(b, path, words, scout, "--reference", self.reference(a))
        return path

    def _record(self, style: str, path: Path, words: list[str], scout: Path | None, *options: object) -> None:
        worker = self._worker(legacy=needs_legacy(style))
        command = ["record", "--quiet", "--force", "--steps", 0, *options, "-o", path, FOLDER / f"{style}.py", *words]
        code, said = worker.run(command, path.with_suffix(".log"), scout)
        if code:
            raise RecordingError(f"{style} ended with {code}: {' / '.join(said.strip().splitlines()[-3:])}")

    def _worker(self, *, legacy: bool) -> Worker:
        key = (threading.get_ident(), legacy)
        if key not in self._workers:
            self._workers[key] = Worker(self._folder / "workers.log", legacy=legacy)
        return self._workers[key]

    def compare(self, a: str, b: str, fault: str | None = None) -> list[str]:
        """What is not as it should be between a and b."""
        try:
            path = self.against(a, b, fault)
            result = tfdiff.diff(self.reference(a), path)
        except (RecordingError, TfdiffError) as error:
            return [str(error)]
        complaints = clean(result) if fault is None else found(result, a, b, fault)
        if not complaints:
            path.unlink()
        return complaints

    def close(self) -> None:
        """End the processes."""
        for worker in self._workers.values():
            worker.close()


def not_shared(result: Result) -> list[str]:
    """What was not shared though it should be, or not recorded."""
    wanted = {"weights": {"shared": WEIGHTS, "a": WEIGHTS, "b": WEIGHTS}, "batches": True, "noise": True}
    complaints = [
        f"{part} shared: {result.shared.get(part)}" for part in wanted if result.shared.get(part) != wanted[part]
    ]
    complaints += [f"not shared: {note['what']}: {note['why']}" for note in result.not_shared]
    return complaints + [f"not recorded: {note['what']}: {note['why']}" for note in result.not_recorded]


def clean(result: Result) -> list[str]:
    """What keeps two styles from being equivalent with everything shared, paired and compared."""
    complaints = not_shared(result)
    if result.verdict != "equivalent":
        complaints.append(f"verdict {result.verdict}")
    complaints += [f"diverged at {told(one)}" for one in (*result.divergences, *result.own)]
    if result.compared != STEPS:
        complaints.append(f"{result.compared} steps compared")
    equal = {row.phase for row in result.rows if row.evidence and all(cell.status == "equal" for cell in row.cells)}
    complaints += [f"nothing compared in phase {phase}" for phase in sorted(PHASES - equal)]
    for row in result.rows:
        site = row.a or row.b
        if site is not None and site.role in ("weight", "state") and (row.a is None or row.b is None):
            complaints.append(f"unpaired: {row.a_name or row.b_name}")
    return complaints


def found(result: Result, a: str, b: str, fault: str) -> list[str]:
    """What keeps the fault from being found: in its phase, at its lines, under its name, with its numbers."""
    wanted, first = FAULTS[fault], result.first
    complaints = not_shared(result)
    if first is None:
        return [*complaints, f"verdict {result.verdict}, nothing found"]
    if (first.step, first.phase) != (0, wanted.phase) or not first.introduced:
        complaints.append(f"first is {told(first)}")
    for name, place in ((a, first.a), (b, first.b)):
        if not fault_lines(name, fault) or not _at(place, fault_lines(name, fault)):
            complaints.append(f"{name}: found at {place and (place.source, place.called, place.site)}")
    codes = {cause.code for cause in result.causes}
    if codes != {wanted.code}:
        complaints.append(f"causes {sorted(codes)}")
    elif not _constants(result.causes[0], wanted):
        complaints.append(f"constants {result.causes[0].constants}")
    return complaints


def _at(place: Place | None, lines: list[str]) -> bool:
    return place is not None and (place.source in lines or place.called in lines)


def _constants(cause: Cause, wanted: Fault) -> bool:
    return all(abs(cause.constants.get(side, 0.0) - getattr(wanted, side)) <= 2e-3 for side in "ab")


def told(one: Divergence) -> str:
    """A divergence in a line."""
    sides = [f"{place.site} ({place.source}) {place.op}" if place else "nothing" for place in (one.a, one.b)]
    error = f"error {one.error:.2g} over {one.tolerance:.2g}"
    return f"step {one.step} {one.phase}: {sides[0]} / {sides[1]}, {error}: {one.summary}"
