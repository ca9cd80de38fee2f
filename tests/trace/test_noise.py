"""What noise does, and what an unrecorded run showed, in a trace: written behind it, read back, cut, damaged."""

from __future__ import annotations

import numpy as np
import pytest

from tests.trace.test_killed import HEADER, SITES
from tfdiff.errors import TraceError
from tfdiff.model import Observed, StepInfo
from tfdiff.trace.reader import open_trace
from tfdiff.trace.records import Record
from tfdiff.trace.trim import trim
from tfdiff.trace.writer import TraceWriter

ERRORS = [np.array([1e-7, np.nan], np.float32), np.array([2e-7, np.inf], np.float32)]
UPDATES = [{3: 1e-6}, {3: 2e-6, 5: float("inf")}]


@pytest.fixture
def path(tmp_path):
    """Three steps, two of them measured."""
    with TraceWriter(tmp_path / "t.h5") as writer:
        writer.header(HEADER)
        for step in range(3):
            writer.step(StepInfo(step), [Record(site, np.full(9, step, np.float32)) for site in SITES[:2]])
    with TraceWriter.reopen(tmp_path / "t.h5") as writer:
        writer.noise(ERRORS, UPDATES, "it ended after 2 steps")
        writer.observed(Observed(ok=False, error=0.5, noise=1e-7, where="w"))
    return tmp_path / "t.h5"


def test_round_trip(path):
    """Errors per step and observation, those of updates per variable, the reason, and what was observed."""
    with open_trace(path) as trace:
        assert (trace.steps, trace.calibrated) == (3, 2)
        for step, errors in enumerate(ERRORS):
            assert np.array_equal(trace.noise(step), errors, equal_nan=True)
            assert trace.update_noise(step) == UPDATES[step]
        assert trace.noise(2) is None
        assert trace.update_noise(2) == {}
        assert trace.not_calibrated == "it ended after 2 steps"
        assert trace.observed == Observed(ok=False, error=0.5, noise=1e-7, where="w")


def test_not_measured(tmp_path):
    """Without a measurement there is nothing, and no reason; a measurement that failed leaves its reason alone."""
    with TraceWriter(tmp_path / "t.h5") as writer:
        writer.header(HEADER)
        writer.step(StepInfo(0), [Record(SITES[0], np.zeros(3))])
    with open_trace(tmp_path / "t.h5") as trace:
        assert (trace.calibrated, trace.not_calibrated, trace.noise(0), trace.observed) == (0, None, None, None)
    with TraceWriter.reopen(tmp_path / "t.h5") as writer:
        writer.noise([], (), "it failed")
    with open_trace(tmp_path / "t.h5") as trace:
        assert (trace.calibrated, trace.not_calibrated, trace.noise(0)) == (0, "it failed", None)


def test_cut(path, tmp_path):
    """A cut trace keeps what was measured of the steps it keeps."""
    with open_trace(path) as trace:
        trim(trace, tmp_path / "cut.h5", steps=1, largest=4)
    with open_trace(tmp_path / "cut.h5") as cut:
        assert (cut.steps, cut.calibrated) == (1, 1)
        assert np.array_equal(cut.noise(0), ERRORS[0], equal_nan=True)
        assert cut.update_noise(0) == UPDATES[0]
        assert cut.observed.where == "w"


def test_damaged(path):
    """Errors that do not fit their checksum are damage, said in one line."""
    content = path.read_bytes()
    at = content.index(ERRORS[0][:1].tobytes() + ERRORS[0][1:].tobytes())
    path.write_bytes(content[:at] + b"\x01" + content[at + 1 :])
    with open_trace(path) as trace, pytest.raises(TraceError, match="found damage"):
        trace.noise(0)
