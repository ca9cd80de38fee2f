from __future__ import annotations

from pathlib import Path

from tfdiff import demos


def test_list(tfdiff):
    """--list names every demo, the default first."""
    ran = tfdiff("demo", "--list")
    assert ran.code == 0
    assert [line.split()[0] for line in ran.out.splitlines()] == [demo.name for demo in demos.DEMOS]
    assert ran.out.split()[0] == demos.DEFAULT


def test_unknown_name(tfdiff, tmp_path, monkeypatch):
    """A demo that does not exist: exit code 2, the ones there are, and no folder is made."""
    monkeypatch.chdir(tmp_path)
    ran = tfdiff("demo", "mnist")
    assert (ran.code, ran.out) == (2, "")
    assert demos.DEFAULT in ran.err
    assert not list(Path().iterdir())


def test_existing_traces_are_refused(tfdiff, tmp_path, monkeypatch):
    """A second demo in the same folder does not go over the traces of the first."""
    monkeypatch.chdir(tmp_path)
    folder = Path("tfdiff-demo") / demos.DEFAULT
    folder.mkdir(parents=True)
    (folder / "b.h5").write_text("precious")
    ran = tfdiff("demo")
    assert (ran.code, (folder / "b.h5").read_text()) == (2, "precious")
    assert "--force" in ran.err
    assert (folder / "b.py").exists()
