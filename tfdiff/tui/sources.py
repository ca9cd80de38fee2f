"""The text of a script's line, where the script lies next to the working directory."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path, PurePosixPath

from tfdiff.tui.words import plain

_LARGEST = 2_000_000


def source_line(place: str | None, script: str, folder: Path | None = None) -> str | None:
    """Line `file:line` as it is on disk now, without its indentation; None where it cannot be read.

    `script` is the trace's script name: its folder under the working directory is tried first. The names come from the
    trace, perhaps a stranger's: only Python files inside `folder` (the working directory) are ever opened.
    """
    match = re.fullmatch(r"(.+\.py):(\d{1,9})", place or "", re.DOTALL)
    if match is None:
        return None
    root = (folder or Path.cwd()).resolve()
    for name in dict.fromkeys((str(PurePosixPath(script).parent / match[1]), match[1])):
        lines = _lines(root, name)
        if lines and 1 <= int(match[2]) <= len(lines):
            return plain(lines[int(match[2]) - 1].strip())
    return None


@lru_cache(maxsize=64)
def _lines(root: Path, name: str) -> tuple[str, ...]:
    try:
        path = (root / name).resolve()
        if not (path.is_relative_to(root) and path.is_file() and path.stat().st_size <= _LARGEST):
            return ()
        return tuple(path.read_text(encoding="utf-8", errors="replace").splitlines())
    except (OSError, ValueError):  # ValueError: a NUL in the name
        return ()
