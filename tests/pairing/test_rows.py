"""Row signatures, finding rows, and the order in which a run visits them."""

from __future__ import annotations

import numpy as np
import pytest

from tfdiff.errors import TfdiffError
from tfdiff.pairing.rows import find_rows, find_steps, is_one_hot, order_kind, row_order, row_signatures

RNG = np.random.default_rng(3)


def test_splitting_and_stacking_is_the_same() -> None:
    """(n,), (n,) against (n, 2) and (n, 1), (n, 1): equal signatures."""
    users, items = RNG.integers(0, 90, 50), RNG.integers(0, 90, 50)
    split = row_signatures([users, items])
    assert np.array_equal(split, row_signatures([np.stack([users, items], 1)]))
    assert np.array_equal(split, row_signatures([items[:, None], users[:, None]]))


def test_layout_and_dtype_do_not_matter() -> None:
    """NHWC, NCHW, flattened; float32, float64, integers: equal signatures."""
    images = RNG.integers(0, 255, (6, 4, 5, 3))
    expected = row_signatures([images.astype(np.uint8)])
    for other in (images.transpose(0, 3, 1, 2), images.reshape(6, -1).astype(np.float64), images.astype(np.float32)):
        assert np.array_equal(expected, row_signatures([other]))


def test_double_precision_is_rounded() -> None:
    """float64 data and its float32 copy are the same rows."""
    values = RNG.normal(size=(20, 7))
    assert np.array_equal(row_signatures([values]), row_signatures([values.astype(np.float32)]))


def test_one_hot_labels_are_their_class() -> None:
    """One-hot and integer labels give the same signature next to the same features."""
    x, y = RNG.normal(size=(40, 3)), RNG.integers(0, 10, 40)
    expected = row_signatures([x, y])
    assert np.array_equal(expected, row_signatures([x, np.eye(10)[y]]))
    assert np.array_equal(expected, row_signatures([x, np.eye(10, dtype=np.int64)[y]]))
    assert np.array_equal(expected, row_signatures([x, y[:, None].astype(np.float32)]))


def test_one_hot_flag_overrules_the_rows() -> None:
    """A single row of binary features looks one-hot; the flag keeps it what it is in the whole array."""
    features = np.array([[0, 1], [1, 1], [0, 0]])
    whole = row_signatures([features])
    assert row_signatures([features[:1]])[0] != whole[0]
    assert row_signatures([features[:1]], one_hot=[is_one_hot(features)])[0] == whole[0]


def test_what_is_one_hot() -> None:
    """Only matrices with one 1 and zeros in every row are one-hot."""
    assert is_one_hot(np.eye(3))
    assert not is_one_hot(np.ones((3, 1)))
    assert not is_one_hot(np.zeros((3, 3)))
    assert not is_one_hot(np.array([[0.5, 0.5], [1.0, 0.0]]))
    assert not is_one_hot(np.array([[1, -1, 1], [1, 0, 0]]))
    assert not is_one_hot(np.zeros((0, 4)))


def test_negative_zero_and_nan() -> None:
    """-0 is 0 and every NaN is one value."""
    quiet = np.array([[np.nan, 0.0]], np.float32)
    other = np.array([[0x7FC00001, 0x80000000]], np.uint32).view(np.float32)
    assert np.array_equal(row_signatures([quiet]), row_signatures([other]))


def test_a_changed_scalar_or_label_changes_the_row() -> None:
    """Every single value counts, labels included, and only its own row changes."""
    x, y = RNG.normal(size=(30, 5)), RNG.integers(0, 3, 30)
    before = row_signatures([x, y])
    x2, y2 = x.copy(), y.copy()
    x2[4, 2] *= 1.001
    y2[9] += 1
    assert np.flatnonzero(before != row_signatures([x2, y2])).tolist() == [4, 9]


def test_swapped_labels_are_other_rows() -> None:
    """Features next to the wrong labels: no row is the same."""
    x, y = RNG.normal(size=(30, 5)), np.arange(30) + 7
    assert not np.intersect1d(row_signatures([x, y]), row_signatures([x, np.roll(y, 1)])).size


def test_signatures_of_random_rows_are_distinct() -> None:
    """No collisions among 200 000 rows of small integers, the worst data for a multiset hash."""
    rows = np.unique(np.sort(RNG.integers(0, 60, (200_000, 6)), axis=1), axis=0)
    assert len(np.unique(row_signatures([rows]))) == len(rows)


def test_strings_and_complex_parts() -> None:
    """Text and complex parts hash too; bytes and str of one text are the same."""
    text = np.array(["a", "bc", ""])
    assert np.array_equal(row_signatures([text]), row_signatures([np.array([b"a", b"bc", b""])]))
    assert np.array_equal(row_signatures([text]), row_signatures([text.astype(object)]))
    values = np.array([1 + 2j, 3 - 1j])
    assert np.array_equal(row_signatures([values]), row_signatures([values.real, values.imag]))


def test_empty_batches() -> None:
    """No rows give no signatures; rows without columns are all alike."""
    assert row_signatures([np.zeros((0, 4))]).shape == (0,)
    assert row_signatures([np.zeros((3, 0))]).tolist() == [0, 0, 0]


@pytest.mark.parametrize("parts", [[], [np.zeros(3), np.zeros(4)], [np.float32(1.0)]])
def test_parts_of_different_length_are_refused(parts: list[np.ndarray]) -> None:
    """Parts without rows in common length give one clear error."""
    with pytest.raises(TfdiffError, match="equal first dimension"):
        row_signatures(parts)


def test_long_arrays_are_hashed_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pieces in which a large array is hashed do not show in the result."""
    values = RNG.normal(size=(101, 13))
    whole = row_signatures([values])
    monkeypatch.setattr("tfdiff.pairing.rows._CHUNK", 40)
    assert np.array_equal(whole, row_signatures([values]))


def test_find_rows_takes_duplicates_in_order() -> None:
    """Equal rows go to their places in order, then start over; missing ones are -1."""
    haystack = np.array([5, 7, 5, 9], np.uint64)
    needles = np.array([5, 5, 8, 5, 7], np.uint64)
    assert find_rows(needles, haystack).tolist() == [0, 2, -1, 0, 1]
    assert find_rows(needles, haystack, reuse=False).tolist() == [0, 2, -1, -1, 1]


def test_find_rows_against_a_plain_loop() -> None:
    """Vectorised lookup equals the obvious loop on 300 random cases."""
    for _ in range(300):
        haystack = RNG.integers(0, 6, RNG.integers(0, 9)).astype(np.uint64)
        needles = RNG.integers(0, 8, RNG.integers(0, 12)).astype(np.uint64)
        taken: dict[int, int] = {}
        expected = []
        for needle in needles.tolist():
            places = np.flatnonzero(haystack == needle)
            expected.append(int(places[taken.get(needle, 0) % len(places)]) if len(places) else -1)
            taken[needle] = taken.get(needle, 0) + 1
        assert find_rows(needles, haystack).tolist() == expected


def batches(order: np.ndarray, size: int, *, drop: bool = False) -> list[np.ndarray]:
    """One pass over the rows in the given order."""
    steps = [order[start : start + size] for start in range(0, len(order), size)]
    return [step for step in steps if len(step) == size] if drop else steps


def test_sequential_epochs() -> None:
    """Natural order over two epochs, the last batch smaller: sequential, nothing dropped, no reshuffling."""
    steps = batches(np.arange(50), 16) * 2
    order = row_order(steps, 50)
    assert (order.kind, order.batch_size, order.epochs) == ("sequential", 16, (0, 4))
    assert (order.dropped_last, order.reshuffled, order.missing) == (False, False, 0)


def test_dropped_last_batch() -> None:
    """An epoch that ends before the rest is a dropped batch; without its end seen nothing is claimed."""
    steps = batches(np.arange(50), 16, drop=True)
    assert row_order(steps * 2, 50).dropped_last is True
    assert row_order(steps, 50).dropped_last is None
    assert row_order(batches(np.arange(48), 16) * 2, 48).dropped_last is None


def test_shuffled_epochs() -> None:
    """Each epoch in another random order is shuffled and reshuffled; the same random order twice is not reshuffled."""
    first, second = RNG.permutation(64), RNG.permutation(64)
    fresh = row_order(batches(first, 16) + batches(second, 16), 64)
    fixed = row_order(batches(first, 16) * 2, 64)
    assert (fresh.kind, fresh.reshuffled, fresh.epochs) == ("shuffled", True, (0, 4))
    assert (fixed.kind, fixed.reshuffled, fixed.epochs) == ("shuffled", False, (0, 4))


def test_batches_shuffled_as_wholes() -> None:
    """Batches in order inside but among themselves shuffled are not in natural order."""
    steps = batches(np.arange(640), 64)
    assert order_kind([steps[n] for n in (3, 1, 8, 0, 5)], 640) == "shuffled"


def test_small_shuffle_buffer() -> None:
    """A buffer of a few rows is a shuffle."""
    rows = np.arange(200)
    for start in range(0, 200, 4):
        rows[start : start + 4] = RNG.permutation(rows[start : start + 4])
    assert order_kind(batches(rows, 20), 200) == "shuffled"


def test_too_little_to_tell() -> None:
    """No steps, few rows or unknown rows: unknown, not a guess."""
    assert order_kind([], 100) == "unknown"
    assert order_kind([np.array([0, 1, 2])], 100) == "unknown"
    assert order_kind([np.full(32, -1)], 100) == "unknown"


def test_full_batches() -> None:
    """Steps that hold all rows are passes of their own."""
    order = row_order([np.arange(4)] * 3, 4)
    assert (order.kind, order.epochs, order.reshuffled) == ("sequential", (0, 1, 2), False)


def test_two_steps_on_one_batch() -> None:
    """Two optimizers with a step each on the same batch do not make it a new epoch."""
    steps = [step for step in batches(np.arange(64), 16) for _ in range(2)]
    order = row_order(steps, 64)
    assert (order.kind, order.epochs) == ("sequential", (0,))


def test_repeat_before_batch() -> None:
    """Batches that run over the end of the data are sequential; no batch counts as dropped."""
    steps = batches(np.arange(150) % 50, 16)
    order = row_order(steps, 50)
    assert (order.kind, order.dropped_last) == ("sequential", None)


def test_rows_kept_for_validation() -> None:
    """A pass over the front part of the rows is sequential, and no dropped batch."""
    order = row_order(batches(np.arange(80), 16) * 2, 100)
    assert (order.kind, order.dropped_last, order.epochs) == ("sequential", None, (0, 5))


def test_duplicate_rows_stay_sequential() -> None:
    """Data with many equal rows, visited in order, is sequential: later copies get the later places."""
    data = RNG.integers(0, 3, (200, 2))
    whole = row_signatures([data], one_hot=[False])
    steps = [row_signatures([data[s]], one_hot=[False]) for s in batches(np.arange(200), 20)] * 2
    order = row_order(find_steps(steps, whole), 200)
    assert (order.kind, order.reshuffled, order.epochs) == ("sequential", False, (0, 10))


def test_find_steps_of_repeated_batches() -> None:
    """A batch used twice in a row does not take the places of later equal rows."""
    haystack = np.array([1, 1, 1, 1], np.uint64)
    step = haystack[:2]
    assert [s.tolist() for s in find_steps([step, step], haystack)] == [[0, 1], [0, 1]]
    assert find_steps([], haystack) == []


def test_random_runs() -> None:
    """Random sizes, epochs and drops: kind, batch size and epochs come out as made (200 runs)."""
    for _ in range(200):
        rows, size = int(RNG.integers(30, 120)), int(RNG.integers(3, 20))
        drop, shuffled = bool(RNG.integers(2)), bool(RNG.integers(2))
        passes = [batches(RNG.permutation(rows) if shuffled else np.arange(rows), size, drop=drop) for _ in range(3)]
        order = row_order([step for one in passes for step in one], rows)
        assert order.kind == ("shuffled" if shuffled else "sequential")
        assert order.batch_size == size
        if not shuffled or not drop:
            assert order.epochs == (0, len(passes[0]), 2 * len(passes[0]))
            assert order.dropped_last is (None if rows % size == 0 else drop)
