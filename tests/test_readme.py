"""The README does what it says: each command in it is run, here or by .ci/run, and its output is compared."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tfdiff import demos

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
TRAINING = """
import keras
import numpy as np

def train(rate):
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(rate), "mse")
    random = np.random.default_rng(1)
    model.fit(random.normal(size=(64, 8)), random.normal(size=(64, 1)), batch_size=16, verbose=0)

def train_one():
    train(0.1)

def train_other():
    train(0.2)
"""


@dataclass(frozen=True)
class Shown:
    """A command of the README and the output printed below it, "" where none is shown."""

    command: str
    output: str


def blocks(language: str) -> list[str]:
    """Return the contents of the README's code blocks of that language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def shown() -> list[Shown]:
    """Return the commands of the console blocks, in order."""
    parts = [
        part.partition("\n") for block in blocks("console") for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]
    ]
    return [Shown(command, output) for command, _, output in parts]


@dataclass(frozen=True)
class Ran:
    """What a command of the README gave back."""

    code: int
    out: str
    err: str


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Ran]:
    """Run the console commands one after the other, in a folder that looks like the reader's."""
    folder = tmp_path_factory.mktemp("reader")
    (folder / "traces").symlink_to(ROOT / "traces")
    for demo in demos.DEMOS:
        demos.materialize(demo.name, folder / "tfdiff-demo" / demo.name)
    results = {}
    for line in shown():
        program, *arguments = shlex.split(line.command)
        assert program == "tfdiff"
        done = subprocess.run(
            [sys.executable, "-m", "tfdiff", *arguments],
            cwd=folder,
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        results[line.command] = Ran(done.returncode, done.stdout, done.stderr)
    return results


@pytest.mark.parametrize("line", shown(), ids=lambda line: line.command)
def test_command(ran, line):
    """The command works, and prints what the README shows; a line `...` stands for any lines."""
    result = ran[line.command]
    assert result.code in (0, 1), result.err
    assert result.code == 0 or line.command.split()[1] in ("diff", "run"), result.err
    assert "Traceback" not in result.err
    if line.output:
        pattern = "".join(
            r"(?:.*\n)*?" if text == "..." else re.escape(text) + "\n" for text in line.output.splitlines()
        )
        assert re.fullmatch(pattern, result.out), (
            f"the README shows\n{line.output}\nand the command prints\n{result.out}"
        )


def test_the_answer_is_shown():
    """The README shows what `tfdiff run` and `tfdiff diff` print."""
    outputs = {line.command.split()[1]: line.output for line in shown() if line.output}
    assert {"run", "diff"} <= outputs.keys()
    assert outputs["run"].startswith("DIVERGED at step ")


def test_python_block(tmp_path):
    """The block for notebooks runs as it stands, given two training functions, and sees that they differ."""
    (code,) = blocks("python")
    (tmp_path / "notebook.py").write_text(TRAINING + code)
    done = subprocess.run(
        [sys.executable, "notebook.py"],
        cwd=tmp_path,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.stdout.splitlines()[-1:] == ["diverged"], done.stderr


def test_two_commands_set_up():
    """There are two set-up commands and no third, and .ci/run runs both as they stand."""
    lines = "".join(blocks("sh")).splitlines()
    listed = subprocess.run([ROOT / ".ci" / "run", "--list"], capture_output=True, text=True, check=True).stdout
    assert listed.splitlines() == lines
    assert [line.rpartition("&& ")[2] for line in lines] == [".venv/bin/tfdiff demo", ".venv/bin/python -m pytest"]


def test_every_block_is_of_a_kind_that_is_run():
    """No code block escapes: all are sh (run by .ci/run), console or python (run here)."""
    fences = re.findall(r"^```(\w*)$", README, re.MULTILINE)
    assert set(fences[::2]) == {"sh", "console", "python"}
    assert set(fences[1::2]) == {""}


def test_inline_commands_exist():
    """A command named in running text is one of tfdiff's, with options it has."""
    from tfdiff.cli import COMMANDS

    names = {command.name for command in COMMANDS}
    prose = re.sub(r"^```.*?^```$", "", README, flags=re.MULTILINE | re.DOTALL)
    assert {name for name in re.findall(r"`tfdiff (\w+)", prose) if name not in names} == set()
    pages = subprocess.run(
        [sys.executable, "-m", "tfdiff", "record", "--help"],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert {option for option in re.findall(r"`(--[\w-]+)", prose) if option not in pages} == set()
