"""The pane of the selected cell: where it is, numbers of both sides, histograms, worst elements."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from tfdiff.tui.figures import Figures, Histogram, sparkline
from tfdiff.tui.glyphs import MARKS, MEANINGS
from tfdiff.tui.sources import source_line
from tfdiff.tui.words import fit, middle, number, plain, shape_text, times

if TYPE_CHECKING:
    from collections.abc import Iterator

    from textual.app import ComposeResult

    from tfdiff.model import Cell, Row, Site
    from tfdiff.tui.data import Detail, Side, ViewData

Part = tuple[str, str]
WIDE = 12
"""Cells of a number's column."""


@dataclass(frozen=True)
class Selection:
    """The selected cell, and what has been read of it so far."""

    view: ViewData
    row: Row
    step: int
    detail: Detail | None = None
    figures: Figures | None = None
    trouble: str = ""

    @property
    def cell(self) -> Cell:
        """The cell itself."""
        return self.row.cells[self.step]


class DetailPane(VerticalScroll, can_focus=True, inherit_bindings=False):
    """Numbers of the selected cell; with the focus it scrolls and takes more room."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "scroll_up", "scroll up", show=False),
        Binding("down,j", "scroll_down", "scroll down", show=False),
        Binding("pageup,ctrl+b", "page_up", "page up", show=False),
        Binding("pagedown,ctrl+f", "page_down", "page down", show=False),
        Binding("home,g", "scroll_home", "top", show=False),
        Binding("end,G", "scroll_end", "bottom", show=False),
    ]

    def compose(self) -> ComposeResult:
        """One text that scrolls."""
        yield Static(id="detail-text")

    def on_mount(self) -> None:
        """Nothing is selected yet."""
        self._selection: Selection | None = None

    def show(self, selection: Selection | None) -> None:
        """Show this cell; another cell starts at the top."""
        old = self._selection
        if old is None or selection is None or (old.row, old.step) != (selection.row, selection.step):
            self.scroll_home(animate=False)
        self._selection = selection
        self._draw()

    def on_resize(self) -> None:
        """Names are cut to the width."""
        self._draw()

    def _draw(self) -> None:
        width = max(self.scrollable_content_region.width - 1, 20)
        parts = list(describe(self._selection, width)) if self._selection else [("no site selected", "dim")]
        self.query_one("#detail-text", Static).update(Content.assemble(*parts))


def describe(selection: Selection, width: int) -> Iterator[Part]:
    """The pane's text as parts with styles; no part of it is ever read as markup."""
    row, cell = selection.row, selection.cell
    yield from _headline(selection)
    for side, name, site in (("A", row.a_name, row.a), ("B", row.b_name, row.b)):
        if site is not None:
            yield from _site(side, name, site, _script(selection.view, side), width)
    if selection.trouble:
        yield f"\n\n{plain(selection.trouble)}", "bold"
        return
    if selection.detail is None:
        yield "\n" + ("nothing recorded in this step" if cell.status == "absent" else "reading ..."), "dim"
        return
    detail = selection.detail
    if detail.note:
        yield f"\n{plain(detail.note)}", "italic"
    yield from _numbers(detail, width)
    if selection.figures is not None:
        yield from _histograms(detail, selection.figures)
        yield from _worst(selection.figures)


def _headline(selection: Selection) -> Iterator[Part]:
    row, cell = selection.row, selection.cell
    yield f"step {selection.step}, {row.phase}", "bold"
    if selection.view.single:
        return
    yield f"  {MARKS[cell.status]} {MEANINGS[cell.status]}", "bold" if cell.status == "introduced" else ""
    if cell.status in ("unpaired", "absent"):
        return
    ratio = times(cell.error, cell.tolerance)
    yield f"\nerror {number(cell.error)}, tolerance {number(cell.tolerance, 2)}" + (f" ({ratio})" if ratio else ""), ""
    if row.evidence:
        yield f", paired by {plain(row.evidence)}", "dim"


def _script(view: ViewData, side: str) -> str:
    header = view.header_a if side == "A" else view.header_b
    return header.script if header else ""


def _site(side: str, name: str, site: Site, script: str, width: int) -> Iterator[Part]:
    line = plain(site.source or site.called or "no line")
    called = f", called {plain(site.called)}" if site.called and site.called != site.source else ""
    kind = " ".join(plain(word) for word in (site.api, site.op, site.role) if word and word != name)
    about = middle(f"{line}{called}  {kind}", max(width * 2 // 3, 20))
    yield f"\n{side} ", "bold"
    yield middle(plain(name), max(width - len(about) - 4, 10)), "bold"
    yield f"  {about}", ""
    code = source_line(site.source or site.called, script)
    if code is not None:
        yield f"\n    {middle(code, width - 4)}", "italic"


def _numbers(detail: Detail, width: int) -> Iterator[Part]:
    """A table: a line per side where that fits, otherwise a line per number."""
    sides = [(name, side) for name, side in (("A", detail.a), ("B", detail.b)) if side is not None]
    if not sides:
        yield "\nno tensor was recorded here", "dim"
        return
    table = list(_table([side for _, side in sides]))
    differ = [len(set(texts)) > 1 for _, texts in table]
    widths = [max(9, *(len(text) + 2 for text in (title, *texts))) for title, texts in table]
    if 2 + sum(widths) <= width:
        yield (
            "\n  " + "".join(fit(title, cells, right=True) for (title, _), cells in zip(table, widths, strict=True)),
            "dim",
        )
        for at, (name, _) in enumerate(sides):
            yield f"\n{name} ", "dim"
            for (_, texts), cells, bold in zip(table, widths, differ, strict=True):
                yield fit(texts[at], cells, right=True), "bold" if bold else ""
        return
    yield "\n        " + "".join(fit(name, WIDE, right=True) for name, _ in sides), "dim"
    for (title, texts), bold in zip(table, differ, strict=True):
        yield f"\n{title:8}", "dim"
        yield "".join(fit(text, WIDE, right=True) for text in texts), "bold" if bold else ""


def _table(sides: list[Side]) -> Iterator[tuple[str, list[str]]]:
    yield "shape", [shape_text(side.shape) for side in sides]
    yield "dtype", [plain(side.dtype) for side in sides]
    yield "min", [number(side.stats.minimum) for side in sides]
    yield "max", [number(side.stats.maximum) for side in sides]
    yield "mean", [number(side.stats.mean) for side in sides]
    yield "norm", [number(side.stats.norm, 6) for side in sides]
    yield "zeros", [str(side.stats.zeros) for side in sides]
    if any(side.stats.nans or side.stats.infs for side in sides):
        yield "nan", [str(side.stats.nans) for side in sides]
        yield "inf", [str(side.stats.infs) for side in sides]


def _histograms(detail: Detail, figures: Figures) -> Iterator[Part]:
    missing = [name for name, side in (("A", detail.a), ("B", detail.b)) if side is not None and side.array is None]
    if missing:
        yield f"\nonly statistics of {' and '.join(missing)} are in the trace", "dim"
    common = figures.a or figures.b
    if common is None:
        return
    yield f"\nhistogram  {_range(common)}", "dim"
    for name, histogram in (("A", figures.a), ("B", figures.b)):
        if histogram is not None:
            yield f"\n{name}   {sparkline(histogram)}", ""
    if figures.difference is not None and figures.unequal:
        yield f"\nA - B      {_range(figures.difference)}", "dim"
        yield f"\n    {sparkline(figures.difference)}", ""


def _range(histogram: Histogram) -> str:
    return f"{number(histogram.low)} to {number(histogram.high)}"


def _worst(figures: Figures) -> Iterator[Part]:
    if figures.difference is None:
        return
    if not figures.unequal:
        yield "\nall elements are bit for bit alike", "dim"
        return
    titles = "".join(fit(title, WIDE, right=True) for title in ("A", "B", "A - B"))
    yield f"\n{fit(f'{figures.unequal} unequal', 16)}{titles}", "dim"
    for element in figures.worst:
        where = "[" + ", ".join(map(str, element.index)) + "]"
        values = (element.a, element.b, element.a - element.b)
        yield f"\n{fit(where, 16)}" + "".join(fit(number(value), WIDE, right=True) for value in values), ""
