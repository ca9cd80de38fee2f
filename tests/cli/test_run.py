from __future__ import annotations

import io
from pathlib import Path

import pytest

from tfdiff.cli import make_parser
from tfdiff.cli.pair import Pair, failure, offer_viewer


def arguments(*given):
    """The parsed command line."""
    return make_parser().parse_args(["run", *given])


def test_defaults():
    """The traces go to tfdiff-run, ten steps."""
    got = arguments("a.py", "b.py")
    assert (got.output, got.steps, got.force, got.a_args, got.b_args) == (Path("tfdiff-run"), 10, False, (), ())


def test_script_arguments_are_split_as_a_shell_would():
    """--a-args and --b-args take one quoted string each."""
    got = arguments("a.py", "b.py", "--a-args=--lr 0.1 'two words'", "--b-args", "x")
    assert got.a_args == ("--lr", "0.1", "two words")
    assert got.b_args == ("x",)


def test_unbalanced_quotes(tfdiff):
    """Arguments that no shell would take: one line, exit code 2."""
    ran = tfdiff("run", "a.py", "b.py", "--a-args", "'x")
    assert (ran.code, ran.out) == (2, "")
    assert "No closing quotation" in ran.err


@pytest.mark.parametrize("missing", ["a.py", "b.py"])
def test_missing_script(tfdiff, tmp_path, monkeypatch, missing):
    """Both scripts must be there before the first one is run."""
    monkeypatch.chdir(tmp_path)
    other = "b.py" if missing == "a.py" else "a.py"
    Path(other).write_text("open('ran', 'w')\n")
    ran = tfdiff("run", "a.py", "b.py")
    assert (ran.code, ran.out) == (2, "")
    assert missing in ran.err
    assert not Path("ran").exists()


@pytest.mark.parametrize("trace", ["a.h5", "b.h5"])
def test_existing_traces_are_refused(tfdiff, tmp_path, monkeypatch, trace):
    """Traces of an earlier run stay unless --force is given, and no script runs."""
    monkeypatch.chdir(tmp_path)
    for script in ("a.py", "b.py"):
        Path(script).write_text("open('ran', 'w')\n")
    Path("tfdiff-run").mkdir()
    (Path("tfdiff-run") / trace).write_text("precious")
    ran = tfdiff("run", "a.py", "b.py")
    assert (ran.code, (Path("tfdiff-run") / trace).read_text()) == (2, "precious")
    assert "--force" in ran.err
    assert not Path("ran").exists()


def test_failure_names_signal_and_trace(tmp_path):
    """A script that was killed is told from one that failed, and a trace that exists is named."""
    trace = tmp_path / "a.h5"
    assert "ended with exit code 3" in failure("a.py", trace, 3)
    assert "nothing was recorded" in failure("a.py", trace, 3)
    trace.touch()
    message = failure("a.py", trace, -9)
    assert "was ended by SIGKILL" in message
    assert str(trace) in message


@pytest.mark.parametrize(("answer", "opened"), [("y\n", 1), ("yes\n", 1), ("n\n", 0), ("\n", 0), ("", 0)])
def test_viewer_is_offered_on_a_terminal(monkeypatch, capfd, answer, opened):
    """On a terminal the viewer is offered, and opens only when asked for."""
    seen = []
    monkeypatch.setattr("tfdiff.cli.pair.on_terminal", lambda: True)
    monkeypatch.setattr("tfdiff.cli.pair.view", lambda a, b: seen.append((a, b)))
    monkeypatch.setattr("sys.stdin", io.StringIO(answer))
    offer_viewer(Pair("a.py", "b.py", Path("out")))
    assert seen == [(Path("out/a.h5"), Path("out/b.h5"))] * opened
    assert capfd.readouterr() == ("", "Open the viewer? [y/N] ")


def test_viewer_is_not_offered_to_a_program(monkeypatch, capfd):
    """Without a terminal nothing is asked: a CI job must not wait."""
    monkeypatch.setattr("tfdiff.cli.pair.on_terminal", lambda: False)
    offer_viewer(Pair("a.py", "b.py", Path("out")))
    assert capfd.readouterr() == ("", "")
