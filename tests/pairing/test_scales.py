"""Scales that a step applies to its batch."""

import numpy as np
import pytest

from tests.causes.programs import Program, squared
from tfdiff.pairing.batches import PartRule, apply_rule
from tfdiff.pairing.scales import InputScale, input_scale, scaled_rule
from tfdiff.trace.reader import open_trace

PIXELS = np.random.default_rng(0).integers(0, 256, (24, 30)).astype(np.float32)


@pytest.fixture
def block(tmp_path):
    """The step of a program that feeds `x`, scaled by `chain`."""
    opened = []

    def run(x, *chain, also=False):
        p = Program(f"{len(opened)}.py")
        start = at = p.input(x)
        for op, number in chain:
            with_number = {"Mul": p.value(at) * number, "Sub": p.value(at) - number, "Exp": np.exp(p.value(at) / 255)}[
                op
            ]
            at = p.op(op, with_number, at, p.constant(number))
        if also:
            p.op("Mean", p.value(start).mean(), start)
        squared(p, p.dense(at, "out", 3), p.input(np.zeros((24, 3), np.float32)))
        p.end_step()
        path = tmp_path / f"{len(opened)}.h5"
        p.write(path)
        opened.append(open_trace(path))
        return opened[-1].step(0)

    yield run
    for trace in opened:
        trace.close()


def test_a_chain_of_scales_is_one_map(block):
    """Products and differences with numbers are followed to the last one."""
    found = input_scale(block(PIXELS, ("Mul", 2 / 255), ("Sub", 1.0)), 0)
    assert (found.scale, found.offset) == (pytest.approx(2 / 255), pytest.approx(-1.0, abs=1e-5))


def test_what_is_no_scale_ends_the_chain(block):
    """So does a second use of the raw tensor."""
    assert input_scale(block(PIXELS, ("Exp", 1.0)), 0) == InputScale()
    assert input_scale(block(PIXELS, ("Mul", 1 / 255), also=True), 0) == InputScale()


def test_data_are_handed_over_as_the_networks_see_them(block):
    """What a scales in its step and b beforehand becomes a scale of the rule, and the other way round."""
    inner, plain = block(PIXELS, ("Mul", 1 / 255)), block(PIXELS / 255)
    rule = PartRule("copy", (0,), (30,))
    there = scaled_rule(rule, (PIXELS, PIXELS / 255), (inner, plain), (0, 0))
    np.testing.assert_allclose(apply_rule(there, [PIXELS], np.float32), PIXELS / 255, rtol=1e-6)
    back = scaled_rule(rule, (PIXELS / 255, PIXELS), (plain, inner), (0, 0))
    np.testing.assert_array_equal(apply_rule(back, [PIXELS / 255], np.uint8), PIXELS.astype(np.uint8))


def test_data_of_one_spread_are_handed_over_as_they_are(block):
    """Where both runs have the same raw data and one forgets to scale them, that is to be seen."""
    rule = PartRule("copy", (0,), (30,))
    assert scaled_rule(rule, (PIXELS, PIXELS), (block(PIXELS, ("Mul", 1 / 255)), block(PIXELS)), (0, 0)) is rule
