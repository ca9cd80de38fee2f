"""Floating point types of recorded runs: their tolerances, one side in another type, what the header says."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import tfdiff as package
from tfdiff.trace.reader import open_trace

SCRIPTS = Path(__file__).parent / "scripts"


@pytest.fixture
def compared(tfdiff, tmp_path):
    """The result of two runs of a script, given its arguments."""

    def run(script, a, b):
        path = SCRIPTS / f"{script}.py"
        assert tfdiff("record", "-o", "a.h5", "--quiet", "--steps", 0, "--passes", 1, path, *a.split()).code == 0
        options = ("--reference", "a.h5", "--quiet", "--steps", 0)
        assert tfdiff("record", "-o", "b.h5", *options, path, *b.split()).code == 0
        return package.diff(tmp_path / "a.h5", tmp_path / "b.h5")

    return run


def line(mark):
    """`file:line` of a marked line."""
    lines = (SCRIPTS / "precision.py").read_text().splitlines()
    return next(f"precision.py:{number}" for number, text in enumerate(lines, 1) if text.endswith(f"# {mark}"))


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
def test_rewritten_in_one_type(compared, dtype):
    """Another way of writing is no difference, whatever the type of both."""
    result = compared("precision", f"{dtype} {dtype}", f"{dtype} {dtype} rewritten")
    assert (result.verdict, result.divergences) == ("equivalent", ())


@pytest.mark.parametrize(
    ("dtype", "factor", "found"),
    [("float64", 1.0000001, True), ("float32", 1.0000001, False), ("float32", 1.001, True), ("float16", 1.001, False)],
)
def test_each_type_has_its_tolerance(compared, dtype, factor, found):
    """What float64 shows is lost in the rounding of float32, and what that shows in the rounding of float16."""
    result = compared("precision", f"{dtype} {dtype}", f"{dtype} {dtype} {factor}")
    assert bool(result.divergences) is found
    if found:
        assert (result.first.phase, result.first.b.source) == ("forward", line("factor"))


@pytest.mark.parametrize("way", ["float16", "bfloat16"])
def test_half_precision_on_one_side(compared, way):
    """One tensor in half precision, on one side only, is judged by the rounding of the other side and named."""
    result = compared("precision", "float32 float32", f"float32 {way}")
    assert (result.first.phase, result.first.b.op, result.first.b.source) == ("forward", "Cast", line("cast"))
    (cause,) = result.causes
    assert (cause.code, cause.constants) == ("dtype", {"b": way, "a": "float32"})
    assert cause.error_after < 1e-6 < cause.error_before


@pytest.mark.parametrize(("a", "b"), [("float64", "float32"), ("float32", "float64")])
def test_single_against_double(compared, a, b):
    """Within the rounding of float32 the two agree, and a note says what they compute in."""
    result = compared("precision", f"{a} {a}", f"{b} {b}")
    assert result.verdict == "equivalent"
    assert f"a computes in {a}, b in {b}: judged by the rounding of float32" in result.notes


def test_policies(compared, tfdiff):
    """A policy on one side only is found at the layer, and stands in the header of text and JSON."""
    result = compared("policy", "float32", "mixed_bfloat16")
    assert (result.first.b.op, result.causes[0].code) == ("Cast", "dtype")
    assert result.a_header.numerics["dtype policy"] == "float32"
    assert result.b_header.numerics["dtype policy"] == "mixed_bfloat16"
    text = " ".join(tfdiff("diff", "a.h5", "b.h5").out.split())
    assert "b otherwise: dtype policy mixed_bfloat16" in text
    document = json.loads(tfdiff("diff", "a.h5", "b.h5", "--json", "-").out)
    assert document["b"]["numerics"]["dtype policy"] == "mixed_bfloat16"
    assert any(note.startswith("dtype policy float32 in a, mixed_bfloat16 in b") for note in document["notes"])


def test_one_policy_for_both(compared):
    """Mixed precision on both sides is judged by its own rounding, the scaling of the loss included."""
    assert compared("policy", "mixed_float16", "mixed_float16").verdict == "equivalent"


def test_what_rounding_depends_on(compared, tfdiff, tmp_path, tf):
    """Device, oneDNN, XLA and determinism are in the trace, without anything that is the user's."""
    compared("policy", "float32", "float32")
    with open_trace(tmp_path / "a.h5") as trace:
        found = trace.header.numerics
    assert re.match(r"(GPU .+, )?CPU .+", found["device"])
    assert found["oneDNN"] in ("on", "off")
    assert (found["XLA"], found["deterministic ops"]) == ("off", "off")
    assert str(tmp_path) not in json.dumps(found)
    assert "numerics   device" in tfdiff("info", "a.h5").out
    assert ("TF32" in found) == bool(tf.config.list_physical_devices("GPU"))
