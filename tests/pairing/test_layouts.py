"""Shapes against shapes."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from tfdiff.pairing.layouts import fit, inverse, merged_axes, permutations_between


def test_inverse_undoes() -> None:
    """Transposing by a permutation and its inverse changes nothing."""
    value = np.arange(24).reshape(2, 3, 4)
    for permutation in itertools.permutations(range(3)):
        assert np.array_equal(value.transpose(permutation).transpose(inverse(permutation)), value)


def test_fewest_inversions_first() -> None:
    """Of several permutations the one that changes least comes first."""
    assert permutations_between((8, 6, 6, 3), (8, 3, 6, 6), fixed=1) == [(0, 3, 1, 2), (0, 3, 2, 1)]
    assert permutations_between((2, 3), (2, 3)) == [(0, 1)]
    assert permutations_between((2, 2), (2, 2)) == [(0, 1), (1, 0)]
    assert permutations_between((2, 3), (3, 3)) == []
    assert permutations_between((3, 2), (2, 3), fixed=1) == []


def test_merged_axes() -> None:
    """Neighbouring axes merge in order; extents of 1 come and go."""
    assert merged_axes((8, 2, 4), (8, 8)) == [[0], [1, 2]]
    assert merged_axes((1, 5, 3), (5, 3)) == [[0, 1], [2]]
    assert merged_axes((5, 3, 1), (5, 3)) == [[0], [1, 2]]
    assert merged_axes((5, 3), (5, 1, 3)) == [[0], [], [1]]
    assert merged_axes((2, 3), (3, 2)) is None
    assert merged_axes((4, 3), (12, 2)) is None


@pytest.mark.parametrize(
    ("shape", "target", "layout", "target_layout", "answer"),
    [
        ((3, 5), (3, 5), (0, 1), (0, 1), (None, None)),
        ((3, 5), (5, 3), (0, 1), (1, 0), ((1, 0), None)),
        ((4, 4), (4, 4), (0, 1), (1, 0), ((1, 0), None)),
        ((3, 5), (5, 3), None, (0, 1), ((1, 0), None)),
        ((12, 3, 4), (12, 12), (0, 1, 2), (0, 1), (None, (12, 12))),
        ((12, 12), (12, 3, 4), (1, 0), (0, 1, 2), ((1, 0), (12, 3, 4))),
        ((6, 3, 4), (12, 6), (0, 1, 2), (1, 0), ((1, 2, 0), (12, 6))),
        ((3, 3, 2, 8), (8, 2, 3, 3), None, None, ((3, 2, 0, 1), None)),
        ((7,), (1, 7), None, None, (None, (1, 7))),
        ((), (1,), None, None, (None, (1,))),
    ],
)
def test_fit(shape, target, layout, target_layout, answer) -> None:
    """Layouts decide where known; else equal shapes, flattened axes and permutations are tried in this order."""
    found = fit(shape, target, layout, target_layout)
    assert found is not None
    assert (found.permutation, found.reshape) == answer


@pytest.mark.parametrize(
    ("shape", "target", "layout", "target_layout"),
    [
        ((3, 5), (3, 6), None, None),
        ((3, 5), (5, 3), (0, 1), (0, 1)),
        ((3, 5), (3, 5), (0, 1), (1, 0)),
        ((4, 6), (3, 8), None, None),
        ((0, 3), (3,), None, None),
    ],
)
def test_no_fit(shape, target, layout, target_layout) -> None:
    """Other sizes, or layouts that contradict the shapes, do not fit."""
    assert fit(shape, target, layout, target_layout) is None


def test_ambiguous_permutation_is_not_certain() -> None:
    """Two equal extents leave a choice, and the answer says so."""
    guessed = fit((3, 3, 2, 8), (8, 2, 3, 3))
    assert guessed is not None
    assert not guessed.certain
