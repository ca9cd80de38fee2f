"""Pairing of sites by value, and the relative error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tfdiff.model import End, Header, Site, StepInfo
from tfdiff.pairing.distance import relative_error, sketch_errors
from tfdiff.pairing.sites import is_informative, is_mask, value_pairs
from tfdiff.trace.reader import open_trace
from tfdiff.trace.records import Record
from tfdiff.trace.sketch import sketch
from tfdiff.trace.writer import TraceWriter

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy.typing as npt

    from tfdiff.trace.block import Block

    Array = npt.NDArray[Any]


def block_of(path: Path, arrays: Sequence[Array], *, keep: bool = True) -> Block:
    """A recorded step that holds these arrays."""
    records = [
        Record(Site(number, "activation", "forward", "Op", occurrence=number), array, keep=keep)
        for number, array in enumerate(arrays)
    ]
    with TraceWriter(path, force=True) as writer:
        writer.header(Header("a.py", (), {}, {}))
        writer.step(StepInfo(0), records)
        writer.end(End(True, "steps recorded"))
    return open_trace(path).step(0)


def pairs_of(tmp_path: Path, a: Sequence[Array], b: Sequence[Array], *, keep: bool = True) -> list[tuple[int, int]]:
    """Index pairs found at a tolerance of 1e-5."""
    first = block_of(tmp_path / "a.h5", a, keep=keep)
    second = block_of(tmp_path / "b.h5", b, keep=keep)
    found = value_pairs(first, second, range(len(a)), range(len(b)), 1e-5)
    return [(pair.a, pair.b) for pair in found]


@pytest.fixture
def rng() -> np.random.Generator:
    """The same numbers in every run."""
    return np.random.default_rng(3)


def normal(rng: np.random.Generator, *shape: int) -> Array:
    """Normal float32 numbers."""
    return rng.normal(size=shape).astype(np.float32)


class TestValuePairs:
    def test_equal_values_pair_wherever_they_stand(self, tmp_path: Path, rng: np.random.Generator) -> None:
        """A tensor pairs with its equal at another position, and with nothing else of its shape."""
        x, y, z = (normal(rng, 30, 20) for _ in range(3))
        assert pairs_of(tmp_path, [x, y], [z, y, x]) == [(0, 2), (1, 1)]

    def test_rounding_is_tolerated_and_a_percent_is_not(self, tmp_path: Path, rng: np.random.Generator) -> None:
        """The tolerance decides, on sketches alone as well."""
        x = normal(rng, 50, 40)
        assert pairs_of(tmp_path, [x], [x * (1 + 1e-6), x * 1.01], keep=False) == [(0, 0)]

    def test_reshaped_tensors_pair(self, tmp_path: Path, rng: np.random.Generator) -> None:
        """Flattening keeps the order of the elements, so nothing is lost."""
        x = normal(rng, 8, 3, 5)
        assert pairs_of(tmp_path, [x], [x.reshape(8, 15)]) == [(0, 0)]

    def test_permuted_tensors_pair_with_their_axis_order(self, tmp_path: Path, rng: np.random.Generator) -> None:
        """NHWC against NCHW: found by order-free statistics, confirmed by the arrays."""
        x = normal(rng, 4, 6, 6, 3)
        a, b = block_of(tmp_path / "a.h5", [x]), block_of(tmp_path / "b.h5", [x.transpose(0, 3, 1, 2)])
        (pair,) = value_pairs(a, b, [0], [0], 1e-6)
        assert pair.permutation is not None
        assert np.array_equal(np.transpose(b.array(0), pair.permutation), a.array(0))

    def test_shuffled_elements_do_not_pair(self, tmp_path: Path, rng: np.random.Generator) -> None:
        """Equal norm, mean and extremes are not enough where no axis order explains them (a wrong flatten)."""
        x = normal(rng, 6, 24)
        assert pairs_of(tmp_path, [x], [rng.permutation(x.ravel()).reshape(6, 24)]) == []

    def test_nan_on_one_side_keeps_tensors_apart(self, tmp_path: Path, rng: np.random.Generator) -> None:
        """A sketch counts NaN as zero; the statistics know better."""
        x = normal(rng, 40)
        x[3] = 0.0
        y = x.copy()
        y[3] = np.nan
        assert pairs_of(tmp_path, [x], [y]) == []

    def test_of_several_equals_the_same_op_in_the_nearest_place_comes_first(
        self, tmp_path: Path, rng: np.random.Generator
    ) -> None:
        """Identical branches are told apart by their order."""
        x, y = normal(rng, 10, 10), normal(rng, 10, 10)
        assert pairs_of(tmp_path, [x, y, x], [x, y, x]) == [(0, 0), (0, 2), (1, 1), (2, 2), (2, 0)]


class TestInformative:
    @pytest.mark.parametrize(
        "values",
        [
            np.zeros((4, 4)),
            np.ones(9),
            np.float32(2.5),
            np.arange(16),
            np.eye(5) * 1.25,
            np.array([1.0, -1.0, 1.0, 0.0, -1.0]),
        ],
        ids=["zeros", "ones", "scalar", "integers", "mask", "signs"],
    )
    def test_what_matches_everything_is_not_informative(self, tmp_path: Path, values: Array) -> None:
        """Zeros, constants, masks, signs, integers and tiny tensors may not pair by value."""
        assert not is_informative(block_of(tmp_path / "a.h5", [np.asarray(values)]).observations[0])

    @pytest.mark.parametrize("fill", [-1e9, -3.4e38, 1e6])
    def test_values_filled_in_under_a_mask_say_nothing(
        self, tmp_path: Path, rng: np.random.Generator, fill: float
    ) -> None:
        """Beside -1e9 any two sets of scores would agree; ordinary values of that size are told by."""
        scores = rng.normal(size=(8, 6)).astype(np.float32)
        scores[:, 3:] += np.float32(fill)
        assert not is_informative(block_of(tmp_path / "a.h5", [scores]).observations[0])
        large = (rng.normal(size=(8, 6)) * fill / 10).astype(np.float32)
        assert is_informative(block_of(tmp_path / "b.h5", [large]).observations[0])

    def test_a_masked_activation_is_informative(self, tmp_path: Path, rng: np.random.Generator) -> None:
        """Zeros among other values make no mask."""
        seen = block_of(tmp_path / "a.h5", [np.maximum(normal(rng, 5, 5), 0)]).observations[0]
        assert is_informative(seen)
        assert not is_mask(seen)


class TestRelativeError:
    def test_denominator_is_the_larger_norm(self) -> None:
        """||a - b|| / max(||a||, ||b||), the same in both directions."""
        a, b = np.array([3.0, 4.0]), np.array([6.0, 8.0])
        assert relative_error(a, b) == relative_error(b, a) == 0.5

    def test_denormals_agree(self) -> None:
        """Tensors below the scale floor count as zero."""
        assert relative_error(np.full(4, 1e-44, np.float32), np.zeros(4, np.float32)) < 1e-5

    def test_equal_nans_are_left_out(self) -> None:
        """NaN and Inf at the same positions do not hide the rest."""
        a, b = np.array([np.nan, np.inf, 1.0]), np.array([np.nan, np.inf, 2.0])
        assert relative_error(a, b) == 0.5

    @pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
    def test_odd_values_on_one_side_are_infinitely_far(self, odd: float) -> None:
        """A NaN or infinity that the other side does not have is a difference of its own kind."""
        assert relative_error(np.array([odd, 1.0]), np.array([1.0, 1.0])) == np.inf

    def test_shapes_must_agree(self) -> None:
        """Comparing a column with a row is a mistake of the caller."""
        with pytest.raises(ValueError, match="equal shapes"):
            relative_error(np.zeros((2, 3)), np.zeros((3, 2)))

    def test_sketches_estimate_it(self, rng: np.random.Generator) -> None:
        """Within a fifth of the truth for a large tensor."""
        a = normal(rng, 200, 300)
        b = a + 1e-3 * normal(rng, 200, 300)
        norms = [np.array([np.linalg.norm(x)]) for x in (a, b)]
        found = sketch_errors(sketch(a)[None], sketch(b)[None], norms[0], norms[1], a.size)[0]
        assert found == pytest.approx(relative_error(a, b), rel=0.2)
