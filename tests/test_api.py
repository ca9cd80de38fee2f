"""The public functions, as far as they can be called without TensorFlow."""

from __future__ import annotations

import pytest

import tfdiff
from tfdiff.errors import TraceError, UsageError


def test_public_names():
    """What `tfdiff` offers is what it lists."""
    assert dir(tfdiff) == sorted(tfdiff.__all__) == ["__version__", "diff", "record"]
    assert all(hasattr(tfdiff, name) for name in tfdiff.__all__)


def test_unknown_name():
    """A name that is not there is an AttributeError, as in any module."""
    with pytest.raises(AttributeError, match="no attribute 'assert_equal'"):
        tfdiff.assert_equal  # noqa: B018 - asking for it is the test


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"share": ("weights", "rows")}, "share takes any of weights, batches, noise; found rows"),
        ({"detail": "all"}, "detail is one of layers, ops, sketch; found 'all'"),
        ({"steps": -1}, "steps is a number from 0"),
    ],
)
def test_record_refuses_what_cannot_be(tmp_path, options, message):
    """An option that cannot be is refused before the block runs, and no file is made."""
    with pytest.raises(UsageError, match=message):
        tfdiff.record(tmp_path / "a.h5", **options)
    assert not list(tmp_path.iterdir())


def test_diff_of_missing_files(tmp_path):
    """A missing trace is a TraceError that names it."""
    with pytest.raises(TraceError, match=r"no\.h5"):
        tfdiff.diff(tmp_path / "no.h5", tmp_path / "other.h5")
