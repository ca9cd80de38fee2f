"""A recorded script cannot tell: what it sees, prints and leaves behind is what python makes of it.

Scripts without TensorFlow: the same code runs them, and starts in a second. `record` then says that it saw no training
step, in one line of its own, and ends with 2 where python ends with 0 (CONTRACT.md).
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PROBE = """\
import json, os, sys, threading, warnings
import helper
main = sys.modules["__main__"]
seen = {
    "argv": sys.argv, "name": __name__, "file": __file__, "path": sys.path,
    "cwd": os.getcwd(),
    "spec": None if __spec__ is None else [__spec__.name, __spec__.origin], "package": __package__, "doc": __doc__,
    "cached": __cached__, "loader": type(__loader__).__name__, "builtins": type(__builtins__).__name__,
    "main": main.__dict__ is globals(), "mainfile": main.__file__, "names": sorted(globals()),
    "helper": helper.__file__,
    "thread": threading.current_thread().name,
    "hook": sys.excepthook is sys.__excepthook__, "limit": sys.getrecursionlimit(),
    "stdin": sys.stdin.read(), "finders": len(sys.path_hooks),
    "optimize": sys.flags.optimize, "seen": [m for m in ("tensorflow", "keras", "textual", "rich") if m in sys.modules],
}
print(json.dumps(seen, indent=1, default=str))
warnings.warn("old", DeprecationWarning)
sys.exit(3)
"""


@pytest.fixture
def both(tmp_path: Path, python) -> Callable[..., tuple]:
    """What python makes of a script, and what `tfdiff record` makes of it."""

    def run(*arguments: object, **files: str) -> tuple:
        for name, text in files.items():
            path = tmp_path / (name.replace("__in__", "/") + ".py")
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        return python(*arguments), python("-m", "tfdiff", "record", "-o", "trace.h5", *arguments)

    return run


def theirs(ran) -> str:
    """stderr without the lines of tfdiff itself."""
    return "".join(line for line in ran.err.splitlines(keepends=True) if not line.startswith("tfdiff: "))


def test_environment(both):
    """argv, __main__, __file__, sys.path, stdin, the shown warnings: a probe that prints them all prints the same."""
    own, recorded = both("probe.py", "--lr", "1", "-m", probe=PROBE, helper="")
    assert own.code == recorded.code == 3
    assert own.out.splitlines() == recorded.out.splitlines()
    assert own.err == recorded.err
    assert "DeprecationWarning: old" in own.err


def test_environment_of_a_script_elsewhere(both, tmp_path):
    """sys.path[0] is the script's folder, not the working directory; links are followed for it as python does."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "helper.py").write_text("")
    (tmp_path / "link.py").symlink_to(tmp_path / "sub" / "probe.py")
    own, recorded = both("link.py", sub__in__probe=PROBE)
    assert own.code == recorded.code == 3, recorded.err
    assert own.out.splitlines() == recorded.out.splitlines()


def test_environment_of_a_module(both):
    """`-m pkg.probe`: package, spec and argv[0] as python has them."""
    own, recorded = both("-m", "pkg.probe", "x", pkg__in__probe=PROBE, pkg__in____init__="", helper="")
    assert own.code == recorded.code == 3, recorded.err
    assert own.out.splitlines() == recorded.out.splitlines()
    assert '"pkg.probe"' in own.out


def test_package_with_a_main(both):
    """`-m pkg` runs pkg/__main__.py."""
    own, recorded = both(
        "-m", "pkg", pkg__in____main__="import sys\nprint(sys.argv, __package__)\nsys.exit(4)\n", pkg__in____init__=""
    )
    assert (own.code, own.out) == (recorded.code, recorded.out)
    assert own.code == 4


ENDINGS = {
    "code": "import sys\nsys.exit(3)\n",
    "text": "import sys\nprint('out')\nsys.exit('no data')\n",
    "object": "raise SystemExit([1, 2])\n",
    "true": "import sys\nsys.exit(True)\n",
    "exception": "def f(x):\n    return g(x)\ndef g(x):\n    return [1][x]\nprint('before')\nf(3)\n",
    "chained": "try:\n    int('x')\nexcept ValueError as e:\n    raise KeyError('y') from e\n",
    "during": "try:\n    int('x')\nexcept ValueError:\n    {}['y']\n",
    "note": "e = ValueError('a\\nb')\ngetattr(e, 'add_note', print)('note')\nraise e\n",
    "helper": "import helper\nhelper.work()\n",
    "helper syntax": "import broken\n",
    "syntax": "x = 1\nif x\n    y = 2\n",
    "assert": "assert 1 == 2, 'no'\n",
    "own hook": "import sys\nsys.excepthook = lambda *a: print('caught', a[0].__name__, a[2].tb_lineno)\n1 / 0\n",
    "own hook breaks": "import sys\nsys.excepthook = lambda *a: {}['z']\n1 / 0\n",
    "own exception": "class Odd(BaseException):\n    pass\nraise Odd('x')\n",
}
LATE = {
    "atexit": "import atexit, sys\natexit.register(print, 'bye')\nsys.exit(5)\n",
    "thread": "import threading, time, sys\n"
    "threading.Thread(target=lambda: (time.sleep(0.2), print('late'))).start()\nsys.exit(6)\n",
}


def test_ending_of_a_module(both):
    """`-m` shows python's own traceback, runpy's frames included."""
    own, recorded = both("-m", "script", script=ENDINGS["exception"])
    assert (own.code, own.out) == (recorded.code, recorded.out) == (1, "before\n")
    assert own.err == theirs(recorded)


@pytest.mark.parametrize("name", ENDINGS)
def test_endings(tmp_path, python, tfdiff, name):
    """However a script ends: exit code, stdout and the traceback, letter for letter, are python's."""
    (tmp_path / "script.py").write_text(ENDINGS[name])
    (tmp_path / "helper.py").write_text("def work():\n    raise RuntimeError('deep')\n")
    (tmp_path / "broken.py").write_text("def f(:\n")
    own, recorded = python("script.py"), tfdiff("record", "script.py")
    assert own.code != 0
    assert (own.code, own.out) == (recorded.code, recorded.out)
    assert own.err == theirs(recorded)
    assert not (tmp_path / "script.h5").exists()


@pytest.mark.parametrize("name", LATE)
def test_what_runs_after_the_script(both, name):
    """Exit handlers run, threads are waited for."""
    own, recorded = both("script.py", script=LATE[name])
    assert own.code > 4
    assert (own.code, own.out) == (recorded.code, recorded.out)
    assert own.err == theirs(recorded)


def test_missing_module(both):
    """`-m` with a module that is not there: python's exit code and its one line."""
    own, recorded = both("-m", "nowhere.at_all")
    assert own.code == recorded.code == 1
    assert own.err == theirs(recorded)


def test_main_can_be_pickled_and_imported(both):
    """Classes of the script are found through `__main__`, as pickle looks for them."""
    text = "import pickle, sys\nclass A:\n    x = 1\nprint(pickle.loads(pickle.dumps(A())).x)\nsys.exit(2)\n"
    own, recorded = both("script.py", script=text)
    assert (own.code, own.out) == (recorded.code, recorded.out) == (2, "1\n")


def test_spawned_children(both):
    """multiprocessing's spawn starts the script again in its children: they find it, and are not recorded."""
    text = (
        "import multiprocessing as m, sys\n"
        "def work(n):\n    return n * n\n"
        "if __name__ == '__main__':\n"
        "    with m.get_context('spawn').Pool(1) as pool:\n        print(pool.map(work, [1, 2, 3]))\n"
        "    sys.exit(2)\n"
    )
    own, recorded = both("script.py", script=text)
    assert (own.code, own.out) == (recorded.code, recorded.out) == (2, "[1, 4, 9]\n")


def test_encoding_of_the_source(both, tmp_path):
    """The script's own encoding line counts."""
    (tmp_path / "script.py").write_bytes(
        "# -*- coding: latin-1 -*-\nimport sys\nprint(ascii('ä'))\nsys.exit(2)\n".encode("latin-1")
    )
    own, recorded = both("script.py")
    assert (own.code, own.out) == (recorded.code, recorded.out)
    assert own.code == 2


def test_interrupt_keeps_what_was_recorded(tmp_path, python):
    """Ctrl-C: 130, python's traceback, none of ours."""
    (tmp_path / "script.py").write_text("raise KeyboardInterrupt\n")
    recorded = python("-m", "tfdiff", "record", "script.py")
    assert recorded.code == 130
    assert 'script.py", line 1' in recorded.err
    assert f"tfdiff{os.sep}recorder" not in recorded.err
    assert sys.version_info >= (3, 10)
