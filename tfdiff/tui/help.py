"""Screens of text over the map: the keys, and the verdict in full."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from tfdiff.model import PHASES
from tfdiff.tui.glyphs import BARS, MARKS, MEANINGS, NOT_FINITE, SEEN

if TYPE_CHECKING:
    from textual.app import ComposeResult

_PHASES = [f"{at} {phase}" for at, phase in enumerate(PHASES, 1)]
KEYS: tuple[tuple[str, str], ...] = (
    ("← ↓ ↑ →  h j k l", "move; in the detail j k scroll, h l change the step"),
    ("PgUp PgDn  g G", "a page; first and last row"),
    ("0  $", "first and last step"),
    ("f  n  N", "first, next and previous divergence"),
    ("1 .. 8", "phase: " + " ".join(_PHASES[:4])),
    ("", " " * 7 + " ".join(_PHASES[4:])),
    ("Enter  Tab", "into the detail and back (Esc: back)"),
    ("v", "the verdict in full, with causes and proofs"),
    ("?  q", "this help; quit"),
)


def help_text(*, single: bool) -> Content:
    """Keys and legend."""
    parts: list[str | tuple[str, str]] = [("Keys", "bold")]
    for keys, what in KEYS:
        parts += ["\n", (f"{keys:18}", "bold"), what]
    parts += ["\n\n", ("The map", "bold"), ": a line per site in causal order, a cell per step"]
    if single:
        parts.append(f"\n{SEEN}  recorded\n{NOT_FINITE}  holds NaN or Inf\n   absent in this step")
    else:
        for status, meaning in MEANINGS.items():
            parts.append(f"\n{MARKS[status]}   {meaning}")
        parts.append(f"\n{BARS[1:]}  error over tolerance, from just below 1 to 1e6")
    return Content.assemble(*parts)


class TextScreen(ModalScreen[None]):
    """One text that scrolls; Esc, q, ? or v close it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,enter,question_mark,v", "dismiss", "close", show=False),
        Binding("down,j", "roll(1)", "scroll", show=False),
        Binding("up,k", "roll(-1)", "scroll", show=False),
        Binding("pagedown", "roll(10)", "scroll", show=False),
        Binding("pageup", "roll(-10)", "scroll", show=False),
    ]

    def __init__(self, title: str, text: Content) -> None:
        super().__init__()
        self._title = title
        self._text = text

    def compose(self) -> ComposeResult:
        """A box with a scrolling text."""
        with VerticalScroll(id="text-box", can_focus=False) as box:
            box.border_title = self._title
            box.border_subtitle = "Esc closes"
            yield Static(self._text)

    def action_roll(self, lines: int) -> None:
        """Scroll by lines."""
        self.query_one("#text-box").scroll_relative(y=lines, animate=False)
