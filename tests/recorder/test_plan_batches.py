"""How the batches of a run are planned from those of another, on plain arrays, without TensorFlow."""

from __future__ import annotations

import numpy as np

from tfdiff.recorder.plan_batches import _rules_of
from tfdiff.recorder.stream import LEAF

KEYS = [(LEAF, "b.py:1", 0, False, 0), (LEAF, "b.py:2", 0, True, 0)]


def steps(seed: int) -> list[np.ndarray]:
    """The features of three steps."""
    return list(np.random.default_rng(seed).normal(size=(3, 6, 5)).astype(np.float32))


def test_target_that_is_the_input():
    """Of an autoencoder, whose features are its labels, both parts are the one that the other run feeds twice, also
    where the two have no row in common.
    """
    a, b = steps(0), steps(1)
    rules = _rules_of([0, 1, 2], {k: [a[k], a[k]] for k in range(3)}, {k: dict.fromkeys(KEYS, b[k]) for k in range(3)})
    assert isinstance(rules, dict), rules
    assert [rules[key].sources for key in KEYS] == [(0,), (0,)]


def test_parts_behind_one_that_is_fed_twice():
    """The numbers of the parts behind it are those among all parts of the batch."""
    a, b = steps(0), steps(1)
    labels = np.arange(6)[:, None] % 3
    rules = _rules_of(
        [0, 1, 2],
        {k: [a[k], a[k], labels + k] for k in range(3)},
        {k: {KEYS[0]: b[k], KEYS[1]: labels + 2 * k} for k in range(3)},
    )
    assert isinstance(rules, dict), rules
    assert [rules[key].sources for key in KEYS] == [(0,), (2,)]


def test_labels_that_are_alike_by_chance():
    """Labels that b fed twice alike are shared where a part of a's batch goes nowhere otherwise; what b feeds in every
    step besides a whole batch is left as it is.
    """
    a, b = steps(0), steps(1)
    labels = [np.float32([[0], [1], [0], [1], [1], [k % 2]]) for k in range(3)]
    still = np.float32([[0], [0], [1], [0], [0], [0]])
    with_labels = {k: [a[k], labels[k]] for k in range(3)}
    rules = _rules_of([0, 1, 2], with_labels, {k: {KEYS[0]: b[k], KEYS[1]: still} for k in range(3)})
    assert isinstance(rules, dict), rules
    assert [rules[key].sources for key in KEYS] == [(0,), (1,)]
    mask = (LEAF, "b.py:3", 0, False, 0)
    own = {k: {KEYS[0]: b[k], KEYS[1]: labels[k][::-1], mask: still} for k in range(3)}
    rules = _rules_of([0, 1, 2], with_labels, own)
    assert isinstance(rules, dict), rules
    assert set(rules) == set(KEYS)


def test_feed_of_another_kind_from_the_second_step_on():
    """A step in which a state comes in where the first one had its features says nothing of the batches."""
    a, b = steps(0), steps(1)
    labels = [np.float32(np.arange(6) % (k + 2)) for k in range(3)]
    state = np.zeros((6, 2, 2), np.float32)
    own = {k: {KEYS[0]: b[k] if k == 0 else state, KEYS[1]: labels[k]} for k in range(3)}
    rules = _rules_of([0, 1, 2], {k: [a[k], labels[k]] for k in range(3)}, own)
    assert isinstance(rules, dict), rules
    assert [rules[key].sources for key in KEYS] == [(0,), (1,)]
