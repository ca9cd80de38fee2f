"""Parts of a batch that follow from its labels."""

from __future__ import annotations

import numpy as np
import pytest

from tfdiff.errors import TfdiffError
from tfdiff.pairing.batches import PartRule, apply_rule
from tfdiff.pairing.derived import derived_parts, renumbered, with_derived

X = np.random.RandomState(1).normal(size=(24, 5)).astype("f4")
LABELS = np.arange(24) % 3
WEIGHTS = np.array([1.0, 2.0, 0.5], "f4")[LABELS]


@pytest.mark.parametrize("labels", [LABELS, LABELS[:, None], np.eye(3, dtype="f4")[LABELS]])
def test_class_weights_follow_from_the_labels(labels):
    """One number per row that each class always has, whatever way the classes are written."""
    ((number, found),) = derived_parts([X, labels, WEIGHTS]).items()
    assert (number, found.of) == (2, 1)
    assert dict(found.table) == {0.0: 1.0, 1.0: 2.0, 2.0: 0.5}
    rules = with_derived({1: PartRule("copy", (0,), labels.shape[1:])}, {2: found}, [X, labels, WEIGHTS])
    assert rules[0] is None
    other = labels[::-1]
    np.testing.assert_array_equal(apply_rule(rules[2], [other], np.float32), WEIGHTS[::-1])


def test_weights_that_are_all_the_same():
    """They need no classes."""
    (found,) = derived_parts([X, np.full(24, 1.5, "f4")]).values()
    rules = with_derived({0: PartRule("copy", (0,), (5,))}, {1: found}, [X, np.full(24, 1.5, "f4")])
    np.testing.assert_array_equal(apply_rule(rules[1], [X[:4]], np.float32), np.full(4, 1.5))


def test_weights_of_rows_follow_from_nothing():
    """Numbers that differ within a class, or labels with too many values to tell, are parts of their own."""
    free = np.linspace(1, 2, 24).astype("f4")
    assert derived_parts([X, LABELS, free]) == {}
    assert derived_parts([X, np.arange(24), free]) == {}


def test_a_class_never_seen():
    """A class that b never had has no weight there."""
    (found,) = derived_parts([X, LABELS, WEIGHTS]).values()
    rule = with_derived({1: PartRule("copy", (0,), ())}, {2: found}, [X, LABELS, WEIGHTS])[2]
    with pytest.raises(TfdiffError, match="never had"):
        apply_rule(rule, [np.array([0, 7])], np.float32)


def test_renumbered():
    """Sources and columns get their numbers among all parts."""
    rule = renumbered(PartRule("columns", (0, 1), (2,), columns=((0, 3), (1, 0))), [1, 4])
    assert (rule.sources, rule.columns) == ((1, 4), ((1, 3), (4, 0)))
