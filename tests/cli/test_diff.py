from __future__ import annotations

import json

import pytest


def test_equal_traces(tfdiff, write_trace):
    """Two runs of the same program: equivalent, exit code 0, the text on stdout, nothing on stderr."""
    ran = tfdiff("diff", write_trace("a.h5"), write_trace("b.h5"))
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith("EQUIVALENT within noise: 3 training steps compared\n")


def test_other_learning_rate(tfdiff, write_trace):
    """A step that is twice as long: diverged in update at step 0, exit code 1."""
    ran = tfdiff("diff", write_trace("a.h5"), write_trace("b.h5", rate=0.2), "--json", "-")
    document = json.loads(ran.out)
    assert (ran.code, document["verdict"]) == (1, "diverged")
    assert (document["first"]["step"], document["first"]["phase"]) == (0, "update")
    assert document["first"]["a"]["layer"] == "dense"


def test_missing_activation(tfdiff, write_trace):
    """A relu that only a has: diverged in forward at step 0, with a's line."""
    ran = tfdiff("diff", write_trace("a.h5", activate=True), write_trace("b.h5"), "--json", "-")
    first = json.loads(ran.out)["first"]
    assert (ran.code, first["step"], first["phase"]) == (1, 0, "forward")
    assert "m.py:4" in (first["a"]["source"], first["a"]["called"])


def test_json_to_a_file(tfdiff, write_trace, tmp_path):
    """--json FILE writes the document and leaves the text on stdout; a second time it is written anew."""
    a, b = write_trace("a.h5"), write_trace("b.h5")
    file = tmp_path / "result.json"
    for _ in range(2):
        ran = tfdiff("diff", a, b, "--json", file)
        assert (ran.code, ran.out.partition(" ")[0]) == (0, "EQUIVALENT")
        assert json.loads(file.read_text())["verdict"] == "equivalent"
        assert str(file) in ran.err


def test_json_never_goes_over_a_trace(tfdiff, write_trace):
    """--json naming an input is refused and the trace stays whole."""
    a, b = write_trace("a.h5"), write_trace("b.h5")
    before = a.read_bytes()
    ran = tfdiff("diff", a, b, "--json", a)
    assert (ran.code, a.read_bytes() == before) == (2, True)


@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("kind", ["missing", "text", "truncated", "empty", "folder"])
def test_bad_files(tfdiff, write_trace, tmp_path, kind, side):
    """A file that is no trace: one line that names it, exit code 2, nothing on stdout - whichever side it is."""
    good, bad = write_trace("good.h5"), tmp_path / "bad.h5"
    if kind == "text":
        bad.write_text("not a trace\n" * 50)
    elif kind == "truncated":
        bad.write_bytes(good.read_bytes()[: good.stat().st_size // 3])
    elif kind == "empty":
        bad.touch()
    elif kind == "folder":
        bad.mkdir()
    pair = (bad, good) if side == 0 else (good, bad)
    ran = tfdiff("diff", *pair)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.count("\n") == 1
    assert "bad.h5" in ran.err
    assert "Traceback" not in ran.err


def test_killed_recording_is_compared_as_far_as_it_goes(tfdiff, write_trace):
    """A trace without an end still has its complete steps, and these are compared."""
    ran = tfdiff("diff", write_trace("a.h5"), write_trace("b.h5", steps=2, end=False), "--json", "-")
    assert json.loads(ran.out)["steps"] == {"a": 3, "b": 2, "compared": 2, "horizon": None}


def test_from_python(write_trace):
    """`tfdiff.diff` gives the same result as an object."""
    import tfdiff

    assert tfdiff.diff(write_trace("a.h5"), str(write_trace("b.h5"))).verdict == "equivalent"
