"""`--map` and `--write-map` on the command line."""

from __future__ import annotations

import pytest

from tfdiff.pairing.toml import loads


def test_what_is_written_is_read_back(tfdiff, write_trace, tmp_path):
    """The written map names the pairs with their evidence; given back, it changes nothing but the evidence."""
    a, b, file = write_trace("a.h5"), write_trace("b.h5", rate=0.2), tmp_path / "pairs.toml"
    plain = tfdiff("diff", a, b, "--write-map", file)
    assert plain.err == f"tfdiff: wrote {file}\n"
    document = loads(file.read_text())
    (variable,) = document["variable"]
    assert (variable["a"], variable["b"]) == ("dense/kernel", "dense/kernel")
    assert variable["evidence"].startswith("shape (8, 4), 1st used, consumed by MatMul on both sides")
    assert [(site["a"], site["b"], site["evidence"]) for site in document["site"]] == [
        ("batch", "batch", "value"),
        ("dense", "dense", "value"),
    ]
    given = tfdiff("diff", a, b, "--map", file)
    assert given.code == plain.code == 1
    said = [line for line in given.out.splitlines() if not line.startswith("  paired")]
    assert said == [line for line in plain.out.splitlines() if not line.startswith("  paired")]
    assert "  paired    5 by user\n" in given.out


def test_a_guess_by_structure_is_a_comment(tfdiff, write_trace, tmp_path):
    """What pairs by structure alone, with other values, does not hold until somebody takes the # away."""
    a, b, file = write_trace("a.h5", activate=True), write_trace("b.h5"), tmp_path / "pairs.toml"
    tfdiff("diff", a, b, "--write-map", file)
    assert '# [[site]]\n# a = "relu"\n' in file.read_text()
    assert "relu" not in [site["a"] for site in loads(file.read_text())["site"]]


def test_a_pair_of_sites_is_judged(tfdiff, write_trace, tmp_path):
    """Two sites that the user calls the same and that differ are where the runs part."""
    a, b, file = write_trace("a.h5"), write_trace("b.h5", activate=True), tmp_path / "pairs.toml"
    file.write_text('[[site]]\na = "dense"\nb = "relu"\n')
    ran = tfdiff("diff", a, b, "--map", file)
    assert ran.code == 1
    assert ran.out.startswith("DIVERGED at step 0, forward: dense (m.py:3) against relu (m.py:4)")
    assert "1 by user" in ran.out


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[variable]", "is no TOML"),
        ('[[variable]]\na = "nothing"\nb = "kernel"', "variable 1, a: no variable 'nothing'"),
        ('[[variable]]\na = "kernel"\nb = "nothing"', "variable 1, b: no variable 'nothing'"),
        ('[[site]]\na = "dense"\nb = "nothing"', "site 1, b: no site 'nothing'"),
        ('[[site]]\na = "batch"\nb = "dense"', "site 1: expected two tensors of one size"),
        (
            '[[variable]]\na = "kernel"\nb = "kernel"\npermutation = [0, 2, 1]',
            "variable 1: dense/kernel of shape (8, 4) with axes (0, 2, 1) does not fit dense/kernel of shape (8, 4)",
        ),
        (
            '[[variable]]\na = "kernel"\nb = "kernel"\na_part = [[[0, 9]], [[0, 4]]]',
            "variable 1, a_part: expected ranges within the shape (8, 4)",
        ),
        (
            '[[variable]]\na = "kernel"\nb = "kernel"\n[[variable]]\na = "dense/kernel"\nb = "kernel"',
            "variable 2, a: dense/kernel has a counterpart above",
        ),
        (
            '[[site]]\na = "dense"\nb = "dense"\n[[site]]\na = "dense"\nb = "batch"',
            "site 2: expected two tensors of one size",
        ),
        ('[[variable]]\na = "kernel"\nb = "kernel"\n[[unpaired]]\nb = "kernel"', "variable 1: 'kernel' and 'kernel'"),
        ('[[unpaired]]\na = "kernel"\nb = "batch"', "unpaired 1: expected two variables or two sites"),
    ],
)
def test_what_does_not_fit_is_said_in_one_line(tfdiff, write_trace, tmp_path, text, said):
    """A name, a shape or the file itself that is wrong: exit code 2, and one line that names the entry."""
    a, b, file = write_trace("a.h5"), write_trace("b.h5"), tmp_path / "pairs.toml"
    file.write_text(text)
    ran = tfdiff("diff", a, b, "--map", file)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith(f"tfdiff: {file}")
    assert said in ran.err
    assert ran.err.count("\n") == 1


def test_an_unpaired_weight_is_not_compared(tfdiff, write_trace, tmp_path):
    """A weight that the map keeps alone: the larger step is not seen, and the result says what was left out."""
    a, b, file = write_trace("a.h5"), write_trace("b.h5", rate=0.2), tmp_path / "pairs.toml"
    file.write_text('unpaired = [{a = "dense/kernel"}]')
    ran = tfdiff("diff", a, b, "--map", file)
    assert "dense/kernel (a): no counterpart, so neither shared nor compared" in ran.out
    assert "phase update" not in ran.out


def test_a_trace_is_not_written_over(tfdiff, write_trace):
    """--write-map naming an input is refused."""
    a, b = write_trace("a.h5"), write_trace("b.h5")
    before = a.read_bytes()
    ran = tfdiff("diff", a, b, "--write-map", a)
    assert (ran.code, a.read_bytes() == before) == (2, True)


def test_recording_needs_a_reference_for_it(tfdiff, tmp_path):
    """--map without --reference says what is missing."""
    (tmp_path / "s.py").write_text("")
    ran = tfdiff("record", "--map", tmp_path / "pairs.toml", tmp_path / "s.py")
    assert (ran.code, ran.out) == (2, "")
    assert "--reference" in ran.err
    assert ran.err.count("\n") == 1


def test_run_reads_the_map_before_it_runs_anything(tfdiff, tmp_path):
    """A map that cannot be read ends `run` at once."""
    for name in ("a.py", "b.py"):
        (tmp_path / name).write_text("raise SystemExit(5)")
    ran = tfdiff("run", tmp_path / "a.py", tmp_path / "b.py", "-o", tmp_path / "out", "--map", tmp_path / "none.toml")
    assert (ran.code, ran.out) == (2, "")
    assert "cannot read the map" in ran.err
    assert not (tmp_path / "out").exists()
