"""Lines of the user's scripts, and of nothing else."""

from __future__ import annotations

import pytest

from tfdiff.tui.sources import source_line


@pytest.fixture
def folder(tmp_path):
    """A working directory with a script, and a secret beside it."""
    (tmp_path / "secret.py").write_text("password = 1\n")
    work = tmp_path / "work"
    (work / "examples").mkdir(parents=True)
    (work / "a.py").write_text("import os\n    h = tf.nn.dropout(h, \x1b[31mrate)\n")
    (work / "examples" / "b.py").write_text("one\ntwo\n")
    (work / "notes.txt").write_text("text\n")
    (work / "link.py").symlink_to(tmp_path / "secret.py")
    return work


def test_a_line_is_shown_without_its_indentation_and_escapes(folder):
    """The text is the script's line, harmless on a terminal."""
    assert source_line("a.py:2", "a.py", folder) == "h = tf.nn.dropout(h, [31mrate)"


def test_the_scripts_own_folder_is_looked_at_first(folder):
    """Places are relative to the script's folder, which may lie below the working directory."""
    assert source_line("b.py:2", "examples/b.py", folder) == "two"


@pytest.mark.parametrize(
    "place",
    [
        "a.py:0",
        "a.py:99",
        "missing.py:1",
        "../secret.py:1",
        "link.py:1",
        "notes.txt:1",
        "a.py",
        "examples:1",
        "a\0.py:1",
        None,
    ],
)
def test_nothing_else_is_ever_opened(folder, place):
    """A stranger's trace cannot show files outside the working directory, nor anything but Python files."""
    assert source_line(place, "a.py", folder) is None
    if place:
        assert source_line(str(folder.parent / place), "a.py", folder) is None
