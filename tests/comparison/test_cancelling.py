"""Gradients that are sums of terms which nearly cancel."""

import numpy as np
import pytest

from tests.causes import programs
from tests.causes.programs import Program, features

TERMS = np.random.default_rng(5).normal(size=(24, 3)).astype(np.float32)


def program(script: str, gradient: np.ndarray) -> Program:
    """A linear model whose bias has that gradient, recorded as the sum of `TERMS`."""
    p = Program(script)
    programs.squared(p, p.dense(p.input(features()), "out", 3), p.input(np.ones((24, 3), np.float32)))
    terms = p.put("operation", "backward", "Mul", TERMS)
    total = p.put("operation", "backward", "Sum", gradient, (terms,))
    p.put("weight gradient", "backward", "Sum", gradient, (total,), variable=p.index["out/b"])
    p.end_step()
    return p


@pytest.mark.parametrize(("difference", "verdict"), [(1e-6, "equivalent"), (1e-3, "diverged")])
def test_what_is_left_of_terms_that_cancel(tmp_path, difference, verdict):
    """It may be off by as much as the terms are rounded by, however small it is, and by no more."""
    small = np.float32([1e-4, -1e-4, 2e-4])
    result = programs.diff(program("a.py", small), program("b.py", small + np.float32(difference)), tmp_path)
    assert result.verdict == verdict
