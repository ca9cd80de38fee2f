"""What is told behind the first divergence, because it does not hang on it; and pooling windows."""

import numpy as np
import pytest

from . import programs
from .programs import Program, features


def dropout(p: Program, x: int, rate: float, seed: int, *, keep: bool = True, line: int = 6) -> int:
    """A dropout as TensorFlow writes it; the draws are equal on both sides."""
    value = p.value(x)
    scaled = p.op("Mul", value / (1 - rate), x, p.constant(1 / (1 - rate)), line=line, keep=keep)
    draw = p.noise(np.random.default_rng(seed).random(value.shape, dtype=np.float32))
    kept = p.op("GreaterEqual", p.value(draw) >= rate, draw, p.constant(rate), line=line, keep=keep)
    dropped = np.where(p.value(kept), p.value(scaled), 0.0)
    return p.op("SelectV2", dropped, kept, scaled, p.constant(0.0), line=line, keep=keep)


LAYERS = (("first", 16), ("second", 16), ("third", 8))


def network(
    script: str,
    function=np.tanh,
    *,
    rates: tuple[float, float] = (0.25, 0.25),
    layers: tuple[tuple[str, int], ...] = LAYERS,
    moves: bool = True,
    normalized: bool = True,
    keep: bool = True,
) -> Program:
    """Dense layers, a function behind the first one, dropouts and a moving mean behind two of them; layers of one name
    have equal weights.
    """
    p = Program(script)
    p.variable("mean", np.zeros(16), state=True)
    h = p.input(features(256))
    for number, (name, width) in enumerate(layers):
        h = p.dense(h, name, width, line=10 + number)
        if number == 0:
            h = p.op("Act", function(p.value(h)), h, line=4)
            h = dropout(p, h, rates[0], 1, keep=keep)
        if number == 1:
            statistic = p.value(h).astype(np.float64).mean(0)
            if normalized:
                mean = p.op("Mean", statistic, h, line=7)
                h = p.op("Sub", p.value(h) - p.value(mean), h, mean, line=7)
                if moves:
                    p.assign("mean", 0.1 * statistic, mean, phase="state", line=8)
            h = dropout(p, h, rates[1], 2, keep=keep, line=9)
    squared = p.dense(h, "out", 3, line=19)
    programs.squared(p, squared, p.input(np.ones((256, 3), np.float32)))
    p.end_step()
    return p


def relu(x):
    """The other function."""
    return np.maximum(x, 0.0)


def codes(result) -> list[str]:
    """Codes in order."""
    return [cause.code for cause in result.causes]


def test_only_the_first_where_nothing_else_differs(diff):
    """Everything behind another activation differs in value, and nothing of it is a further divergence."""
    result = diff(network("a.py"), network("b.py", relu))
    assert (len(result.divergences), codes(result)) == (1, ["activation"])


@pytest.mark.parametrize("keep", [True, False])
def test_rates_of_dropouts_behind(diff, keep):
    """Dropouts that drop another share of equal draws are found behind the first divergence, kept in full or not."""
    result = diff(network("a.py", keep=keep), network("b.py", relu, rates=(0.75, 0.25), keep=keep))
    causes = {cause.code: cause for cause in result.causes}
    assert causes["dropout-rate"].constants == {"a": 0.25, "b": 0.75}
    assert causes["dropout-rate"].b.source == "b.py:6"
    assert "keep probability" in causes["dropout-rate"].summary


def test_one_finding_for_all_dropouts(diff):
    """Several dropouts with the same mistake are one divergence; their number and other rates are said."""
    result = diff(network("a.py"), network("b.py", relu, rates=(0.75, 0.5)))
    (cause,) = [cause for cause in result.causes if cause.code == "dropout-rate"]
    assert "1 more dropouts (50 % for 25 %)" in cause.summary


def test_a_dropout_at_the_first_divergence_is_told_once(diff):
    """The dropout at which the two part is the first divergence and no further one."""
    result = diff(network("a.py"), network("b.py", rates=(0.75, 0.25)))
    assert codes(result) == ["dropout-rate"]


def test_states_that_never_move_behind(diff):
    """A moving mean that one side never writes is found although what feeds it differs."""
    result = diff(network("a.py"), network("b.py", relu, moves=False))
    assert codes(result) == ["activation", "state-updates-not-run"]
    result = diff(network("a.py", moves=False), network("b.py", relu))
    assert codes(result) == ["activation", "state-updates-not-run"]


def test_a_layer_that_is_missing_updates_nothing(diff):
    """Where the normalization itself is missing behind the first divergence, its mean that never moves follows."""
    result = diff(network("a.py"), network("b.py", relu, normalized=False))
    assert codes(result) == ["activation"]


def test_width_behind(diff):
    """A layer with another number of outputs is told from the weights around it; the next one's inputs follow."""
    a = network("a.py", layers=(*LAYERS[:2], ("a", 8), ("next a", 16)))
    b = network("b.py", relu, layers=(*LAYERS[:2], ("b", 12), ("next b", 16)))
    result = diff(a, b)
    assert codes(result) == ["activation", "arch-width"]
    assert (result.causes[1].constants, result.causes[1].b.source) == ({"a": 8, "b": 12}, "b.py:12")


def test_weights_that_could_not_be_paired_are_no_other_width(diff):
    """Layers of one shape without a counterpart say nothing of the architecture."""
    a, b = network("a.py", layers=(*LAYERS, ("a", 8))), network("b.py", relu, layers=(*LAYERS, ("b", 8)))
    assert codes(diff(a, b)) == ["activation"]


def test_parts_of_a_matrix_are_no_layers(diff):
    """Weights that do not lead from the same inputs to the same outputs may be another way of writing."""
    a = network("a.py", layers=(*LAYERS, ("a", 16)))
    b = network("b.py", relu, layers=(*LAYERS, ("b", 8), ("more b", 8)))
    assert codes(diff(a, b)) == ["activation"]


def test_extra_and_missing_layers_behind(diff):
    """Weights of one side only, between layers that both have, are layers that the other lacks."""
    longer = (*LAYERS[:2], ("more", 16), ("most", 16), LAYERS[2])
    result = diff(network("a.py"), network("b.py", relu, layers=longer))
    assert codes(result) == ["activation", "arch-extra-layer"]
    assert (result.causes[1].constants, result.causes[1].b.source) == ({"a": 0, "b": 2}, "b.py:12")
    assert "2 layers" in result.causes[1].summary
    result = diff(network("a.py", layers=longer), network("b.py", relu))
    assert codes(result) == ["activation", "arch-missing-layer"]
    assert result.causes[1].constants == {"a": 2, "b": 0}


def test_a_shared_weight_is_no_missing_layer(diff):
    """A weight used twice here and two weights there are no layer more or less."""
    a = network("a.py", layers=(*LAYERS[:2], LAYERS[1], LAYERS[2]))
    b = network("b.py", relu, layers=(*LAYERS[:2], ("another", 16), LAYERS[2]))
    assert codes(diff(a, b)) == ["activation"]


def pooled(script: str, size: int, stride: int, padding: str, kind: str) -> Program:
    """An image through a pooling, computed element by element."""
    p = Program(script)
    x = features(4, 9 * 9 * 2).reshape(4, 9, 9, 2)
    around = max((-(-9 // stride) - 1) * stride + size - 9, 0) if padding == "SAME" else 0
    rows = range(0 - around // 2, 9 + around - around // 2 - size + 1, stride)
    result = np.empty((4, len(rows), len(rows), 2), np.float32)
    for i, top in enumerate(rows):
        for j, left in enumerate(rows):
            window = x[:, max(top, 0) : top + size, max(left, 0) : left + size]
            result[:, i, j] = window.max((1, 2)) if kind == "MaxPool" else window.mean((1, 2))
    attrs = {"ksize": [1, size, size, 1], "strides": [1, stride, stride, 1], "padding": padding, "data_format": "NHWC"}
    h = p.op(kind, result, p.input(x), line=5, attrs=attrs)
    axes = p.put("constant", "forward", "Const", np.array([1, 2], np.int32))
    mean = p.op("Mean", p.value(h).mean((1, 2)), h, axes, line=6)
    programs.squared(p, p.dense(mean, "out", 3), p.input(features(4, 3)))
    return p


@pytest.mark.parametrize("kind", ["MaxPool", "AvgPool"])
@pytest.mark.parametrize(
    ("a", "b", "code"),
    [
        ((3, 2, "VALID"), (2, 2, "VALID"), "stride-or-pool"),
        ((3, 2, "SAME"), (2, 2, "SAME"), "stride-or-pool"),
        ((3, 2, "VALID"), (3, 3, "VALID"), "stride-or-pool"),
        ((3, 2, "SAME"), (3, 2, "VALID"), "padding"),
    ],
)
def test_windows(first, a, b, code, kind):
    """Another window, stride or padding is proved by pooling again as A does."""
    cause = first(pooled("a.py", *a, kind), pooled("b.py", *b, kind))
    assert cause.code == code
    assert cause.error_after < 1e-6


@pytest.mark.parametrize("kinds", [("MaxPool", "AvgPool"), ("AvgPool", "MaxPool")])
@pytest.mark.parametrize("b", [(2, 2, "VALID"), (3, 3, "VALID")])
def test_kind_of_pooling(first, kinds, b):
    """The mean for the maximum is told, and another window besides."""
    cause = first(pooled("a.py", 2, 2, "VALID", kinds[0]), pooled("b.py", *b, kinds[1]))
    assert (cause.code, cause.constants["a"]["kind"], cause.constants["b"]["kind"]) == ("stride-or-pool", *kinds)
    assert ("strides" in cause.constants["b"]) == (b[0] == 3)
    assert cause.fix.startswith("max pooling" if kinds[0] == "MaxPool" else "average pooling")
    assert cause.error_after < 1e-6


def test_another_function_of_the_window_is_unexplained(first):
    """What is neither the mean nor the maximum of a window has no name."""
    b = pooled("b.py", 2, 2, "VALID", "AvgPool")
    for record in b.records:
        if record.site.op == "AvgPool":
            record.value[...] = record.value * record.value
    assert first(pooled("a.py", 2, 2, "VALID", "MaxPool"), b).code == "unexplained"
