"""NaN and infinity in recorded runs: where they appear first, and where they mean nothing."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import pytest

import tfdiff as package

SCRIPT = Path(__file__).parent / "scripts" / "nonfinite.py"


@pytest.fixture(scope="module")
def references(tmp_path_factory):
    """The traces of references that were recorded already, by variant."""
    return tmp_path_factory.mktemp("references"), {}


@pytest.fixture
def compared(tfdiff, tmp_path, references):
    """The result of two variants, b recorded against a; a variant is a name and words behind a space."""

    def run(a, b):
        folder, known = references
        if a not in known:
            known[a] = folder / f"{len(known)}.h5"
            assert (
                tfdiff("record", "-o", known[a], "--quiet", "--steps", 0, "--passes", 1, SCRIPT, *a.split()).code == 0
            )
        shutil.copyfile(known[a], tmp_path / "a.h5")
        options = ("--reference", "a.h5", "--quiet", "--steps", 0)
        assert tfdiff("record", "-o", "b.h5", *options, SCRIPT, *b.split()).code == 0
        return package.diff(tmp_path / "a.h5", tmp_path / "b.h5")

    return run


def line(op):
    """`file:line` of the line marked with this op."""
    lines = SCRIPT.read_text().splitlines()
    return next(f"nonfinite.py:{number}" for number, text in enumerate(lines, 1) if text.endswith(f"# op: {op}"))


@pytest.mark.parametrize(
    ("a", "b", "phase", "op", "words"),
    [
        ("clipped", "log_of_0", "loss", "Log", "logarithm of 0"),
        ("sharp", "log_of_0", "loss", "Log", "logarithm of 0"),
        ("guarded_root", "root_at_0", "backward", "SqrtGrad", "slope of the square root at 0"),
        ("guarded_division", "division_by_0", "forward", "RealDiv", "division by 0"),
        ("shifted_exp", "large_exp", "forward", "Exp", "exp of a number that is too large"),
        ("square_single", "square_half", "forward", "Square", "beyond the largest float16 (65504)"),
        ("plain sign", "plain sign-by-0", "update", "RealDiv", "division by 0"),
    ],
)
def test_first_appearance(compared, a, b, phase, op, words):
    """The op that made it is the divergence, with its operands, its line and a proved cause."""
    result = compared(a, b)
    first = result.first
    assert result.verdict == "diverged"
    assert (first.step, first.phase, first.b.op) == (0, phase, op)
    assert line(b.split()[-1]) in (first.b.source, first.b.called)
    assert math.isinf(first.error)
    assert first.summary.startswith(f"{words}: {op}(")
    assert first.summary.endswith("in b; a's counterpart is finite")
    assert None not in (first.a, first.b, first.b_index)
    cause = result.causes[0]
    assert (cause.code, cause.constants["side"]) == ("non-finite", "b")
    assert cause.confidence > 0.95
    assert len(result.divergences) == 1


def test_on_the_reference_only(compared):
    """The reference may be the one that stops being finite."""
    result = compared("division_by_0", "guarded_division")
    assert (result.first.phase, result.first.a.op) == ("forward", "RealDiv")
    assert result.first.summary.endswith("in a; b's counterpart is finite")
    assert result.causes[0].constants["side"] == "a"


def test_at_a_later_step(compared):
    """Steps before the first appearance agree, and the step of the appearance is the divergence's."""
    result = compared("sharp", "late")
    assert (result.first.step, result.first.phase, result.first.b.op) == (3, "loss", "Log")
    assert result.judged == result.compared


def test_json_has_words_for_them(compared, tfdiff):
    """JSON knows no infinity: the error is the string inf."""
    compared("clipped", "log_of_0")
    ran = tfdiff("diff", "a.h5", "b.h5", "--json", "-")
    document = json.loads(ran.out, parse_constant=pytest.fail)
    assert ran.code == 1
    assert document["first"]["error"] == "inf"
    assert document["causes"][0]["error_before"] == "inf"


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("mask_large", "mask_infinite"),
        ("mask_infinite", "mask_large"),
        ("mask_infinite", "mask_infinite"),
        ("mask_infinite", "mask_of_logarithms"),
    ],
)
def test_infinities_that_are_meant(compared, a, b):
    """Infinities of a mask are gone behind the softmax: no divergence, and nothing to note."""
    result = compared(a, b)
    assert result.verdict == "equivalent"
    assert not any("finite" in note for note in result.notes)


def test_a_missing_softmax_comes_first(compared):
    """A logarithm of logits: that the softmax is missing says more than that the logarithm has no value."""
    result = compared("probabilities", "no_softmax")
    assert [cause.code for cause in result.causes][:1] == ["activation"]
    assert "logarithm of a negative number" in result.first.summary


def test_what_differs_before_it_comes_first(compared):
    """Where the forward passes differ in front of the op, that is the divergence, and NaN is noted behind it."""
    result = compared("clipped", "other_activation")
    assert result.first.b.op == "Tanh"
    assert any("b stops being finite" in note for note in result.notes)


def test_both_from_the_beginning(compared, tfdiff):
    """Where nothing was finite on either side nothing was compared: not equivalent, not comparable."""
    result = compared("log_of_0", "log_of_0")
    assert (result.verdict, result.judged, result.divergences) == ("incomparable", 0, ())
    (note,) = [note for note in result.notes if "both stop being finite in step 0, phase loss" in note]
    assert f"a: logarithm of 0: Log([0, 1]) gives -inf at {line('log_of_0')}" in note
    ran = tfdiff("diff", "a.h5", "b.h5")
    assert ran.code == 3
    assert "both stop being finite in step 0" in " ".join(ran.out.split())


def test_both_at_a_later_step(compared, tfdiff):
    """Steps that agree before both stop being finite are the evidence, and only they are counted."""
    result = compared("runaway", "runaway")
    assert result.verdict == "equivalent"
    assert 0 < result.judged < result.compared
    assert any("the later ones are no evidence" in note for note in result.notes)
    assert f"{result.judged} of 5 training steps compared" in tfdiff("diff", "a.h5", "b.h5").out


@pytest.mark.parametrize(("a", "b", "side"), [("plain", "plain nan-batch", "b"), ("plain nan-batch", "plain", "a")])
def test_in_the_batch(compared, a, b, side):
    """NaN in the rows of one run only is a fault of its data."""
    result = compared(a, b)
    (own,) = result.own
    assert (own.phase, result.causes[0].code) == ("data", "non-finite")
    assert own.summary.startswith(f"NaN or infinity in the batches of {side} (elements: 1, first in step 1)")


@pytest.mark.parametrize(("a", "b", "side"), [("plain", "plain nan-weight", "b"), ("plain nan-weight", "plain", "a")])
def test_in_the_initial_values(compared, a, b, side):
    """NaN in the initial values of one run only is a fault of its start."""
    result = compared(a, b)
    (own,) = result.own
    assert (own.phase, result.causes[0].code) == ("init", "non-finite")
    assert f"NaN or infinity in the initial values of {side}" in own.summary


def test_same_holes_in_both_batches(compared):
    """A batch with NaN on both sides is no difference; the steps from there on say nothing."""
    result = compared("plain nan-batch", "plain nan-batch")
    assert (result.verdict, result.judged, result.own) == ("equivalent", 1, ())
    assert any("the batch holds NaN" in note for note in result.notes)
