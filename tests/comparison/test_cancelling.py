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


@pytest.mark.parametrize(
    ("apart", "scale", "verdict"),
    [(5e-4, 1.0, "equivalent"), (5e-4, 1.5, "diverged"), (5e-3, 1.0, "diverged")],
)
def test_terms_that_differ(tmp_path, apart, scale, verdict):
    """Where the terms agree within tolerance the sum may differ by what they differ by, and by no more; where they do
    not, neither does it.
    """
    noise = np.random.default_rng(6).normal(size=TERMS.shape).astype(np.float32)
    centred = TERMS - TERMS.mean(0) + np.float32(1e-2)
    other = centred * (1 + np.float32(apart) * noise)
    a = program("a.py", centred.sum(0), centred)
    b = program("b.py", other.sum(0) * np.float32(scale), other)
    error = np.linalg.norm(centred.sum(0) - other.sum(0)) / np.linalg.norm(centred.sum(0))
    assert error > 1e-3
    assert programs.diff(a, b, tmp_path).verdict == verdict
