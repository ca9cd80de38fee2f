"""A run that starts with an optimizer that remembers: its memory is shared, or the result says why not."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .layer_pairs import Recorder

SCRIPT = Path(__file__).parent / "scripts" / "restored.py"


@pytest.mark.parametrize(
    ("a", "b", "slots"),
    [
        ("restored_adam", "fresh_adam", 8),
        ("fresh_adam", "restored_adam", 8),
        ("restored_momentum", "raw_momentum", 4),
    ],
)
def test_memory_is_shared(layers: Recorder, a: str, b: str, slots: int) -> None:
    """Slots that are the same sums of gradients start alike, up to the factor between them; so does the step count."""
    result = layers(SCRIPT, a, b)
    assert result.shared["slots"] == {"shared": slots, "a": slots, "b": slots}
    assert result.verdict == "equivalent", result.first
    assert not result.not_shared


def test_unknown_counter_is_said(layers: Recorder) -> None:
    """Whichever variable of a hand-written Adam counts its steps, it is not guessed: the result names what is amiss."""
    result = layers(SCRIPT, "restored_adam", "raw_adam")
    assert result.shared["slots"]["shared"] == 8
    assert any("7 steps" in entry["what"] for entry in result.not_shared)
    assert result.first is not None
    assert result.first.phase == "update"


def test_nothing_to_remember(layers: Recorder) -> None:
    """Slots that start from zero on both sides are not worth a word."""
    result = layers(SCRIPT, "fresh_adam", "raw_adam")
    assert "slots" not in result.shared
    assert result.verdict == "equivalent", result.first
