"""Parts of the comparison that stand alone: samples, scales, layouts, details, unequal starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from tfdiff.comparison.compare import compare
from tfdiff.comparison.detail import detail
from tfdiff.comparison.metrics import best_permutation
from tfdiff.comparison.own_init import compare_samples, kolmogorov_smirnov
from tfdiff.comparison.own_scale import fit_scale
from tfdiff.comparison.places import place_of_variable
from tfdiff.comparison.tolerance import epsilon
from tfdiff.errors import IncomparableError
from tfdiff.model import Cell, Header, Observation, Site, Stats, Variable
from tfdiff.trace.reader import open_trace
from tfdiff.trace.writer import TraceWriter

from . import build

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def rng() -> np.random.Generator:
    """The same numbers in every run."""
    return np.random.default_rng(8)


class TestSamples:
    def test_same_initializer(self, rng: np.random.Generator) -> None:
        """Two draws are one kind."""
        assert compare_samples(rng.uniform(-1, 1, 500), rng.uniform(-1, 1, 500)) is None

    def test_equal_spread_of_another_shape(self, rng: np.random.Generator) -> None:
        """Uniform against normal of the same standard deviation."""
        assert compare_samples(rng.uniform(-1, 1, 20000), rng.normal(scale=3**-0.5, size=20000)) is not None

    def test_constants(self) -> None:
        """Equal constants agree, zeros against ones do not."""
        assert compare_samples(np.zeros(5), np.zeros(5)) is None
        assert compare_samples(np.zeros(5), np.ones(5)) is not None

    def test_kolmogorov_smirnov_is_scipys(self, rng: np.random.Generator) -> None:
        """Distance exactly, probability as the asymptotic formula has it."""
        stats = pytest.importorskip("scipy.stats")
        a, b = rng.normal(size=400), rng.normal(0.2, 1, size=300)
        distance, probability = kolmogorov_smirnov(a, b)
        wanted = stats.ks_2samp(a, b, method="asymp")
        assert distance == pytest.approx(wanted.statistic)
        assert probability == pytest.approx(wanted.pvalue, rel=0.3)


class TestScale:
    def test_rows_in_another_order(self, rng: np.random.Generator) -> None:
        """Quantiles do not depend on the order."""
        x = rng.uniform(0, 255, 3000)
        found = fit_scale(x, rng.permutation(x) / 127.5 - 1)
        assert found is not None
        assert found[0] == pytest.approx(1 / 127.5, rel=1e-3)
        assert found[1] == pytest.approx(-1, rel=1e-2)

    def test_other_data_is_no_scale(self, rng: np.random.Generator) -> None:
        """Uniform numbers are no affine image of exponential ones."""
        assert fit_scale(rng.uniform(size=3000), rng.exponential(size=3000)) is None

    def test_chance_is_no_scale(self, rng: np.random.Generator) -> None:
        """Rows drawn anew differ a little; that is no more than the halves of a run differ by."""
        x, y = (rng.uniform(size=200_000) * np.linspace(0.95, 1.05, 200_000) for _ in range(2))
        y *= 1.025
        assert fit_scale(x, y) is None
        assert fit_scale(x, 1.5 * y) is not None

    def test_equal_data_is_no_scale(self, rng: np.random.Generator) -> None:
        """A scale of 1 is nothing to report."""
        x = rng.normal(size=3000)
        assert fit_scale(x, rng.permutation(x)) is None


def test_axis_order_is_found_by_the_smallest_error(rng: np.random.Generator) -> None:
    """Equal extents do not tell the order, the values do; None where the order is right already."""
    x = rng.normal(size=(3, 4, 4))
    assert best_permutation(x, x.transpose(0, 2, 1)) == (0, 2, 1)
    assert best_permutation(x, x) is None


@pytest.mark.parametrize(("name", "value"), [("float32", 2.0**-23), ("bfloat16", 2.0**-7), ("float16", 2.0**-10)])
def test_epsilon_by_name(name: str, value: float) -> None:
    """NumPy does not know bfloat16."""
    assert epsilon(name) == value


def test_detail_brings_b_into_the_layout_of_a(tmp_path: Path) -> None:
    """Arrays and difference of one cell."""
    a = open_trace(build.record(tmp_path / "a.h5", build.Plan(steps=1)))
    b = open_trace(build.record(tmp_path / "b.h5", build.Plan(steps=1, rate=0.5), reference=build.Plan(steps=1)))
    result = compare(a, b)
    assert result.first is not None
    cell = Cell("introduced", 0.0, 0.0, result.first.a_index, result.first.b_index)
    first, second, difference = detail(a.step(0), b.step(0), cell)
    assert first is not None
    assert second is not None
    assert difference is not None
    assert np.allclose(first * (2 * 0.7), second, atol=1e-5)
    assert np.allclose(difference, first - second)


def test_a_late_variable_is_where_its_layer_is_made() -> None:
    """A layer built inside `fit` makes its weights there; its own ops know the line that creates the layer."""
    late = Variable(8, "net/gru/kernel", (4, 3), "float32", True, "weight", "net/gru", "a.py:30")

    def use(layer: str) -> Observation:
        site = Site(0, "activation", "forward", "MatMul", layer=layer, source="a.py:14", called="a.py:18")
        return Observation(0, site, (2, 3), "float32", Stats(0, 0, 0, 0, 0, 0, 0))

    assert place_of_variable(late, use("net/gru")).source == "a.py:14"
    assert place_of_variable(late, use("net/out")).source == "a.py:30"


def test_unequal_start_is_not_judged(tmp_path: Path) -> None:
    """Without a reference the weights differ before step 0: no divergence is made of that, and the note says what to
    do.
    """
    a = build.record(tmp_path / "a.h5", build.Plan())
    b = build.record(tmp_path / "b.h5", build.Plan(style="raw", lr=1.0), own_start=True)
    result = compare(open_trace(a), open_trace(b))
    assert (result.verdict, result.first) == ("incomparable", None)
    assert any("--reference" in note for note in result.notes)


def test_a_trace_without_steps_is_refused(tmp_path: Path) -> None:
    """The message names the trace."""
    a = build.record(tmp_path / "a.h5", build.Plan(steps=1))
    with TraceWriter(tmp_path / "b.h5") as writer:
        writer.header(Header("b.py", (), {}, {}))
    with pytest.raises(IncomparableError, match=r"b\.h5: expected at least one complete step"):
        compare(open_trace(a), open_trace(tmp_path / "b.h5"))
