"""Activations, biases, masks and layers that only one side has."""

import numpy as np
import pytest
from scipy.special import erf

from tests.comparison import build
from tfdiff.causes.engine import explain_finding
from tfdiff.comparison.compare import compare
from tfdiff.trace.reader import open_trace

from . import programs
from .programs import Program, features

FUNCTIONS = {
    "relu": lambda x: np.maximum(x, 0),
    "tanh": np.tanh,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "gelu": lambda x: x * 0.5 * (1 + erf(x / 2**0.5)),
    "gelu (tanh)": lambda x: 0.5 * x * (1 + np.tanh((2 / np.pi) ** 0.5 * (x + 0.044715 * x**3))),
    "swish": lambda x: x / (1 + np.exp(-x)),
    "leaky_relu(0.3)": lambda x: np.where(x > 0, x, 0.3 * x),
    "leaky_relu(0.01)": lambda x: np.where(x > 0, x, 0.01 * x),
    "elu": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
    "softplus": lambda x: np.log1p(np.exp(x)),
}


def network(script: str, function, *, layer: str | None = None, bias: bool = True, extra: int = 0) -> Program:
    """Dense, a function, further layers, dense, squared error."""
    p = Program(script, layer is not None)
    h = p.dense(p.input(features()), "hidden", 12, layer=layer, bias=bias)
    if function is not None:
        h = p.op("Act", function(p.value(h).astype(np.float64)), h, layer=layer, line=4)
    for number in range(extra):
        h = p.dense(h, f"extra{number}", 12, line=6)
        h = p.op("Relu", np.maximum(p.value(h), 0), h, line=6)
    out = p.dense(h, "out", 3, layer="out" if layer else None, line=9)
    programs.squared(p, out, p.input(np.ones((24, 3), np.float32)))
    return p


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("relu", "tanh"),
        ("gelu", "gelu (tanh)"),
        ("swish", "leaky_relu(0.3)"),
        ("elu", "softplus"),
        ("leaky_relu(0.3)", "leaky_relu(0.01)"),
    ],
)
def test_swapped_activation(first, a, b):
    """Both functions are named, constants fitted."""
    cause = first(network("a.py", FUNCTIONS[a]), network("b.py", FUNCTIONS[b]))
    assert (cause.code, cause.constants) == ("activation", {"a": a, "b": b})
    assert cause.error_after < 1e-5
    assert cause.b.source == "b.py:4"


@pytest.mark.parametrize("name", ["relu", "sigmoid", "gelu"])
def test_missing_activation(first, name):
    """The side that feeds the values on as they are has none."""
    cause = first(network("a.py", FUNCTIONS[name], layer="hidden"), network("b.py", None))
    assert (cause.code, cause.constants) == ("activation", {"a": name, "b": "none"})
    assert cause.fix.startswith("tf.nn.")


def test_double_activation(first):
    """A function on top of the same one: what comes in is equal, one side goes on, the other applies another."""
    cause = first(network("a.py", FUNCTIONS["relu"]), network("b.py", lambda x: np.tanh(np.maximum(x, 0))))
    assert cause.code == "unexplained"  # tanh(relu(x)) as one op has no name


def test_unknown_activation_is_unexplained(first):
    """A function made up has no name, but its place is right."""
    cause = first(network("a.py", FUNCTIONS["relu"]), network("b.py", lambda x: np.sin(x) + 0.1 * x * x))
    assert (cause.code, cause.b.source) == ("unexplained", "b.py:4")
    assert cause.error_after == cause.error_before > 0


def test_scaled_activation_is_unexplained(first):
    """1.1 * relu(x) is not relu, and no other function either."""
    assert (
        first(network("a.py", FUNCTIONS["relu"]), network("b.py", lambda x: 1.1 * np.maximum(x, 0))).code
        == "unexplained"
    )


def test_activation_in_a_layer_is_its_argument(first):
    """B's layer gets an argument."""
    a, b = (network(s, FUNCTIONS[f], layer="hidden") for s, f in (("a.py", "relu"), ("b.py", "tanh")))
    assert first(a, b).fix == "activation='relu' at b.py:4"


def test_missing_bias(first):
    """A bias that only A has and that is not zero."""
    cause = first(network("a.py", np.tanh), network("b.py", np.tanh, bias=False))
    assert cause.code == "bias-missing"
    assert cause.constants == {"a": "hidden/b", "b": None}
    assert cause.error_after < 1e-6


def test_bias_of_another_value_is_unexplained(first):
    """A constant added to the product is no bias of A's."""
    b = Program("b.py")
    h = b.dense(b.input(features()), "hidden", 12, bias=False)
    h = b.op("AddV2", b.value(h) + 0.5, h, b.constant(0.5), line=3)
    h = b.op("Act", np.tanh(b.value(h)), h, line=4)
    programs.squared(b, b.dense(h, "out", 3, line=9), b.input(np.ones((24, 3), np.float32)))
    assert first(network("a.py", np.tanh), b).code == "unexplained"


@pytest.mark.parametrize("extra", [1, 3])
def test_extra_layer(first, extra):
    """Without its own layers B's last product is A's."""
    cause = first(network("a.py", np.tanh), network("b.py", np.tanh, extra=extra))
    assert (cause.code, cause.constants) == ("arch-extra-layer", {"a": 0, "b": extra})
    assert cause.error_after < 1e-5


def test_missing_layer(first):
    """The other way round."""
    cause = first(network("a.py", np.tanh, extra=1), network("b.py", np.tanh))
    assert (cause.code, cause.constants) == ("arch-missing-layer", {"a": 1, "b": 0})


def test_missing_layer_whose_weights_are_made(first):
    """A layer that B makes and never calls is missing as well."""
    b = Program("b.py")
    h = b.dense(b.input(features()), "hidden", 12)
    h = b.op("Act", np.tanh(b.value(h).astype(np.float64)), h, line=4)
    b.variable("extra0/w", np.random.default_rng(1).normal(size=(12, 12)))
    b.variable("extra0/b", np.zeros(12))
    programs.squared(b, b.dense(h, "out", 3, line=9), b.input(np.ones((24, 3), np.float32)))
    cause = first(network("a.py", np.tanh, extra=1), b)
    assert (cause.code, cause.constants) == ("arch-missing-layer", {"a": 1, "b": 0})


def pooled(script: str, reduce, layer: str | None = None) -> Program:
    """An embedding whose positions are reduced, dense, squared error."""
    rng = np.random.default_rng(2)
    ids = rng.integers(1, 30, (24, 10)).astype(np.int32)
    ids[np.arange(10) >= rng.integers(3, 10, 24)[:, None]] = 0
    p = Program(script, layer is not None)
    table = p.variable("table", rng.normal(size=(30, 6)))
    at = p.input(ids)
    h = p.op("ResourceGather", p.weights[table][ids], p.read(table), at, layer=layer and "embedding")
    h = reduce(p, h, at)
    out = p.dense(h, "out", 3, line=9)
    programs.squared(p, out, p.input(np.ones((24, 3), np.float32)))
    return p


def masked_mean(p: Program, h: int, at: int) -> int:
    """The average over what is not padded, as a Keras layer."""
    mask = p.op("NotEqual", p.value(at) != 0, at, layer="embedding")
    m = p.op("Cast", p.value(mask).astype(np.float32), mask, layer="pool")
    m = p.op("ExpandDims", p.value(m)[..., None], m, layer="pool")
    x = p.op("Mul", p.value(h) * p.value(m), h, m, layer="pool")
    total = p.op("Sum", p.value(x).sum(1), x, layer="pool")
    count = p.op("Sum", p.value(m).sum(1), m, layer="pool")
    return p.op("RealDiv", p.value(total) / p.value(count), total, count, layer="pool")


def test_mask_left_out_of_an_average(first):
    """A averages over what is not padded, B over everything."""
    cause = first(
        pooled("a.py", masked_mean, "x"), pooled("b.py", lambda p, h, _: p.op("Mean", p.value(h).mean(1), h, line=5))
    )
    assert cause.code == "mask"
    assert cause.constants["b"] == 1.0
    assert 0 < cause.constants["a"] < 1
    assert cause.error_after < 1e-6
    assert "b.py:5" in cause.fix


def test_average_over_half_the_positions_is_unexplained(first):
    """A slice is no mask."""
    cause = first(
        pooled("a.py", masked_mean, "x"),
        pooled("b.py", lambda p, h, _: p.op("Mean", p.value(h)[:, 1:].mean(1), h, line=5)),
    )
    assert (cause.code, cause.b.source) == ("unexplained", "b.py:5")


def test_activation_of_small_values(first):
    """Where the values are so small that tanh hardly changes them, the op says that it is one."""

    def small(script, kind, function):
        p = Program(script)
        h = p.dense(p.input(features() * np.float32(5e-3)), "hidden", 12, bias=False)
        h = p.op(kind, function(p.value(h).astype(np.float64)), h, line=4)
        programs.squared(p, p.dense(h, "out", 3, line=9), p.input(np.ones((24, 3), np.float32)))
        return p

    elu = FUNCTIONS["elu"]
    cause = first(small("a.py", "Elu", elu), small("b.py", "Tanh", np.tanh))
    assert (cause.code, cause.constants) == ("activation", {"a": "elu", "b": "tanh"})


@pytest.mark.parametrize("lacks", ["a", "b"])
def test_bias_of_zeros(tmp_path, lacks):
    """A bias that changes nothing yet is told by its being there, since all gradients are clipped by one norm."""
    plans = [build.Plan(clip_norm=1e-3, steps=1, bias=side != lacks) for side in "ab"]
    a = build.record(tmp_path / "a.h5", plans[0])
    b = build.record(tmp_path / "b.h5", plans[1], reference=plans[0])
    with open_trace(a) as one, open_trace(b) as other:
        result = compare(one, other, explain=explain_finding)
    assert [(cause.code, cause.constants[lacks]) for cause in result.causes] == [("bias-missing", None)]


def test_bias_in_front_of_keras_swish(first):
    """`x * sigmoid(1 * x)`, as Keras 2 writes it, takes the same as `x * sigmoid(x)`."""

    def swish(script, *, bias, factor):
        p = Program(script)
        h = p.dense(p.input(features()), "hidden", 12, bias=bias)
        inner = p.op("Mul", p.value(h) * 1, h, p.constant(1.0)) if factor else h
        gate = p.op("Sigmoid", 1 / (1 + np.exp(-p.value(inner))), inner)
        h = p.op("Times", p.value(h) * p.value(gate), h, gate)
        programs.squared(p, p.dense(h, "out", 3, line=9), p.input(np.ones((24, 3), np.float32)))
        return p

    cause = first(swish("a.py", bias=True, factor=True), swish("b.py", bias=False, factor=False))
    assert cause.code == "bias-missing"
