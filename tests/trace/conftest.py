"""A small trace with something of everything, and a way to look at all of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from tfdiff.model import End, Header, RowSource, Site, StepInfo, Variable
from tfdiff.trace.reader import open_trace
from tfdiff.trace.records import Record
from tfdiff.trace.writer import TraceWriter

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

INPUT = Site(0, "input", "data", "")
KERNEL = Site(1, "weight", "update", "", layer="sequential/dense", variable=0, boundary=True)
PRODUCT = Site(2, "activation", "forward", "MatMul", layer="sequential/dense", attrs={"transpose_a": False})
GRADIENT = Site(3, "activation gradient", "backward", "ReluGrad", layer="sequential/dense")
NOISE = Site(4, "noise", "forward", "RandomUniform", api="tf.nn.dropout", called="a.py:7")


def records(step: int) -> list[Record]:
    """What one step holds: a batch, an inner op without its array, its gradient, the weight after the step."""
    generator = np.random.default_rng(step)
    noise = [Record(NOISE, generator.random((2, 3)), keep=True)] if step % 2 else []
    return [
        Record(INPUT, generator.normal(size=(4, 3)).astype(np.float32)),
        Record(PRODUCT, generator.normal(size=(4, 5)).astype(np.float32), inputs=(0, -1), keep=False),
        Record(GRADIENT, generator.normal(size=(4, 5)).astype(np.float32), of=1),
        *noise,
        Record(KERNEL, np.full((3, 5), step, np.float32)),
    ]


def write_sample(path: Path, steps: int = 3, *, end: bool = True) -> Path:
    """A trace with `steps` steps."""
    with TraceWriter(path) as writer:
        writer.header(
            Header("a.py", ("--epochs", "3"), {"python": "3.11"}, {"steps": steps}, not_recorded=({"x": "y"},))
        )
        writer.variables([Variable(0, "sequential/dense/kernel", (3, 5), "float32", trainable=True, kind="weight")])
        writer.initial(
            [Record(KERNEL, np.full((3, 5), -1, np.float32))], [Record(KERNEL, np.full((3, 5), -2, np.float32))]
        )
        writer.rows([(RowSource("x_train", "a.py:3", 6, ("float32[3]", "int64[]")), np.arange(6, dtype=np.uint64))])
        for step in range(steps):
            writer.step(StepInfo(step, ({"class": "Adam", "learning_rate": 0.1},)), records(step))
        if end:
            writer.end(End(complete=True, why="steps recorded"))
    return path


def walk(path: Path) -> list[object]:
    """Everything a reader can get out of a trace, comparable."""
    with open_trace(path) as trace:
        found: list[object] = [trace.header, trace.end, trace.steps, trace.variables, trace.sites]
        found += [(source, hashes.tobytes()) for source, hashes in trace.row_sources]
        for block in (trace.initial(), trace.own_initial(), *(trace.step(step) for step in range(trace.steps))):
            found += [block.info, block.observations, block.sketches().tobytes()]
            found += [block.array(seen.index).tobytes() for seen in block.observations if seen.stored]
    return found


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    """A complete trace of three steps."""
    return write_sample(tmp_path / "sample.h5")


@pytest.fixture
def everything() -> Callable[[Path], list[object]]:
    """`walk`."""
    return walk


@pytest.fixture
def step_records() -> Callable[[int], list[Record]]:
    """`records`."""
    return records


@pytest.fixture
def write() -> Callable[..., Path]:
    """`write_sample`."""
    return write_sample
