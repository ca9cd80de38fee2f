from __future__ import annotations

from pathlib import Path

import pytest

from tfdiff.cli import make_parser
from tfdiff.cli.record import recording_of
from tfdiff.errors import NotBuiltError, UsageError


def options(*arguments):
    """What the recorder would get."""
    return recording_of(make_parser().parse_args(["record", *arguments]))


def test_defaults():
    """Ten steps, everything shared, the trace named after the script, in the working directory."""
    got = options("folder/train.py")
    assert (got.script, got.arguments, got.module) == ("folder/train.py", (), False)
    assert (got.output, got.force, got.reference) == (Path("train.h5"), False, None)
    assert got.share == {"weights", "batches", "noise"}
    assert (got.steps, got.keep_running, got.detail, got.quiet) == (10, False, "layers", False)
    assert got.calibrate


@pytest.mark.parametrize(
    ("given", "calibrate"),
    [
        (("--calibrate",), True),
        (("--no-calibrate",), False),
        (("--passes", "1"), False),
        (("--reference", "a.h5"), False),
        (("--no-calibrate", "--reference", "a.h5"), False),
    ],
)
def test_who_is_run_twice(given, calibrate):
    """Noise is measured of references, unless that is switched off."""
    assert options(*given, "train.py").calibrate is calibrate


@pytest.mark.parametrize("other", [("--passes", "1"), ("--reference", "a.h5")])
def test_calibration_against_what_excludes_it(other):
    """Asking for a further run and for none, or for the noise of what is no reference, is bad usage."""
    with pytest.raises(UsageError, match="--calibrate"):
        options("--calibrate", *other, "train.py")


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--steps", "3"),
        ("-o", "x"),
        ("--help",),
        ("--version",),
        ("-m", "y"),
        ("x", "--", "--lr=1"),
        ("--", "x"),
        ("--force", ""),
        ("-", "a b"),
    ],
)
def test_everything_behind_the_script_is_the_scripts(arguments):
    """Arguments behind SCRIPT reach it unchanged, also those that look like tfdiff's own."""
    got = options("--steps", "5", "train.py", *arguments)
    assert got.arguments == arguments
    assert (got.steps, got.output, got.module) == (5, Path("train.h5"), False)


def test_two_dashes_in_front_of_the_script_are_argparses():
    """`record -- a.py x` names the script a.py."""
    got = options("--", "a.py", "--", "x")
    assert (got.script, got.arguments) == ("a.py", ("--", "x"))


def test_nothing_behind_two_dashes(tfdiff):
    """`record --` without a script is bad usage."""
    assert tfdiff("record", "--").code == 2


def test_module():
    """-m takes a module's name and its arguments, as python has it; the trace is named after the last part."""
    got = options("-o", "t.h5", "-m", "pkg.train", "--lr", "1")
    assert (got.script, got.arguments, got.module, got.output) == ("pkg.train", ("--lr", "1"), True, Path("t.h5"))
    assert options("-m", "pkg.train").output == Path("train.h5")


def test_all_options():
    """Every option reaches the recorder."""
    flags = ["-o", "b.h5", "--reference", "a.h5", "--share", "weights,noise", "--steps", "0", "--force"]
    got = options(*flags, "--keep-running", "--detail", "ops", "--quiet", "--no-isolate", "--no-calibrate", "b.py")
    assert (got.output, got.reference, got.share) == (Path("b.h5"), Path("a.h5"), {"weights", "noise"})
    assert (got.steps, got.force, got.keep_running, got.detail, got.quiet) == (0, True, True, "ops", True)
    assert options("--reference", "a.h5", "--share", "none", "b.py").share == frozenset()


@pytest.mark.parametrize(
    "arguments",
    [
        ("--steps", "-1", "a.py"),
        ("--steps", "x", "a.py"),
        ("--share", "batch", "a.py"),
        ("--detail", "all", "a.py"),
        ("--passes", "2", "a.py"),
        (),
    ],
)
def test_bad_values(tfdiff, arguments):
    """A value that cannot be is bad usage: exit code 2, stdout empty, the value named."""
    ran = tfdiff("record", *arguments)
    assert (ran.code, ran.out) == (2, "")
    assert "error:" in ran.err


def test_share_needs_a_reference():
    """--share without --reference is refused: it would do nothing."""
    with pytest.raises(UsageError, match="--reference"):
        options("--share", "weights", "a.py")


def test_passes_1_needs_no_extra_run_without_reference():
    """--passes 1 leaves out the runs that measure noise; with a reference it is not built yet."""
    assert options("a.py").calibrate
    assert not options("--passes", "1", "a.py").calibrate
    with pytest.raises(NotBuiltError, match="--passes 1"):
        options("--passes", "1", "--reference", "a.h5", "b.py")


def test_missing_script(tfdiff):
    """A script that is not there: one line, exit code 2."""
    ran = tfdiff("record", "nowhere.py")
    assert ran.code == 2
    assert ran.err.count("\n") == 1
    assert "nowhere.py" in ran.err


def test_existing_output_is_refused_without_force(tfdiff, tmp_path, monkeypatch):
    """An existing trace stays as it is unless --force is given."""
    monkeypatch.chdir(tmp_path)
    Path("a.py").write_text("x = 1\n")
    Path("a.h5").write_text("precious")
    ran = tfdiff("record", "a.py")
    assert (ran.code, Path("a.h5").read_text()) == (2, "precious")
    assert "--force" in ran.err


@pytest.mark.parametrize("output", ["a.py", "ref.h5"])
def test_an_input_is_never_overwritten(tfdiff, tmp_path, monkeypatch, output):
    """--force does not let the trace go over the script or the reference."""
    monkeypatch.chdir(tmp_path)
    Path("a.py").write_text("x = 1\n")
    Path("ref.h5").write_text("reference")
    before = Path(output).read_text()
    ran = tfdiff("record", "--reference", "ref.h5", "-o", output, "--force", "a.py")
    assert (ran.code, Path(output).read_text()) == (2, before)
    assert "itself an input" in ran.err


def test_missing_reference_and_missing_folder(tfdiff, tmp_path, monkeypatch):
    """A reference or a folder that is not there is named before anything runs."""
    monkeypatch.chdir(tmp_path)
    Path("a.py").write_text("raise SystemExit('ran')\n")
    ran = tfdiff("record", "--reference", "no.h5", "a.py")
    assert (ran.code, "no.h5" in ran.err, "ran" in ran.out) == (2, True, False)
    ran = tfdiff("record", "-o", "no/a.h5", "a.py")
    assert (ran.code, "no folder no" in ran.err) == (2, True)


def test_without_tensorflow(tfdiff, tmp_path, monkeypatch):
    """Where TensorFlow is missing, one line says how to install it."""
    monkeypatch.chdir(tmp_path)
    Path("a.py").write_text("x = 1\n")
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    ran = tfdiff("record", "a.py")
    assert ran.code == 2
    assert ran.err.count("\n") == 1
    assert "pip install 'tfdiff[tf]'" in ran.err


def test_isolation_is_the_default_of_a_run_against_a_reference():
    """--no-isolate leaves it out, --lockstep asks for one in any case."""
    reference = ("--reference", "a.h5")
    assert (options(*reference, "b.py").isolate, options(*reference, "b.py").lockstep) == (True, False)
    assert options(*reference, "--isolate", "b.py").isolate
    assert not options(*reference, "--no-isolate", "b.py").isolate
    assert options(*reference, "--lockstep", "b.py").lockstep


@pytest.mark.parametrize("option", ["--isolate", "--lockstep"])
def test_isolation_needs_a_reference(option):
    """Asked for where nothing can be taken from, it is bad usage."""
    with pytest.raises(UsageError, match=f"{option} writes a reference"):
        options(option, "b.py")
