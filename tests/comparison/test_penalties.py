"""What counts as a penalty on the weights."""

import numpy as np

from tests.causes import programs
from tests.causes.programs import Program, features


def program(script: str, factor: float, *, sized: bool) -> Program:
    """A linear model of scaled features; one takes the number of its outputs from its kernel for an index."""
    p = Program(script)
    x = p.input(features())
    h = p.dense(p.op("Mul", p.value(x) * factor, x), "out", 3)
    if sized:
        count = p.op("StridedSlice", np.int32(3), p.read("out/w"))
        best = p.op("ArgMax", p.value(h).argmax(1), h)
        place = p.op("AddV2", p.value(best) + 3, best, count)
        h = p.op("Mul", p.value(h) * (p.value(place)[:, None] >= 0), h, place)
    programs.squared(p, h, p.input(np.ones((24, 3), np.float32)))
    return p


def test_the_size_of_a_weight_is_no_penalty(tmp_path):
    """A whole number that one side takes from a weight and adds to an index is told as nothing of its own."""
    result = programs.diff(program("a.py", 1.0, sized=True), program("b.py", 2.0, sized=False), tmp_path)
    assert [divergence.phase for divergence in result.divergences] == ["forward"]
