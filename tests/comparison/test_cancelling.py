"""Gradients that are sums of terms which nearly cancel."""

import numpy as np
import pytest

from tests.causes import programs
from tests.causes.programs import Program, features

TERMS = np.random.default_rng(5).normal(size=(24, 3)).astype(np.float32)


def program(script: str, gradient: np.ndarray, terms: np.ndarray = TERMS) -> Program:
    """A linear model whose bias has that gradient, recorded as the sum of the terms."""
    p = Program(script)
    programs.squared(p, p.dense(p.input(features()), "out", 3), p.input(np.ones((24, 3), np.float32)))
    made = p.put("operation", "backward", "Mul", terms)
    total = p.put("operation", "backward", "Sum", gradient.astype(terms.dtype), (made,))
    behind = "Sum" if gradient.dtype == terms.dtype else "Cast"
    p.put("weight gradient", "backward", behind, gradient, (total,), variable=p.index["out/b"])
    p.assign("out/b", 0.1 * gradient)
    p.end_step()
    return p


@pytest.mark.parametrize(("difference", "verdict"), [(1e-6, "equivalent"), (1e-3, "diverged")])
def test_what_is_left_of_terms_that_cancel(tmp_path, difference, verdict):
    """It may be off by as much as the terms are rounded by, however small it is, and by no more."""
    small = np.float32([1e-4, -1e-4, 2e-4])
    result = programs.diff(program("a.py", small), program("b.py", small + np.float32(difference)), tmp_path)
    assert result.verdict == verdict


@pytest.mark.parametrize(("difference", "verdict"), [(4e-3, "equivalent"), (6e-2, "diverged")])
def test_terms_in_half_precision(tmp_path, difference, verdict):
    """Terms that were summed as float16 are rounded to it, though the gradient is cast to float32 behind the sum."""
    small = np.float32([5e-2, -5e-2, 5e-2])
    a, b = (
        program(f"{name}.py", small + np.float32(more), TERMS.astype(np.float16))
        for name, more in (("a", 0), ("b", difference))
    )
    assert programs.diff(a, b, tmp_path).verdict == verdict
