"""Further runs of a script, each in a silent process of its own: TensorFlow and the script must begin anew."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfdiff.assumptions import Assumption
from tfdiff.orders import RecordOptions
from tfdiff.pairing.map_file import map_from_json

if TYPE_CHECKING:
    from tfdiff.recorder.around import Place

_PR_SET_PDEATHSIG = 1
# Starts as tfdiff's console script does: the current folder must not come first on the import path.
_LAUNCH = (
    "import sys; sys.path[0] = {folder!r}; "
    "from tfdiff.recorder.children import take_order; "
    "from tfdiff.recorder.launch import child_main; sys.exit(child_main(take_order()))"
)


def run_child(kind: str, options: RecordOptions, *, place: Place | None = None, **more: Any) -> int:
    """Run the script once more for the purpose `kind` (see `launch.child_main`); returns the process's exit code.

    `more` are JSON values for that purpose. What the script prints is not shown, and it has no input. `place` is where
    the run is made: a likeness of where the one before it began.
    """
    if place is not None:
        options = replace(options, script=place.script, arguments=place.arguments)
    launch = _LAUNCH.format(folder=str(Path(sys.executable).parent))
    # In a file that has no name: a plan is longer than an argument may be.
    with tempfile.TemporaryFile("w+", encoding="utf-8") as order:
        json.dump({"kind": kind, "options": to_json(options), **more}, order)
        order.seek(0)
        return subprocess.run(  # noqa: S603 - our own program
            [sys.executable, "-c", launch],
            stdin=order,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
            cwd=None if place is None else place.folder,
            env=None if place is None else place.environment,
        ).returncode


def take_order() -> str:
    """In a process that `run_child` started: what it is told to do, read from stdin, which is empty from then on."""
    with open(0, encoding="utf-8", closefd=False) as order:
        text = order.read()
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    return text


def end_with_parent() -> None:
    """End this process with the one that started it: nobody would take in what it leaves (Linux only)."""
    if sys.platform == "linux":
        import ctypes

        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def to_json(options: RecordOptions) -> dict[str, Any]:
    """The options as JSON values."""
    reference = None if options.reference is None else str(options.reference)
    changed = {"output": str(options.output), "reference": reference, "share": sorted(options.share)}
    return {**asdict(options), **changed}


def from_json(data: dict[str, Any]) -> RecordOptions:
    """The options that `to_json` has written."""
    changed = {
        "arguments": tuple(data["arguments"]),
        "output": Path(data["output"]),
        "reference": None if data["reference"] is None else Path(data["reference"]),
        "share": frozenset(data["share"]),
        "assume": tuple(Assumption(**one) for one in data["assume"]),
        "pairs": None if data["pairs"] is None else map_from_json(data["pairs"]),
    }
    return RecordOptions(**{**data, **changed})
