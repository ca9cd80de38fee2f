"""How layers were set up: an addition that files without it, and readers that do not know it, live with."""

from __future__ import annotations

import pytest

from tfdiff.errors import TraceError
from tfdiff.model import Header
from tfdiff.settings import Configuration
from tfdiff.trace.reader import MOST_CONFIGURATIONS, open_trace
from tfdiff.trace.trim import trim
from tfdiff.trace.writer import TraceWriter

FOUND = (
    Configuration("layer", "net/drop", "Mine", {"rate": 0.2, "shape": [1, None], "of": {"class": "L2"}}, "a.py:3"),
    Configuration("loss", "mse", "MeanSquaredError", {"reduction": "sum"}, base="Loss", cut=("words",)),
)


def written(path, document):
    """A trace with such a document."""
    with TraceWriter(path, force=True) as writer:
        writer.header(Header("a.py", (), {}, {}, switches={"eager mode": "on"}))
        writer._document({"kind": "configurations", "configurations": document})
    return path


def test_round_trip(tmp_path):
    """They come back as they were written, also from a trace that was cut; a trace without them has none."""
    path = written(tmp_path / "a.h5", FOUND)
    with open_trace(path) as trace:
        assert trace.configurations == FOUND
        assert trace.header.switches == {"eager mode": "on"}
        trim(trace, tmp_path / "b.h5", steps=1, largest=0)
    with open_trace(tmp_path / "b.h5") as trace:
        assert trace.configurations == FOUND


def test_without(sample):
    """An older trace has none of them, and no switches."""
    with open_trace(sample) as trace:
        assert (trace.configurations, trace.header.switches) == ((), {})


@pytest.mark.parametrize(
    "document",
    [3, None, [3], [{}], [{"kind": "layer", "path": "x", "class_name": "y", "settings": [1]}]],
)
def test_damaged(tmp_path, document):
    """Something else in their place is damage, in one line."""
    with pytest.raises(TraceError, match="damage"):
        open_trace(written(tmp_path / "a.h5", document))


def test_a_strangers(tmp_path):
    """No more of them than a recorder writes, and nothing in them steers a terminal."""
    many = [{"kind": "layer", "path": "\x1b[1mx", "class_name": "y", "settings": {"\x1bk": ["\x1bv"]}}] * 5000
    with open_trace(written(tmp_path / "a.h5", many)) as trace:
        assert len(trace.configurations) == MOST_CONFIGURATIONS
        assert trace.configurations[0] == Configuration("layer", "[1mx", "y", {"k": ["v"]})
