"""What b's own rows were against a's, in recorded runs: cut, scaled, arranged, mispaired, changed, shifted."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import tfdiff as package

SCRIPT = Path(__file__).parent / "scripts" / "own_rows.py"


@pytest.fixture(scope="module")
def references(tmp_path_factory):
    """The traces of references that were recorded already, by their words."""
    return tmp_path_factory.mktemp("references"), {}


@pytest.fixture
def compared(tfdiff, tmp_path, references):
    """The result of two ways to feed the network, b recorded against a."""

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


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("", "split"),
        ("split", ""),
        ("dataset", "split dataset"),
        ("integers beforehand", "integers dataset divided"),
        ("integers dataset divided", "integers beforehand"),
        ("integers dataset divided shuffled", "integers beforehand dataset shuffled"),
        ("integers dataset flipped", "integers dataset flipped"),
        ("integers dataset bright", "integers dataset bright"),
    ],
)
def test_the_same_rows(compared, a, b):
    """However the rows are cut, and wherever they are divided: the same rows are no difference."""
    result = compared(a, b)
    assert (result.verdict, result.own, result.divergences) == ("equivalent", (), ())


@pytest.mark.parametrize(
    ("a", "b", "codes"),
    [
        ("", "split scaled", ["data-scale"]),
        ("split", "scaled", ["data-scale"]),
        ("", "columns", ["data-scale"]),
        ("", "split rolled", ["data-labels"]),
        ("split", "rolled", ["data-labels"]),
        ("", "split sixes", ["data-batch-size"]),
        ("sevens twice", "split dataset dropped twice", ["data-dropped-batch"]),
        ("dataset", "split dataset shuffled", ["data-shuffle"]),
        ("dataset", "split dataset shuffled rolled", ["data-labels", "data-shuffle"]),
        ("integers dataset divided", "integers dataset", ["data-scale"]),
        ("integers dataset", "integers dataset divided", ["data-scale"]),
        ("dataset divided", "", ["data-scale"]),
        ("integers dataset", "integers dataset divided shuffled", ["data-scale", "data-shuffle"]),
        ("integers dataset", "integers dataset flipped", ["data-augmentation"]),
        ("integers dataset flipped", "integers dataset", ["data-augmentation"]),
        ("integers dataset", "integers dataset bright", ["data-augmentation"]),
        ("", "flips", ["data-augmentation"]),
        ("", "noise", ["data-augmentation"]),
    ],
)
def test_what_was_done_to_the_rows(compared, a, b, codes):
    """Each way to feed other rows has its name, also where inputs are cut otherwise, and no op is blamed for it."""
    result = compared(a, b)
    assert result.verdict == "diverged"
    assert [cause.code for cause in result.causes] == codes
    assert [own.phase for own in result.own] == ["data"] * len(codes)
    assert result.divergences == ()


def test_who_changes_the_rows(compared):
    """The side whose map draws is the one that augments, and the map is named."""
    result = compared("integers dataset flipped", "integers dataset")
    assert result.causes[0].summary.startswith("A augments its rows (Dataset.map (")
    assert result.own[0].summary.endswith("in a")


@pytest.mark.parametrize(
    ("a", "b", "steps"), [("", "zeros", 1), ("", "first", 1), ("", "from-1", -1), ("first", "", -1)]
)
def test_shifted_steps(compared, a, b, steps):
    """A step more before the loop, or a batch less: told as a shift, with the side that does more."""
    result = compared(a, b)
    (cause,) = result.causes
    assert (cause.code, cause.constants, result.divergences) == ("data-shift", {"steps": steps}, ())
    behind, ahead = ("b", "a") if steps > 0 else ("a", "b")
    assert cause.summary.startswith(f"{behind}'s step k + 1 has the rows of {ahead}'s step k")


def test_steps_fed_otherwise_are_not_judged(compared):
    """From the step on that got other rows nothing is said of the network, and the result says so."""
    result = compared("", "split scaled")
    assert (result.judged, result.compared) == (0, 5)
    assert any("from step 0 on the two were fed batches of other rows" in note for note in result.notes)


def test_arranged_once(compared):
    """Arrays with the same rows in another order, each taken in its order: not decided, but said."""
    result = compared("", "arranged split")
    assert result.verdict == "equivalent"
    assert any("b's array has a's rows in another order" in note for note in result.notes)


def test_maps_that_draw_are_listed(tfdiff, compared):
    """`tfdiff info` names a map that draws, with its ops."""
    compared("integers dataset flipped", "integers dataset")
    assert "Dataset.map: draws random numbers (RandomUniform)" in tfdiff("info", "a.h5").out
    assert "Dataset.map" not in tfdiff("info", "b.h5").out
