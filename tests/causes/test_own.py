"""What B had of its own: data and initial values."""

import dataclasses

import numpy as np
import pytest

from tfdiff.causes import explain_finding
from tfdiff.causes.init import describe, fans, misfit
from tfdiff.comparison.findings import Finding
from tfdiff.model import Divergence, Place
from tfdiff.trace.reader import open_trace

from . import programs
from .programs import Program, features


@pytest.fixture
def explained(tmp_path):
    """The first cause of an `own` finding, made by hand, between two programs."""

    def run(kind: str, *, phase: str = "data", program: Program | None = None, **numbers):
        for name in ("a", "b"):
            p = (program if name == "b" else None) or Program(f"{name}.py")
            if not p.steps:
                programs.squared(p, p.dense(p.input(features()), "out", 3), p.input(features(24, 3)))
                p.end_step()
            p.write(tmp_path / f"{name}.h5")
        with open_trace(tmp_path / "a.h5") as one, open_trace(tmp_path / "b.h5") as other:
            divergence = Divergence(
                0, phase, Place(None, "fit", "a.py:21"), Place(None, "dataset", "b.py:28", "b.py:45"), 1.0, 0.0
            )
            return explain_finding(Finding(divergence, one, other, (), kind=kind, numbers=numbers))[0]

    return run


def test_shuffle(explained):
    """Who shuffles, and what to write."""
    cause = explained("data-shuffle", a="shuffled", b="sequential")
    assert cause.code == "data-shuffle"
    assert ".shuffle(" in cause.fix
    assert "b.py:28" in cause.fix
    assert explained("data-shuffle", a="sequential", b="shuffled").summary.startswith("B shuffles")


def test_shuffle_needs_one_that_shuffles(explained):
    """Two shuffled runs are no difference in kind."""
    assert explained("data-shuffle", a="shuffled", b="shuffled").code == "unexplained"


def test_dropped_batch(explained):
    """How many rows are left out, and by whom."""
    cause = explained("data-dropped-batch", rows=1000, batch=128, dropped_by="b")
    assert (cause.code, cause.constants) == ("data-dropped-batch", {"a": 0, "b": 104})
    assert explained("data-dropped-batch", rows=1024, batch=128, dropped_by="b").code == "unexplained"


def test_batch_size(explained):
    """Both sizes."""
    cause = explained("data-batch-size", a=32, b=128)
    assert (cause.code, cause.constants, cause.fix) == (
        "data-batch-size",
        {"a": 32, "b": 128},
        "batch_size=32 at b.py:28",
    )


def scaled(factor: float, offset: float, order: slice = slice(None)) -> Program:
    """A program whose own features were scaled."""
    p = Program("b.py")
    p.put("own input", "data", "", factor * features()[order] + offset)
    programs.squared(p, p.dense(p.input(features()), "out", 3), p.input(features(24, 3)))
    p.end_step()
    return p


@pytest.mark.parametrize("order", [slice(None), slice(None, None, -1)])
@pytest.mark.parametrize(("factor", "offset"), [(255.0, 0.0), (1 / 255, 0.0), (2.0, -1.0)])
def test_scale(explained, factor, offset, order):
    """The affine map is fitted and undone, whatever the order of the rows."""
    cause = explained("data-scale", program=scaled(factor, offset, order), scale=factor, offset=offset)
    assert cause.code == "data-scale"
    assert cause.constants["b"] == pytest.approx(factor, rel=1e-4)
    assert cause.constants["offset"] == pytest.approx(offset, abs=1e-4)
    assert cause.error_after < 1e-4


def test_scale_that_is_no_scale(explained):
    """Squared inputs are no affine map, whatever was measured on quantiles."""
    p = Program("b.py")
    p.put("own input", "data", "", np.abs(features()) ** 1.5)
    programs.squared(p, p.dense(p.input(features()), "out", 3), p.input(features(24, 3)))
    p.end_step()
    assert explained("data-scale", program=p, scale=2.0, offset=0.0).code == "unexplained"


def glorot(shape):
    """As Keras draws it."""
    fan_in, fan_out = fans(shape)
    limit = (6 / (fan_in + fan_out)) ** 0.5
    return np.random.default_rng(1).uniform(-limit, limit, shape)


def truncated(shape, std):
    """A normal sample cut at two standard deviations."""
    rng = np.random.default_rng(2)
    values = rng.normal(size=shape)
    while (far := np.abs(values) > 2).any():
        values[far] = rng.normal(size=far.sum())
    return values * std


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.zeros(8), "zeros"),
        (np.ones(8), "ones"),
        (np.full(3, 0.25), "constant 0.25"),
        (glorot((64, 32)), "glorot_uniform"),
        (glorot((3, 3, 8, 16)), "glorot_uniform"),
        (np.random.default_rng(1).normal(size=(64, 32)), "normal, std 1"),
        (np.random.default_rng(1).normal(size=(64, 32)) * 0.05, "random_normal"),
        (truncated((64, 32), (2 / 64) ** 0.5 / 0.8796), "he_normal"),
        (truncated((64, 32), 0.1), "truncated normal"),
    ],
)  # fmt: skip
def test_distributions_are_named(values, words):
    """Shape and spread of a sample tell what it was drawn from, and the sample fits what is named."""
    found = describe(np.asarray(values, np.float64))
    assert words in found.words
    assert misfit(np.asarray(values, np.float64), found) < 2 / np.size(values) ** 0.5


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("shape", [(10, 24), (40, 4), (64, 32)])
def test_small_uniform_samples_are_named(shape, seed):
    """The extremes of a uniform sample tell its initializer where its spread is not near enough to it."""
    draw = np.random.default_rng(seed).uniform
    fan_in, fan_out = shape
    for name, variance in (("glorot", 2 / (fan_in + fan_out)), ("he", 2 / fan_in), ("lecun", 1 / fan_in)):
        limit = (3 * variance) ** 0.5
        assert describe(draw(-limit, limit, shape)).initializer == f"{name}_uniform"
    assert describe(draw(-0.05, 0.05, shape)).initializer == "random_uniform"
    found = describe(draw(size=shape))
    assert "uniform between" in found.words
    assert found.ends == pytest.approx((0.0, 1.0), abs=8 / (fan_in * fan_out))


def test_the_spread_of_a_normal_sample_is_told_with_its_mean():
    """A normal distribution that is not centered has its mean in its words and in the code that draws it."""
    found = describe(np.random.default_rng(0).normal(0.5, 0.1, (50, 40)))
    assert found.words.startswith("normal, std 0.1")
    assert "mean 0.49" in found.words
    assert "mean=0.49" in found.code((50, 40))


def test_misfit_tells_a_wrong_name():
    """A uniform sample is no normal one."""
    values = glorot((64, 32))
    wrong = dataclasses.replace(describe(values), kind="normal")
    assert misfit(values, wrong) > 2 / values.size**0.5


def test_init(tmp_path):
    """Both distributions, and how to draw A's."""
    a, b = Program("a.py"), Program("b.py")
    for p in (a, b):
        p.variable("out/w", glorot((8, 30)))
        p.variable("out/b", np.zeros(30))
        programs.squared(p, p.dense(p.input(features()), "out", 30), p.input(features(24, 30)))
    b.own_value("out/w", np.random.default_rng(3).normal(size=(8, 30)))
    b.own_value("out/b", np.random.default_rng(4).normal(size=30))
    result = programs.diff(a, b, tmp_path)
    assert result.first is None
    (cause,) = result.causes
    assert (cause.code, cause.phase) == ("init-distribution", "init")
    assert cause.constants["a"]["distribution"] == "glorot_uniform"
    assert cause.constants["b"]["std"] == pytest.approx(1.0, rel=0.15)
    assert cause.fix == "tf.Variable(tf.keras.initializers.get('glorot_uniform')([8, 30])) at b.py:3"


def test_two_draws_are_no_difference(tmp_path):
    """Another draw from the same distribution is nothing to explain."""
    a, b = Program("a.py"), Program("b.py")
    for p in (a, b):
        p.variable("out/w", glorot((8, 30)))
        programs.squared(p, p.dense(p.input(features()), "out", 30, bias=False), p.input(features(24, 30)))
    limit = (6 / 38) ** 0.5
    b.own_value("out/w", np.random.default_rng(11).uniform(-limit, limit, (8, 30)))
    assert not programs.diff(a, b, tmp_path).causes


def test_labels_of_other_rows(explained):
    """How many rows have a wrong label, and what to write."""
    cause = explained("data-labels", rows=60, wrong=0.5)
    assert (cause.code, cause.constants) == ("data-labels", {"a": 0.0, "b": 0.5})
    assert "np.random.permutation" in cause.fix
