"""Commands in this process and in their own, and traces small enough to write in every test."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tfdiff.cli import main
from tfdiff.model import End, Header, Site, StepInfo, Variable
from tfdiff.trace.records import Record
from tfdiff.trace.writer import TraceWriter

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Ran:
    """What a command gave back."""

    code: int
    out: str
    err: str


@pytest.fixture
def tfdiff(capfd: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """Run a command in this process."""

    def run(*arguments: object) -> Ran:
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as stop:  # argparse ends the program itself
            code = int(stop.code or 0)
        out, err = capfd.readouterr()
        return Ran(code, out, err)

    return run


@pytest.fixture
def process(tmp_path: Path) -> Callable[..., Ran]:
    """Run a command in a process of its own, in the test's folder."""

    def run(*arguments: object, program: tuple[str, ...] = ("-m", "tfdiff"), timeout: float = 300) -> Ran:
        environment = os.environ | {
            "PYTHONPATH": str(ROOT),
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "CUDA_VISIBLE_DEVICES": "-1",
        }
        command = [sys.executable, *program, *map(str, arguments)]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=timeout
        )
        return Ran(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def write_trace(tmp_path: Path) -> Callable[..., Path]:
    """Write a trace of a linear model trained by hand: x @ w, half the mean square, w -= rate * gradient."""

    def write(name: str, *, steps: int = 3, rate: float = 0.1, activate: bool = False, end: bool = True) -> Path:
        path = tmp_path / name
        with TraceWriter(path, force=True) as writer:
            writer.header(Header(f"{path.stem}.py", (), {"python": "3.11.7", "tensorflow": "2.21.0"}, {"steps": steps}))
            writer.variables([Variable(0, "dense/kernel", (8, 4), "float32", True, "weight", "dense", "m.py:3")])
            train(writer, steps, rate, activate=activate)
            if end:
                writer.end(End(complete=True, why="steps recorded"))
        return path

    return write


def train(writer: TraceWriter, steps: int, rate: float, *, activate: bool) -> None:
    """Write the steps; `activate` adds a relu that the other run does not have."""
    random = np.random.default_rng(7)
    w = random.normal(size=(8, 4)).astype(np.float32)
    writer.initial([Record(Site(0, "weight", "init", "", layer="dense", variable=0, boundary=True), w)])
    for index in range(steps):
        x = random.normal(size=(16, 8)).astype(np.float32)
        z = x @ w
        y = np.maximum(z, 0) if activate else z
        upstream = (y / y.size).astype(np.float32)
        gradient = x.T @ (np.where(z > 0, upstream, 0) if activate else upstream).astype(np.float32)
        loss = np.float32(0.5 * np.mean(np.square(y)))
        after = (w - np.float32(rate) * gradient).astype(np.float32)
        writer.step(StepInfo(index), records(x, w, z, y if activate else None, loss, gradient, after))
        w = after


def records(x, w, z, y, loss, gradient, after):
    """One step of the model, in the order of execution."""
    dense = {"layer": "dense", "source": "m.py:3", "called": "m.py:9"}
    found = [
        Record(Site(1, "input", "forward", "", boundary=True), x),
        Record(Site(2, "weight", "forward", "ReadVariableOp", variable=0, boundary=True, **dense), w),
        Record(Site(3, "activation", "forward", "MatMul", boundary=True, **dense), z, inputs=(0, 1)),
    ]
    if y is not None:
        relu = {"layer": "relu", "source": "m.py:4", "called": "m.py:9"}
        found.append(Record(Site(4, "activation", "forward", "Relu", boundary=True, **relu), y, inputs=(2,)))
    last = len(found) - 1
    line = {"source": "m.py:5", "called": "m.py:9"}
    found.append(Record(Site(5, "activation", "loss", "Mean", boundary=True, **line), loss, inputs=(last,)))
    found += [
        Record(Site(6, "loss", "loss", "Mean", boundary=True, **line), loss, inputs=(last + 1,)),
        Record(Site(7, "weight gradient", "backward", "MatMul", variable=0, boundary=True, **dense), gradient),
        Record(Site(8, "applied gradient", "update", "", variable=0, boundary=True, **dense), gradient),
        Record(Site(9, "weight", "update", "", variable=0, boundary=True, **dense), after),
    ]
    return found
