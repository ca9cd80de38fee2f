"""The reference's gradient of a table in the rows that this run looks up."""

from __future__ import annotations

import numpy as np

from tfdiff.recorder.handing import rows_of

OWN = np.array([[1, 2], [3, 4], [5, 6], [7, 8]], np.float32)
INDICES = np.array([[2, 0], [2, 1]])


def summed(rows: np.ndarray) -> np.ndarray:
    """The dense gradient of a table with four rows."""
    dense = np.zeros((4, 2), rows.dtype)
    np.add.at(dense, INDICES.ravel(), rows.reshape(-1, 2))
    return dense


def test_rows_that_add_up_already_stay_as_they_are() -> None:
    """An optimizer that squares repeated rows one by one gets them as this run has them, not their sum."""
    assert np.array_equal(rows_of(summed(OWN), OWN, INDICES), OWN)


def test_what_is_missing_is_spread_over_repeated_rows() -> None:
    """Whatever this run has of its own, the rows add up to the reference's gradient."""
    wanted = summed(OWN) * np.float32(3)
    found = rows_of(wanted, OWN.reshape(2, 2, 2), INDICES)
    assert found.shape == (2, 2, 2)
    np.testing.assert_allclose(summed(found), wanted, rtol=1e-6)
    assert np.array_equal(found.reshape(4, 2)[[1, 3]], wanted[[0, 1]])


def test_rows_that_are_no_numbers_are_replaced() -> None:
    """NaN of this run's own does not go on."""
    found = rows_of(summed(OWN), np.full_like(OWN, np.nan), INDICES)
    np.testing.assert_allclose(summed(found), summed(OWN))


def test_other_rows_cannot_be_handed_on() -> None:
    """A row that is not looked up here, and is not zero in the reference, has no place."""
    dense = summed(OWN)
    dense[3] = 1.0
    assert rows_of(dense, OWN, INDICES) is None
