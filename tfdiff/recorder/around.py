"""What lies around a script: where it was started, and a likeness of that place for its further runs.

A further run writes what the run that counts writes: checkpoints, logs. So it is made in a temporary folder that looks
as the working directory and the script's folder did when the run that counts began: small files are copied, large ones
linked, what the run has changed is copied as it is now, and what it has made is missing. Nothing of the real folders is
moved, written or removed: other programs may be at work there. A folder behind a link cannot be kept so; where the run
has written into one, no further run is made.
"""

from __future__ import annotations

import contextlib
import os
import re
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
SMALL = 16 << 20
"""Bytes up to which a file that did not change is copied: a further run may open it for writing all the same."""
_MOST_SMALL = 256 << 20
"""Bytes of such files; further ones are linked."""
_WHOLE = frozenset({"__pycache__", ".git", "node_modules"})
"""Folders that no training writes into and that are linked as they are, as virtual environments are."""
_BEFORE_A_PATH = r"(?:(?<![\w.~/-])|(?<=file://))"
_BEHIND_A_PATH = r"(?=/|$|[^\w.~-])"


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
    behind: dict[Path, State] | None
    """What lies in folders that links below the roots lead to; None: too much."""
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
        before = _states(roots)
        behind = None if before is None else _states(_linked(before, roots))
        return cls(folder, dict(os.environ), roots, before, behind, options, exempt)

    @contextlib.contextmanager
    def likeness(self) -> Iterator[Place]:
        """A place to make a further run in, removed afterwards with all that the run has written there.

        Raises CannotKeepError where there is too much to copy, or what the run has written cannot be kept from a
        further one; nothing was touched then.
        """
        if self.before is None:
            raise CannotKeepError(f"more than {MOST_ENTRIES} files lie below {' and '.join(map(str, self.roots))}")
        self._look_behind(self.before)
        changed = [path for path in self.before if path not in self.exempt and self._changed(path)]
        if sum(path.stat().st_size for path in changed) > MOST_BYTES:
            raise CannotKeepError(f"the files that the run has changed have more than {MOST_BYTES >> 30} GiB")
        with _interruptible(), tempfile.TemporaryDirectory(prefix="tfdiff-", ignore_cleanup_errors=True) as folder:
            likenesses = {root: Path(folder).resolve() / str(n) / root.name for n, root in enumerate(self.roots)}
            for likeness in likenesses.values():
                likeness.mkdir(parents=True)
            self._fill(likenesses, frozenset(changed))
            yield self._place(likenesses)

    def _look_behind(self, before: dict[Path, State]) -> None:
        """Raises CannotKeepError where the run has written into a folder that a link leads to."""
        was, now = self.behind, _states(_linked(before, self.roots))
        if was is None or now is None:
            return  # too much to look at, as data sets are that links lead to
        written = [path for path in now if path not in self.exempt and now[path] != was.get(path) and path.is_file()]
        if written or was.keys() - now.keys():
            where = (written or sorted(was.keys() - now.keys()))[0]
            raise CannotKeepError(f"the run has written {where}, where a link leads to")

    def _changed(self, path: Path) -> bool:
        try:
            return _state(path.stat()) != (self.before or {})[path] and path.is_file()
        except OSError:
            return False

    def _fill(self, likenesses: dict[Path, Path], changed: frozenset[Path]) -> None:
        left = _MOST_SMALL
        for path, (_, size) in (self.before or {}).items():  # a folder comes before what lies in it
            if path in self.exempt or not os.path.lexists(path):
                continue
            root = next(root for root in self.roots if root in path.parents)
            copied = path in changed or _is_small(path, size, left)
            target = likenesses[root] / path.relative_to(root)
            if _put(path, target, _leads_to(path, likenesses), copied=copied) and path not in changed:
                left -= size

    def _place(self, likenesses: dict[Path, Path]) -> Place:
        def there(text: str) -> str:
            """The text with paths below the real folders turned into those of their likenesses."""
            for root, likeness in likenesses.items():
                pattern = f"{_BEFORE_A_PATH}{re.escape(str(root))}{_BEHIND_A_PATH}"
                text = str(likeness).join(re.split(pattern, text))
            return text

        folder = Path(there(str(self.folder)))
        environment = {**self.environment, "PWD": str(folder)}
        if "PYTHONPATH" in environment:
            environment["PYTHONPATH"] = there(environment["PYTHONPATH"])
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


def _put(path: Path, target: Path, leads_to: Path, *, copied: bool) -> bool:
    """A folder to be filled, a copy, or a link; whether a file was copied. What went away meanwhile is left out."""
    with contextlib.suppress(FileNotFoundError):
        if path.is_dir() and not path.is_symlink() and not _is_whole(path):
            target.mkdir()
        elif copied and path.is_file():
            shutil.copy2(path, target)
            return True
        else:
            target.symlink_to(leads_to)
    return False


def _leads_to(path: Path, likenesses: dict[Path, Path]) -> Path:
    """Where a link in the likeness has to lead: in the likeness, too, if the real one stays below the roots."""
    real = Path(os.path.realpath(path))
    if path.is_symlink():
        for root, likeness in likenesses.items():
            if real.is_relative_to(os.path.realpath(root)):
                return likeness / real.relative_to(os.path.realpath(root))
    return real


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
        if len(todo[-1].parts) == 1:
            return None  # the root of all
        # gone meanwhile, or not ours to read
        with contextlib.suppress(OSError), os.scandir(todo.pop()) as entries:
            for entry in entries:
                path = Path(entry.path)
                found[path] = _state_of(entry)
                if entry.is_dir(follow_symlinks=False) and not _is_whole(path):
                    todo.append(path)
        if len(found) > MOST_ENTRIES:
            return None
    return found


def _linked(before: Iterable[Path], roots: Iterable[Path]) -> list[Path]:
    """Folders elsewhere that links lead to; environments and the like are not among them."""
    links = (path for path in before if path.is_symlink() and path.is_dir() and not _is_whole(path))
    found = {Path(os.path.realpath(path)) for path in links}
    tops = {Path(os.path.realpath(root)) for root in roots}
    inside = tops | found
    return sorted(path for path in found if path not in tops and inside.isdisjoint(path.parents))


def _state_of(entry: os.DirEntry[str]) -> State:
    """Of the file that a link leads to, too: a run writes through it."""
    with contextlib.suppress(OSError):  # it went away, or a link leads nowhere
        return _state(entry.stat(follow_symlinks=not entry.is_dir()))
    return 0, 0


def _state(seen: os.stat_result) -> State:
    return seen.st_mtime_ns, seen.st_size
