from __future__ import annotations

import math

import pytest

from tfdiff.reports import words


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ("dense/kernel", "dense/kernel"),
        ("\u00fcber", "\u00fcber"),
        ("a\x1bb", "a\\x1bb"),
        ("\u2028", "\\u2028"),
        (3, "3"),
    ],
)
def test_plain(value, wanted):
    """Letters of any script stay, what cannot be seen is escaped."""
    assert words.plain(value) == wanted


@pytest.mark.parametrize(
    ("value", "wanted"), [(0.934, "0.93"), (1.1e-06, "1.1e-06"), (0.0, "0"), (math.nan, "nan"), (math.inf, "inf")]
)
def test_number(value, wanted):
    """Numbers come with two significant digits, the special ones by name."""
    assert words.number(value) == wanted


@pytest.mark.parametrize(("amount", "wanted"), [(0, "0 steps"), (1, "1 step"), (2345, "2,345 steps")])
def test_count(amount, wanted):
    """One is singular, thousands have a comma."""
    assert words.count(amount, "step") == wanted


@pytest.mark.parametrize(("value", "wanted"), [(True, "yes"), (False, "no"), ("in part", "in part")])
def test_yes_no(value, wanted):
    """Booleans become words, words stay."""
    assert words.yes_no(value) == wanted


def test_sharing():
    """What was shared comes in one line, the weights counted against b's."""
    shared = {"weights": {"shared": 7, "a": 8, "b": 9}, "batches": True, "noise": "in part"}
    assert words.sharing(shared["weights"], shared) == "weights 7 of 9, batches yes, noise in part"
