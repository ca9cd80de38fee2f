"""The tree of evaluation passes: an addition that files without it, and readers that do not know it, live with."""

from __future__ import annotations

import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest

from tfdiff.errors import TraceError
from tfdiff.model import EvalInfo, Header, Site
from tfdiff.trace.reader import open_trace
from tfdiff.trace.records import Record
from tfdiff.trace.schema import COUNTED, SCHEMA, TREES
from tfdiff.trace.trim import trim
from tfdiff.trace.writer import TraceWriter

ROOT = Path(__file__).resolve().parents[2]
INPUT = Site(1 << 23, "input", "forward", "Leaf")
OUTPUT = Site((1 << 23) + 1, "activation", "forward", "MatMul")
COLUMN = Site((1 << 23) + 2, "activation", "eval", "MatMul")
X = np.arange(12, dtype=np.float32).reshape(4, 3)


def write(path: Path, *infos: EvalInfo) -> Path:
    """A trace with these passes."""
    with TraceWriter(path, force=True) as writer:
        writer.header(Header("a.py", (), {}, {}))
        for info in infos:
            writer.evaluation(info, [Record(INPUT, X), Record(OUTPUT, 2 * X, (0,)), Record(COLUMN, 2 * X, (), 1)])
    return path


def info(number: int, after: int = 0, **more: object) -> EvalInfo:
    """A pass of one batch."""
    return EvalInfo(number, "evaluate", after, 1, 4, 4, **{"outputs": (1,), **more})


def test_round_trip(tmp_path):
    """A pass comes back with its information and its tensors."""
    first = info(0, metrics={"loss": 0.5, "accuracy": float("nan")}, source="a.py:3", called="a.py:9")
    with open_trace(write(tmp_path / "a.h5", first, info(1, 2))) as trace:
        assert (trace.steps, trace.evals) == (0, 2)
        block = trace.eval(0)
        assert (block.evaluation.kind, block.evaluation.called, block.evaluation.outputs) == (
            "evaluate",
            "a.py:9",
            (1,),
        )
        assert block.evaluation.metrics["loss"] == 0.5
        assert np.isnan(block.evaluation.metrics["accuracy"])
        assert block.info.index == 0
        assert np.array_equal(block.array(1), 2 * X)
        assert block.observations[2].of == 1
        assert (trace.eval(1).evaluation.index, trace.eval(1).info.index) == (1, 2)
        with pytest.raises(IndexError):
            trace.eval(2)


@pytest.mark.parametrize("path", sorted((ROOT / "traces").glob("*.h5")), ids=lambda path: path.name)
def test_files_without_the_tree(path):
    """Traces from before there were evaluations open, and have none."""
    with h5py.File(path) as file:
        assert "evals" not in file
    with open_trace(path) as trace:
        assert trace.evals == 0
        assert trace.steps


def test_a_reader_that_does_not_know_it(tmp_path):
    """What an older reader looks at is what it was: version, counted trees, positions of trees; the count is a document
    of a kind of its own, which is left alone by whoever does not know it.
    """
    with h5py.File(write(tmp_path / "a.h5", info(0))) as file:
        assert file.attrs["version"] == b"1"
        assert file["commit"].shape == (5,)
    assert COUNTED == ("steps", "initial", "own", "documents") == TREES[:4]
    assert SCHEMA.version == 1


def test_only_complete_passes_count(tmp_path):
    """Until the count is written, a pass is not there."""
    path = write(tmp_path / "a.h5", info(0), info(1))
    with h5py.File(path, "r+") as file:
        row = file["commit"][...]
        row[3] -= 1  # the last document is the count of two
        row[4] = zlib.crc32(row[:4].tobytes())
        file["commit"][...] = row
    with open_trace(path) as trace:
        assert trace.evals == 1


def test_results_that_are_not_there(tmp_path):
    """A pass that names results it does not have is damaged."""
    with open_trace(write(tmp_path / "a.h5", info(0, outputs=(7,)))) as trace, pytest.raises(TraceError):
        trace.eval(0)


def test_trimmed_with_the_steps(tmp_path):
    """A cut trace keeps the passes up to its last step."""
    with open_trace(write(tmp_path / "a.h5", info(0), info(1, 5))) as trace:
        trim(trace, tmp_path / "cut.h5", steps=3, largest=10)
    with open_trace(tmp_path / "cut.h5") as cut:
        assert cut.evals == 1
        assert not cut.eval(0).observations[1].stored
        assert cut.eval(0).evaluation == info(0)
