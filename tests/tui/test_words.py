"""A stranger's names on the screen."""

from __future__ import annotations

import pytest
from rich.cells import cell_len

from tfdiff.tui.words import fit, middle, number, plain, times


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("sequential/dense", "sequential/dense"),
        ("\x1b[31mred\x07\x00", "[31mred"),
        ("a\nb\tc", "a b c"),
        ("safe\u202egnp.exe\u200b", "safegnp.exe"),
        ("e\u0301te\u0301", "été"),
        ("Z" + "\u0323\u0334" * 300, "\u1e92"),
        ("\u05d0b", "\\u05d0b"),
        ("[red]x[/red]", "[red]x[/red]"),
    ],
)
def test_plain_leaves_nothing_that_steers_the_terminal(text, shown):
    """Control, format, combining and right-to-left characters never reach the terminal; everything else stays."""
    assert plain(text) == shown


def test_a_long_name_keeps_both_ends_and_stays_short():
    """Ten thousand characters cost no more than one thousand, and beginning and end are still there."""
    shown = plain("begin" + "x" * 10_000 + "end")
    assert len(shown) <= 1001
    assert shown.startswith("begin")
    assert shown.endswith("end")


@pytest.mark.parametrize("width", [0, 1, 2, 5, 9, 40])
@pytest.mark.parametrize("text", ["", "sequential/dense_1", "漢字漢字漢字漢字", "a漢b字c漢d字"])
def test_fit_fills_exactly_its_width(text, width):
    """Columns never shift, whatever the width of the characters."""
    assert cell_len(fit(text, width)) == width
    assert cell_len(middle(text, width)) <= width


def test_the_end_of_a_path_outlives_its_beginning():
    """Cutting a layer path keeps more of its end, which tells layers apart."""
    assert middle("model/block/attention/query", 12) == "mo…ion/query"


def test_numbers_are_short():
    """Exponents carry no padding, and NaN and infinities have names."""
    assert [number(value) for value in (0.93, 1.1e-6, 850000.0, float("nan"), float("-inf"))] == [
        "0.93",
        "1.1e-6",
        "8.5e5",
        "nan",
        "-inf",
    ]
    assert times(0.93, 1.1e-6) == "8.5e5 x tolerance"
    assert times(3e-6, 1e-6) == "3 x tolerance"
    assert times(float("inf"), 1e-6) == "inf x tolerance"
    assert times(1.0, 0.0) == times(0.0, 1e-6) == ""
