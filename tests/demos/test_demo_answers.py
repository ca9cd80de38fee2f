"""What tfdiff says of the demos, and of b once its faults are mended."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tfdiff.demos import find, materialize

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

pytest.importorskip("tensorflow")


def tfdiff(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """A command in the folder, without MNIST."""
    env = {**os.environ, "KERAS_HOME": str(folder), "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    command = [sys.executable, "-m", "tfdiff", *map(str, arguments)]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=900, check=False)


def judged(folder: Path, b: str) -> dict:
    """The answer to a.h5 and b as JSON."""
    return json.loads(tfdiff(folder, "diff", "a.h5", b, "--json", "-").stdout)


@pytest.mark.parametrize("name", STEPS)
def test_the_mistakes_are_named_and_once_mended_nothing_is(name: str, tmp_path: Path) -> None:
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


def test_the_pooling_of_the_question_is_told_before_its_dropout(tmp_path: Path) -> None:
    """With the 2 x 2 windows of the question, pooling is the first cause, at its line, and the others stay."""
    a, b = materialize("iceberg", tmp_path)
    mended, asked = "batch_n1,pool_size=(3,3)", "batch_n1,pool_size=(2,2)"
    lines = b.read_text(encoding="utf-8").splitlines(keepends=True)
    (number,) = [n for n, line in enumerate(lines, 1) if mended in line]
    (tmp_path / "asked.py").write_text("".join(lines).replace(mended, asked), encoding="utf-8")
    for arguments in (["-o", "a.h5", a], ["--reference", "a.h5", "-o", "asked.h5", "asked.py"]):
        assert tfdiff(tmp_path, "record", "--steps", STEPS["iceberg"], *arguments).returncode == 0
    first, *others = judged(tmp_path, "asked.h5")["causes"]
    assert (first["code"], first["b"]["source"]) == ("stride-or-pool", f"asked.py:{number}")
    assert [cause["code"] for cause in others] == [
        "dropout-rate",
        "arch-width",
        "optimizer-epsilon",
        "state-updates-not-run",
    ]


def test_the_keep_prob_of_tf1_is_right(tmp_path: Path) -> None:
    """The TF1 program of mnist-mlp has the question's keep_prob, and it is no fault of it."""
    materialize("mnist-mlp", tmp_path)
    assert "tf.nn.dropout(prev_X, dropout)" in (tmp_path / "b.py").read_text(encoding="utf-8")
    assert "dropout-rate" not in [fault.code for fault in find("mnist-mlp").faults]
