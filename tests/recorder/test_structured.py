"""Attention, normalizations, convolutions and shared weights of Keras against the same written out by hand."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from .layer_pairs import marks

if TYPE_CHECKING:
    from .layer_pairs import Recorder

SCRIPT = Path(__file__).parent / "scripts" / "structured.py"
LINES = marks(SCRIPT)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("keras_attention", "attention"),
        ("keras_norms", "norms"),
        ("keras_convolutions", "convolutions"),
        ("keras_tied", "tied"),
        ("keras_heads", "heads"),
    ],
)
def test_equal(layers: Recorder, a: str, b: str) -> None:
    """Started equal, the two are equivalent, with every weight shared, split or fused as it may be."""
    result = layers(SCRIPT, a, b)
    counts = result.shared["weights"]
    assert result.verdict == "equivalent", (result.first, result.own)
    assert counts["shared"] == counts["b"]
    assert not result.not_shared
    assert not [note for note in result.notes if "neither shared nor compared" in note]


def test_epsilon(layers: Recorder) -> None:
    """Behind an attention whose weights are fused, the epsilon of the layer norm is found and named."""
    result = layers(SCRIPT, "keras_attention", "attention", "epsilon")
    assert result.first is not None
    assert (result.first.step, result.first.phase) == (0, "forward")
    assert result.first.b is not None
    assert result.first.b.source == LINES["epsilon"]
    assert result.causes[0].code == "norm-epsilon"


def test_untied(layers: Recorder) -> None:
    """Two tables where there should be one: the second has no counterpart, and the result says so."""
    result = layers(SCRIPT, "keras_tied", "tied", "untied")
    assert result.first is not None
    assert result.first.phase == "forward"
    assert result.first.b is not None
    assert result.first.b.source == LINES["untied"]
    assert len(result.not_shared) == 1
    counts = result.shared["weights"]
    assert (counts["shared"], counts["b"]) == (3, 4)
