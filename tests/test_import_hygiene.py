"""What a process loads, seen in a clean interpreter: a static graph cannot see imports inside functions."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tfdiff.errors import Exit

ROOT = Path(__file__).resolve().parents[1]
TENSORFLOW = {"tensorflow", "keras", "tf_keras", "jax", "torch"}
TEXTUAL = {"textual", "rich"}
HEAVY = TENSORFLOW | TEXTUAL | {"numpy", "scipy", "h5py"}
COMMAND = """
import sys
from tfdiff.cli import main
try:
    code = main(sys.argv[1:])
except SystemExit as stop:
    code = stop.code
names = {name.partition(".")[0] for name in sys.modules}
sys.stderr.write("LOADED " + str(code) + " " + " ".join(sorted(names)))
"""


def loaded(*arguments: str) -> tuple[int, set[str]]:
    """Return the command's exit code and the top-level modules it loaded."""
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, *arguments], cwd=ROOT, capture_output=True, text=True, check=True
    )
    code, *names = done.stderr.rpartition("LOADED ")[2].split()
    return int(code), set(names)


@pytest.mark.parametrize(
    "arguments", [("--version",), ("--help",), ("record", "--help"), ("view", "--help"), ("demo", "--list")]
)
def test_help_loads_nothing(arguments):
    """Help, version and lists load none of the heavy packages, not even NumPy."""
    code, names = loaded(*arguments)
    assert code == 0
    assert not names & HEAVY


def test_explain_loads_no_tensorflow():
    """Explaining a code loads neither TensorFlow nor Textual."""
    code, names = loaded("explain", "dropout-rate")
    assert code == 0
    assert not names & (TENSORFLOW | TEXTUAL)


def test_refused_recording_loads_no_tensorflow():
    """A recording that cannot begin is refused without loading TensorFlow."""
    code, names = loaded("record", "nowhere.py")
    assert code == Exit.TROUBLE
    assert not names & HEAVY


@pytest.mark.parametrize("command", ["diff", "info"])
def test_traces_are_read_without_tensorflow_and_textual(command, shipped):
    """Comparing and summing up traces loads neither TensorFlow nor Textual."""
    code, names = loaded(command, *shipped[: 2 if command == "diff" else 1])
    assert code in (Exit.EQUIVALENT, Exit.DIVERGED)
    assert "h5py" in names
    assert not names & (TENSORFLOW | TEXTUAL)


def test_viewer_loads_no_tensorflow():
    """The viewer's modules load Textual and no TensorFlow."""
    program = "import sys, tfdiff.tui.app; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    names = set(done.stdout.split())
    assert "textual" in names
    assert not names & TENSORFLOW


def test_recorder_loads_no_textual_and_no_tensorflow_of_its_own():
    """Loading the recorder loads neither TensorFlow (the script decides when) nor Textual nor the comparison."""
    program = "import sys, tfdiff.recorder.launch; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    names = set(done.stdout.split())
    assert not {name.partition(".")[0] for name in names} & (TENSORFLOW | TEXTUAL)
    assert not {"tfdiff.comparison", "tfdiff.causes", "tfdiff.reports", "tfdiff.tui"} & names


@pytest.fixture
def shipped() -> list[str]:
    """The example traces of the repository, a first."""
    found = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "traces").glob("mnist-mlp-tf2-*.h5"))
    assert len(found) == 2, "traces/ holds mnist-mlp-tf2-a.h5 and mnist-mlp-tf2-b.h5"
    return found
