from __future__ import annotations

import json

from tfdiff.model import Header
from tfdiff.trace.writer import TraceWriter


def test_json_keys_of_the_contract(tfdiff, write_trace):
    """The JSON has the keys CONTRACT.md promises."""
    ran = tfdiff("info", write_trace("a.h5"), "--json")
    document = json.loads(ran.out)
    assert ran.code == 0
    assert (document["format"], document["version"], document["script"]) == ("tfdiff.trace", 1, "a.py")
    assert (document["steps"], document["sites"], document["ended"]) == (3, 9, "complete")


def test_killed_recording(tfdiff, write_trace):
    """A recording that was killed ended early, and says why it thinks so."""
    ran = tfdiff("info", write_trace("a.h5", end=False), "--json")
    assert json.loads(ran.out)["ended"].startswith("early: ")


def test_text(tfdiff, write_trace):
    """The text says file, script, versions, steps and sites."""
    ran = tfdiff("info", write_trace("a.h5"))
    assert ran.out.startswith("a.h5: tfdiff.trace version 1, ")
    assert "  script     a.py\n" in ran.out
    assert "tensorflow 2.21.0" in ran.out
    assert "  steps      3 complete; complete\n" in ran.out
    assert "  variables  1 weight" in ran.out


def test_bad_file(tfdiff, tmp_path):
    """A text file named .h5: one line, exit code 2."""
    file = tmp_path / "x.h5"
    file.write_text("hello")
    ran = tfdiff("info", file)
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)


def test_reference_is_said(tfdiff, tmp_path):
    """A run that took its start from another one names it and what was shared."""
    header = Header(
        "b.py",
        ("--lr", "1"),
        {},
        {"share": ["batches", "weights"]},
        reference="a.h5",
        shared={"weights": {"shared": 1, "a": 1, "b": 2}, "batches": True, "noise": False},
    )
    with TraceWriter(tmp_path / "b.h5") as writer:
        writer.header(header)
    ran = tfdiff("info", tmp_path / "b.h5")
    assert "  script     b.py --lr 1\n" in ran.out
    assert "  options    share batches+weights\n" in ran.out
    assert "  reference  a.h5; shared: weights 1 of 2, batches yes, noise no" in ran.out
