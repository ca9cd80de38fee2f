"""Labels go through rearranging ops as values do; parts of variables are taken, put back and written down."""

from __future__ import annotations

import numpy as np
import pytest

from tfdiff.errors import TfdiffError
from tfdiff.pairing.cutting import merged
from tfdiff.pairing.labels import Operands, rearrange, reshaped
from tfdiff.pairing.pairs import VariablePair, convert, convert_back, covers, pair_from_json, taken

X = np.arange(24, dtype=np.int32).reshape(2, 3, 4)


def run(op, arrays, target, output=0, **attrs):
    """The labels of one op whose inputs are labelled where they are int32 tensors of more than one axis."""
    labels = [a if np.asarray(a).ndim > 1 else None for a in arrays]
    shapes = [np.shape(a) for a in arrays]
    return rearrange(op, Operands(labels, shapes, lambda n: np.asarray(arrays[n]), output, attrs, target.shape))


@pytest.mark.parametrize(
    ("op", "arrays", "expected", "more"),
    [
        ("Transpose", [X, [2, 0, 1]], X.transpose(2, 0, 1), {}),
        ("Reshape", [X, [6, 4]], X.reshape(6, 4), {}),
        ("Split", [2, X], X[..., 2:], {"output": 1}),
        ("SplitV", [X, [1, 3], 2], X[..., 1:], {"output": 1}),
        ("Unpack", [X], X[:, 2], {"output": 2, "axis": 1}),
        ("Pack", [X, X], np.stack([X, X], 1), {"axis": 1}),
        ("ConcatV2", [X, X, -1], np.concatenate([X, X], -1), {}),
        ("Slice", [X, [0, 1, 0], [2, 2, 4]], X[:, 1:3], {}),
        ("StridedSlice", [X, [0, 1], [0, 2], [1, 1]], X[:, 1], {"begin_mask": 1, "end_mask": 1, "shrink_axis_mask": 2}),
        ("StridedSlice", [X, [0, 2], [0, 0], [1, 1]], X[..., 2:], {"ellipsis_mask": 1, "end_mask": 2}),
        ("StridedSlice", [X, [0, 0], [0, 0], [1, -1]], X[:, ::-1], {"begin_mask": 3, "end_mask": 3}),
        ("GatherV2", [X, [2, 0], 1], X[:, [2, 0]], {}),
    ],
)
def test_rearranging_as_the_values(op, arrays, expected, more) -> None:
    """Each op does to labels what it does to values."""
    output = more.pop("output", 0)
    assert np.array_equal(run(op, arrays, expected, output, **more), expected)


def test_rows_that_do_not_matter_stay_one() -> None:
    """Behind a product the labels have one row for the whole batch, also after heads are cut out of it."""
    columns = np.arange(24, dtype=np.int32).reshape(1, 24)
    heads = reshaped(columns, (12, 24), (3, 4, 2, 12))
    assert heads is not None
    assert heads.shape == (1, 1, 2, 12)
    assert np.array_equal(heads.reshape(-1), np.arange(24))


def test_other_ops_are_not_followed() -> None:
    """An op that computes has no labels."""
    assert run("Softmax", [X], X) is None


def test_part_there_and_back() -> None:
    """A part of one layout becomes a part of another, and comes back."""
    pair = VariablePair(0, 1, (1, 0), "", a_part=(((0, 2),), ((1, 3),)), b_part=(((0, 1), (3, 4)), ((0, 2),)))
    a, b = np.arange(8.0).reshape(2, 4), np.zeros((4, 2))
    b[[0, 3]] = convert(a, pair)
    assert np.array_equal(b[[0, 3]], a[:, 1:3].T)
    assert np.array_equal(convert_back(b, pair), taken(a, pair.a_part))
    assert not pair.whole


def test_part_as_json() -> None:
    """A pair of parts is written down and read again; one of whole variables looks as it always did."""
    pair = VariablePair(0, 1, None, "why", a_part=(((0, 2),),))
    assert pair_from_json(pair.to_json()) == pair
    assert set(VariablePair(0, 1, None, "why").to_json()) == {
        "a", "b", "evidence", "permutation", "reshape", "restore"
    }  # fmt: skip


@pytest.mark.parametrize("part", [7, [[1]], [["x", 2]], {"a": 1}])
def test_damaged_part(part) -> None:
    """What is no part is refused with the entry it stands in."""
    with pytest.raises(TfdiffError, match="pair"):
        pair_from_json({"a": 0, "b": 1, "a_part": part})


def test_part_of_another_size() -> None:
    """A value that the part does not lie in is no value of that variable."""
    with pytest.raises(ValueError, match="part"):
        taken(np.zeros((2, 2)), (((0, 2),), ((2, 4),)))


def test_parts_cover() -> None:
    """Two halves make up a variable, one does not."""
    halves = [(((0, 2),), ((0, 2),)), (((0, 2),), ((2, 4),))]
    assert covers(halves, (2, 4))
    assert not covers(halves[:1], (2, 4))
    assert covers([None], (2, 4))


def test_neighbours_are_put_together() -> None:
    """Parts that stand side by side on both sides are one part; all of them together are no part but the whole."""
    shapes = {("a", 0): (2, 6), ("b", 0): (6, 2), ("b", 1): (4, 2)}

    def part(start: int, stop: int, b: int, at: int) -> VariablePair:
        boxes = (((0, 2),), ((start, stop),)), (((at, at + stop - start),), ((0, 2),))
        return VariablePair(0, b, (1, 0), "same", a_part=boxes[0], b_part=boxes[1])

    assert merged([part(0, 2, 0, 0), part(2, 4, 0, 2), part(4, 6, 0, 4)], shapes) == [
        VariablePair(0, 0, (1, 0), "same")
    ]
    swapped = [part(0, 2, 0, 2), part(2, 4, 0, 0), part(4, 6, 0, 4)]
    assert merged(swapped, shapes) == swapped
    (joint,) = merged([part(2, 4, 1, 0), part(4, 6, 1, 2)], shapes)
    assert (joint.a_part, joint.b_part) == ((((0, 2),), ((2, 6),)), None)
