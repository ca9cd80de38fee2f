"""What is added to a closed trace afterwards: as safe as the first writing, and never at the cost of what was there."""

from __future__ import annotations

import numpy as np
import pytest

from tests.trace.test_killed import HEADER, SITES, SlowMotionWriter
from tfdiff.errors import TraceError
from tfdiff.model import End, EvalInfo, Site, StepInfo
from tfdiff.trace.reader import open_trace
from tfdiff.trace.records import Record, WriteError
from tfdiff.trace.writer import TraceWriter


def write(path):
    """A complete trace of three steps and an evaluation."""
    with TraceWriter(path) as writer:
        writer.header(HEADER)
        writer.initial([Record(SITES[4], np.zeros(3))])
        for step in range(3):
            writer.step(StepInfo(step), [Record(site, np.full(400, step, np.float32)) for site in SITES[:2]])
        writer.evaluation(EvalInfo(0, "evaluate", 3, 1, 4, 4), [Record(SITES[2], np.ones(4))])
        writer.end(End(complete=True, why="steps recorded"))


def check(path):
    """Everything that the first writing left is there."""
    with open_trace(path) as trace:
        assert trace.end == End(complete=True, why="steps recorded")
        assert trace.steps >= 3
        assert trace.evals >= 1
        for step in range(3):
            assert (trace.step(step).array(1) == step).all()
        assert trace.eval(0).array(0).tolist() == [1.0] * 4
        assert trace.initial().array(0).tolist() == [0.0] * 3
        return trace.steps, trace.evals


def test_blocks_are_added(tmp_path):
    """A reopened trace takes documents, steps and passes behind what it holds, with sites new and known."""
    path = tmp_path / "t.h5"
    write(path)
    with TraceWriter.reopen(path) as writer:
        writer.step(StepInfo(3), [Record(SITES[0], np.full(5, 3.0)), Record(SITES[3], np.full(5, 4.0))])
        writer.evaluation(EvalInfo(1, "predict", 4, 1, 4, 4), [Record(SITES[2], np.full(4, 2.0))])
    with TraceWriter.reopen(path) as writer:
        writer.header(HEADER)
        writer.step(StepInfo(4), [Record(SITES[3], np.full(6, 5.0))])
    assert check(path) == (5, 2)
    with open_trace(path) as trace:
        assert trace.step(3).array(1).tolist() == [4.0] * 5
        assert trace.step(4).array(0).tolist() == [5.0] * 6
        assert trace.eval(1).array(0).tolist() == [2.0] * 4


def test_other_site_of_known_number(tmp_path):
    """A site that contradicts one of the first writing is refused."""
    path = tmp_path / "t.h5"
    write(path)
    other = Site(SITES[0].id, "loss", "loss", "Sum")
    with TraceWriter.reopen(path) as writer, pytest.raises(ValueError, match="site 0"):
        writer.step(StepInfo(3), [Record(other, np.zeros(1))])
    check(path)


def test_killed_while_adding(tmp_path):
    """Whichever write of the addition was the last one, the trace holds all it held, and what was acknowledged."""
    path, killed = tmp_path / "t.h5", tmp_path / "killed.h5"
    write(path)
    before = path.read_bytes()
    with SlowMotionWriter.reopen(path) as writer:
        acknowledged = [(len(writer.disk.changes), 3)]
        for step in range(3, 14):
            writer.step(StepInfo(step), [Record(site, np.full(300, step, np.float32)) for site in SITES[2:]])
            acknowledged.append((len(writer.disk.changes), step + 1))
    assert path.read_bytes() == before
    for count, content in writer.disk.states(before):
        killed.write_bytes(content)
        steps, _ = check(killed)
        assert steps >= max(step for changes, step in acknowledged if changes <= count)
    assert steps == 14


def test_added_to_one_that_was_killed(tmp_path):
    """What a killed addition left behind is written over by the next one."""
    path = tmp_path / "t.h5"
    write(path)
    writer = TraceWriter.reopen(path)
    writer._put_counts = lambda: None
    writer.step(StepInfo(3), [Record(SITES[3], np.full(50, 7.0))])
    writer.close()
    assert check(path) == (3, 1)
    with TraceWriter.reopen(path) as writer:
        writer.step(StepInfo(3), [Record(SITES[3], np.full(60, 8.0))])
    assert check(path) == (4, 1)
    with open_trace(path) as trace:
        assert trace.step(3).array(0).tolist() == [8.0] * 60


def test_file_is_closed_again(tmp_path):
    """A trace that opens and then cannot be read any more is closed again, at once."""
    path, opened = tmp_path / "t.h5", []
    write(path)

    class Unreadable(TraceWriter):
        def _open(self, path, mode):
            file, handle = super()._open(path, mode)
            opened.append(file)
            return Unread(file), handle

    class Unread:
        def __init__(self, file):
            self.close = file.close

        def __getitem__(self, name):
            raise OSError(5, "Input/output error")

    with pytest.raises(WriteError, match="Input/output error"):
        Unreadable.reopen(path)
    assert [bool(file) for file in opened] == [False]
    check(path)


def test_nothing_to_reopen(tmp_path):
    """No file, and a file that is no trace, are said in one line; one without a right to write as well."""
    with pytest.raises(TraceError, match="no such file"):
        TraceWriter.reopen(tmp_path / "none.h5")
    (tmp_path / "text.h5").write_text("text")
    with pytest.raises(TraceError, match="not HDF5"):
        TraceWriter.reopen(tmp_path / "text.h5")
    path = tmp_path / "t.h5"
    write(path)
    with open_trace(path), pytest.raises(WriteError, match="expected to write the trace"):
        TraceWriter.reopen(path)  # HDF5 opens a file once, and it is open for reading
    check(path)
