"""Settings raise what the numbers have proved, and say it in the user's words; they never prove anything."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tfdiff.comparison.configuration import alike, differing, same_setting
from tfdiff.settings import Configuration

from .test_dropout import drop, program
from .test_layers import FUNCTIONS, network


def dropout(rate: object, **more: object) -> Configuration:
    """A dropout as Keras describes it."""
    return Configuration("layer", "net/drop", "Dropout", {"name": "drop", "rate": rate, "seed": None, **more})


def in_keras(script: str, rate: float, *configurations: Configuration):
    """A program with a dropout layer, configured as is said (not as it is)."""
    made = program(script, drop(rate, layer="drop", layer_class="Dropout"), keras=True)
    made.configurations = configurations
    return made


def test_raised_and_named(first):
    """Where the settings are what was fitted, the cause is more certain, and says how it is written."""
    plain = first(in_keras("a.py", 0.2), in_keras("b.py", 0.8))
    cause = first(in_keras("a.py", 0.2, dropout(0.2)), in_keras("b.py", 0.8, dropout(0.8)))
    assert (cause.code, plain.code) == ("dropout-rate", "dropout-rate")
    assert 0.0 < cause.confidence - plain.confidence <= 0.021
    assert cause.evidence == ({"key": "rate", "a": 0.2, "b": 0.8},)
    assert cause.summary == f"{plain.summary}; Dropout(rate=0.8) in B, rate=0.2 in A"
    assert plain.evidence == ()


@pytest.mark.parametrize("told", [(0.3, 0.8), (0.2, 0.2), (0.8, 0.2)])
def test_settings_that_the_numbers_contradict(first, told):
    """A setting that is not what the numbers say is no evidence."""
    plain = first(in_keras("a.py", 0.2), in_keras("b.py", 0.8))
    cause = first(in_keras("a.py", 0.2, dropout(told[0])), in_keras("b.py", 0.8, dropout(told[1])))
    assert cause == plain


def test_settings_alone_are_nothing(diff):
    """Where the numbers agree, settings that differ are not spoken of."""
    result = diff(in_keras("a.py", 0.2, dropout(0.2)), in_keras("b.py", 0.2, dropout(0.8)))
    assert (result.verdict, result.causes) == ("equivalent", ())


@pytest.mark.parametrize("side", ["a", "b"])
def test_raw_code_on_one_side(first, side):
    """The side that says how it is set up is held to what was fitted there, the other's setting is what was fitted."""
    sides = {"a": in_keras("a.py", 0.2, dropout(0.2)), "b": in_keras("b.py", 0.8, dropout(0.8))}
    raw = "b" if side == "a" else "a"
    sides[raw] = program(f"{raw}.py", drop({"a": 0.2, "b": 0.8}[raw]))
    cause = first(sides["a"], sides["b"])
    (found,) = cause.evidence
    assert (found["key"], found["a"], found["b"]) == ("rate", pytest.approx(0.2), pytest.approx(0.8))
    rate = {"a": "0.2", "b": "0.8"}[side]
    assert cause.summary.endswith(f"; Dropout(rate={rate}) in {side.upper()}")


def test_a_hint_where_nothing_explains(first):
    """What differs at an unexplained place is named; names, seeds and initializers are not, nor anything of others."""
    settings = {"units": 12, "activation": "sine", "name": "x", "seed": 3, "kernel_initializer": "Ones"}
    a = network("a.py", FUNCTIONS["relu"], layer="hidden")
    b = network("b.py", lambda x: np.sin(x) + 0.1 * x * x, layer="hidden")
    other = {"units": 12, "activation": "relu", "name": "y", "seed": 4, "kernel_initializer": "Zeros"}
    a.configurations = (Configuration("layer", "net/hidden", "Dense", other),)
    b.configurations = (
        Configuration("layer", "net/hidden", "Dense", settings),
        Configuration("layer", "net/out", "Dense", settings | {"units": 5}),
    )
    cause = first(a, b)
    assert cause.code == "unexplained"
    assert cause.summary.endswith("; configuration differs: activation relu / sine")
    assert cause.evidence == ({"key": "activation", "a": "relu", "b": "sine"},)


@pytest.mark.parametrize(("told", "agrees"), [("silu", True), ("elu", False), (None, False)])
def test_activations_by_name(first, told, agrees):
    """The function that was fitted is the one that is set, whichever of its names that is."""
    programs = [network(f"{side}.py", FUNCTIONS[f], layer="hidden") for side, f in (("a", "relu"), ("b", "swish"))]
    for made, name in zip(programs, ("relu", told), strict=True):
        made.configurations = (Configuration("layer", "net/hidden", "Dense", {"activation": name}),)
    cause = first(*programs)
    assert (cause.code, bool(cause.evidence)) == ("activation", agrees)
    assert cause.summary.endswith("Dense(activation='silu') in B, activation='relu' in A") == agrees


def test_a_strangers_settings(first):
    """Whatever a trace holds, what is shown is short and steers nothing."""
    deep: object = "x"
    for _ in range(200):
        deep = [deep]
    a = in_keras("a.py", 0.2, dropout(0.2, noise_shape="\x1b[31m" + "x" * 100_000, shape=deep, rates=[1] * 10_000))
    b = in_keras("b.py", 0.8, dropout(float("nan"), noise_shape="y" * 100_000, shape=3, rates={"class": 5}))
    assert first(a, b).evidence == ()
    a, b = (network(f"{side}.py", f, layer="hidden") for side, f in (("a", np.abs), ("b", lambda x: np.sin(x) + x)))
    made = {"units\x1b[31m" + "k" * 10_000: 1, "of": {"class": "X" * 10_000, **{f"k{n}": deep for n in range(99)}}}
    a.configurations = (Configuration("layer", "net/hidden", "\x1b[0m", made | {f"key{n}": n for n in range(9999)}),)
    b.configurations = (replace(a.configurations[0], settings=dict.fromkeys(a.configurations[0].settings, -1)),)
    cause = first(a, b)
    assert cause.code == "unexplained"
    assert len(cause.summary) < 600
    assert len(str(cause.evidence)) < 2000
    assert "\x1b" not in cause.summary + str(cause.evidence)


@pytest.mark.parametrize(
    ("key", "a", "b"),
    [
        ("strides", 2, [2, 2]),
        ("activation", None, "linear"),
        ("padding", "same", "SAME"),
        ("reduction", "auto", "sum_over_batch_size"),
        ("weight_decay", None, 0.0),
        ("nesterov", False, None),
        ("epsilon", 1e-3, float(np.float32(1e-3))),
        ("axis", [3], -1),
        ("kernel_initializer", "GlorotUniform", "glorot_uniform"),
        ("kernel_regularizer", {"class": "L2", "l2": 0.01}, {"class": "L2", "l2": 0.009999999776482582, "l1": 0.0}),
    ],
)
def test_other_words_for_the_same(key, a, b):
    """What versions of Keras write in two ways is one setting."""
    assert same_setting(key, a, b, 4)
    assert same_setting(key, b, a, 4)


@pytest.mark.parametrize(
    ("key", "a", "b"),
    [
        ("strides", 2, [2, 1]),
        ("use_bias", True, False),
        ("axis", 1, -1),
        ("clipnorm", None, 1.0),
        ("kernel_regularizer", None, {"class": "L2", "l2": 0.01}),
        ("noise_shape", [1, 2], [1, 2, 3]),
    ],
)
def test_what_is_not_the_same(key, a, b):
    """A setting that means something else."""
    assert not same_setting(key, a, b, 4)


def test_what_is_compared():
    """Only what both have and have kept, of one class (a subclass of the user's included), and no names."""
    a = dropout(0.2, noise_shape=[1], only=1)
    b = replace(dropout(0.8, noise_shape=[2]), class_name="MyDropout", base="Dropout", cut=("noise_shape",))
    assert alike(a, b)
    assert [one.key for one in differing(a, b)] == ["rate"]
    assert not alike(a, replace(a, class_name="MaxPooling2D"))
    losses = [Configuration("loss", "x", name, {}) for name in ("MeanSquaredError", "Huber")]
    assert [(one.key, one.a) for one in differing(*losses)] == [("class", "MeanSquaredError")]
