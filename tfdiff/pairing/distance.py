"""How far two tensors are from each other: the only place that defines the relative error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[Any]

SCALE_FLOOR = float(np.finfo(np.float32).tiny)
"""Root mean square below which a tensor counts as zero: everything smaller is a float32 denormal."""


def relative_error(a: Array, b: Array) -> float:
    """Return ||a - b|| / max(||a||, ||b||) in float64, the norms being Frobenius norms.

    The denominator has a floor of `SCALE_FLOOR` * sqrt(number of elements), so that two tensors of denormals agree.
    NaN and infinities at equal positions (infinities of equal sign) are left out of both norms; anywhere else they
    make the error infinite. Shapes must be equal.

    Raises:
        ValueError: the shapes differ.
    """
    if np.shape(a) != np.shape(b):
        raise ValueError(f"expected equal shapes, found {np.shape(a)} and {np.shape(b)}")
    x, y = _flat(a), _flat(b)
    with np.errstate(over="ignore", invalid="ignore"):
        difference = np.subtract(x, y)
        norm = _norm(difference)
    if not np.isfinite(norm):
        return _error_of_finite_rest(x, y)
    return norm / max(_norm(x), _norm(y), _floor(x.size))


def _norm(x: npt.NDArray[np.float64]) -> float:
    # einsum, not a dot product: BLAS would start threads for it, slow on busy cores
    return float(np.sqrt(np.einsum("i,i->", x, x)))


def _floor(size: int) -> float:
    return float(SCALE_FLOOR * max(size, 1) ** 0.5)


def _flat(values: Array) -> npt.NDArray[np.float64]:
    return np.asarray(values).astype(np.float64, copy=False).reshape(-1)


def _error_of_finite_rest(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> float:
    finite = np.isfinite(x) & np.isfinite(y)
    odd = ~finite
    if not np.array_equal(x[odd], y[odd], equal_nan=True):
        return float("inf")
    rest_x, rest_y = x[finite], y[finite]
    with np.errstate(over="ignore"):
        norm = float(np.linalg.norm(rest_x - rest_y))
        scale = max(float(np.linalg.norm(rest_x)), float(np.linalg.norm(rest_y)), _floor(x.size))
    return norm / scale if np.isfinite(norm) else float("inf")


def sketch_errors(
    a: npt.NDArray[np.float32],
    b: npt.NDArray[np.float32],
    a_norms: npt.NDArray[np.float64],
    b_norms: npt.NDArray[np.float64],
    size: int,
) -> npt.NDArray[np.float64]:
    """Estimate the relative errors of pairs of tensors of `size` elements from their sketches.

    `a` and `b` are float32[n, 256], row i of both belonging to pair i; the norms are those of the tensors. Sketches
    are linear, so the sketch of the difference is the difference of the sketches and its norm estimates the norm of
    the difference.
    """
    difference = a.astype(np.float64) - b
    norms = np.sqrt(np.einsum("ij,ij->i", difference, difference))
    errors = norms / np.maximum(np.maximum(a_norms, b_norms), _floor(size))
    return np.where(np.isfinite(errors), errors, np.inf)
