"""Run a user's script exactly as `python SCRIPT ARGS` or `python -m MODULE ARGS` would."""

from __future__ import annotations

import builtins
import io
import os
import runpy
import sys
import traceback
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
    sys.argv[:] = [script, *arguments]
    runner = _run_module if module else _run_file
    saved = sys.modules.get("__main__")
    try:
        runner(script)
    except SystemExit as stop:
        return _exit_code(stop)
    except StopRecording:
        raise
    except KeyboardInterrupt:
        traceback.print_exc()
        return 130
    except BaseException as error:  # noqa: BLE001 - whatever the script raises is shown as python shows it
        _show(error)
        return 1
    finally:
        if saved is not None:
            sys.modules["__main__"] = saved
    return 0


def _run_module(name: str) -> None:
    sys.path[0] = str(Path.cwd())
    runpy.run_module(name, run_name="__main__", alter_sys=True)


def _run_file(script: str) -> None:
    path = os.path.abspath(script)  # noqa: PTH100 - as python does: absolute, links not followed
    sys.path[0] = str(Path(path).resolve().parent)
    with io.open_code(path) as file:
        source = file.read()
    code = compile(source, path, "exec", dont_inherit=True)
    main = ModuleType("__main__")
    loader = SourceFileLoader("__main__", path)
    main.__dict__.update(__file__=path, __builtins__=builtins, __loader__=loader, __spec__=None, __cached__=None)
    sys.modules["__main__"] = main
    exec(code, main.__dict__)  # noqa: S102 - running the user's script is what this is for


def _exit_code(stop: SystemExit) -> int:
    if stop.code is None:
        return 0
    if isinstance(stop.code, int):
        return stop.code
    print(stop.code, file=sys.stderr)
    return 1


def _show(error: BaseException) -> None:
    """Print the traceback from the user's first frame on, as python would (a syntax error has none)."""
    ours = str(Path(__file__).resolve().parent)
    trace: TracebackType | None = error.__traceback__
    while trace is not None and _is_ours(trace, ours):
        trace = trace.tb_next
    sys.stdout.flush()
    traceback.print_exception(type(error), error, trace)


def _is_ours(trace: TracebackType, ours: str) -> bool:
    name = trace.tb_frame.f_code.co_filename
    return os.path.realpath(name).startswith(ours) or name.startswith("<frozen runpy")
