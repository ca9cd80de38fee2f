"""Recordings in fresh processes forked from one that has TensorFlow imported, and TensorFlow itself in this process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from .layer_pairs import Recorder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
SWITCHES = {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}


@dataclass(frozen=True)
class Ran:
    """What a command gave back."""

    code: int
    out: str
    err: str

    @property
    def talk(self) -> list[str]:
        """The lines tfdiff itself has to say."""
        return [line for line in self.err.splitlines() if line.startswith("tfdiff: ")]


class Zygote:
    """The process of `zygote.py`, or of another script that serves as it does."""

    def __init__(self, folder: Path, script: str = "zygote.py") -> None:
        self._folder = folder
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / script)],
            env=os.environ | SWITCHES,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"

    def run(self, *arguments: object, cwd: Path) -> Ran:
        """A `tfdiff` command in a fresh fork."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        out, err = self._folder / "out.txt", self._folder / "err.txt"
        order = {"cwd": str(cwd), "arguments": [str(a) for a in arguments], "out": str(out), "err": str(err)}
        print(json.dumps(order), file=self._process.stdin, flush=True)
        code = int(self._process.stdout.readline())
        return Ran(code, out.read_text(), err.read_text())

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(30)


@pytest.fixture(scope="session")
def zygote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zygote]:
    """Processes in which TensorFlow is imported already."""
    started = Zygote(tmp_path_factory.mktemp("zygote"))
    yield started
    started.close()


@pytest.fixture
def tfdiff(zygote: Zygote, tmp_path: Path) -> Callable[..., Ran]:
    """Run a `tfdiff` command in the test's folder, in a process that has TensorFlow imported already."""

    def run(*arguments: object) -> Ran:
        return zygote.run(*arguments, cwd=tmp_path)

    return run


@pytest.fixture
def python(tmp_path: Path) -> Callable[..., Ran]:
    """Run python itself in the test's folder."""

    def run(*arguments: object) -> Ran:
        command = [sys.executable, *map(str, arguments)]
        environment = os.environ | SWITCHES
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        return Ran(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture(scope="session", name="tf")
def tensorflow() -> ModuleType:
    """TensorFlow in this process."""
    os.environ.update({name: value for name, value in SWITCHES.items() if name != "PYTHONPATH"})
    import tensorflow as tf

    return tf


@pytest.fixture(scope="session")
def layers(zygote: Zygote, tmp_path_factory: pytest.TempPathFactory) -> Recorder:
    """Records and compares networks of `scripts/recurrent.py` and `scripts/structured.py`."""
    return Recorder(zygote, tmp_path_factory.mktemp("layers"))
