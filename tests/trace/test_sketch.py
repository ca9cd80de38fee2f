"""Sketches: what can be estimated from them, and that they never change."""

from __future__ import annotations

import zlib

import numpy as np
import pytest

from tfdiff.trace.sketch import sketch, sketches

FROZEN_START = [-7441.0, 20565.0, 13643.0, -21865.0]
FROZEN = 3297328413
FROZEN_SMALL = 150584683


def estimate(a, b):
    """Relative error of b against a, from the sketches alone."""
    first, second = sketch(a).astype(np.float64), sketch(b).astype(np.float64)
    return np.linalg.norm(first - second) / np.linalg.norm(first)


@pytest.mark.parametrize("size", [1_000, 10_000, 100_000, 1_000_000])
@pytest.mark.parametrize("error", [1e-6, 1e-3, 1.0])
def test_relative_errors(size, error):
    """Relative errors are estimated within about 10 % (standard deviation 6 %), and without a bias."""
    ratios = []
    for seed in range(3 if size == 1_000_000 else 12):
        generator = np.random.default_rng(seed)
        a = generator.normal(size=size)
        b = a + error * generator.normal(size=size)
        ratios.append(estimate(a, b) / (np.linalg.norm(a - b) / np.linalg.norm(a)))
    assert np.abs(np.array(ratios) - 1).max() < 0.2
    assert np.median(np.abs(np.array(ratios) - 1)) < 0.1
    assert abs(np.mean(ratios) - 1) < 0.08


@pytest.mark.parametrize("width", [7, 64, 256, 512, 1000])
def test_structured_differences(width):
    """A difference in one column, one row or one constant is seen as large as one that is spread."""
    a = np.random.default_rng(0).normal(size=(2000, width)).astype(np.float32)
    for place in (np.s_[:, 3], np.s_[17, :], np.s_[:, :]):
        b = a.copy()
        b[place] += 1
        truth = np.linalg.norm(a - b) / np.linalg.norm(a)
        assert estimate(a, b) == pytest.approx(truth, rel=0.2)


@pytest.mark.parametrize("size", [0, 1, 10, 256])
def test_small_tensors_are_exact(size):
    """Up to 256 elements each has a bucket of its own: norms are exact."""
    value = np.random.default_rng(0).normal(size=size)
    assert np.linalg.norm(sketch(value)) == pytest.approx(np.linalg.norm(value), rel=1e-6)


def test_linear():
    """The sketch of a difference is the difference of the sketches, small and large."""
    for size in (300, 200_000):
        a, b = np.random.default_rng(0).normal(size=(2, size))
        assert np.allclose(sketch(a) - sketch(b), sketch(a - b), atol=1e-4 * np.sqrt(size))


def test_frozen():
    """The sketch of a given tensor is the same in every release: traces of different versions are compared."""
    value = np.arange(300_000) % 1009 - 504
    whole = sketch(value)
    assert whole.dtype == np.float32
    assert whole[:4].tolist() == FROZEN_START
    assert zlib.crc32(whole.tobytes()) == FROZEN
    assert zlib.crc32(sketch(np.arange(1000)).tobytes()) == FROZEN_SMALL


def test_any_dtype_and_shape():
    """Shape and dtype play no part, order does: the C order of the elements is what counts."""
    value = np.arange(60).reshape(3, 4, 5)
    for kind in (np.int8, np.uint16, np.int64, np.float16, np.float32, np.float64):
        assert np.array_equal(sketch(value.astype(kind)), sketch(value.reshape(-1)))
    assert not np.array_equal(sketch(value.T), sketch(value))
    assert np.array_equal(sketch(value.T), sketch(value.T.copy()))
    assert np.array_equal(sketch(value > 7), sketch((value > 7).astype(np.float32)))
    assert np.linalg.norm(sketch(np.array([3 + 4j]))) == pytest.approx(5)


def test_non_finite_and_huge():
    """NaN and infinities count as 0; what float32 cannot hold becomes its largest number."""
    value = np.random.default_rng(0).normal(size=100_000)
    hurt, zeroed = value.copy(), value.copy()
    hurt[[5, 70_000]], zeroed[[5, 70_000]] = [np.nan, np.inf], 0
    assert np.array_equal(sketch(hurt), sketch(zeroed))
    assert np.isfinite(sketch(np.array([1e300, -1e300]))).all()


def test_many_at_once():
    """Tensors sketched together have the sketches they have alone."""
    generator = np.random.default_rng(0)
    values = [generator.normal(size=size) for size in (3, 0, 70_000, 65536, 65536, 500_000, *range(1, 300))]
    together = sketches(values)
    assert together.shape == (len(values), 256)
    for row, value in zip(together, values, strict=True):
        assert np.array_equal(row, sketch(value))
