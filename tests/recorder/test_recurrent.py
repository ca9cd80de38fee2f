"""Recurrent layers of Keras against the same written out by hand: every weight is shared, every fault found."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tfdiff.trace.reader import open_trace

from .layer_pairs import marks, source

if TYPE_CHECKING:
    from .layer_pairs import Recorder

SCRIPT = Path(__file__).parent / "scripts" / "recurrent.py"
LINES = marks(SCRIPT)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("keras_lstm", "lstm_split"),
        ("keras_lstm", "lstm_cell"),
        ("keras_lstm", "lstm_while"),
        ("keras_lstm", "lstm_forget"),
        ("lstm_split", "keras_lstm"),
        ("keras_gru", "gru_torch"),
        ("keras_gru_before", "gru_cell"),
        ("keras_rnn", "rnn_scan"),
        ("keras_both_ways", "both_ways"),
        ("keras_stateful", "stateful"),
        ("stateful", "handed_on"),
        ("handed_on", "handed_on"),
    ],
)
def test_equal(layers: Recorder, a: str, b: str) -> None:
    """Started equal, the two are equivalent, with every weight shared, whichever way its gates lie."""
    result = layers(SCRIPT, a, b)
    counts = result.shared["weights"]
    assert result.verdict == "equivalent", (result.first, result.own)
    assert counts["shared"] == counts["b"]
    assert result.shared["batches"]
    assert not result.not_shared
    assert not [note for note in result.notes if "neither shared nor compared" in note]


def test_header_names_the_parts(layers: Recorder) -> None:
    """The trace says which part of a variable is which of another's, and by what it was told."""
    result = layers(SCRIPT, "keras_lstm", "lstm_cell")
    a, b = result.a_header, result.b_header
    assert a.variable_pairs == ()
    parts = [pair for pair in b.variable_pairs if "a_part" in pair]
    kernels = {(tuple(map(str, pair["a_part"])), tuple(map(str, pair["b_part"]))) for pair in parts}
    assert len(kernels) == len(parts)
    rows = [pair["b_part"][0][0] for pair in parts if len(pair["b_part"]) == 2]
    assert sorted(map(tuple, rows)) == [(0, 4)] * 4 + [(4, 8)] * 4
    (forget,) = [p for p in parts if len(p["a_part"]) == 1 and p["a_part"] == [[[4, 8]]]]
    assert forget["b_part"] == [[[8, 12]]]
    assert "multiplied with a state" in forget["evidence"]


def test_split_weights_start_as_the_parts(layers: Recorder) -> None:
    """Each split matrix starts as its gate's columns of the fused one."""
    layers(SCRIPT, "keras_lstm", "lstm_split")
    paths = layers.path(SCRIPT, "keras_lstm"), layers.path(SCRIPT, "lstm_split", "", "keras_lstm")
    with open_trace(paths[0]) as a, open_trace(paths[1]) as b:
        kernel = next(v for v in a.variables.values() if v.name.endswith("/kernel") and v.shape == (4, 16))
        fused = a.value_after(kernel.index, -1)
        pairs = [pair for pair in b.header.variable_pairs if pair["a"] == kernel.index]
        assert len(pairs) == 4
        for pair in pairs:
            (start, stop) = pair["a_part"][1][0]
            assert (b.value_after(pair["b"], -1) == fused[:, start:stop]).all()


@pytest.mark.parametrize(
    ("a", "b", "fault", "phase", "line"),
    [
        ("keras_lstm", "lstm_while", "no tanh", "forward", None),
        ("keras_lstm", "lstm_split", "no bias", "forward", None),
        ("keras_lstm", "lstm_split", "frozen", "update", None),
        ("keras_gru", "gru_torch", "wrong gate", "forward", "wrong gate"),
        ("keras_rnn", "rnn_scan", "forwards", "forward", None),
        ("keras_both_ways", "both_ways", "no mask", "forward", None),
    ],
)
def test_fault(layers: Recorder, a: str, b: str, fault: str, phase: str, line: str | None) -> None:
    """A fault in one gate is found in its phase, in the layer that has it, and nothing is found before it."""
    result = layers(SCRIPT, a, b, fault)
    first = result.first
    assert first is not None
    assert (first.step, first.phase) == (0, phase)
    assert first.a is not None
    assert source(first.a.source) == source(LINES.get(a, first.a.source))
    if line is not None:
        assert first.b is not None
        assert first.b.source == LINES[line]
    assert not result.own


def test_forget_bias_that_is_missing(layers: Recorder) -> None:
    """A forget bias of one on one side only is a difference of what the two start from."""
    result = layers(SCRIPT, "keras_lstm", "lstm_forget", "no forget bias")
    assert result.first is None
    assert [divergence.phase for divergence in result.own] == ["init"]
    assert "constant 1 against constant 0" in result.own[0].summary


def test_state_that_does_not_outlive_the_batch(layers: Recorder) -> None:
    """A stateful layer against one that starts from zeros: equal in the first step, not in the second."""
    result = layers(SCRIPT, "keras_stateful", "lstm_while")
    assert result.first is not None
    assert (result.first.step, result.first.phase) == (1, "forward")
