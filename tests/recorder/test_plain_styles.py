"""Ways of training without Keras layers, each against the same network under Keras: equal, and with a fault in it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parent / "scripts" / "plain.py"
REFERENCES = {"fused": "keras_momentum", "accumulated": "keras_accumulating"}
WAYS = {
    "tf_gradients": ("loss", "tf_gradients"),
    "handed_over": ("backward", None),
    "jacobian": ("update", "descend"),
    "recomputed": ("loss", "recomputed"),
    "several": ("loss", None),
    "fused": ("update", "v1"),
    "scattered": ("update", "scattered"),
    "accumulated": ("update", "accumulated"),
}
"""The phase in which the fault of each shows, and the marked line."""


def line_of(mark: str) -> str:
    """`plain.py:LINE` of a marked line."""
    lines = SCRIPT.read_text().splitlines()
    return f"plain.py:{next(n for n, line in enumerate(lines, 1) if line.endswith(f'# mark: {mark}'))}"


@pytest.fixture(scope="module")
def folder(zygote, tmp_path_factory) -> Path:
    """The script, and the recordings of Keras."""
    found = tmp_path_factory.mktemp("plain")
    shutil.copy(SCRIPT, found)
    for way in ("keras", *REFERENCES.values()):
        order = ("record", "-o", f"{way}.h5", "--steps", "0", "plain.py", way)
        assert zygote.run(*order, cwd=found).code == 0
    return found


def compared(zygote, folder: Path, way: str, *arguments: str) -> dict:
    """The answer of `diff` for a way of training against Keras."""
    reference, made = f"{REFERENCES.get(way, 'keras')}.h5", f"{way}{''.join(arguments)}.h5"
    order = ("record", "-o", made, "--steps", "0", "--reference", reference, "plain.py", way, *arguments)
    ran = zygote.run(*order, cwd=folder)
    assert ran.code == 0, ran.err
    return json.loads(zygote.run("diff", reference, made, "--json", "-", cwd=folder).out)


@pytest.mark.parametrize("way", WAYS)
def test_equivalent(zygote, folder, way):
    """Step by step the same as Keras, all weights and every batch shared."""
    answer = compared(zygote, folder, way, "function")
    assert answer["verdict"] == "equivalent", answer["first"]
    assert answer["steps"]["compared"] == 6
    assert answer["shared"]["weights"] == {"shared": 4, "a": 4, "b": 4}
    assert answer["shared"]["batches"]
    assert answer["not_shared"] == answer["not_recorded"] == []


@pytest.mark.parametrize("way", WAYS)
def test_fault(zygote, folder, way):
    """One wrong constant is found in the step, the phase and the line where it first tells."""
    eager = () if way != "tf_gradients" else ("function",)
    first = compared(zygote, folder, way, "fault", *eager)["first"]
    phase, mark = WAYS[way]
    assert (first["phase"], first["step"]) == (phase, {"fused": 1, "accumulated": 2}.get(way, 0))
    if mark is not None:
        assert first["b"]["source"] == line_of(mark)
