"""Real scripts, real recordings, in processes of their own: good days and bad ones."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

LOOP = """\
import sys
import tensorflow as tf

tf.random.set_seed(1)
w = tf.Variable(tf.random.normal([8, 4]), name="w")
b = tf.Variable(tf.zeros([4]), name="b")
rate = float(sys.argv[1]) if len(sys.argv) > 1 else 0.1
rows = tf.random.normal([48, 8])

def loss(x):
    hidden = tf.nn.tanh(tf.matmul(x, w) + b)
    return tf.reduce_mean(tf.square(hidden - 0.5))

for step in range(6):
    print("step", step)
    x = rows[step * 8:(step + 1) * 8]
    with tf.GradientTape() as tape:
        value = loss(x)
    gradients = tape.gradient(value, [w, b])
    MIDDLE
    for variable, gradient in zip([w, b], gradients):
        variable.assign_sub(rate * gradient)
"""
TRAINS = LOOP.replace("    MIDDLE\n", "")
RAISES = LOOP.replace("MIDDLE", "if step == 3: raise ValueError('no more rows')")


def python(folder: Path, script: str) -> subprocess.CompletedProcess[str]:
    """What python itself makes of the script."""
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    command = [sys.executable, script]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def talk(text: str) -> list[str]:
    """The lines tfdiff itself has to say."""
    return [line for line in text.splitlines() if line.startswith("tfdiff: ")]


def test_missing_file(process):
    """A script that is not there: one line that names it, exit code 2."""
    ran = process("record", "nowhere.py")
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert "nowhere.py" in ran.err


@pytest.mark.parametrize("kind", ["text", "truncated"])
def test_bad_reference(process, write_trace, tmp_path, kind):
    """A reference that is no trace, or a truncated one, is refused before the script runs."""
    good, bad = write_trace("good.h5"), tmp_path / "bad.h5"
    bad.write_bytes(b"hello\n" * 99 if kind == "text" else good.read_bytes()[:1500])
    (tmp_path / "b.py").write_text("open('ran', 'w')\n")
    ran = process("record", "--reference", "bad.h5", "b.py")
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert "bad.h5" in ran.err
    assert not (tmp_path / "ran").exists()


def test_syntax_error(process, tmp_path):
    """A script that does not parse: python's own words and exit code, and no trace that looks like one."""
    (tmp_path / "a.py").write_text("x = 1\ndef f(:\n")
    own = python(tmp_path, "a.py")
    ran = process("record", "a.py")
    assert (ran.code, ran.out) == (own.returncode, own.stdout) == (1, "")
    assert own.stderr.strip() in ran.err
    assert "tfdiff/" not in ran.err
    assert process("info", "a.h5").code == 2


def test_no_tensorflow_op(process, tmp_path):
    """A script that never touches TensorFlow: it runs, one line says that nothing was recorded, exit code 2."""
    (tmp_path / "a.py").write_text("print('done')\n")
    ran = process("record", "a.py")
    assert (ran.code, ran.out) == (2, "done\n")
    assert len(talk(ran.err)) == 1
    assert "Traceback" not in ran.err


def test_exit_code_is_the_scripts(process, tmp_path):
    """A script that ends with its own code before anything was recorded ends tfdiff with the same code."""
    (tmp_path / "a.py").write_text("import sys\nsys.exit(7)\n")
    assert process("record", "a.py").code == 7


def test_script_raises_in_step_3(process, tmp_path):
    """A script that raises: python's traceback and exit code, the steps before it are kept, whole and comparable."""
    (tmp_path / "a.py").write_text(RAISES)
    (tmp_path / "whole.py").write_text(TRAINS)
    own = python(tmp_path, "a.py")
    ran = process("record", "--steps", "0", "a.py")
    assert (ran.code, ran.out) == (own.returncode, own.stdout)
    assert ran.code == 1
    traceback = own.stderr[own.stderr.index("Traceback (most recent call last):") :].strip()
    assert traceback in ran.err
    info = json.loads(process("info", "a.h5", "--json").out)
    assert info["steps"] == 3
    assert info["ended"].startswith("early: ")
    whole = process("record", "--steps", "0", "--reference", "a.h5", "whole.py")
    assert whole.code == 0, whole.err
    compared = json.loads(process("diff", "a.h5", "whole.h5", "--json", "-").out)
    assert compared["steps"]["compared"] == 3
    assert compared["verdict"] == "equivalent"


def test_run_names_the_learning_rate(process, tmp_path):
    """Two scripts that differ in their learning rate: exit code 1, the answer alone on stdout, the cause named."""
    for script in ("a.py", "b.py"):
        (tmp_path / script).write_text(TRAINS)
    ran = process("run", "a.py", "b.py", "--b-args", "0.3", "--steps", "4")
    assert ran.code == 1, ran.err
    assert "Tolerance: calibrated by a second run of a" in ran.out
    assert json.loads(process("info", "tfdiff-run/a.h5", "--json").out)["observer"]["ok"]
    assert ran.out.startswith("DIVERGED at step 0, update: ")
    assert "  1. lr: step 0, update" in ran.out
    assert "step 0\n" in ran.err
    assert "\nstep 0\n" not in ran.out
    assert sorted(path.name for path in (tmp_path / "tfdiff-run").iterdir()) == ["a.h5", "b.h5"]


def test_run_of_a_script_that_fails(process, tmp_path):
    """Where b fails, run ends with 2, says whose words those are, and keeps a's trace."""
    (tmp_path / "a.py").write_text(TRAINS)
    (tmp_path / "b.py").write_text("import tensorflow\nraise ValueError('broken')\n")
    ran = process("run", "--passes", "1", "a.py", "b.py", "-o", "out")
    assert (ran.code, ran.out) == (2, "")
    assert "ValueError: broken" in ran.err
    assert talk(ran.err)[-1].startswith("tfdiff: b.py ended with exit code 1")
    assert json.loads(process("info", "out/a.h5", "--json").out)["steps"] == 6


def test_run_of_equal_scripts(process, tmp_path):
    """A script against itself is equivalent: exit code 0."""
    (tmp_path / "a.py").write_text(TRAINS)
    ran = process("run", "--no-calibrate", "a.py", "a.py")
    assert ran.code == 0, ran.err
    assert ran.out.startswith("EQUIVALENT within noise: 6 training steps compared\n")
    assert "--no-calibrate" in ran.out


def test_force_runs_again(process, tmp_path):
    """--force replaces the traces of an earlier run."""
    (tmp_path / "a.py").write_text("import sys\nsys.exit(3)\n")
    folder = tmp_path / "tfdiff-run"
    folder.mkdir()
    (folder / "b.h5").write_text("from another run")
    ran = process("run", "a.py", "a.py", "--force")
    assert ran.code == 2
    assert "a.py ended with exit code 3" in ran.err
    assert not (folder / "b.h5").exists()
