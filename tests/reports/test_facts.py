from __future__ import annotations

import pytest

from tfdiff.reports import facts


@pytest.mark.parametrize(
    ("shared", "wanted"),
    [
        ({"weights": {"shared": 7, "a": 8, "b": 9}}, {"shared": 7, "a": 8, "b": 9}),
        ({"weights": {"shared": "many", "a": None}}, {"shared": 0, "a": 0, "b": 0}),
        ({"weights": [1, 2]}, {"shared": 0, "a": 0, "b": 0}),
        ({}, {"shared": 0, "a": 0, "b": 0}),
    ],
)
def test_recorded_weights(shared, wanted):
    """Counts come as numbers whatever a stranger's trace says."""
    assert facts.recorded_weights(shared) == wanted


def test_shared_weights_are_those_of_the_header(make_result):
    """What the recording says was shared goes before what the rows show."""
    result = make_result(shared={"weights": {"shared": 5, "a": 6, "b": 7}})
    assert facts.shared_weights(result) == {"shared": 5, "a": 6, "b": 7}


def test_unpaired_names_stand_once(make_result):
    """A name that occurs in several rows is listed once, in order."""
    result = make_result(rows=make_result().rows * 2)
    assert facts.unpaired(result) == (["extra"], ["more"])
