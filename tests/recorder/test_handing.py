"""Gradients of a reference as rows at the ids that a script looks up."""

import numpy as np
import pytest

from tfdiff.recorder.handing import rows_of

OWN = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
IDS = np.array([0, 2, 2, 4, 2, 0])


def added_up(rows: np.ndarray) -> np.ndarray:
    """The gradient of the table."""
    dense = np.zeros((5, 3), np.float32)
    np.add.at(dense, IDS, rows)
    return dense


def test_rows_of_the_own_gradient_are_the_own_rows():
    """An optimizer that takes repeated rows one by one gets what the script computed."""
    assert np.array_equal(rows_of(added_up(OWN), OWN, IDS), OWN)


@pytest.mark.parametrize("own", [OWN, np.zeros_like(OWN)])
def test_rows_add_up_to_the_gradient(own):
    """Whatever the own rows are."""
    wanted = added_up(OWN) * np.array([[1.3], [1.0], [-1.0], [1.0], [0.0]], np.float32)
    assert added_up(rows_of(wanted, own, IDS)) == pytest.approx(wanted, abs=1e-6)


def test_other_rows_cannot_be_handed_over():
    """A row that is not looked up has no place."""
    wanted = added_up(OWN)
    wanted[1] = 1.0
    assert rows_of(wanted, OWN, IDS) is None
