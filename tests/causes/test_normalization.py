"""Statistics and epsilon of normalizations are read from the numbers, however they are written."""

import numpy as np
import pytest

from . import programs
from .programs import Program, features

GAMMA = np.random.default_rng(8).uniform(0.5, 1.5, 8).astype(np.float32)
BETA = np.random.default_rng(9).normal(size=8).astype(np.float32)


def program(script: str, normalize, *, keras: bool = False, x: np.ndarray | None = None) -> Program:
    """Dense, a normalization, dense, squared error."""
    p = Program(script, keras)
    p.variable("gamma", GAMMA)
    p.variable("beta", BETA)
    p.variable("mean", np.linspace(-0.2, 0.3, 8), state=True)
    p.variable("var", np.linspace(0.7, 1.6, 8), state=True)
    at = p.input(features() * 2 + 1 if x is None else x)
    h = p.dense(at, "first", 8, bias=False)
    h = normalize(p, h)
    p_out = p.dense(h, "out", 3, line=9)
    programs.squared(p, p_out, p.input(np.ones((*p.value(p_out).shape,), np.float32)))
    return p


def batch_norm(*, training: bool = True, epsilon: float = 1e-3, fused: bool = False, layer: str | None = None):
    """With the batch's statistics or the moving ones; `fused`: as one op."""

    def apply(p: Program, at: int) -> int:
        x = p.value(at).astype(np.float64)
        gamma, beta = p.read("gamma"), p.read("beta")
        about = {"layer": layer, "line": 5, "layer_class": "BatchNormalization" if layer else None}
        if training:
            mean = p.op("Mean", x.mean(0), at, **about)
            var = p.op("Mean", x.var(0), at, mean, **about)
        else:
            mean, var = p.read("mean"), p.read("var")
        y = (x - p.value(mean)) / np.sqrt(p.value(var) + epsilon) * GAMMA + BETA
        if fused:
            return p.op("FusedBatchNormV3", y, at, gamma, beta, mean, var, **about)
        inverse = p.op("Rsqrt", 1 / np.sqrt(p.value(var) + epsilon), var, **about)
        scale = p.op("Mul", p.value(inverse) * GAMMA, inverse, gamma, **about)
        scaled = p.op("Mul", x * p.value(scale), at, scale, **about)
        shift = p.op("Sub", BETA - p.value(mean) * p.value(scale), beta, mean, scale, **about)
        return p.op("AddV2", y, scaled, shift, **about)

    return apply


def layer_norm(epsilon: float):
    """Over the last axis."""

    def apply(p: Program, at: int) -> int:
        x = p.value(at).astype(np.float64)
        gamma, beta = p.read("gamma"), p.read("beta")
        mean, var = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
        y = (x - mean) / np.sqrt(var + epsilon) * GAMMA + BETA
        return p.op("LayerNorm", y, at, gamma, beta, line=5)

    return apply


@pytest.mark.parametrize("fused", [False, True])
def test_inference_mode_in_b(first, fused):
    """B normalizes with the moving statistics: training-flag, and with the batch's it is A."""
    cause = first(
        program("a.py", batch_norm(layer="bn"), keras=True),
        program("b.py", batch_norm(training=False, fused=fused, layer="bn"), keras=True),
    )
    assert (cause.code, cause.constants) == ("training-flag", {"a": True, "b": False})
    assert cause.error_after < 1e-5
    assert cause.fix == "call the model with training=True at b.py:99"


def test_training_mode_in_b(first):
    """The other way round, in raw code."""
    cause = first(program("a.py", batch_norm(training=False)), program("b.py", batch_norm()))
    assert (cause.code, cause.constants) == ("training-flag", {"a": False, "b": True})
    assert "moving mean and variance" in cause.fix


@pytest.mark.parametrize("training", [True, False])
def test_epsilon_of_a_batch_norm(first, training):
    """Both epsilons are fitted."""
    a, b = (program(s, batch_norm(training=training, epsilon=e)) for s, e in (("a.py", 1e-3), ("b.py", 2e-2)))
    cause = first(a, b)
    assert cause.code == "norm-epsilon"
    assert cause.constants == {"a": pytest.approx(1e-3, rel=0.02), "b": pytest.approx(2e-2, rel=0.02)}
    assert cause.error_after < 1e-5


def test_epsilon_of_a_layer_norm(first):
    """Rows are normalized by their own statistics."""
    x = features() * 0.05
    cause = first(program("a.py", layer_norm(1e-3), x=x), program("b.py", layer_norm(1e-5), x=x))
    assert cause.code == "norm-epsilon"
    assert cause.constants == {"a": pytest.approx(1e-3, rel=0.02), "b": pytest.approx(1e-5, rel=0.05)}


def test_statistics_of_half_the_batch_are_unexplained(first):
    """Neither the batch's statistics nor the moving ones: no name."""

    def half(p: Program, at: int) -> int:
        x = p.value(at).astype(np.float64)
        y = (x - x[:12].mean(0)) / np.sqrt(x[:12].var(0) + 1e-3) * GAMMA + BETA
        return p.op("AddV2", y, at, p.read("gamma"), p.read("beta"), line=5)

    cause = first(program("a.py", batch_norm()), program("b.py", half))
    assert (cause.code, cause.b.source) == ("unexplained", "b.py:5")


def test_gamma_left_out_is_unexplained(first):
    """A normalization without gamma is not the same one with another epsilon."""

    def plain(p: Program, at: int) -> int:
        x = p.value(at).astype(np.float64)
        return p.op("AddV2", (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-3) + BETA, at, p.read("beta"), line=5)

    assert first(program("a.py", batch_norm()), program("b.py", plain)).code == "unexplained"
