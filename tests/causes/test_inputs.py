"""What is done to the batch before anything is learned from it: scales, and rows of a table."""

import numpy as np
import pytest

from . import programs
from .programs import Program, features


def scaled(script: str, *steps: tuple[str, float], behind: bool = False) -> Program:
    """Ops with a constant each on the batch (or `behind` a dense layer), dense, squared error."""
    p = Program(script)
    h = p.input(features())
    if behind:
        h = p.dense(h, "first", 6)
    compute = {"Mul": np.multiply, "RealDiv": np.divide, "AddV2": np.add, "Sub": np.subtract}
    for op, constant in steps:
        h = p.op(op, compute[op](p.value(h), np.float32(constant)), h, p.constant(constant), line=5)
    programs.squared(p, p.dense(h, "out", 3, line=9), p.input(np.ones((24, 3), np.float32)))
    return p


@pytest.mark.parametrize(
    ("a", "b", "constants"),
    [
        ([("Mul", 0.5)], [("Mul", 0.505)], [(0.5, 0.0), (0.505, 0.0)]),
        ([("RealDiv", 4.0), ("Sub", 1.0)], [("RealDiv", 4.0)], [(1.0, -1.0), (1.0, 0.0)]),
        ([], [("Mul", 2.0), ("AddV2", 0.5)], [(1.0, 0.0), (2.0, 0.5)]),
    ],
)
def test_scaled_inputs(first, a, b, constants):
    """The constants of both sides are read from the ops behind the last equal tensor; a side may have none."""
    cause = first(scaled("a.py", *a), scaled("b.py", *b))
    assert cause.code == "data-scale"
    for side, (factor, offset) in zip("ab", constants, strict=True):
        assert cause.constants[side]["scale"] == pytest.approx(factor)
        assert cause.constants[side]["offset"] == pytest.approx(offset)
    assert cause.error_after < 1e-6


def test_scaled_behind_a_layer_is_unexplained(first):
    """A factor within the network is no scale of the data."""
    assert first(scaled("a.py", ("Mul", 0.5), behind=True), scaled("b.py", ("Mul", 0.6), behind=True)).code == (
        "unexplained"
    )


def with_scaled_labels(script: str, factor: float, function: str) -> Program:
    """Dense, an activation, dense, squared error against labels times a number."""
    p = Program(script)
    h = p.dense(p.input(features()), "first", 6)
    made = np.tanh(p.value(h)) if function == "Tanh" else np.maximum(p.value(h), 0.0)
    h = p.op(function, made, h, line=6)
    labels = p.input(np.linspace(0.1, 2.0, 72, dtype=np.float32).reshape(24, 3))
    scaled_labels = p.op("Mul", p.value(labels) * np.float32(factor), labels, p.constant(factor), line=7)
    programs.squared(p, p.dense(h, "out", 3, line=9), scaled_labels)
    return p


def test_scaled_labels_are_no_cause_of_what_comes_before(first):
    """What is done to the labels does not lead to a difference within the network, and is not named there."""
    a, b = with_scaled_labels("a.py", 0.9, "Tanh"), with_scaled_labels("b.py", 0.8, "Relu")
    assert first(a, b).code == "activation"


def looked_up(script: str, rows: np.ndarray) -> Program:
    """Rows of a table, dense, squared error."""
    p = Program(script)
    ids = p.input(np.arange(24).astype(np.int32) % 7)
    made = p.op("AddV2", rows.astype(np.int32), ids, line=4)
    p.variable("table/w", np.random.default_rng(3).normal(size=(12, 5)))
    table = p.read("table/w")
    h = p.op("GatherV2", p.weights["table/w"][rows], table, made, line=5)
    programs.squared(p, p.dense(h, "out", 3, line=9), p.input(np.ones((24, 3), np.float32)))
    return p


IDS = np.arange(24) % 7


@pytest.mark.parametrize("offset", [1, 3])
def test_moved_ids(first, offset):
    """The number by which all ids are moved is told, with the line that looks them up."""
    cause = first(looked_up("a.py", IDS), looked_up("b.py", IDS + offset))
    assert (cause.code, cause.constants) == ("embedding-offset", {"a": 0, "b": offset})
    assert cause.error_after == 0.0
    assert cause.fix == f"look the ids up as A does, ids - {offset} at b.py:5"


def test_other_ids_are_unexplained(first):
    """Ids that are others, and not by one number, are no offset."""
    assert first(looked_up("a.py", IDS), looked_up("b.py", (3 * IDS) % 7)).code == "unexplained"
