"""Pairing random draws."""

from __future__ import annotations

import random

import numpy as np
import pytest

from tfdiff.pairing.noise import Draw, convert_draw, distribution, pair_draws


def draws(*specs: tuple[str, tuple[int, ...]], layer: str | None = None) -> list[Draw]:
    """Draws in order of execution."""
    return [Draw(n, op, shape, "float32", layer) for n, (op, shape) in enumerate(specs)]


U, S, N = "RandomUniform", "StatelessRandomUniformV2", "RandomStandardNormal"


@pytest.mark.parametrize(
    ("ops", "expected"),
    [
        (("RandomUniform", "StatelessRandomUniform", "StatelessRandomUniformV2", "StatefulUniform"), "uniform"),
        (
            ("RandomStandardNormal", "StatelessRandomNormal", "StatelessRandomNormalV2", "StatefulStandardNormalV2"),
            "normal",
        ),
        (
            ("TruncatedNormal", "StatelessTruncatedNormal", "StatelessTruncatedNormalV2", "StatefulTruncatedNormal"),
            "truncated normal",
        ),
        (
            ("RandomUniformInt", "StatelessRandomUniformIntV2", "StatelessRandomUniformFullInt", "StatefulUniformInt"),
            "int",
        ),
        (("RandomShuffle",), "shuffle"),
        (("Multinomial", "StatelessMultinomial"), "categorical"),
        (("RandomGamma", "StatelessRandomGammaV2", "StatelessRandomGammaV3"), "gamma"),
        (("RandomPoissonV2", "StatelessRandomPoisson"), "poisson"),
        (("StatefulRandomBinomial", "StatelessRandomBinomial"), "binomial"),
        (("MatMul", "StatelessRandomGetKeyCounter", "RngReadAndSkip", "StatelessIf"), None),
    ],
)
def test_distributions(ops: tuple[str, ...], expected: str | None) -> None:
    """Stateful and stateless versions of an op draw the same; other ops draw nothing."""
    assert {distribution(op) for op in ops} == {expected}


def test_keras_and_raw_dropout() -> None:
    """A stateless draw of Keras pairs with the stateful one of tf.nn.dropout."""
    assert pair_draws(draws((S, (8, 16)), (S, (8, 4))), draws((U, (8, 16)), (U, (8, 4)))) == [
        (0, 0, None),
        (1, 1, None),
    ]


def test_extra_draw_is_skipped() -> None:
    """A draw that only one side makes shifts nobody else."""
    a = draws((U, (8, 16)), (U, (8, 4)))
    b = draws((N, (8, 16)), (U, (8, 16)), (U, (2,)), (U, (8, 4)))
    assert pair_draws(a, b) == [(0, 1, None), (1, 3, None)]
    assert pair_draws(b, a) == [(1, 0, None), (3, 1, None)]


def test_channels_first() -> None:
    """NHWC against NCHW pairs with the permutation that keeps height before width."""
    assert pair_draws(draws((S, (8, 6, 6, 3))), draws((U, (8, 3, 6, 6)))) == [(0, 0, (0, 3, 1, 2))]
    assert pair_draws(draws((S, (8, 3, 6, 6))), draws((U, (8, 6, 6, 3)))) == [(0, 0, (0, 2, 3, 1))]


def test_batch_axis_stays_in_front() -> None:
    """A batch as large as another extent is not taken for it."""
    assert pair_draws(draws((S, (6, 6, 6, 3))), draws((U, (6, 3, 6, 6)))) == [(0, 0, (0, 3, 1, 2))]


def test_equal_shape_before_permuted() -> None:
    """Of two candidates the one of equal shape is taken."""
    assert pair_draws(draws((U, (4, 2, 3))), draws((U, (4, 3, 2)), (U, (4, 2, 3)))) == [(0, 1, None)]


def test_dropout_behind_flatten() -> None:
    """A draw of flattened shape pairs with the one in front of the flatten; the value is reshaped."""
    assert pair_draws(draws((U, (4, 2, 3))), draws((U, (4, 6)))) == [(0, 0, None)]
    value = np.arange(24.0).reshape(4, 2, 3)
    assert np.array_equal(convert_draw(value, None, (4, 6)), value.reshape(4, 6))


def test_convert_permutes() -> None:
    """The permutation is the one for np.transpose of a's value."""
    value = np.arange(24.0).reshape(2, 3, 4)
    ((_, _, permutation),) = pair_draws(draws((U, (2, 3, 4))), draws((U, (2, 4, 3))))
    assert np.array_equal(convert_draw(value, permutation, (2, 4, 3)), value.transpose(0, 2, 1))


def test_front_ones_of_many_pair() -> None:
    """Five equal draws against two: the first two."""
    assert pair_draws(draws(*[(U, (8, 8))] * 5), draws(*[(U, (8, 8))] * 2)) == [(0, 0, None), (1, 1, None)]


def test_layer_breaks_ties() -> None:
    """Of equal draws the one of the same layer is taken, the number decides last."""
    a = [Draw(0, U, (4,), "float32", "m/drop2")]
    b = [Draw(0, U, (4,), "float32", "m/drop1"), Draw(1, U, (4,), "float32", "m/drop2")]
    assert pair_draws(a, b) == [(0, 1, None)]


def test_branches_in_another_order() -> None:
    """Draws that occur once on both sides pair out of order too; those that occur twice do not."""
    assert pair_draws(draws((U, (4, 5)), (U, (4, 7))), draws((U, (4, 7)), (U, (4, 5)))) == [(0, 1, None), (1, 0, None)]
    a, b = draws((U, (4, 5)), (N, (9,)), (N, (9,))), draws((N, (9,)), (N, (9,)), (U, (4, 5)), (U, (4, 5)))
    assert pair_draws(a, b) == [(1, 0, None), (2, 1, None)]


def test_other_distribution_never_pairs() -> None:
    """Uniform and normal draws, or ops that draw nothing, stay alone."""
    assert pair_draws(draws((U, (4, 5))), draws((N, (4, 5)))) == []
    assert pair_draws(draws(("MatMul", (4, 5))), draws(("MatMul", (4, 5)))) == []
    assert pair_draws([], draws((N, (4, 5)))) == []


def test_random_deletions() -> None:
    """Deleting draws of distinct shapes pairs exactly the rest (200 random streams)."""
    rng = random.Random(1)
    for _ in range(200):
        specs = [(rng.choice((U, N)), (rng.randint(2, 4), 10 + n)) for n in range(rng.randint(0, 8))]
        kept = sorted(rng.sample(range(len(specs)), rng.randint(0, len(specs))))
        b = draws(*[specs[n] for n in kept])
        assert pair_draws(draws(*specs), b) == [(i, j, None) for j, i in enumerate(kept)]
