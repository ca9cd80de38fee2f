"""Pictures of tensors as data."""

from __future__ import annotations

import numpy as np
import pytest

from tfdiff.tui.data import CellDetail
from tfdiff.tui.figures import BINS, WORST, Histogram, picture, sparkline


@pytest.fixture
def of(build):
    """Picture two arrays."""
    return lambda a, b: picture(CellDetail(None if a is None else build.side(a), None if b is None else build.side(b)))


def test_histograms_share_their_range(of):
    """A and B are counted in the same bins, so that a shift is seen as one; every element is counted."""
    figures = of(np.linspace(0.0, 1.0, 100), np.linspace(2.0, 3.0, 100))
    assert (figures.a.low, figures.a.high) == (figures.b.low, figures.b.high) == (0.0, 3.0)
    assert sum(figures.a.counts) == sum(figures.b.counts) == 100
    assert sum(figures.a.counts[BINS // 2 :]) == 0
    assert sum(figures.b.counts[: BINS // 2]) == 0


def test_worst_elements_come_worst_first(of):
    """The planted elements are found, with index and both values."""
    a = np.zeros((3, 4, 5), np.float32)
    b = a.copy()
    b[1, 2, 3] = 7.0
    b[2, 0, 4] = -9.0
    figures = of(a, b)
    assert [(element.index, element.b) for element in figures.worst] == [((2, 0, 4), -9.0), ((1, 2, 3), 7.0)]
    assert figures.unequal == 2


def test_nan_on_one_side_is_worst_of_all_and_on_both_sides_none(of):
    """NaN against a number comes before any number; NaN against NaN is no difference."""
    figures = of(np.array([np.nan, 1.0, np.nan, np.inf]), np.array([np.nan, 100.0, 2.0, np.inf]))
    assert [element.index for element in figures.worst] == [(2,), (1,)]
    assert sum(figures.a.counts) == 1


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (np.zeros((0, 3)), np.zeros((0, 3))),
        (np.float32(1.5).reshape(()), np.float32(2.5).reshape(())),
        (np.array([True, False]), np.array([True, True])),
        (np.array([1 + 1j]), np.array([1 - 1j])),
        (np.array([1.7e308, -1.7e308]), np.array([-1.7e308, 1.7e308])),
        (np.full(5, np.nan), np.full(5, np.nan)),
        (np.arange(5), np.arange(5, dtype=np.float16)),
        (np.ones(3), np.ones(4)),
        (np.ones(3), None),
        (None, None),
    ],
)
def test_odd_arrays_are_pictured_too(of, a, b):
    """Empty, scalar, boolean, complex, huge, NaN-only, integer, unequal or missing: no crash, no wrong count."""
    figures = of(a, b)
    for values, histogram in ((a, figures.a), (b, figures.b)):
        if values is not None:
            assert sum(histogram.counts) == np.isfinite(values).sum()
    assert len(figures.worst) == min(figures.unequal, WORST)


def test_a_bin_that_is_not_empty_is_never_blank():
    """One outlier among a million elements is still seen."""
    assert sparkline(Histogram(0.0, 1.0, (1_000_000, 0, 1))) == "█ ▁"
