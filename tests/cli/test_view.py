from __future__ import annotations


def test_needs_a_terminal(tfdiff, write_trace):
    """Without a terminal the viewer says what to use instead, exit code 2."""
    ran = tfdiff("view", write_trace("a.h5"))
    assert ran.code == 2
    assert "tfdiff diff" in ran.err


def test_bad_file_is_named_first(tfdiff, tmp_path):
    """A file that is no trace is refused before the screen is taken over."""
    file = tmp_path / "x.h5"
    file.write_text("hello")
    ran = tfdiff("view", file)
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert "x.h5" in ran.err


def test_viewer_gets_both_traces(tfdiff, write_trace, monkeypatch):
    """On a terminal the viewer is handed the paths and who explains, and its exit code is the command's."""
    import tfdiff.tui.app
    from tfdiff.causes import explain_finding

    got = []
    monkeypatch.setattr(tfdiff.tui.app, "run_viewer", lambda a, b, explain: got.append((a, b, explain)) or 0)
    monkeypatch.setattr("tfdiff.cli.view.on_terminal", lambda: True)
    a, b = write_trace("a.h5"), write_trace("b.h5")
    from tfdiff.cli import main

    assert main(["view", str(a), str(b)]) == 0
    assert main(["view", str(a)]) == 0
    assert got == [(a, b, explain_finding), (a, None, explain_finding)]
