"""Rules that build one run's batch from the other's."""

from __future__ import annotations

import numpy as np
import pytest

from tfdiff.errors import TfdiffError
from tfdiff.pairing.batches import PartRule, apply_rule, match_parts

RNG = np.random.default_rng(5)
IMAGES = RNG.normal(size=(12, 6, 5, 3)).astype(np.float32)
LABELS = np.arange(12) % 4
IDS = RNG.integers(0, 50, (2, 12))


def rebuilt(a: list[np.ndarray], b: list[np.ndarray]) -> list[PartRule]:
    """The rules of equal rows, after checking that they give b from a."""
    rules = match_parts(a, b, same_rows=True)
    assert rules is not None
    found = []
    for rule, part in zip(rules, b, strict=True):
        assert rule is not None
        built = apply_rule(rule, a, part.dtype)
        assert (built.shape, built.dtype) == (part.shape, part.dtype)
        assert np.allclose(built, part)
        found.append(rule)
    return found


@pytest.mark.parametrize(
    ("a", "b", "kind"),
    [
        ([IMAGES, LABELS], [IMAGES, LABELS], "copy"),
        ([IMAGES], [IMAGES.astype(np.float64)], "copy"),
        ([LABELS], [LABELS[:, None].astype(np.float32)], "copy"),
        ([LABELS[:, None]], [LABELS], "copy"),
        ([IMAGES], [IMAGES.reshape(12, -1)], "copy"),
        ([IMAGES.reshape(12, -1)], [IMAGES], "copy"),
        ([IMAGES], [IMAGES.transpose(0, 3, 1, 2)], "copy"),
        ([IMAGES], [IMAGES.transpose(0, 3, 1, 2).reshape(12, -1)], "copy"),
        ([LABELS], [np.eye(4, dtype=np.float32)[LABELS]], "one-hot"),
        ([LABELS[:, None]], [np.eye(7)[LABELS]], "one-hot"),
        ([np.eye(4)[LABELS]], [LABELS], "class index"),
        ([np.eye(4)[LABELS]], [LABELS[:, None]], "class index"),
        ([IDS[0], IDS[1]], [IDS.T], "columns"),
        ([IDS[0][:, None], IDS[1][:, None]], [IDS[::-1].T], "columns"),
        ([IDS.T], [IDS[1], IDS[0]], "columns"),
    ],
)
def test_equal_rows(a: list[np.ndarray], b: list[np.ndarray], kind: str) -> None:
    """With equal rows every way of arranging them is found and rebuilds b's values."""
    assert {rule.kind for rule in rebuilt(a, b)} == {kind}


def test_parts_in_another_order() -> None:
    """Labels before features: values tell which is which."""
    rules = rebuilt([LABELS, IMAGES], [IMAGES, LABELS])
    assert [rule.sources for rule in rules] == [(1,), (0,)]


def test_square_axes_swapped_are_noticed() -> None:
    """Equal shapes with swapped axes: the values show it."""
    square = RNG.normal(size=(4, 5, 5))
    (rule,) = rebuilt([square], [square.transpose(0, 2, 1)])
    assert rule.permutation == (0, 2, 1)


def test_foreign_part_has_no_rule() -> None:
    """A part of b that is not made of a's parts gets None; the others keep their rules."""
    rules = match_parts([IMAGES, LABELS], [IMAGES, RNG.normal(size=12)], same_rows=True)
    assert rules is not None
    assert rules[0] is not None
    assert rules[1] is None


def test_scaled_features_have_no_rule_by_value() -> None:
    """Divided by 255 is no rearrangement: with equal rows nothing matches by value."""
    assert match_parts([IMAGES], [IMAGES / 255], same_rows=True) is None


def test_rows_of_different_number_are_not_the_same() -> None:
    """Equal rows need equal batch sizes."""
    assert match_parts([IMAGES], [IMAGES[:8]], same_rows=True) is None


def test_other_rows_by_shape() -> None:
    """Other rows: shape and range decide, labels become one-hot, channels move."""
    rules = match_parts(
        [IMAGES, LABELS], [RNG.normal(size=(9, 3, 6, 5)), np.eye(4)[RNG.permutation(9) % 4]], same_rows=False
    )
    assert rules is not None
    first, second = rules
    assert first is not None
    assert second is not None
    assert (first.sources, first.permutation) == ((0,), (0, 3, 1, 2))
    assert (second.kind, second.classes) == ("one-hot", 4)
    assert second.evidence.startswith("by shape")


def test_other_rows_shape_alone() -> None:
    """Flattened images and (n, 1) labels of another batch find their parts."""
    rules = match_parts([IMAGES, LABELS], [np.zeros((7, 1)), RNG.normal(size=(7, 90))], same_rows=False)
    assert rules is not None
    assert [rule.sources if rule else None for rule in rules] == [(1,), (0,)]


def test_ambiguous_parts_stay_open() -> None:
    """Two id columns that only their values could tell apart get no rule without equal rows."""
    other = RNG.integers(0, 50, (2, 12))
    assert match_parts([IDS[0], IDS[1]], [other[0], other[1]], same_rows=False) is None


def test_range_tells_two_columns_apart() -> None:
    """Features in other units than the labels: the ranges settle what the shapes do not."""
    age, score = RNG.integers(20, 80, 30).astype(float) + 0.5, RNG.normal(size=30)
    other = [RNG.normal(size=30), RNG.integers(20, 80, 30) + 0.5]
    rules = match_parts([age, score], other, same_rows=False)
    assert rules is not None
    assert [rule.sources if rule else None for rule in rules] == [(1,), (0,)]


def test_weights_next_to_labels() -> None:
    """Class indices and fractional weights of one shape are not confused."""
    rules = match_parts([LABELS, RNG.random(12)], [RNG.random(9), LABELS[:9]], same_rows=False)
    assert rules is not None
    assert [rule.sources if rule else None for rule in rules] == [(1,), (0,)]


def test_text_parts() -> None:
    """Text pairs with text only."""
    text = np.array(["a", "b", "c"])
    assert match_parts([text], [text.astype(object)], same_rows=True) is not None
    assert match_parts([text], [np.arange(3.0)], same_rows=True) is None
    assert match_parts([text], [np.arange(3.0)], same_rows=False) is None


def test_scalars_and_nothing() -> None:
    """Without batch axes or parts there are no rules."""
    assert match_parts([], [IMAGES], same_rows=True) is None
    assert match_parts([IMAGES], [np.float32(3)], same_rows=False) is None


def test_rule_on_a_smaller_batch() -> None:
    """A rule made on one batch serves the last, smaller one."""
    (rule,) = rebuilt([LABELS], [np.eye(4)[LABELS]])
    assert np.array_equal(apply_rule(rule, [LABELS[:3]], np.float32), np.eye(4)[LABELS[:3]])


def test_rule_on_a_batch_that_does_not_fit() -> None:
    """A batch with other parts gives one clear error."""
    (rule,) = rebuilt([IMAGES], [IMAGES.reshape(12, -1)])
    with pytest.raises(TfdiffError, match="expects rows of shape"):
        apply_rule(rule, [IMAGES[:, :2]], np.float32)
    with pytest.raises(TfdiffError, match="this batch has 0"):
        apply_rule(rule, [], np.float32)


def test_random_rearrangements() -> None:
    """Random parts, shuffled, cast, reshaped, permuted, stacked: every part of b is rebuilt exactly (200 batches)."""
    for _ in range(200):
        rows = int(RNG.integers(6, 20))
        image = RNG.normal(size=(rows, *(int(n) for n in RNG.integers(1, 5, 3))))
        label = np.r_[np.arange(3), RNG.integers(0, 3, rows - 3)]
        columns = RNG.normal(size=(rows, 3))
        order = [0, *(1 + RNG.permutation(3))]
        b = [
            image.transpose(order).astype(np.float32),
            np.eye(3)[label] if RNG.integers(2) else label[:, None],
            columns[:, RNG.permutation(3)],
        ]
        a = [image, label, *columns.T] if RNG.integers(2) else [image, label, columns]
        rebuilt(a, [b[n] for n in RNG.permutation(3)])
