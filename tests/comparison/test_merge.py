"""Lists of findings and causes without repeats."""

from __future__ import annotations

from tfdiff.comparison.merge import mended_once
from tfdiff.model import Cause, Place


def cause(code: str, fix: str, line: str | None = "b.py:56") -> Cause:
    """A cause in b at a line."""
    return Cause(code, "forward", 0, 0.97, None, Place(None, "tf.nn.dropout", line), f"{code} differs", fix)


def test_one_line_to_mend_is_one_cause() -> None:
    """Causes with one fix on one line are told once, where the first stands, with their number."""
    causes = [
        cause("init-distribution", "seed"),
        *[cause("dropout-rate", "rate=0.3 at b.py:56")] * 3,
        cause("lr", "lr"),
    ]
    kept = mended_once(causes)
    assert [one.code for one in kept] == ["init-distribution", "dropout-rate", "lr"]
    assert kept[1].summary == "dropout-rate differs; so in 2 more places, by the same line"
    assert kept[0] is causes[0]


def test_other_lines_or_codes_are_causes_of_their_own() -> None:
    """Two lines to mend stay two causes, and so do causes of which no line of b is known."""
    causes = [cause("dropout-rate", "rate=0.3 at b.py:56"), cause("dropout-rate", "rate=0.3 at b.py:58", "b.py:58")]
    causes += [cause("unexplained", "look", None), cause("unexplained", "look", None)]
    assert mended_once(causes) == causes
