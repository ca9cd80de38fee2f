"""Many steps in one call of a compiled function, and batches that a step cuts out of a whole data set."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tfdiff.trace.reader import open_trace

SCRIPT = Path(__file__).resolve().parent / "scripts" / "loops.py"
STYLES = (
    "over_dataset", "until_break", "over_iterator", "slices", "rows", "written_out", "eager_slices", "eager_gather",
)  # fmt: skip


def line_of(mark: str) -> str:
    """`loops.py:LINE` of a marked line."""
    lines = SCRIPT.read_text().splitlines()
    return f"loops.py:{next(n for n, line in enumerate(lines, 1) if line.endswith(f'# mark: {mark}'))}"


@pytest.fixture(scope="module")
def folder(zygote, tmp_path_factory) -> Path:
    """The script, and a recording of `fit`."""
    found = tmp_path_factory.mktemp("loops")
    shutil.copy(SCRIPT, found)
    assert zygote.run("record", "-o", "fit.h5", "--steps", "0", "loops.py", "fit", cwd=found).code == 0
    return found


def compared(zygote, folder: Path, style: str, *arguments: str, reference: str = "fit.h5") -> dict:
    """The answer of `diff` for a style against the reference."""
    made = f"{style}{''.join(arguments)}.h5"
    order = ("record", "-o", made, "--force", "--steps", "0", "--reference", reference, "loops.py", style, *arguments)
    assert zygote.run(*order, cwd=folder).code == 0
    return json.loads(zygote.run("diff", reference, made, "--json", "-", cwd=folder).out)


@pytest.mark.parametrize("style", STYLES)
def test_each_iteration_is_a_step(zygote, folder, style):
    """Every iteration is a step of its own in order, with the batch, the noise and the weights of its own."""
    answer = compared(zygote, folder, style)
    assert answer["verdict"] == "equivalent", answer["first"]
    assert answer["steps"]["compared"] == (4 if style == "until_break" else 6)
    assert answer["shared"] == {"weights": {"shared": 4, "a": 4, "b": 4}, "batches": True, "noise": True}
    assert answer["not_shared"] == answer["not_recorded"] == []


@pytest.mark.parametrize("style", ["over_dataset", "slices", "written_out"])
def test_fault_in_a_loop(zygote, folder, style):
    """A wrong momentum shows in the second step, where the update is written."""
    first = compared(zygote, folder, style, "0.8")["first"]
    assert (first["step"], first["phase"]) == (1, "update")
    assert (first["a"]["source"], first["b"]["source"]) == (line_of("fit"), line_of("update"))


def test_loop_as_the_reference(zygote, folder):
    """A loop in a function can be the one that the other starts from."""
    assert zygote.run("record", "-o", "loop.h5", "--steps", "0", "loops.py", "rows", cwd=folder).code == 0
    answer = compared(zygote, folder, "over_iterator", reference="loop.h5")
    assert answer["verdict"] == "equivalent"
    assert answer["shared"]["batches"]


def test_stops_behind_the_call(zygote, folder):
    """With fewer steps wanted than the loop has, the trace has just those, and the script ends behind the call."""
    ran = zygote.run("record", "-o", "two.h5", "--steps", "2", "loops.py", "over_dataset", cwd=folder)
    assert (ran.code, ran.out) == (0, "")
    with open_trace(folder / "two.h5") as trace:
        assert trace.steps == 2


@pytest.mark.parametrize("style", ["over_dataset", "slices"])
def test_numbers_stay(zygote, python, folder, style):
    """A loop over a dataset runs over its iterator while recording, loops run one iteration at a time: same weights."""
    order = ("record", "-o", "n.h5", "--force", "--steps", "0", "loops.py", style)
    recorded = json.loads(zygote.run(*order, cwd=folder).out)
    assert recorded == pytest.approx(json.loads(python(folder / "loops.py", style).out), rel=1e-5)


def test_what_was_done_to_the_loop_is_said(zygote, folder):
    """The trace says which loop ran otherwise while it was recorded."""
    order = ("record", "-o", "said.h5", "--force", "--steps", "0", "loops.py", "over_dataset")
    assert zygote.run(*order, cwd=folder).code == 0
    with open_trace(folder / "said.h5") as trace:
        (said,) = trace.header.switched_off
    assert said["what"].startswith("loop over a dataset at loops.py:")
