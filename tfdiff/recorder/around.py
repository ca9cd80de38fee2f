"""What lies around a script: where it was started, and the files that its further runs must leave alone.

A further run writes what the run before it has written: checkpoints, logs. So what came up below the working directory
and the script's folder since the run began is moved out of the way meanwhile (the further run starts as the first one
did, without it), files that were changed are copied, and afterwards everything is put back.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import stat
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tfdiff.recorder.writes import written

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tfdiff.model import RecordOptions

    State = tuple[int, int]
    """Time of the last change in nanoseconds, size."""

MOST_ENTRIES = 50_000
"""Files and folders that are looked at; a home folder has more, and then nothing is known of what a run has written."""
MOST_BYTES = 1 << 30
"""Of changed files that are copied."""
_KEPT = "tfdiff-kept-"
_LEFT_ALONE = frozenset({"__pycache__", ".git"})
_ENDINGS = (signal.SIGTERM, *((signal.SIGHUP,) if hasattr(signal, "SIGHUP") else ()))


class CannotKeepError(Exception):
    """What the run has written cannot be protected from a further one; the text says why."""


class _Ended(BaseException):
    """A signal asked this process to end."""


@dataclass
class Around:
    """Where a run begins: folder, environment, files."""

    folder: Path
    environment: dict[str, str]
    roots: tuple[Path, ...]
    before: dict[Path, State] | None
    """None: there are too many."""
    exempt: frozenset[Path] = frozenset()
    """What tfdiff itself writes."""
    stranded: list[Path] = field(default_factory=list)
    """Where files were put aside by a run that was killed."""
    left: list[Path] = field(default_factory=list)
    """Paths that came up during further runs, and of which it is not known that they are theirs."""

    @classmethod
    def look(cls, options: RecordOptions) -> Around:
        """Note how everything is before the script runs."""
        folder = Path.cwd()
        script = folder if options.module else Path(options.script).resolve().parent
        roots = tuple(root for root in {folder, script} if not any(other in root.parents for other in (folder, script)))
        exempt = frozenset(path.resolve() for path in (options.output, options.reference) if path is not None)
        stranded = sorted(path for root in roots for path in root.glob(f"{_KEPT}*"))
        return cls(folder, dict(os.environ), roots, _states(roots), exempt, stranded)

    @contextlib.contextmanager
    def kept(self) -> Iterator[Path]:
        """Protect what came up or changed since `look` while a further run is made.

        Yields where that run is to leave the list of its `writes`. Raises CannotKeepError before anything was touched.
        """
        now = None if self.before is None else _states(self.roots)
        if now is None or self.before is None:
            raise CannotKeepError(f"more than {MOST_ENTRIES} files lie below {' and '.join(map(str, self.roots))}")
        busy = {*_open_files()}
        new = [path for path in _topmost(path for path in now if path not in self.before) if self._ours(path)]
        changed = [
            path for path, state in now.items() if path in self.before and self.before[path] != state and path.is_file()
        ]
        changed = [path for path in changed if path not in self.exempt and _identity(path) not in busy]
        if sum(now[path][1] for path in changed) > MOST_BYTES:
            raise CannotKeepError(f"the files that the run has changed have more than {MOST_BYTES >> 30} GiB")
        keeper = _Keeper(self.roots)
        with tempfile.TemporaryDirectory(prefix="tfdiff-") as folder, _signals():
            writes = Path(folder) / "writes.json"
            try:
                try:
                    keeper.keep(new, {path: now[path] for path in changed})
                except OSError as error:
                    raise CannotKeepError(str(error)) from None
                yield writes
            finally:
                keeper.put_back(written(writes))
                self._clear({*now, *new, *self.exempt}, written(writes))

    def _ours(self, path: Path) -> bool:
        """Whether this may be moved: nothing of tfdiff's own lies there, and it is no device or socket."""
        mode = path.lstat().st_mode
        plain = stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode)
        return plain and not any(path == own or path in own.parents for own in self.exempt)

    def _clear(self, known: set[Path], theirs: frozenset[Path]) -> None:
        """Remove what the further run is known to have made; what else came up meanwhile may be somebody else's."""
        for path in _topmost(path for path in _states(self.roots) or () if path not in known):
            if path in theirs:
                _remove(path)
            else:
                self.left.append(path)


class _Keeper:
    """Moves and copies out of the way, and back."""

    def __init__(self, roots: tuple[Path, ...]) -> None:
        self._roots = roots
        self._folders: dict[Path, Path] = {}
        self._moved: list[tuple[Path, Path]] = []
        self._copied: list[tuple[Path, Path, State]] = []

    def keep(self, new: Iterable[Path], changed: dict[Path, State]) -> None:
        """Move what is new, copy what was changed."""
        for path in new:
            place = self._place(path)
            self._moved.append((path, place))
            path.rename(place)
        for path, state in changed.items():
            place = self._place(path)
            shutil.copy2(path, place)
            self._copied.append((path, place, state))

    def put_back(self, theirs: frozenset[Path]) -> None:
        """As it was; what a further run has written in the same places goes.

        A file that only grew, and not by its hand (`theirs`), was overwritten by nobody.
        """
        for path, place in reversed(self._moved):
            if os.path.lexists(place):
                _remove(path)
                path.parent.mkdir(parents=True, exist_ok=True)
                place.rename(path)
        for path, place, state in self._copied:
            now = _state(path.stat()) if path.exists() else (0, -1)
            if now != state and (path in theirs or not _grown(place, path)):
                path.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(place, path)  # into the same file: somebody may have it open
            place.unlink()
        for folder in self._folders.values():
            with contextlib.suppress(OSError):
                folder.rmdir()

    def _place(self, path: Path) -> Path:
        """A free place on the same file system."""
        root = next(root for root in self._roots if root in path.parents)
        if root not in self._folders:
            self._folders[root] = Path(tempfile.mkdtemp(prefix=_KEPT, dir=root))
        return self._folders[root] / f"{len(self._moved) + len(self._copied)}-{path.name}"


def _grown(before: Path, after: Path) -> bool:
    """Whether a file has only got more behind what it had."""
    if not after.exists() or after.stat().st_size < before.stat().st_size:
        return False
    with before.open("rb") as old, after.open("rb") as new:
        while piece := old.read(1 << 20):
            if new.read(len(piece)) != piece:
                return False
    return True


@contextlib.contextmanager
def _signals() -> Iterator[None]:
    """Ctrl-C as python has it, whatever the script made of it, and a request to end only behind the putting back."""

    def end(number: int, _frame: object) -> None:
        raise _Ended(number)

    saved = {}
    with contextlib.suppress(ValueError):  # in another thread than the main one signals are not ours
        saved[signal.SIGINT] = signal.signal(signal.SIGINT, signal.default_int_handler)
        for number in _ENDINGS:
            saved[number] = signal.signal(number, end)
    ended = None
    try:
        yield
    except _Ended as asked:
        ended = asked
    finally:
        for number, handler in saved.items():
            signal.signal(number, handler)
    if ended is not None:
        signal.raise_signal(ended.args[0])


def _states(roots: Iterable[Path]) -> dict[Path, State] | None:
    """Everything below the folders; None where that is too much."""
    found: dict[Path, State] = {}
    todo = list(roots)
    while todo:
        try:
            with os.scandir(todo.pop()) as entries:
                for entry in entries:
                    if entry.name in _LEFT_ALONE or entry.name.startswith(_KEPT):
                        continue
                    path = Path(entry.path)
                    found[path] = _state(entry.stat(follow_symlinks=False))
                    if len(found) > MOST_ENTRIES:
                        return None
                    if entry.is_dir(follow_symlinks=False):
                        todo.append(path)
        except OSError:  # gone meanwhile, or not ours to read
            continue
    return found


def _state(seen: os.stat_result) -> State:
    return seen.st_mtime_ns, seen.st_size


def _topmost(paths: Iterable[Path]) -> list[Path]:
    """Without those that lie below another one."""
    known = set(paths)
    return sorted(path for path in known if not any(parent in known for parent in path.parents))


def _identity(path: Path) -> tuple[int, int]:
    seen = path.stat()
    return seen.st_dev, seen.st_ino


def _open_files() -> Iterator[tuple[int, int]]:
    """What this process has open: its own output may go there."""
    for handle in range(256):
        with contextlib.suppress(OSError):
            seen = os.fstat(handle)
            yield seen.st_dev, seen.st_ino


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def said(paths: list[Path], folder: Path) -> str:
    """Some paths for a message."""
    names = [os.path.relpath(path, folder) for path in paths[:3]]
    return ", ".join(names) + (f" and {len(paths) - 3} more" if len(paths) > 3 else "")


__all__ = ["Around", "CannotKeepError", "said"]
