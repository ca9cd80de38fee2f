"""Which files a further run of a script has made or opened to write into, as far as python itself does it."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

_MADE = frozenset({"os.mkdir", "os.symlink", "os.link", "os.rename"})
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_TRUNC


class Writes:
    """Listens in the process of a further run."""

    def __init__(self) -> None:
        self._paths: dict[str, None] = {}
        self._closed = False
        sys.addaudithook(self._heard)

    def _heard(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self._closed:
            return
        try:
            if event == "open":
                path, mode, flags = arguments
                wanted = flags & _WRITING if isinstance(flags, int) else set(mode or "") & set("wax+")
                self._note(path if wanted else None)
            elif event in _MADE:
                self._note(arguments[0] if event == "os.mkdir" else arguments[1])
        except Exception:  # noqa: BLE001 - a hook that raises would break the script's call
            return

    def _note(self, path: object) -> None:
        if isinstance(path, (str, bytes, os.PathLike)):
            self._paths[os.path.abspath(os.fsdecode(path))] = None  # noqa: PTH100 - links are not followed

    def save(self, path: Path) -> None:
        """Leave the paths for the process that asked."""
        self._closed = True
        path.write_text(json.dumps(list(self._paths)))


def written(path: Path) -> frozenset[Path]:
    """The paths that `save` has left; empty where the process was ended before."""
    try:
        return frozenset(Path(each) for each in json.loads(path.read_text()))
    except (OSError, ValueError):
        return frozenset()
