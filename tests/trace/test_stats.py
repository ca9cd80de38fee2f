"""Statistics of tensors."""

from __future__ import annotations

import numpy as np
import pytest

from tfdiff.model import Stats
from tfdiff.trace.stats import all_stats, stats, table


def naive(value):
    """The definition, with none of the tricks."""
    line = np.asarray(value).reshape(-1)
    line = (np.abs(line) if line.dtype.kind == "c" else line).astype(np.float64)
    finite = line[np.isfinite(line)]
    zeros, nans, infs = int((line == 0).sum()), int(np.isnan(line).sum()), int(np.isinf(line).sum())
    if not finite.size:
        return Stats(0.0, 0.0, 0.0, 0.0, zeros, nans, infs)
    numbers = finite.min(), finite.max(), finite.mean(), np.sqrt((finite**2).sum())
    return Stats(*map(float, numbers), zeros, nans, infs)


def close(seen, wanted):
    """Equal up to rounding."""
    names = ("minimum", "maximum", "zeros", "nans", "infs")
    assert [getattr(seen, name) for name in names] == [getattr(wanted, name) for name in names]
    assert seen.mean == pytest.approx(wanted.mean, rel=1e-9, abs=1e-12 * max(1.0, wanted.norm))
    assert seen.norm == pytest.approx(wanted.norm, rel=1e-12)


@pytest.mark.parametrize("size", [1, 2, 255, 65536, 65537, 200_000])
@pytest.mark.parametrize("kind", ["float32", "float64", "float16", "int32", "uint8", "bool", "complex64"])
def test_definition(size, kind):
    """Statistics are those of the definition, below and above the size at which tensors are cut into pieces."""
    value = (np.random.default_rng(size).normal(size=size) * 3).clip(-9, 9)
    close(
        stats((np.abs(value) if kind == "uint8" else value).astype(kind)),
        naive((np.abs(value) if kind == "uint8" else value).astype(kind)),
    )


@pytest.mark.parametrize("size", [10, 200_000])
def test_non_finite(size):
    """NaN and infinities are counted and leave the other statistics alone."""
    value = np.random.default_rng(0).normal(size=size)
    value[[1, size - 1]], value[2], value[3], value[5] = np.nan, np.inf, -np.inf, 0
    close(stats(value), naive(value))
    assert stats(np.full(size, np.nan)) == Stats(0, 0, 0, 0, 0, size, 0)


def test_empty_and_scalar():
    """An empty tensor has all 0; a scalar is its own minimum, maximum, mean and norm."""
    assert stats(np.zeros((0, 3))) == Stats(0, 0, 0, 0, 0, 0, 0)
    assert stats(np.float32(-3)) == Stats(-3, -3, -3, 3, 0, 0, 0)


def test_range():
    """Norms are right where squares would leave float64."""
    for scale in (1e200, 1e-200):
        assert stats(np.array([3.0, 4.0]) * scale).norm == pytest.approx(5 * scale)


def test_many_at_once():
    """Tensors measured together have the statistics they have alone."""
    generator = np.random.default_rng(0)
    values = [generator.normal(size=size) for size in (3, 0, 70_000, 1, 65536, 65536, 500_000, 17, *range(1, 300))]
    values[3][0] = np.nan
    assert all_stats(table(values)) == [stats(value) for value in values]
