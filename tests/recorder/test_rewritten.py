"""Networks written by two people: other orders, layouts, groups and forms pair all the same, or it is said."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import tfdiff
from tfdiff.trace.reader import open_trace

from .layer_pairs import marks

if TYPE_CHECKING:
    from .conftest import Ran, Zygote
    from .layer_pairs import Recorder

SCRIPT = Path(__file__).parent / "scripts" / "rewritten.py"
LINES = marks(SCRIPT)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("keras_inception", "inception"),
        ("keras_towers", "towers"),
        ("keras_pooled", "pooled"),
        ("keras_two_inputs", "two_inputs"),
        ("keras_siamese", "siamese"),
        ("keras_summed", "summed"),
        ("keras_repeated", "repeated"),
        ("keras_images", "channels_first"),
        ("keras_sequences", "time_major"),
        ("keras_blocks", "blocks"),
        ("keras_normed", "fused_norm"),
        ("keras_integers", "column"),
        ("keras_integers", "one_hot"),
        ("keras_integers", "by_hand"),
        ("one_hot", "keras_integers"),
        ("keras_regression", "flat_regression"),
    ],
)
def test_equal(layers: Recorder, a: str, b: str) -> None:
    """Started equal, the two are equivalent, all weights and batches are shared, and nothing is called ambiguous."""
    result = layers(SCRIPT, a, b)
    counts = result.shared["weights"]
    assert result.verdict == "equivalent", (result.first, result.own)
    assert counts["shared"] == counts["a"] == counts["b"]
    assert result.shared["batches"] is True
    assert not result.not_shared
    assert not [note for note in result.notes if "ambiguous" in note or "neither shared nor compared" in note]
    assert {row.evidence for row in result.rows if row.a and row.b} <= {"value", "weight", "role", "structure"}


def test_activation_in_a_branch_run_in_another_order(layers: Recorder) -> None:
    """The fault in one of three equal branches is found in this branch."""
    first = layers(SCRIPT, "keras_inception", "inception", "activation").first
    assert first is not None
    assert first.b is not None
    assert (first.step, first.phase, first.b.source) == (0, "forward", LINES["activation"])


@pytest.mark.parametrize(
    ("fault", "code", "alone"),
    [
        ("linear", "activation", (0, 0)),
        ("extra", "arch-extra-layer", (0, 2)),
        ("missing", "arch-missing-layer", (2, 0)),
    ],
)
def test_among_equal_layers(layers: Recorder, fault: str, code: str, alone: tuple[int, int]) -> None:
    """In a row of equal layers the one that differs, is too many or is missing is told from the others."""
    result = layers(SCRIPT, "keras_repeated", "repeated", fault)
    counts = result.shared["weights"]
    assert (counts["a"] - counts["shared"], counts["b"] - counts["shared"]) == alone
    assert result.first is not None
    assert result.first.phase == "forward"
    assert result.causes[0].code == code


def test_labels_that_broadcast(layers: Recorder) -> None:
    """(n,) labels against (n, 1) predictions are a fault of the loss, not of the pairing."""
    result = layers(SCRIPT, "keras_regression", "flat_regression", "broadcast")
    assert result.first is not None
    assert result.first.b is not None
    assert (result.first.phase, result.first.b.source) == ("loss", LINES["broadcast"])


def test_batches_of_another_size_that_are_replaced(layers: Recorder) -> None:
    """A step that takes any number of rows gets a's batches: only the size of its own is said."""
    result = layers(SCRIPT, "keras_integers", "by_hand", "8")
    assert (result.first, [own.phase for own in result.own]) == (None, ["data"])
    assert result.shared["batches"] is True
    assert [cause.code for cause in result.causes] == ["data-batch-size"]


def test_batches_of_another_size_that_cannot_be_replaced(layers: Recorder) -> None:
    """A step compiled for its own number of rows keeps its batches: nothing is judged, and that is said."""
    result = layers(SCRIPT, "keras_integers", "keras_integers", "8")
    assert (result.first, [own.phase for own in result.own]) == (None, ["data"])
    assert [cause.code for cause in result.causes] == ["data-batch-size"]
    assert any(note.startswith("from step 0 on") and "not judged" in note for note in result.notes)


def test_weights_that_nothing_tells_apart(layers: Recorder) -> None:
    """Two matrices that are added before they are used: the pair is said to be a choice, with the other one named."""
    result = layers(SCRIPT, "keras_mixed", "mixed")
    assert result.verdict == "equivalent"
    (note,) = [note for note in result.notes if "ambiguous" in note]
    assert note.startswith("ambiguous: nothing tells which weights pair, chosen were sequential/mixed/p with ")
    assert "sequential/mixed/q with " in note
    evidence = {row.a_name: row.evidence for row in result.rows if row.a and row.a.role == "weight"}
    assert evidence["sequential/mixed/p"] == "weight, ambiguous"
    assert evidence["sequential/dense/kernel"] == "weight"


def test_a_tensor_that_is_there_twice(layers: Recorder) -> None:
    """One activation against two equal ones that are used alike: the row and a note say that either would do."""
    result = layers(SCRIPT, "keras_integers", "twice")
    assert result.verdict == "equivalent"
    assert [row.a_name for row in result.rows if row.evidence == "value, ambiguous"] == ["sequential/dense"]
    assert len([note for note in result.notes if "ambiguous" in note]) == 1


def mapped(zygote: Zygote, layers: Recorder, folder: Path, pair: tuple[str, str], text: str) -> tuple[Ran, Path, Path]:
    """Record b against a with a map; returns what the command said, a's trace and b's."""
    a, b, file = layers.path(SCRIPT, pair[0]), folder / "mapped.h5", folder / "pairs.toml"
    file.write_text(text)
    order = ("record", "-o", b, "--quiet", "--steps", 2, "--reference", a, "--map", file, SCRIPT, pair[1])
    return zygote.run(*order, cwd=folder), a, b


def test_user_pairs_start_the_run(zygote: Zygote, layers: Recorder, tmp_path: Path) -> None:
    """Pairs of the user hold against what would be found: branches that are added may be exchanged."""
    text = "".join(
        f'[[variable]]\na = "{a}"\nb = "Variable#{b}"\n'
        for a, b in [("dense/kernel", 1), ("dense/bias", 4), ("dense_1/kernel", 0), ("dense_1/bias", 3)]
    )
    ran, a, b = mapped(zygote, layers, tmp_path, ("keras_summed", "summed"), text)
    assert ran.code == 0, ran.err
    with open_trace(a) as reference, open_trace(b) as trace:
        used = {entry["b"]: entry for entry in trace.header.variable_pairs}
        assert [used[n]["evidence"] for n in (0, 1, 3, 4)] == ["user"] * 4
        assert reference.variables[used[1]["a"]].name == "dense/kernel"
        assert (trace.value_after(1, -1) == reference.value_after(used[1]["a"], -1)).all()
    result = tfdiff.diff(a, b)
    assert result.verdict == "equivalent"
    assert {row.evidence for row in result.rows if row.a_name in ("dense/kernel", "dense_1/bias")} == {"user"}


def test_a_wrong_pair_of_the_user_shows(zygote: Zygote, layers: Recorder, tmp_path: Path) -> None:
    """A weight that the user keeps from its counterpart is not shared; the result names it on both sides."""
    text = '[[unpaired]]\na = "dense_1/kernel"\n'
    ran, a, b = mapped(zygote, layers, tmp_path, ("keras_integers", "by_hand"), text)
    assert ran.code == 0, ran.err
    result = tfdiff.diff(a, b)
    assert (result.shared["weights"]["shared"], result.shared["weights"]["b"]) == (3, 4)
    assert result.verdict == "diverged"
    assert any("dense_1/kernel (a): no counterpart" in note for note in result.notes)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[[variable]]\na = "no such"\nb = "Variable#0"\n', "variable 1, a: no variable 'no such'"),
        ('[[variable]]\na = "dense/kernel"\nb = "Variable"\n', "variable 1, b: 'Variable' is ambiguous"),
        ('[[variable]]\na = "dense/kernel"\nb = "Variable#1"\n', "variable 1: sequential/dense/kernel of shape (6, 6)"),
    ],
)
def test_a_map_that_does_not_fit_ends_the_recording(
    zygote: Zygote, layers: Recorder, tmp_path: Path, text: str, said: str
) -> None:
    """Unknown, ambiguous, of another shape: one line, exit code 2, no trace."""
    ran, _, b = mapped(zygote, layers, tmp_path, ("keras_integers", "by_hand"), text)
    assert ran.code == 2
    (line,) = ran.talk
    assert line.startswith(f"tfdiff: {tmp_path / 'pairs.toml'}, {said}")
    assert not b.exists()


def test_what_was_found_can_be_given_back(layers: Recorder, tmp_path: Path) -> None:
    """A written map, given back, changes neither verdict nor place; the order alone is named where it decided."""
    for a, b, fault in [("keras_summed", "summed", ""), ("keras_repeated", "repeated", "extra")]:
        traces, file = (layers.path(SCRIPT, a), layers.path(SCRIPT, b, fault, a)), tmp_path / f"{b}.toml"
        found = tfdiff.diff(*traces, write_map=file)
        given = tfdiff.diff(*traces, pairs=file)
        assert (given.verdict, given.first, given.divergences) == (found.verdict, found.first, found.divergences)
        assert "user" in {row.evidence for row in given.rows}
        text = file.read_text()
        assert ("only the order of use speaks" in text) == (b == "summed")
        assert ("# [[unpaired]]\n# b = " in text) == (b == "repeated")
