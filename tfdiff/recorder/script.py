"""Run a user's script exactly as `python SCRIPT ARGS` or `python -m MODULE ARGS` would."""

from __future__ import annotations

import builtins
import io
import os
import runpy
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


class StopRecording(BaseException):
    """Ends the script when its steps are recorded; no `except Exception` of the user's catches it."""


def run_script(script: str, arguments: Sequence[str], *, module: bool = False) -> int:
    """Run the script in this process as `__main__` and return the exit code python would give.

    The user's own traceback is printed as python prints it (without frames of ours). `StopRecording` passes through.
    """
    sys.argv[:] = ["-m" if module else script, *arguments]  # runpy puts the module's file in the place of -m
    runner = _run_module if module else _run_file
    saved = sys.modules.get("__main__")
    try:
        runner(script)
    except SystemExit as stop:
        return _exit_code(stop)
    except StopRecording:
        raise
    except BaseException as error:  # noqa: BLE001 - whatever the script raises is shown as python shows it
        _show(error)
        return 130 if isinstance(error, KeyboardInterrupt) else 1
    finally:
        if saved is not None:
            sys.modules["__main__"] = saved
    return 0


def _run_module(name: str) -> None:
    sys.path[0] = str(Path.cwd())
    sys.modules["__main__"] = _new_main()
    runpy._run_module_as_main(name)  # type: ignore[attr-defined] # what `python -m` itself calls: same globals, same words


def _run_file(script: str) -> None:
    path = os.path.abspath(script)  # noqa: PTH100 - as python does: absolute, links not followed
    sys.path[0] = str(Path(path).resolve().parent)
    with io.open_code(path) as file:
        source = file.read()
    code = compile(source, path, "exec", dont_inherit=True)
    main = _new_main()
    main.__dict__.update(__file__=path, __loader__=SourceFileLoader("__main__", path), __cached__=None)
    sys.modules["__main__"] = main
    exec(code, main.__dict__)  # noqa: S102 - running the user's script is what this is for


def _new_main() -> ModuleType:
    main = ModuleType("__main__")
    main.__dict__.update(__builtins__=builtins, __annotations__={})
    return main


def _exit_code(stop: SystemExit) -> int:
    if stop.code is None:
        return 0
    if isinstance(stop.code, int):
        return stop.code
    print(stop.code, file=sys.stderr)
    return 1


def _show(error: BaseException) -> None:
    """Show the error as python would, through the script's own `sys.excepthook` where it has set one."""
    sys.stdout.flush()
    _trim(error)
    try:
        sys.excepthook(type(error), error, error.__traceback__)
    except BaseException as broken:  # noqa: BLE001 - the script's hook, and python's words for it
        _trim(broken)
        broken.__context__ = None if broken.__context__ is error else broken.__context__
        print("Error in sys.excepthook:", file=sys.stderr)
        sys.__excepthook__(type(broken), broken, broken.__traceback__)
        print("\nOriginal exception was:", file=sys.stderr)
        sys.__excepthook__(type(error), error, error.__traceback__)


def _trim(error: BaseException) -> None:
    """Show the user's frames and their libraries', none of ours: below the script, and where a hook called on.

    The same for the errors behind it (a syntax error has no frames at all).
    """
    ours = str(Path(__file__).resolve().parent)
    seen: set[int] = set()
    behind: BaseException | None = error
    while behind is not None and id(behind) not in seen:
        seen.add(id(behind))
        kept = [trace for trace in _links(behind.__traceback__) if not _is_ours(trace, ours)]
        for trace, following in zip(kept, [*kept[1:], None], strict=False):
            trace.tb_next = following
        behind.__traceback__ = kept[0] if kept else None
        behind = behind.__cause__ or behind.__context__


def _links(trace: TracebackType | None) -> list[TracebackType]:
    found = []
    while trace is not None:
        found.append(trace)
        trace = trace.tb_next
    return found


def _is_ours(trace: TracebackType, ours: str) -> bool:
    return os.path.realpath(trace.tb_frame.f_code.co_filename).startswith(ours)
