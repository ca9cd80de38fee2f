"""What a demo must answer: its mistakes, and nothing once they are mended."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tfdiff.demos import find

FIXED = Path(__file__).parent / "fixed"
STEPS = {
    "mnist-mlp": 10,
    "mnist-mlp-tf2": 10,
    "mnist-cnn": 2,
    "custom-layer": 2,
    "iceberg": 2,
    "augmentation": 4,
}
"""The last batch that mnist-mlp drops is the tenth; the others say the same after a few steps."""


def tfdiff(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """A command in the folder, without MNIST."""
    env = {**os.environ, "KERAS_HOME": str(folder), "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    command = [sys.executable, "-m", "tfdiff", *map(str, arguments)]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=900, check=False)


def judged(folder: Path, b: str) -> dict:
    """The answer to a.h5 and b as JSON."""
    return json.loads(tfdiff(folder, "diff", "a.h5", b, "--json", "-").stdout)


def check(name: str, tmp_path: Path) -> None:
    """The faults of the registry are the causes, in this order, at these lines, and no other; b_fixed is equivalent."""
    ran = tfdiff(tmp_path, "demo", name, "-o", ".", "--steps", STEPS[name])
    assert ran.returncode == 1, ran.stderr
    assert "Traceback" not in ran.stderr
    faults, answer = find(name).faults, judged(tmp_path, "b.h5")
    assert [cause["code"] for cause in answer["causes"]] == [fault.code for fault in faults]
    for fault, cause in zip(faults, answer["causes"], strict=True):
        known = {cause[side][line] for side in "ab" for line in ("source", "called") if cause[side].get(line)}
        assert fault.code.startswith("data-") or {fault.a, fault.b} & known, (fault, cause)
    shutil.copy(FIXED / name / "b_fixed.py", tmp_path)
    recorded = tfdiff(tmp_path, "record", "--reference", "a.h5", "-o", "fixed.h5", "--steps", STEPS[name], "b_fixed.py")
    assert recorded.returncode == 0, recorded.stderr
    mended = judged(tmp_path, "fixed.h5")
    assert (mended["verdict"], mended["causes"]) == ("equivalent", []), mended
    weights = mended["shared"]["weights"]
    assert weights["shared"] == weights["a"] == weights["b"]
