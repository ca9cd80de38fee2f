"""The demos' scripts, run as their users would."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tfdiff.demos import DEMOS, Demo, materialize

FIXED = Path(__file__).parent / "fixed"
SCRIPTS = ("a.py", "b.py", "b_fixed.py")
STUCK = {("mnist-mlp-tf2", "b.py"), ("mnist-mlp", "b.py")}
"""Scripts whose faults keep them from learning; every other one passes 60 % test accuracy."""
UNTRAINED = {"iceberg", "augmentation"}
"""Demos with too few steps to say whether their scripts learn."""

pytest.importorskip("tensorflow")


def last_accuracy(output: str) -> float:
    """Return the test accuracy a script printed last."""
    found = re.findall(r"(?:val_accuracy: |[Aa]ccuracy = |test accuracy )([\d.]+)", output)
    assert found, output
    return float(found[-1])


@pytest.mark.parametrize("demo", DEMOS, ids=lambda demo: demo.name)
def test_scripts_run_as_python_runs_them(demo: Demo, tmp_path: Path) -> None:
    """`python SCRIPT` in the demo's folder ends well, says which data it took, and learns unless faults forbid it."""
    materialize(demo.name, tmp_path)
    shutil.copy(FIXED / demo.name / "b_fixed.py", tmp_path)
    env = {**os.environ, "KERAS_HOME": str(tmp_path), "TF_CPP_MIN_LOG_LEVEL": "2"}
    env.pop("PYTHONPATH", None)

    def run(script: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, script]
        return subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=480, check=False)

    with ThreadPoolExecutor() as pool:  # most of a run is TensorFlow's import: three at a time take half as long
        runs = dict(zip(SCRIPTS, pool.map(run, SCRIPTS), strict=True))
    for script, done in runs.items():
        assert done.returncode == 0, done.stderr
        assert "data: a stand-in for" in done.stderr
        assert demo.name in UNTRAINED or (last_accuracy(done.stdout) > 0.6) is ((demo.name, script) not in STUCK), (
            script
        )
