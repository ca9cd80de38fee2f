"""Further runs of a script are made in a likeness of its place: nothing that is there is touched."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tfdiff.orders import RecordOptions
from tfdiff.recorder import around
from tfdiff.recorder.around import Around, CannotKeepError


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder to run in, with a file and a folder in it."""
    folder = tmp_path / "here"
    (folder / "data").mkdir(parents=True)
    monkeypatch.chdir(folder)
    (folder / "old.txt").write_text("old")
    (folder / "a.py").write_text("pass")
    return folder


def look(script="a.py", arguments=(), *, module=False):
    """Before the run."""
    options = RecordOptions(
        script, arguments, module, Path("a.h5"), False, None, frozenset(), 10, False, "layers", True
    )
    return Around.look(options)


def later(path, text):
    """Write a file so that its time differs from what it was."""
    path.write_text(text)
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1_000_000_000))


def tree(folder):
    """Every file below a folder and its text."""
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_what_is_new_is_missing_there(here):
    """The further run finds the folder as the first one did, and what it makes stays in its own."""
    run = look()
    (here / "logs" / "deep").mkdir(parents=True)
    (here / "logs" / "deep" / "1.txt").write_text("first")
    (here / "data" / "weights").write_text("first")
    (here / "a.h5").write_text("trace")
    expected = tree(here)
    with run.likeness() as place:
        assert tree(place.folder) == {"old.txt": "old", "a.py": "pass"}
        assert (place.folder / "data").is_dir()
        (place.folder / "logs").mkdir()
        (place.folder / "logs" / "2.txt").write_text("second")
        (place.folder / "data" / "weights").write_text("second")
    assert tree(here) == expected
    assert not place.folder.exists()


def test_what_the_first_run_changed_stays(here):
    """A file that was there before and that both runs overwrite, or that the second removes, is the first one's."""
    run = look()
    later(here / "old.txt", "first")
    with run.likeness() as place:
        later(place.folder / "old.txt", "second")
        (place.folder / "a.py").unlink()
    assert tree(here) == {"old.txt": "first", "a.py": "pass"}


def test_small_files_may_be_written(here):
    """A small file that only the further run writes stays as it is, too."""
    run = look()
    with run.likeness() as place:
        (place.folder / "old.txt").write_text("second")
    assert (here / "old.txt").read_text() == "old"


@pytest.mark.usefixtures("here")
def test_large_files_are_linked(monkeypatch):
    """What is large and did not change is read where it is; the script and its modules have a folder of their own."""
    monkeypatch.setattr(around, "SMALL", 2)
    with look().likeness() as place:
        assert (place.folder / "old.txt").is_symlink()
        assert (place.folder / "old.txt").read_text() == "old"
        assert (place.folder / "a.py").resolve().parent == place.folder


def test_others_may_work_there(here):
    """Files of other programs that come up, grow, change or go meanwhile are theirs."""
    run = look()
    (here / "theirs.log").write_text("one")
    with run.likeness():
        (here / "theirs.log").write_text("one, two")
        (here / "more.log").write_text("three")
        later(here / "old.txt", "theirs")
        (here / "a.py").unlink()
    assert tree(here) == {"theirs.log": "one, two", "more.log": "three", "old.txt": "theirs"}


def test_links_lead_where_they_led(here):
    """A relative link is one to the same file, and what lies behind a linked folder is there."""
    (here.parent / "elsewhere").mkdir()
    (here.parent / "elsewhere" / "1.txt").write_text("1")
    (here / "data" / "linked").symlink_to("../../elsewhere")
    (here / "data" / "nowhere").symlink_to("gone")
    with look().likeness() as place:
        assert (place.folder / "data" / "linked" / "1.txt").read_text() == "1"


def test_links_within_stay_within(here):
    """What a link leads to inside the folder is the likeness's own, and a file behind a link is the first run's."""
    (here.parent / "elsewhere.txt").write_text("first")
    (here / "latest").symlink_to("data")
    (here / "linked.txt").symlink_to("../elsewhere.txt")
    with look().likeness() as place:
        (place.folder / "latest" / "weights").write_text("second")
        (place.folder / "linked.txt").write_text("second")
        assert (place.folder / "data" / "weights").read_text() == "second"
    assert not list((here / "data").iterdir())
    assert (here.parent / "elsewhere.txt").read_text() == "first"


def test_written_behind_a_link(here):
    """Where the run has written into a folder elsewhere that a link leads to, a further run would write there, too."""
    (here.parent / "elsewhere").mkdir()
    (here / "checkpoints").symlink_to("../elsewhere")
    run = look()
    (here / "checkpoints" / "weights").write_text("first")
    with pytest.raises(CannotKeepError, match="elsewhere/weights, where a link leads to"), run.likeness():
        pytest.fail("a further run was made")


def test_what_vanishes_is_left_out(here, monkeypatch):
    """A file that goes while the folder is looked at loses nothing but itself."""
    real = around._state
    seen = []

    def state(found):
        seen.append(found)
        if len(seen) == 1:
            raise FileNotFoundError
        return real(found)

    monkeypatch.setattr(around, "_state", state)
    run = look()
    monkeypatch.undo()
    monkeypatch.chdir(here)
    with run.likeness() as place:
        assert (place.folder / "data").is_dir()
        assert tree(place.folder) == {"old.txt": "old", "a.py": "pass"}


def test_environments_are_linked(here):
    """A virtual environment, which has more files than all the rest, is taken as it is."""
    (here / ".venv").mkdir()
    (here / ".venv" / "pyvenv.cfg").write_text("home = x")
    with look().likeness() as place:
        assert (place.folder / ".venv").is_symlink()


def test_paths_lead_there(here, monkeypatch):
    """Absolute paths in the script's arguments, in its own name and in PYTHONPATH are those of the likeness."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(here), "/elsewhere"]))
    run = look(str(here / "a.py"), (f"--logs={here}/logs", "plain", str(here.parent)))
    with run.likeness() as place:
        assert place.script == str(place.folder / "a.py")
        assert place.arguments == (f"--logs={place.folder}/logs", "plain", str(here.parent))
        assert place.environment["PYTHONPATH"] == os.pathsep.join([str(place.folder), "/elsewhere"])
        assert place.environment["PWD"] == str(place.folder)
    run = look("a.py", (str(here), f"/mnt{here}/logs", f"{here}-old/x", f"file://{here}/x", f"{here}:{here}/y"))
    with run.likeness() as place:
        to = place.folder
        assert place.arguments == (f"{to}", f"/mnt{here}/logs", f"{here}-old/x", f"file://{to}/x", f"{to}:{to}/y")


def test_a_script_elsewhere(here, monkeypatch):
    """A script in another folder than the working directory has a likeness of that folder, too."""
    work = here.parent / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    with look("../here/a.py").likeness() as place:
        assert place.folder.name == "work"
        script = Path(place.script)
        assert (script.read_text(), (script.parent / "old.txt").read_text()) == ("pass", "old")
        assert here not in script.parents
    with look("here", module=True).likeness() as place:
        assert place.script == "here"


@pytest.mark.usefixtures("here")
def test_an_interrupt_comes_through():
    """Ctrl-C in a further run is python's, whatever the script does with it, and the script's again afterwards."""
    heard = []
    before = signal.signal(signal.SIGINT, lambda number, _: heard.append(number))
    try:
        with pytest.raises(KeyboardInterrupt), look().likeness():
            signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)
    assert heard == [signal.SIGINT]


@pytest.mark.usefixtures("here")
def test_too_many_files(monkeypatch):
    """In a folder with more files than can be looked at no further run is made."""
    monkeypatch.setattr(around, "MOST_ENTRIES", 1)
    with pytest.raises(CannotKeepError, match="more than 1 files"), look().likeness():
        pytest.fail("a further run was made")


def test_too_large_to_copy(here, monkeypatch):
    """Changed files beyond the limit are not copied, and so no further run is made; they stay as they are."""
    monkeypatch.setattr(around, "MOST_BYTES", 2)
    run = look()
    later(here / "old.txt", "first")
    with pytest.raises(CannotKeepError, match="GiB"), run.likeness():
        pytest.fail("a further run was made")
    assert (here / "old.txt").read_text() == "first"
