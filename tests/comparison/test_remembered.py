"""Updates of an optimizer with memory, whose sums of earlier gradients nearly cancel."""

from types import SimpleNamespace

import numpy as np
import pytest

from tfdiff.comparison.update import UpdateHistory, _measure
from tfdiff.pairing.pairs import VariablePair

PAIR = VariablePair(0, 0, None, "")
VIEW = SimpleNamespace(tolerances=SimpleNamespace(of_change=lambda *_: 2e-4))
START = np.ones(4, np.float32)


def different(sizes: list[float], error: float) -> bool:
    """Whether the last of updates of these sizes differs, b's being off by so much of it."""
    history = UpdateHistory(worst={PAIR: 1e-3})
    for size in sizes:
        values = START + np.float32(size), START + np.float32(size * (1 + error))
        found = _measure(VIEW, PAIR, (START, START), values, None, history)
    return found.different


@pytest.mark.parametrize(("sizes", "expected"), [([0.1], True), ([1.0, 0.1], False), ([0.1, 0.1], True)])
def test_small_update_behind_larger_ones(sizes, expected):
    """The errors of larger updates stay in a small one; where all are alike, so much is a difference."""
    assert different(sizes, 2e-2) == expected


def test_wrong_rate_behind_larger_updates():
    """A rate that is wrong by more than what is remembered is seen all the same."""
    assert different([1.0, 0.1], 0.2)
