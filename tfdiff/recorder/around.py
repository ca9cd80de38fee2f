"""What lies around a script: where it was started, and a likeness of that place for its further runs.

A further run writes what the run before it has written: checkpoints, logs. So it is made in a temporary folder that
looks as the working directory and the script's folder did when the first run began: small files are copied, large ones
linked, what the run has changed is copied as it is now, and what it has made is missing. Nothing of the real folders is
moved, written or removed: other programs may be at work there.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tfdiff.orders import RecordOptions

    State = tuple[int, int]
    """Time of the last change in nanoseconds, size."""

MOST_ENTRIES = 50_000
"""Files and folders that are looked at; a home folder has more, and then no likeness is made of it."""
MOST_BYTES = 1 << 30
"""Of changed files that are copied."""
SMALL = 64 << 10
"""Bytes up to which a file that did not change is copied: a further run may open it for writing all the same."""
_MOST_SMALL = 64 << 20
"""Bytes of such files; further ones are linked."""
_WHOLE = frozenset({"__pycache__", ".git", "node_modules"})
"""Folders that no training writes into and that are linked as they are, as virtual environments are."""


class CannotKeepError(Exception):
    """No likeness of the place can be made, so that a further run might write over what the first one wrote."""


@dataclass(frozen=True)
class Place:
    """Where a further run is made."""

    folder: Path
    environment: dict[str, str]
    script: str
    arguments: tuple[str, ...]


@dataclass(frozen=True)
class Around:
    """Where a run begins: folder, environment, files."""

    folder: Path
    environment: dict[str, str]
    roots: tuple[Path, ...]
    before: dict[Path, State] | None
    """None: there are too many."""
    options: RecordOptions
    exempt: frozenset[Path] = frozenset()
    """What tfdiff itself writes."""

    @classmethod
    def look(cls, options: RecordOptions) -> Around:
        """Note how everything is before the script runs."""
        folder = Path.cwd()
        script = folder if options.module else Path(options.script).resolve().parent
        roots = tuple(root for root in {folder, script} if not any(other in root.parents for other in (folder, script)))
        exempt = frozenset(path.resolve() for path in (options.output, options.reference) if path is not None)
        return cls(folder, dict(os.environ), roots, _states(roots), options, exempt)

    @contextlib.contextmanager
    def likeness(self) -> Iterator[Place]:
        """A place to make a further run in, removed afterwards with all that the run has written there.

        Raises CannotKeepError where there is too much to copy; nothing was touched then.
        """
        if self.before is None:
            raise CannotKeepError(f"more than {MOST_ENTRIES} files lie below {' and '.join(map(str, self.roots))}")
        changed = [path for path in self.before if path not in self.exempt and self._changed(path)]
        if sum(path.stat().st_size for path in changed) > MOST_BYTES:
            raise CannotKeepError(f"the files that the run has changed have more than {MOST_BYTES >> 30} GiB")
        with _interruptible(), tempfile.TemporaryDirectory(prefix="tfdiff-", ignore_cleanup_errors=True) as folder:
            likenesses = {root: Path(folder).resolve() / str(n) / root.name for n, root in enumerate(self.roots)}
            for likeness in likenesses.values():
                likeness.mkdir(parents=True)
            self._fill(likenesses, frozenset(changed))
            yield self._place(likenesses)

    def _changed(self, path: Path) -> bool:
        try:
            seen = path.lstat()
        except OSError:
            return False
        return _state(seen) != (self.before or {})[path] and path.is_file()

    def _fill(self, likenesses: dict[Path, Path], changed: frozenset[Path]) -> None:
        left = _MOST_SMALL
        for path, (_, size) in (self.before or {}).items():  # a folder comes before what lies in it
            if path in self.exempt or not os.path.lexists(path):
                continue
            root = next(root for root in self.roots if root in path.parents)
            copied = path in changed or _is_small(path, size, left)
            if _put(path, likenesses[root] / path.relative_to(root), copied=copied) and path not in changed:
                left -= size

    def _place(self, likenesses: dict[Path, Path]) -> Place:
        def there(text: str) -> str:
            """The text with paths below the real folders turned into those of their likenesses."""
            for root, likeness in likenesses.items():
                text = text.replace(f"{root}{os.sep}", f"{likeness}{os.sep}")
            return text

        folder = Path(there(f"{self.folder}{os.sep}"))
        environment = {**self.environment, "PWD": str(folder)}
        if "PYTHONPATH" in environment:
            paths = environment["PYTHONPATH"].split(os.pathsep)
            environment["PYTHONPATH"] = os.pathsep.join(
                str(Path(there(f"{path}{os.sep}"))) if path else "" for path in paths
            )
        script = self.options.script
        if not self.options.module and (Path(script).is_absolute() or len(likenesses) > 1):
            script = there(str((self.folder / script).resolve()))
        return Place(folder, environment, script, tuple(map(there, self.options.arguments)))


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Ctrl-C as python has it, whatever the script made of it."""
    try:
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
    except ValueError:  # in another thread than the main one signals are not ours
        yield
        return
    try:
        yield
    finally:
        if before is not None:  # None: no handler of python's
            signal.signal(signal.SIGINT, before)


def _put(path: Path, target: Path, *, copied: bool) -> bool:
    """A folder to be filled, a copy, or a link; whether a file was copied. What went away meanwhile is left out."""
    with contextlib.suppress(FileNotFoundError):
        if path.is_dir() and not path.is_symlink() and not _is_whole(path):
            target.mkdir()
        elif copied and path.is_file() and not path.is_symlink():
            shutil.copy2(path, target)
            return True
        else:
            target.symlink_to(os.path.realpath(path))
    return False


def _is_whole(path: Path) -> bool:
    return path.name in _WHOLE or (path / "pyvenv.cfg").exists()


def _is_small(path: Path, size: int, left: int) -> bool:
    """Whether a file is to be copied though it did not change: python files always, for they look for their folder."""
    return path.suffix == ".py" or size <= min(SMALL, left)


def _states(roots: Iterable[Path]) -> dict[Path, State] | None:
    """Everything below the folders, each folder before what lies in it; None where that is too much."""
    found: dict[Path, State] = {}
    todo = list(roots)
    while todo:
        # gone meanwhile, or not ours to read
        with contextlib.suppress(OSError), os.scandir(todo.pop()) as entries:
            for entry in entries:
                path = Path(entry.path)
                found[path] = _state(entry.stat(follow_symlinks=False))
                if entry.is_dir(follow_symlinks=False) and not _is_whole(path):
                    todo.append(path)
        if len(found) > MOST_ENTRIES:
            return None
    return found


def _state(seen: os.stat_result) -> State:
    return seen.st_mtime_ns, seen.st_size
