"""The structure of real networks: a bypass or a layer on one side only, layers and steps in another order."""

from __future__ import annotations

import os

import pytest

from .structures import Networks


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    """Networks recorded in this process."""
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    return Networks(tf, tmp_path_factory.mktemp("networks"))


@pytest.mark.parametrize("a", ["residual keras plain", "residual raw plain"])
@pytest.mark.parametrize("b", ["residual keras missing", "residual raw missing"])
def test_missing_bypass(networks, a, b):
    """A block whose input is added in A only lacks a layer; the other way round it is one too many."""
    cause, other = networks.cause(a, b), networks.cause(b, a)
    assert (cause.code, other.code) == ("arch-missing-layer", "arch-extra-layer")
    assert max(cause.error_after, other.error_after) < 1e-6
    assert min(cause.error_before, other.error_before) > 0.1
    assert "x + f(x)" in cause.fix


@pytest.mark.parametrize(
    ("a", "b"),
    [("plain", "half"), ("half", "missing"), ("missing", "half")],
)
def test_scaled_branch_is_no_missing_bypass(networks, a, b):
    """A branch that is scaled is added still: no tensor that both sides have is missing in the sum."""
    assert networks.cause(f"residual keras {a}", f"residual raw {b}").code == "unexplained"


@pytest.mark.parametrize("kind", ["plain", "missing", "half"])
def test_block_in_another_style(networks, kind):
    """Mended, both are equivalent."""
    assert networks.cause(f"residual keras {kind}", f"residual raw {kind}") is None


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("order keras batch-relu", "order keras relu-batch"),
        ("order keras layer-tanh", "order raw tanh-layer"),
        ("order raw tanh-layer", "order raw layer-tanh"),
        ("order keras tanh-drop", "order keras drop-tanh"),
        ("order keras drop-dense", "order keras dense-drop"),
        ("order keras dense-drop", "order keras drop-dense"),
        ("pool keras tanh-average", "pool keras average-tanh"),
        ("pool keras average-tanh", "pool keras tanh-average"),
        ("residual keras pre", "residual keras post"),
        ("residual keras post", "residual keras pre"),
        ("residual keras inside", "residual keras post"),
        ("recurrent keras lstm-forward", "recurrent keras lstm-back"),
        ("recurrent keras lstm-back", "recurrent keras lstm-forward"),
        ("recurrent keras simple-forward", "recurrent raw back"),
        ("recurrent raw back", "recurrent raw forward"),
    ],
)
def test_another_order(networks, a, b):
    """B's two layers, or its recurrence, computed in A's order give A's tensor."""
    cause = networks.cause(a, b)
    assert (cause.code, cause.phase, cause.step) == ("arch-order", "forward", 0)
    assert cause.error_after < 1e-5
    assert cause.error_before > 0.01


def test_order_says_both_layers(networks):
    """Summary and fix name B's layers, each with its line."""
    cause = networks.cause("order keras batch-relu", "order keras relu-batch")
    assert "B computes layer 'relu' (structures.py:" in cause.summary
    assert cause.fix.startswith("layer 'norm' (structures.py:")
    assert cause.constants == {"a": ["norm", "relu"], "b": ["relu", "norm"]}


def test_direction_is_said_as_an_argument(networks):
    """A layer of Keras that runs backwards has an argument for it."""
    cause = networks.cause("recurrent keras lstm-forward", "recurrent keras lstm-back")
    assert cause.fix.startswith("go_backwards=False at structures.py:")


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("order keras layer-tanh", "order raw layer-tanh"),
        ("pool keras tanh-max", "pool keras max-tanh"),
        ("recurrent keras simple-back", "recurrent raw back"),
    ],
)
def test_order_that_changes_nothing(networks, a, b):
    """The same order in other words, and two layers that may be exchanged, are no difference."""
    assert networks.cause(a, b) is None


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("order keras layer-tanh", "order keras tanh-half-layer"),
        ("order keras batch-relu", "order keras batch-half"),
        ("recurrent raw forward", "recurrent raw rolled"),
        ("recurrent raw back", "recurrent raw rolled"),
    ],
)
def test_no_other_order(networks, a, b):
    """A further layer between the two, another layer in one place, steps that are rolled: no exchange of two."""
    cause = networks.cause(a, b)
    assert cause is not None
    assert cause.code != "arch-order"


@pytest.mark.parametrize(
    ("more", "less", "count"),
    [
        ("order keras square-layer-tanh", "order keras layer-tanh", 1),
        ("order keras square-tanh", "order keras tanh", 1),
        ("order keras layer-tanh", "order raw tanh", 1),
        ("order keras batch-relu", "order keras relu", 1),
        ("order keras plain-tanh", "order keras tanh", 1),
    ],
)
def test_layer_in_front_of_anything(networks, more, less, count):
    """A layer that one side has in front of a normalization or a function, and a normalization in front of one."""
    missing, extra = networks.cause(more, less), networks.cause(less, more)
    assert (missing.code, extra.code) == ("arch-missing-layer", "arch-extra-layer")
    assert (missing.constants, extra.constants) == ({"a": count, "b": 0}, {"a": 0, "b": count})
    assert max(missing.error_after, extra.error_after) < 1e-5


@pytest.mark.parametrize("rest", ["tanh", "batch-half-tanh"])
def test_scaling_in_front_of_a_function_is_no_layer(networks, rest):
    """A factor has no weights and no statistics: nothing says that it is a layer, behind a normalization neither."""
    whole = rest if "half" in rest else f"half-{rest}"
    assert networks.cause(f"order keras {whole}", f"order keras {whole.replace('half-', '')}").code == "unexplained"


@pytest.mark.parametrize(
    ("a", "b", "steps"),
    [
        ("state keras carried", "state keras reset", (0,)),
        ("state keras reset", "state keras carried", (0,)),
        ("state raw carried", "state raw zeros", (1,)),
        ("state raw zeros", "state raw carried", (1,)),
    ],
)
def test_state_that_is_reset(networks, a, b, steps):
    """Zeros where the other side goes on from the state that its step before ended in."""
    cause = networks.cause(a, b)
    assert (cause.code, cause.step in steps) == ("state-reset", True)
    assert cause.constants == {side: "carried" if "carried" in name else "zeros" for side, name in (("a", a), ("b", b))}
    assert cause.error_after < 1e-5


def test_state_that_is_halved_is_not_reset(networks):
    """Half a state is neither zeros nor what the step before ended in."""
    assert networks.cause("state raw carried", "state raw half").code == "unexplained"


def test_zeros_in_another_style(networks):
    """Mended, both are equivalent."""
    assert networks.cause("state keras stateless", "state raw zeros") is None
