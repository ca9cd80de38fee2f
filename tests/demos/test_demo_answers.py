"""What tfdiff says of the demos that run in sessions or augment, and of b once its faults are mended."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003

import pytest

from tfdiff.demos import find, materialize

from .answers import STEPS, check, judged, tfdiff

NAMES = ("mnist-mlp", "iceberg", "augmentation")

pytest.importorskip("tensorflow")


@pytest.mark.parametrize("name", NAMES)
def test_the_mistakes_are_named_and_once_mended_nothing_is(name: str, tmp_path: Path) -> None:
    """The faults of the registry are the causes, in this order, at these lines, and no other; b_fixed is equivalent."""
    check(name, tmp_path)


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
