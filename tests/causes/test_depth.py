"""Arrays that are computed again from what is stored."""

from __future__ import annotations

import numpy as np

from tfdiff.causes.scene import Side
from tfdiff.model import Header, Site, StepInfo
from tfdiff.trace.reader import open_trace
from tfdiff.trace.records import Record
from tfdiff.trace.writer import TraceWriter


def test_a_shallow_look_is_not_the_last_one(tmp_path):
    """A tensor that lay too deep behind one question is found when it is asked for itself."""
    value = np.linspace(-1.0, 1.0, 400)
    records = [Record(Site(0, "input", "data", ""), value)]
    for number in range(1, 9):
        value = -value
        site = Site(number, "activation", "forward", "Neg", occurrence=number)
        records.append(Record(site, value, inputs=(number - 1,), keep=False))
    with TraceWriter(tmp_path / "t.h5") as writer:
        writer.header(Header("a.py", (), {}, {}))
        writer.step(StepInfo(0), records)
    with open_trace(tmp_path / "t.h5") as trace:
        side = Side("a", trace, trace.step(0), (), None)
        assert side.array(8) is None
        for number in (2, 3, 6):
            found = side.array(number)
            assert found is not None
            assert np.array_equal(found, records[number].value)
