"""The map: a line per pair of sites, a cell per step. Names stand still while the steps scroll."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from rich.segment import Segment
from rich.style import Style as RichStyle
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from tfdiff.tui.glyphs import MARKS, SEEN, glyph, tone
from tfdiff.tui.mapping import CELL, Columns, lines_of, name_cell, status_of, titles_of
from tfdiff.tui.words import fit, plain

if TYPE_CHECKING:
    from textual import events

    from tfdiff.model import Phase, Row
    from tfdiff.tui.data import ViewData


class SiteMap(ScrollView, can_focus=True, inherit_bindings=False):
    """Sites x steps with a cursor; posts `Selected` whenever the cursor has moved."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        f"map--{name}"
        for name in (
            *("header", "phase", "name", "line", "cursor", "here"),
            *("equal", "introduced", "low", "middle", "high", "unpaired", "absent"),
        )
    }
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "row up", show=False),
        Binding("down,j", "move(1)", "row down", show=False),
        Binding("pageup,ctrl+b", "page(-1)", "page up", show=False),
        Binding("pagedown,ctrl+f", "page(1)", "page down", show=False),
        Binding("home,g", "move(-1000000000)", "first row", show=False),
        Binding("end,G", "move(1000000000)", "last row", show=False),
    ]

    @dataclass
    class Selected(Message):
        """The cursor stands on this row and step."""

        row: int
        step: int

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002 - Textual's own name
        super().__init__(id=id)
        self.view: ViewData | None = None
        self.row = 0
        self.step = 0
        self._first = 0
        self._lines: list[Phase | int] = []
        self._line_of: dict[int, int] = {}
        self._titles: dict[int, str] = {}

    def show(self, view: ViewData, row: int = 0, step: int = 0) -> None:
        """Show these rows with the cursor there."""
        self.view = view
        self._lines = lines_of(view.rows)
        self._line_of = {number: at for at, number in enumerate(self._lines) if isinstance(number, int)}
        self._titles = titles_of(view.rows, self._lines)
        self._fit()
        self.select(row, step)

    def select(self, row: int, step: int) -> None:
        """Put the cursor there (clipped to what exists) and scroll so that it is seen."""
        if self.view is None or not self.view.rows:
            return
        self.row = min(max(row, 0), len(self.view.rows) - 1)
        self.step = min(max(step, 0), max(self.view.steps - 1, 0))
        self._follow()
        self.refresh()
        self.post_message(self.Selected(self.row, self.step))

    def select_phase(self, phase: Phase) -> bool:
        """Go to the first row of a phase; False where there is none."""
        at = next((number for number, row in enumerate(self._rows) if row.phase == phase), None)
        if at is not None:
            self.select(at, self.step)
        return at is not None

    def action_move(self, rows: int) -> None:
        """Move the cursor by rows."""
        self.select(self.row + rows, self.step)

    def action_page(self, pages: int) -> None:
        """Move the cursor by almost a screenful."""
        self.select(self.row + pages * max(1, self._height - 2), self.step)

    def on_resize(self) -> None:
        """Lay the columns out again."""
        self._fit()
        self._follow()

    def on_click(self, event: events.Click) -> None:
        """Select the row, and the step where a cell was hit."""
        at = self.scroll_offset.y + event.y - 1
        if event.y < 1 or at >= len(self._lines):
            return
        number = self._lines[at]
        if isinstance(number, int):
            column = (event.x - self._columns.start) // CELL
            hit = event.x >= self._columns.start and column < self._columns.steps
            self.select(number, self._left + column if hit else self.step)

    def render_line(self, y: int) -> Strip:
        """Line 0 is the header, which does not scroll."""
        width = self._width
        if self.view is None or width <= 0:
            return Strip.blank(max(width, 0))
        if y == 0:
            return self._strip(self._header())
        at = self.scroll_offset.y + y - 1
        if at >= len(self._lines):
            text = "no sites to show" if not self._lines and y == 1 else ""
            return self._strip([(" " + text, "line")])
        line = self._lines[at]
        if isinstance(line, int):
            return self._strip(self._row(line), cursor=line == self.row)
        title = self._titles[at]
        return self._strip([(f"── {title} ".ljust(width, "─"), "phase")])

    @property
    def _rows(self) -> tuple[Row, ...]:
        return self.view.rows if self.view else ()

    @property
    def _single(self) -> bool:
        return self.view is not None and self.view.single

    @property
    def _width(self) -> int:
        return self.scrollable_content_region.width

    @property
    def _height(self) -> int:
        return self.scrollable_content_region.height

    @property
    def _columns(self) -> Columns:
        return Columns.of(self._width, self.view.steps if self.view else 0, 1 if self._single else 2)

    @property
    def _left(self) -> int:
        """First visible step; the width may have grown since the cursor was followed."""
        return max(min(self._first, (self.view.steps if self.view else 0) - self._columns.steps), 0)

    def _fit(self) -> None:
        self.virtual_size = Size(self._width, len(self._lines) + 1)

    def _follow(self) -> None:
        """Bring the cursor's line and step into view; a section's title comes with its first row."""
        if not self._line_of:
            return
        line, top, visible = self._line_of[self.row], self.scroll_offset.y, max(self._height - 1, 1)
        titled = line - 1 if isinstance(self._lines[line - 1], str) and visible > 1 else line
        if titled < top:
            self.scroll_to(y=titled, animate=False)
        elif line > top + visible - 1:
            self.scroll_to(y=line - visible + 1, animate=False)
        self._first = min(max(self._first, self.step - self._columns.steps + 1), self.step)

    def _header(self) -> list[tuple[str, str]]:
        assert self.view is not None  # noqa: S101 - render_line looked
        columns = self._columns
        headers = [("A", self.view.header_a)]
        if self.view.header_b is not None and not self._single:
            headers.append(("B", self.view.header_b))
        parts = [("   ", "header")]
        for side, header in headers:
            parts.append((fit(f"{side} {plain(header.script)}", columns.name) + "  ", "header"))
        return parts + self._scale()

    def _scale(self) -> list[tuple[str, str]]:
        """Step numbers over the cells, every fifth and the cursor's own; arrows where more steps are."""
        assert self.view is not None  # noqa: S101 - render_line looked
        columns, first = self._columns, self._left
        scale = [" "] * (columns.steps * CELL + 8)
        here = (self.step - first) * CELL
        for step in range(first, first + columns.steps):
            if step % 5 == 0 and abs(step - self.step) > 2:
                scale[(step - first) * CELL : (step - first) * CELL + len(str(step))] = str(step)
        own = str(self.step)
        before, after = "".join(scale[:here]), "".join(scale[here + len(own) :])
        if first > 0 and here > 0:
            before = "<" + before[1:]
        after = after[: max(columns.steps * CELL - here - len(own), 0)]
        if first + columns.steps < self.view.steps and after:
            after = after[:-1] + ">"
        return [(before, "header"), (own, "here"), (after, "header")]

    def _row(self, number: int) -> list[tuple[str, str]]:
        row, columns = self._rows[number], self._columns
        status = status_of(row)
        pointer = ("▸", "here") if number == self.row else (" ", "name")
        mark = SEEN if self._single else MARKS[status]
        style: str = "middle" if status == "carried" else status
        parts = [pointer, (" " if status == "equal" else mark, style), (" ", "name")]
        sides = [(row.a_name, row.a)] if self._single else [(row.a_name, row.a), (row.b_name, row.b)]
        for name, site in sides:
            text, line = name_cell(name, site, columns.name)
            parts += [(text, "name"), (line, "line"), ("  " if self._single or site is row.b else "│ ", "line")]
        for step, cell in enumerate(row.cells[self._left : self._left + columns.steps], self._left):
            style = tone(cell, single=self._single)
            if number == self.row and step == self.step:
                style = "here"
            parts.append((glyph(cell, single=self._single), style))
        return parts

    def _strip(self, parts: list[tuple[str, str]], *, cursor: bool = False) -> Strip:
        """Style names to styles; in the cursor's line its background replaces the map's own, and no other."""
        base = self.rich_style
        line = RichStyle(bgcolor=self._style("cursor").bgcolor) if cursor else RichStyle()
        segments = []
        for text, name in parts:
            style = self._style(name)
            segments.append(Segment(text, style + line if style.bgcolor == base.bgcolor else style))
        return Strip(segments).adjust_cell_length(self._width, base + line).simplify()

    def _style(self, name: str) -> RichStyle:
        return self.get_component_rich_style(f"map--{name}")
