"""The rows of the steps' own batches, by which a cut trace still knows the order of its data."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tfdiff.model import Site
from tfdiff.pairing.rows import row_signatures
from tfdiff.recorder.rowsource import batch_signatures
from tfdiff.trace.reader import open_trace
from tfdiff.trace.records import Record

SCRIPT = Path(__file__).parent / "scripts" / "styles.py"


def record(role, value):
    """A record of that role."""
    return Record(Site(0, role, "data", ""), np.asarray(value))


def test_own_batch_goes_before_the_shared_one():
    """What the run had before sharing counts; without sharing, what it used."""
    x, y, other = np.arange(12.0).reshape(4, 3), np.arange(4), np.ones((4, 3))
    shared = [record("own input", x), record("input", other), record("own input", y), record("input", y)]
    alone = [record("input", x), record("input", y)]
    assert np.array_equal(batch_signatures(shared), row_signatures([x, y]))
    assert np.array_equal(batch_signatures(alone), row_signatures([x, y]))


def test_only_rows_count():
    """Scalars, tensors of another length, a second look at the same tensor and other roles are left out."""
    x, y = np.arange(12.0).reshape(4, 3), np.arange(4)
    records = [record("input", v) for v in (3.0, x, y, x.copy(), np.ones(7), np.zeros((0, 3)))]
    records.append(record("noise", np.ones(4)))
    assert np.array_equal(batch_signatures(records), row_signatures([x, y]))
    assert batch_signatures(records[-1:]).size == 0


def test_recorded(tfdiff, tmp_path):
    """A recording keeps the rows of each of its steps; with a reference those of its own batches."""
    assert tfdiff("record", "-o", "a.h5", "--quiet", SCRIPT, "raw_eager", 0.25, 3).code == 0
    options = ("--reference", "a.h5", "--quiet")
    assert tfdiff("record", "-o", "b.h5", *options, SCRIPT, "raw_eager", 0.25, 3, "shuffle").code == 0
    with open_trace(tmp_path / "a.h5") as a, open_trace(tmp_path / "b.h5") as b:
        for trace, role in ((a, "input"), (b, "own input")):
            assert len(trace.batch_rows) == 3
            for step, rows in enumerate(trace.batch_rows):
                block = trace.step(step)
                batch = [
                    block.array(o.index) for o in block.observations if o.site.role == role and o.shape[:1] == (16,)
                ]
                assert np.array_equal(rows, row_signatures(batch))
        seen = [np.concatenate(trace.batch_rows) for trace in (a, b)]
        assert not np.array_equal(*seen)
        assert np.array_equal(np.sort(seen[0]), np.sort(seen[1]))
