"""Axes, channels, kernels and means in another layout, in recorded runs: told, proved and placed, or left alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from .layer_pairs import marks

SCRIPT = Path(__file__).parent / "scripts" / "layouts.py"
MARKS = marks(SCRIPT)


def cause_of(result):
    """The one cause of a result, that of what was made equal first."""
    (cause,) = [cause for cause in result.causes if cause.phase != "init"]
    assert cause.error_after < 1e-5
    return cause


@pytest.mark.parametrize(
    ("a", "b", "fault", "a_mark"),
    [
        ("keras", "tape", "channels first", "keras flatten"),
        ("keras", "v1", "channels first", "keras flatten"),
        ("keras", "keras", "channels first", "keras flatten"),
        ("keras", "planes", "left first", "keras flatten"),
        ("keras", "tape", "reshaped inside", "keras dense"),
        ("sequence", "sequence", "time major", None),
    ],
)
def test_flattened_in_another_order(layers, a, b, fault, a_mark):
    """The order of the axes in front of the reshape is told, at the op that changes it."""
    cause = cause_of(layers(SCRIPT, a, b, fault))
    assert (cause.code, cause.phase) == ("flatten-order", "forward")
    assert cause.b.source == MARKS[f"keras {fault}" if b == "keras" else fault]
    assert a_mark is None or cause.a.source == MARKS[a_mark]
    assert cause.constants["a"] != cause.constants["b"]


@pytest.mark.parametrize(("fault", "mark"), [("heads", "scores"), ("heads behind", "joined")])
def test_heads_cut_by_a_reshape(layers, fault, mark):
    """Heads that are cut or joined without the transpose, in one operand of a product or in both."""
    cause = cause_of(layers(SCRIPT, "sequence", "sequence", fault))
    assert (cause.code, cause.b.source) == ("flatten-order", MARKS[mark])


@pytest.mark.parametrize(
    ("a", "b", "fault"),
    [
        ("keras", "tape", "sideways"),
        ("keras", "tape", "channels"),
        ("keras", "keras", "sideways"),
        ("keras", "keras", "channels"),
        ("keras", "v1", "reshaped"),
        ("keras", "v1", "upside down"),
    ],
)
def test_a_batch_used_in_another_layout(layers, a, b, fault):
    """What the network does to a batch that agrees is told where it is done."""
    cause = cause_of(layers(SCRIPT, a, b, fault))
    assert (cause.code, cause.phase) == ("data-layout", "forward")
    assert (cause.a.source, cause.b.source) == (MARKS["keras conv"], MARKS[f"keras {fault}" if b == "keras" else fault])


@pytest.mark.parametrize(("fault", "said"), [("own channels", "channels in the order [2, 1, 0]"), ("own reshaped", "")])
def test_own_rows_in_another_layout(layers, fault, said):
    """Rows that are a's with every number moved alike are told, though a's rows were shared and hide it."""
    result = layers(SCRIPT, "keras", "tape", fault)
    cause = cause_of(result)
    assert (cause.code, cause.phase, result.divergences) == ("data-layout", "data", ())
    assert said in cause.summary


def test_own_rows_whose_layout_was_kept(layers):
    """Where b was left with its layout, the forward pass tells it, once."""
    result = layers(SCRIPT, "keras", "tape", "own sideways")
    cause = cause_of(result)
    assert (cause.code, cause.phase, cause.b.source) == ("data-layout", "forward", MARKS["conv"])
    assert "[0, 2, 1, 3]" in cause.summary


def test_own_rows_with_noise_have_no_layout(layers):
    """Rows whose numbers are others are not a's in another order."""
    assert "data-layout" not in {cause.code for cause in layers(SCRIPT, "keras", "tape", "own noise").causes}


@pytest.mark.parametrize(
    ("a", "b", "fault", "axes"),
    [
        ("keras", "keras", "axis", [0, 2, 3]),
        ("keras", "tape", "batch only", [0]),
        ("keras", "v1", "pixels", [3]),
        ("keras", "tape", "instances", [1, 2]),
    ],
)
def test_statistics_over_other_axes(layers, a, b, fault, axes):
    """The axes are found on both sides, however the normalization is written."""
    cause = cause_of(layers(SCRIPT, a, b, fault))
    assert (cause.code, cause.constants) == ("norm-axis", {"a": [0, 1, 2], "b": axes})
    assert cause.a.source == MARKS["keras norm"]
    assert cause.b.source == MARKS["keras norm" if b == "keras" else "moments"]


def test_rows_normalized_whole(layers):
    """Layer normalization over all of a row."""
    cause = cause_of(layers(SCRIPT, "sequence", "sequence", "rows"))
    assert (cause.code, cause.constants) == ("norm-axis", {"a": [2], "b": [1, 2]})
    assert cause.fix == f"tf.nn.moments(x, [2]) at {MARKS['row moments']}"


@pytest.mark.parametrize(
    ("name", "fault", "mark", "layout"),
    [
        ("tape", "flipped", "conv", "reversed along [0, 1]"),
        ("kernels", "filter", "filter", "transposed by [1, 0, 2, 3]"),
        ("kernels", "depthwise", "depthwise", "reversed along [0]"),
        ("kernels", "tied", "tied", "transposed by [1, 0]"),
    ],
)
def test_kernels_in_another_layout(layers, name, fault, mark, layout):
    """How the kernel is laid out in B is told, of weights and of constants."""
    cause = cause_of(layers(SCRIPT, name, name, fault))
    assert (cause.code, cause.constants["layout"], cause.b.source) == ("kernel-layout", layout, MARKS[mark])


@pytest.mark.parametrize(
    ("a", "b", "fault"),
    [
        ("keras", "tape", ""),
        ("keras", "v1", "kept sideways"),
        ("keras", "planes", ""),
        ("sequence", "sequence", ""),
        ("kernels", "kernels", ""),
    ],
)
def test_what_is_laid_out_alike_is_equal(layers, a, b, fault):
    """The mended programs part nowhere; nor does a kernel that is kept in another layout and used in the right one."""
    assert layers(SCRIPT, a, b, fault).divergences == ()


@pytest.mark.parametrize(
    ("b", "fault", "mark"),
    [("tape", "shuffled", "shuffled"), ("tape", "mirrored", "mirrored"), ("planes", "shuffled", "first shuffled")],
)
def test_channels_shuffled_inside_are_unexplained(layers, b, fault, mark):
    """Channels in another order in the middle of a network are no layout, but told where they are."""
    (cause,) = [cause for cause in layers(SCRIPT, "keras", b, fault).causes if cause.phase != "init"]
    assert (cause.code, cause.b.source) == ("unexplained", MARKS[mark])


def test_softmax_over_another_axis_is_unexplained(layers):
    """A function of other axes is no other order."""
    causes = layers(SCRIPT, "sequence", "sequence", "softmax").causes
    assert {cause.code for cause in causes if cause.phase == "forward"} == {"unexplained"}


def test_channels_first_hide_no_other_cause(layers):
    """What is transposed there and back is another way of writing: behind it a difference has its own name and line."""
    cause = cause_of(layers(SCRIPT, "keras", "planes", "elu"))
    assert (cause.code, cause.b.source) == ("activation", MARKS["first activation"])
