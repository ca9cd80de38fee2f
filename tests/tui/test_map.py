"""Cells, lines and the way from divergence to divergence, without a screen."""

from __future__ import annotations

import dataclasses
import math

import pytest

from tfdiff.model import Cell
from tfdiff.tui.glyphs import BARS, glyph, level
from tfdiff.tui.mapping import CELL, Columns, divergences_of, first_of, lines_of, locate, titles_of


@pytest.mark.parametrize(
    ("error", "expected"),
    [(0.0, 0), (1e-9, 0), (5e-7, 1), (2e-6, 2), (2e-5, 3), (0.5, 7), (2.0, 8), (math.inf, 8), (math.nan, 8)],
)
def test_level_counts_decades_over_the_tolerance(error, expected):
    """One bar step per factor of ten, from just below the tolerance to a million times."""
    assert level(error, 1e-6) == expected


def test_every_status_reads_without_colour():
    """No two statuses share a mark."""
    statuses = ("equal", "introduced", "carried", "unpaired", "absent")
    marks = [glyph(Cell(status, 0.5, 1e-6))[0] for status in statuses]
    assert len(set(marks)) == len(statuses)
    assert glyph(Cell("introduced", 0.5, 1e-6)) == "◆" + BARS[7]
    assert all(len(glyph(Cell(status, 0.5, 1e-6))) == CELL for status in statuses)


def test_sections_follow_the_rows(build):
    """A title stands before the first row of each phase and says how much of it diverges."""
    rows = build.diverged_rows()
    lines = lines_of(rows)
    assert [line for line in lines if isinstance(line, str)] == ["forward", "loss", "backward", "update", "state"]
    assert [line for line in lines if isinstance(line, int)] == list(range(len(rows)))
    titles = titles_of(rows, lines)
    assert titles[0] == "3 forward · 4 sites · 1 introduced"
    assert titles[5] == "4 loss · 1 site"
    assert [lines[at] for at in titles] == ["forward", "loss", "backward", "update", "state"]


@pytest.mark.parametrize("width", [20, 40, 80, 120, 200])
@pytest.mark.parametrize("steps", [0, 1, 10, 50, 2345])
def test_columns_fit_the_width(width, steps):
    """Names and cells never need more than there is, and a step is always visible."""
    columns = Columns.of(width, steps, 2)
    assert columns.steps >= 1
    assert columns.start + CELL * columns.steps <= width


def test_divergences_come_in_causal_order(build):
    """Step by step, then row by row; the first is the result's own."""
    view = build.diverged()
    assert divergences_of(view) == [(0, 2), (4, 2)]
    assert first_of(view) == (0, 2)


def test_a_divergence_is_found_by_its_observations(build):
    """A side that has nothing there does not hinder; a divergence of another phase is not mistaken."""
    rows = build.diverged_rows()
    assert locate(rows, dataclasses.replace(build.FIRST, b=None, b_index=None)) == (0, 2)
    assert locate(rows, dataclasses.replace(build.FIRST, phase="eval")) is None
    assert locate(rows, dataclasses.replace(build.FIRST, step=99)) is None
