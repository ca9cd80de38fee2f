"""Which line of the user's code is running: innermost frame that belongs to neither a library nor tfdiff.

`called` is that line; the API call is the frame just above it. Autograph runs generated files; TensorFlow's own stack
mapper leads from them back to the user's lines.
"""

from __future__ import annotations

import inspect
import os
import sys
import sysconfig
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from types import CodeType, FrameType

_OURS = str(Path(__file__).resolve().parent.parent) + os.sep
_LIBRARIES = tuple(
    {
        os.path.realpath(path) + os.sep
        for key in ("stdlib", "platstdlib", "purelib", "platlib")
        if (path := sysconfig.get_paths().get(key))
    }
)
_WRAPPERS = frozenset(
    {"error_handler", "op_dispatch_handler", "new_func", "wrapper", "binary_op_wrapper", "r_binary_op_wrapper"}
)


class Call(NamedTuple):
    """Where the user's code stands."""

    called: str | None
    """`file:line` relative to the script's folder."""
    api: str | None
    """Public name of the API function called there, e.g. `tf.nn.dropout`."""
    key: tuple[int, int]
    """Identity of this call while it lasts: frame and instruction."""


NOWHERE = Call(None, None, (0, 0))


class Frames:
    """Looks up frames for one script."""

    def __init__(self, folder: Path) -> None:
        self._folder = os.path.realpath(folder)

    def here(self, skip_self: object | None = None) -> Call:
        """The user's line that is running now; frames whose `self` is `skip_self` (constructors) are passed over."""
        frame: FrameType | None = sys._getframe(1)
        above: list[FrameType] = []
        while frame is not None:
            kind = kind_of(frame.f_code.co_filename)
            if kind == "autograph":
                return self._through_autograph(frame, above)
            if kind == "user" and not (skip_self is not None and frame.f_locals.get("self") is skip_self):
                return Call(
                    self._place(frame.f_code.co_filename, frame.f_lineno), _api(above), (id(frame), frame.f_lasti)
                )
            above.append(frame)
            frame = frame.f_back
        return NOWHERE

    def of_traceback(self, traceback: Any) -> str | None:
        """The user's innermost line in the stack that TensorFlow keeps of an op; it has none of an imported one."""
        for frame in reversed(traceback or ()):
            if kind_of(frame.filename) == "user":
                return self._place(frame.filename, frame.lineno)
        return None

    def stack(self) -> tuple[str, ...]:
        """The user's lines that are running now, outermost first; two calls on one line differ by the instruction."""
        lines = []
        frame: FrameType | None = sys._getframe(1)
        while frame is not None:
            if kind_of(frame.f_code.co_filename) == "user":
                lines.append(f"{self._place(frame.f_code.co_filename, frame.f_lineno)}@{frame.f_lasti}")
            frame = frame.f_back
        return tuple(reversed(lines))

    def _through_autograph(self, frame: FrameType, above: list[FrameType]) -> Call:
        from tensorflow.python.util import tf_stack

        for summary in reversed(tf_stack.extract_stack()):
            if kind_of(summary.filename) == "user":
                return Call(self._place(summary.filename, summary.lineno), _api(above), (id(frame), frame.f_lasti))
        return NOWHERE

    def _place(self, filename: str, line: int | None) -> str:
        return f"{_relative(filename, self._folder)}:{line}"


@lru_cache(maxsize=4096)
def _relative(filename: str, folder: str) -> str:
    path = os.path.realpath(filename)
    relative = os.path.relpath(path, folder)
    # a file elsewhere on the disk is named without its folders: no absolute paths in a trace
    return Path(path).name if relative.startswith("..") else Path(relative).as_posix()


@lru_cache(maxsize=4096)
def kind_of(filename: str) -> str:
    """user, library, autograph (what it has generated) or ours."""
    if "__autograph_generated_file" in filename:
        return "autograph"
    if filename.startswith("<"):
        return "library"
    path = os.path.realpath(filename)
    if path.startswith(_OURS) and not path.startswith(_OURS + "demos"):
        return "ours"
    if path.startswith(_LIBRARIES) or "site-packages" in path or "dist-packages" in path:
        return "library"
    return "user"


def _api(above: list[FrameType]) -> str | None:
    """Public name of the function the user's line called: the outermost library frame that is no wrapper."""
    for frame in reversed(above):
        code = frame.f_code
        if kind_of(code.co_filename) == "ours" or code.co_name in _WRAPPERS:
            continue
        if "autograph" in code.co_filename or "/eager/" in code.co_filename:
            continue
        return _public_name(code, frame.f_globals)
    return None


_NAMES: dict[CodeType, str | None] = {}


def _public_name(code: CodeType, scope: dict[str, Any]) -> str | None:
    if code not in _NAMES:
        function = inspect.unwrap(scope.get(code.co_name, code))  # the names are on what the dispatch decorators wrap
        names = getattr(function, "_tf_api_names", None) or getattr(function, "_tf_api_names_v1", None)
        # of `linalg.matmul` and `matmul` people write the shorter one
        _NAMES[code] = f"tf.{min(names, key=lambda name: name.count('.'))}" if names else None
    return _NAMES[code]
