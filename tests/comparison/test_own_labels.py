"""Labels that belong to other rows."""

import numpy as np
import pytest

from tfdiff.comparison.own_labels import relabelled

RNG = np.random.default_rng(0)
X, CLASSES = RNG.normal(size=(60, 4)).astype("f4"), RNG.integers(0, 2, 60)
ORDER, OTHER = RNG.permutation(60), RNG.permutation(60)


def steps(*parts):
    """In batches of 20."""
    return [[part[k : k + 20] for part in parts] for k in (0, 20, 40)]


@pytest.mark.parametrize("labels", [CLASSES, np.eye(2)[CLASSES], RNG.normal(size=(60, 1))])
def test_labels_of_other_rows(labels):
    """Features and labels shuffled apart are told, also of two classes only; shuffled together they are not."""
    found = relabelled(steps(X, labels), steps(X[ORDER], labels[OTHER]))
    assert found is not None
    assert found["wrong"] > 0.3
    assert relabelled(steps(X, labels), steps(X[ORDER], labels[ORDER])) is None


def test_other_labels_are_not_labels_of_other_rows():
    """Classes that a does not have, or features that it does not have, say nothing."""
    assert relabelled(steps(X, CLASSES), steps(X, CLASSES + 7)) is None
    assert relabelled(steps(X, CLASSES), steps(X + 1, CLASSES[OTHER])) is None


def test_features_that_do_not_tell_rows_apart_say_nothing():
    """Ids that come with several labels are no key."""
    users, items, ratings = RNG.integers(0, 3, 60), RNG.integers(0, 3, 60), RNG.normal(size=60)
    assert relabelled(steps(users, items, ratings), steps(users[ORDER], items[ORDER], ratings[ORDER])) is None


def test_the_order_of_the_parts_does_not_matter():
    """Labels may come first."""
    assert relabelled(steps(CLASSES, X), steps(X[ORDER], CLASSES[ORDER])) is None
    assert relabelled(steps(CLASSES, X), steps(X[ORDER], CLASSES[OTHER])) is not None
