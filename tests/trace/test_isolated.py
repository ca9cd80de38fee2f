"""The tree of isolated steps: an addition that files without it, and readers that do not know it, live with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from tfdiff.errors import TraceError
from tfdiff.model import Header, Site, StepInfo
from tfdiff.orders import Isolated, Joint
from tfdiff.trace.codec import from_json
from tfdiff.trace.pack import pack
from tfdiff.trace.reader import open_trace
from tfdiff.trace.records import Record
from tfdiff.trace.schema import COUNTED, SCHEMA, TREES
from tfdiff.trace.trim import trim
from tfdiff.trace.writer import TraceWriter

ROOT = Path(__file__).resolve().parents[2]
OWN = Site(1, "activation", "forward", "MatMul", layer="dense", called="b.py:3", boundary=True)
FORCED = Site(2, "forced", "forward", "Forced", layer="dense", called="b.py:3", boundary=True)
X = np.arange(12, dtype=np.float32).reshape(4, 3)
JOINT = Joint(7, ("MatMul", 0, "dense", None, "tf.matmul", 1), (1, 0))
DONE = Isolated(
    2, (JOINT, Joint(8, ("Relu", 0, None, "b.py:4", None, 0))), ((1, 2),), left=({"what": "w", "why": "y"},)
)


def write(path: Path, *, done: Isolated | None = DONE, steps: int = 2) -> Path:
    """A trace with free and isolated steps."""
    with TraceWriter(path, force=True) as writer:
        writer.header(Header("b.py", (), {}, {}))
        for step in range(steps):
            writer.step(StepInfo(step), [Record(OWN, X)])
        for step in range(steps):
            records = [Record(OWN, X + step), Record(FORCED, 2 * X + step, (0,))]
            writer.isolated(StepInfo(step), pack(records))
        if done is not None:
            writer.isolation(done, [OWN, FORCED])
    return path


def test_round_trip(tmp_path):
    """Isolated steps come back beside the free ones, with what the pass did."""
    with open_trace(write(tmp_path / "b.h5")) as trace:
        assert (trace.steps, trace.isolated_steps) == (2, 2)
        assert trace.isolation == DONE
        own, forced = trace.isolated(1).observations
        assert (own.site, forced.site, forced.inputs) == (OWN, FORCED, (0,))
        assert np.array_equal(trace.isolated(1).array(1), 2 * X + 1)
        assert np.array_equal(trace.step(1).array(0), X)
        assert trace.isolated(1).info == StepInfo(1)
        with pytest.raises(IndexError):
            trace.isolated(2)


@pytest.mark.parametrize("path", sorted((ROOT / "traces").glob("*.h5")), ids=lambda path: path.name)
def test_files_without_the_tree(path):
    """Traces from before there was an isolated pass open, and have none."""
    with h5py.File(path) as file:
        assert "isolated" not in file
    with open_trace(path) as trace:
        assert (trace.isolated_steps, trace.isolation) == (0, None)


def test_steps_without_their_document_do_not_count(tmp_path):
    """A pass that was broken off, or whose writer was killed, is none; the free run stays whole."""
    with open_trace(write(tmp_path / "b.h5", done=None)) as trace:
        assert (trace.steps, trace.isolated_steps, trace.isolation) == (2, 0, None)


def test_a_reader_that_does_not_know_it(tmp_path):
    """Such a reader meets the role of forced tensors nowhere: their sites stand in the document it leaves alone."""
    assert COUNTED == ("steps", "initial", "own", "documents") == TREES[:4]
    assert SCHEMA.version == 1
    with h5py.File(write(tmp_path / "b.h5")) as file:
        documents = []
        file["documents"].visititems(lambda name, item: documents.append(item) if name.endswith("json") else None)
        found = [from_json(item[...].tobytes()) for item in documents]
    with_role = [document["kind"] for document in found if '"forced"' in str(document).replace("'", '"')]
    assert with_role == ["isolation"]


@pytest.mark.parametrize("steps", [-1, 1 << 30])
def test_an_impossible_number_of_steps(tmp_path, steps):
    """A document that counts steps no trace can hold is damaged."""
    with pytest.raises(TraceError):
        open_trace(write(tmp_path / "b.h5", done=replace(DONE, steps=steps)))


def test_trimmed_with_the_steps(tmp_path):
    """A cut trace keeps the isolated steps of the steps it keeps."""
    with open_trace(write(tmp_path / "b.h5")) as trace:
        trim(trace, tmp_path / "cut.h5", steps=1, largest=10)
    with open_trace(tmp_path / "cut.h5") as cut:
        assert (cut.steps, cut.isolated_steps) == (1, 1)
        assert cut.isolation == replace(DONE, steps=1)
        own, forced = cut.isolated(0).observations
        assert not own.stored
        assert (forced.site, forced.stats.maximum) == (FORCED, 22.0)
