"""Dropout rates are fitted from scale and draw, and never named where something else was done."""

import numpy as np
import pytest

from . import programs
from .programs import Program, features


def program(script: str, drop, *, keras: bool = False, x: np.ndarray | None = None) -> Program:
    """Dense, relu, a dropout, dense, squared error."""
    p = Program(script, keras)
    at = p.input(features() if x is None else x)
    h = p.dense(at, "hidden", 12, layer="hidden" if keras else None)
    h = p.op("Relu", np.maximum(p.value(h), 0), h, layer="hidden" if keras else None)
    h = drop(p, h)
    out = p.dense(h, "out", 3, layer="out" if keras else None, line=9)
    programs.squared(p, out, p.input(np.zeros((24, 3), np.float32)))
    return p


def draw(p: Program, h: int, seed: int = 7) -> int:
    """The same uniform draw in both programs."""
    return p.noise(np.random.default_rng(seed).random(p.value(h).shape).astype(np.float32))


def drop(rate: float, seed: int = 7, **about):
    """As `nn_ops._dropout` does it: scale, compare, select."""
    about.setdefault("line", 5)

    def apply(p: Program, h: int) -> int:
        u = draw(p, h, seed)
        keep = p.op("GreaterEqual", p.value(u) >= rate, u, p.constant(rate), **about)
        scale = p.constant(1 / (1 - rate))
        scaled = p.op("Mul", p.value(h) * p.value(scale), h, scale, **about)
        return p.op("SelectV2", np.where(p.value(keep), p.value(scaled), 0), keep, scaled, **about)

    return apply


def by_hand(keep: float):
    """x * floor(keep + u) / keep, as old code has it."""

    def apply(p: Program, h: int) -> int:
        u = draw(p, h)
        mask = p.op("Floor", np.floor(p.value(u) + keep), u, line=5)
        kept = p.op("Mul", p.value(h) * p.value(mask), h, mask, line=5)
        return p.op("RealDiv", p.value(kept) / keep, kept, p.constant(keep), line=5)

    return apply


@pytest.mark.parametrize(("a", "b"), [(0.3, 0.7), (0.3, 0.31), (0.2, 0.8), (0.5, 0.1)])
def test_names_both_rates(first, a, b):
    """Two rates, however close, are fitted and their difference vanishes."""
    cause = first(program("a.py", drop(a)), program("b.py", drop(b)))
    assert cause.code == "dropout-rate"
    assert cause.constants == {"a": pytest.approx(a, rel=1e-3), "b": pytest.approx(b, rel=1e-3)}
    assert cause.error_after < 1e-5 < cause.error_before
    assert cause.b.source == "b.py:5"
    assert ("keep probability" in cause.summary) == (abs(a + b - 1) < 1e-9)


def test_draws_that_are_not_shared(first):
    """Where the two drew other numbers, B's rule is tried on A's draw."""

    def other(p: Program, h: int) -> int:
        u = p.noise(np.random.default_rng(8).random(p.value(h).shape).astype(np.float32))
        keep = p.op("GreaterEqual", p.value(u) >= 0.6, u, p.constant(0.6), line=5)
        return p.op("SelectV2", np.where(p.value(keep), p.value(h) / 0.4, 0), keep, h, line=5)

    cause = first(program("a.py", drop(0.3)), program("b.py", other))
    assert (cause.code, cause.constants) == ("dropout-rate", {"a": pytest.approx(0.3), "b": pytest.approx(0.6)})
    assert cause.error_after < 1e-5 < cause.error_before


def test_equal_rates_with_other_draws_are_no_rate(first):
    """Other units dropped at one rate is not another rate."""

    def other(p: Program, h: int) -> int:
        u = p.noise(np.random.default_rng(8).random(p.value(h).shape).astype(np.float32))
        keep = p.op("GreaterEqual", p.value(u) >= 0.3, u, p.constant(0.3), line=5)
        return p.op("SelectV2", np.where(p.value(keep), p.value(h) / 0.7, 0), keep, h, line=5)

    assert first(program("a.py", drop(0.3)), program("b.py", other)).code == "unexplained"


def test_fix_speaks_b_api(first):
    """The fix is one call of the API that B uses, at B's line."""
    b = program("b.py", drop(0.7, api="tf.nn.dropout"))
    assert first(program("a.py", drop(0.3)), b).fix == (
        "tf.nn.dropout(..., rate=1 - keep_prob), that is rate=0.3 at b.py:5"
    )


def test_fix_of_a_layer_is_its_argument(first):
    """A Keras layer is mended by its argument."""
    layer = drop(0.5, layer="drop", layer_class="Dropout")
    cause = first(
        program("a.py", drop(0.2, layer="drop", layer_class="Dropout"), keras=True), program("b.py", layer, keras=True)
    )
    assert cause.fix == "Dropout(0.2) at b.py:5"


def test_other_styles_of_writing_it(first):
    """x * floor(keep + u) / keep is the same dropout."""
    cause = first(program("a.py", drop(0.25)), program("b.py", by_hand(0.6)))
    assert (cause.code, cause.constants) == ("dropout-rate", {"a": pytest.approx(0.25), "b": pytest.approx(0.4)})


def test_sketches_suffice(first):
    """Where only a sketch of the tensor in front is kept, it is computed again from its operands."""
    a, b = (program(s, drop(r)) for s, r in (("a.py", 0.3), ("b.py", 0.6)))
    for p in (a, b):
        relu = next(i for i, r in enumerate(p.records) if r.site.op == "Relu")
        record = p.records[relu]
        p.records[relu] = type(record)(record.site, record.value, record.inputs, None, False)
    assert first(a, b).code == "dropout-rate"


def test_no_scaling_is_no_rate(first):
    """The same units dropped without scaling the others up is another fault: unexplained, at the right line."""

    def unscaled(p: Program, h: int) -> int:
        u = draw(p, h)
        keep = p.op("GreaterEqual", p.value(u) >= 0.3, u, p.constant(0.3), line=5)
        return p.op("SelectV2", np.where(p.value(keep), p.value(h), 0), keep, h, line=5)

    cause = first(program("a.py", drop(0.3)), program("b.py", unscaled))
    assert (cause.code, cause.b.source) == ("unexplained", "b.py:5")


def test_a_threshold_is_no_dropout(first):
    """Dropping all small values, whatever was drawn, is no dropout."""

    def hard(p: Program, h: int) -> int:
        u = draw(p, h)
        near = p.op("Mul", p.value(h) * 1.5, h, p.constant(1.5), line=5)
        kept = np.where(p.value(h) > 0.4, p.value(near), 0) + 0.0 * p.value(u)
        return p.op("SelectV2", kept, near, u, line=5)

    assert first(program("a.py", drop(0.3)), program("b.py", hard)).code == "unexplained"


def test_absent_in_a_keras_model_is_the_training_flag(first):
    """A Keras model that drops nothing where the other does was not called in training mode."""
    a = program("a.py", drop(0.3, layer="drop", layer_class="Dropout"), keras=True)
    cause = first(a, program("b.py", lambda _, h: h, keras=True))
    assert (cause.code, cause.constants) == ("training-flag", {"a": pytest.approx(0.3), "b": 0.0})
    assert cause.fix.startswith("call the model with training=True")


@pytest.mark.parametrize(
    ("versions", "seeds", "code"),
    [
        ({"keras": "3.15.1"}, 1, "training-flag"),
        ({"keras": "3.15.1"}, 0, "arch-missing-layer"),
        ({"keras": "3.15.1", "tf_keras": "2.21.0"}, 0, "training-flag"),
    ],
)
def test_a_dropout_that_is_there_has_a_seed(first, versions, seeds, code):
    """Keras 3 makes a seed variable for each dropout: without one that is not read there is none to be switched on."""
    a = program("a.py", drop(0.3, layer="drop", layer_class="Dropout"), keras=True)
    b = program("b.py", lambda _, h: h, keras=True)
    b.versions, b.seeds = versions, seeds
    assert first(a, b).code == code


def test_a_second_dropout_behind_the_first(first):
    """A dropout on what was dropped already is a layer more, though the other side draws as many numbers."""

    def twice(p: Program, h: int) -> int:
        return drop(0.3, seed=8)(p, drop(0.3)(p, h))

    assert first(program("a.py", drop(0.3)), program("b.py", twice)).code == "arch-extra-layer"


def test_absent_in_raw_code_is_a_missing_layer(first):
    """Raw code that goes on from the tensor itself lacks the dropout."""
    a = program("a.py", drop(0.3, layer="drop", layer_class="Dropout"), keras=True)
    cause = first(a, program("b.py", lambda _, h: h))
    assert cause.code == "arch-missing-layer"
    assert "tf.nn.dropout(x, rate=0.3)" in cause.fix


def test_extra_in_raw_code_is_an_extra_layer(first):
    """A dropout that only raw B has is an extra layer."""
    cause = first(program("a.py", lambda _, h: h), program("b.py", drop(0.4)))
    assert (cause.code, cause.constants["b"]) == ("arch-extra-layer", pytest.approx(0.4))
