"""What a run wrote is kept from its further runs, and nothing that may be somebody else's is touched."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tfdiff.model import RecordOptions
from tfdiff.recorder import around
from tfdiff.recorder.around import Around, CannotKeepError


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder to run in, with a file and a folder in it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "old.txt").write_text("old")
    (tmp_path / "data").mkdir()
    return tmp_path


def look():
    """Before the run."""
    options = RecordOptions("a.py", (), False, Path("a.h5"), False, None, frozenset(), 10, False, "layers", True)
    return Around.look(options)


def later(path, text):
    """Write a file so that its time differs from what it was."""
    path.write_text(text)
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1_000_000_000))


def tree(folder):
    """Every file below a folder and its text."""
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_new_is_away_meanwhile(here):
    """The further run finds the folder as the first one did; what it makes in the same places goes."""
    run = look()
    (here / "logs" / "deep").mkdir(parents=True)
    (here / "logs" / "deep" / "1.txt").write_text("first")
    (here / "data" / "weights").write_text("first")
    (here / "link").symlink_to("old.txt")
    (here / "a.h5").write_text("trace")
    expected = tree(here)
    with run.kept():
        assert not (here / "logs").exists()
        assert not (here / "data" / "weights").exists()
        assert not (here / "link").is_symlink()
        assert (here / "a.h5").read_text() == "trace"
        (here / "logs").mkdir()
        (here / "logs" / "2.txt").write_text("second")
        (here / "data" / "weights").write_text("second")
    assert tree(here) == expected
    assert (here / "link").is_symlink()
    assert run.left == []


def test_changed_is_put_back(here):
    """A file that was there before and that both runs overwrite has the first one's content."""
    run = look()
    later(here / "old.txt", "first")
    with run.kept():
        later(here / "old.txt", "2")
    assert (here / "old.txt").read_text() == "first"


def test_removed_is_put_back(here):
    """A file that the first run wrote and the second one removes is there again."""
    run = look()
    later(here / "old.txt", "first")
    with run.kept():
        (here / "old.txt").unlink()
    assert (here / "old.txt").read_text() == "first"


def test_grown_by_whom(here):
    """A file that got longer is cut back only where the further run is known to have done it."""
    for theirs in (True, False):
        run = look()
        later(here / "old.txt", "first\n")
        with run.kept() as writes:
            later(here / "old.txt", "first\nmore\n")
            if theirs:
                writes.write_text(f'["{here}/old.txt"]')
        assert (here / "old.txt").read_text() == ("first\n" if theirs else "first\nmore\n")


def test_came_up_by_whom(here):
    """What came up meanwhile in a place of its own goes where the further run is known to have made it, else it is
    named.
    """
    run = look()
    with run.kept() as writes:
        (here / "data" / "mine").mkdir()
        (here / "data" / "mine" / "1.txt").write_text("second")
        (here / "other.txt").write_text("somebody's")
        writes.write_text(f'["{here}/data/mine"]')
    assert not (here / "data" / "mine").exists()
    assert (here / "other.txt").read_text() == "somebody's"
    assert run.left == [here / "other.txt"]


def test_untouched_is_not_judged(here):
    """A file that the first run did not change is nobody's business: another program may write it."""
    run = look()
    with run.kept():
        later(here / "old.txt", "somebody's")
    assert (here / "old.txt").read_text() == "somebody's"


def test_put_back_after_an_interrupt(here):
    """Ctrl-C and a request to end in the middle of a further run come through, after everything was put back."""
    run = look()
    (here / "weights").write_text("first")
    with pytest.raises(KeyboardInterrupt), run.kept():
        signal.raise_signal(signal.SIGINT)
    assert (here / "weights").read_text() == "first"
    seen = []
    before = signal.signal(signal.SIGTERM, lambda number, _: seen.append((number, (here / "weights").exists())))
    try:
        with run.kept():
            signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert seen == [(signal.SIGTERM, True)]


@pytest.mark.usefixtures("here")
def test_too_many_files(monkeypatch):
    """In a folder with more files than can be looked at nothing is protected, and so no further run is made."""
    monkeypatch.setattr(around, "MOST_ENTRIES", 1)
    run = look()
    with pytest.raises(CannotKeepError, match="more than 1 files"), run.kept():
        pytest.fail("a further run was made")


def test_what_a_killed_run_put_aside_is_named(here):
    """A folder that a killed run left is known to the next one, and nothing in it is touched."""
    (here / "tfdiff-kept-x").mkdir()
    (here / "tfdiff-kept-x" / "0-weights").write_text("first")
    run = look()
    with run.kept():
        pass
    assert run.stranded == [here / "tfdiff-kept-x"]
    assert (here / "tfdiff-kept-x" / "0-weights").read_text() == "first"


def test_too_large_to_copy(here, monkeypatch):
    """Changed files beyond the limit are not copied, and so no further run is made; they stay as they are."""
    monkeypatch.setattr(around, "MOST_BYTES", 2)
    run = look()
    later(here / "old.txt", "first")
    with pytest.raises(CannotKeepError, match="GiB"), run.kept():
        pytest.fail("a further run was made")
    assert (here / "old.txt").read_text() == "first"
