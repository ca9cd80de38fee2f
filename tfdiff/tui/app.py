"""The viewer's one screen: verdict on top, the map, the detail of the selected cell."""

from __future__ import annotations

import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from textual.app import App
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.message import Message
from textual.widgets import Footer

from tfdiff.errors import Exit, TfdiffError
from tfdiff.model import PHASES
from tfdiff.tui.data import load
from tfdiff.tui.detail import DetailPane, Selection
from tfdiff.tui.figures import picture
from tfdiff.tui.help import TextScreen, help_text
from tfdiff.tui.mapping import divergences_of, first_of
from tfdiff.tui.sitemap import SiteMap
from tfdiff.tui.verdict import Verdict, in_full

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from textual import events
    from textual.app import ComposeResult

    from tfdiff.tui.data import Explain, ViewData


@dataclass
class Loaded(Message):
    """There is something to show."""

    view: ViewData


@dataclass
class Described(Message):
    """A cell's tensors were read (or could not be)."""

    selection: Selection


@dataclass
class Failed(Message):
    """A thread came to grief; the app ends and `run_viewer` raises the error."""

    error: Exception


class ViewerApp(App[None]):
    """Shows what `load` returns. `load` and the reading of tensors run in threads, which only post messages."""

    TITLE = "tfdiff"
    CSS_PATH = "viewer.tcss"
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (120, "-wide")]  # noqa: RUF012 - as Textual declares it
    VERTICAL_BREAKPOINTS = [(0, "-short"), (36, "-tall")]  # noqa: RUF012 - as above
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f", "first", "first"),
        Binding("n", "divergence(1)", "next"),
        Binding("N", "divergence(-1)", "previous"),
        Binding("left,h", "step(-1)", "step back", show=False),
        Binding("right,l", "step(1)", "step on", show=False),
        Binding("0", "step(-1000000000)", "first step", show=False),
        Binding("dollar_sign", "step(1000000000)", "last step", show=False),
        Binding("1", "phase(1)", "phase", key_display="1-8"),
        *(Binding(str(at), f"phase({at})", phase, show=False) for at, phase in enumerate(PHASES[1:], 2)),
        Binding("enter", "detail", "detail", key_display="⏎"),
        Binding("escape", "map", "map", show=False),
        Binding("v", "verdict", "verdict"),
        Binding("question_mark", "help", "help", key_display="?"),
        Binding("q", "quit", "quit"),
    ]

    def __init__(self, load: Callable[[], ViewData], waiting: str = "comparing ...") -> None:
        super().__init__()
        self.error: Exception | None = None
        """Why the app ended, where it did not end by itself."""
        self.view: ViewData | None = None
        self._load = load
        self._waiting = waiting
        self._reading = False
        self._wanted: Selection | None = None

    def compose(self) -> ComposeResult:
        """The three panes and the footer."""
        yield Verdict(id="verdict")
        with Container(id="body"):
            yield SiteMap(id="map")
            yield DetailPane(id="detail")
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        """Load beside the screen, which says so meanwhile."""
        self.query_one(Verdict).waiting(self._waiting)
        self.query_one("#body").loading = True
        self._start(lambda: Loaded(self._load()))

    def _start(self, work: Callable[[], Message]) -> None:
        """Run `work` in a thread and post what it returns.

        A daemon: Textual's own thread workers are joined when Python ends, so that `q` would wait for the comparison.
        """

        def run() -> None:
            message: Message
            try:
                message = work()
            except Exception as error:  # noqa: BLE001 - handed to run_viewer, which raises it
                message = Failed(error)
            with suppress(RuntimeError):  # the screen has gone meanwhile
                self.post_message(message)

        threading.Thread(target=run, daemon=True, name="tfdiff-viewer").start()

    def on_failed(self, message: Failed) -> None:
        """End; the terminal is given back before anything is said."""
        self.error = message.error
        code = message.error.exit_code if isinstance(message.error, TfdiffError) else Exit.TROUBLE
        self.exit(return_code=code)

    def on_loaded(self, message: Loaded) -> None:
        """Show everything, cursor on the first divergence."""
        self.view = message.view
        self.query_one("#body").loading = False
        self.query_one(Verdict).show(self.view)
        step, row = first_of(self.view) or (0, 0)
        self._map.show(self.view, row, step)
        self._map.focus()

    def on_site_map_selected(self, message: SiteMap.Selected) -> None:
        """Show what is known at once, and have the rest read."""
        if self.view is None:
            return
        row = self.view.rows[message.row]
        if message.step >= len(row.cells):
            return
        selection = Selection(self.view, row, message.step)
        self.query_one(DetailPane).show(selection)
        self._wanted = None if selection.cell.status == "absent" else selection
        self._read()

    def _read(self) -> None:
        """One thread at a time: while it reads, only the newest wish is kept."""
        selection = self._wanted
        if selection is None or self._reading:
            return
        self._reading = True
        self._wanted = None
        self._start(lambda: Described(_described(selection)))

    def on_described(self, message: Described) -> None:
        """Show it, if it is still wanted."""
        self._reading = False
        selection = message.selection
        if self._wanted is None and self._is_selected(selection):
            self.query_one(DetailPane).show(selection)
        self._read()

    def _is_selected(self, selection: Selection) -> bool:
        if self.view is None or selection.step != self._map.step:
            return False
        return self.view.rows[self._map.row] is selection.row

    @property
    def _map(self) -> SiteMap:
        return self.query_one(SiteMap)

    def on_descendant_focus(self, _: events.DescendantFocus) -> None:
        """The pane with the focus gets more room."""
        self.screen.set_class(isinstance(self.focused, DetailPane), "-detail")

    def action_step(self, steps: int) -> None:
        """Move the cursor by steps."""
        self._map.select(self._map.row, self._map.step + steps)

    def action_first(self) -> None:
        """Go to the first divergence."""
        spot = first_of(self.view) if self.view else None
        self._go(spot, f"no {self._target}")

    def action_divergence(self, direction: int) -> None:
        """Go to the next or previous divergence, in causal order."""
        spots = divergences_of(self.view) if self.view else []
        here = (self._map.step, self._map.row)
        if direction > 0:
            spot = next((spot for spot in spots if spot > here), None)
        else:
            spot = next((spot for spot in reversed(spots) if spot < here), None)
        which = ("further " if direction > 0 else "earlier ") if spots else ""
        self._go(spot, f"no {which}{self._target}")

    @property
    def _target(self) -> str:
        return "NaN or Inf" if self.view is not None and self.view.single else "divergence"

    def _go(self, spot: tuple[int, int] | None, otherwise: str) -> None:
        if spot is None:
            self.notify(otherwise, timeout=2)
        else:
            self._map.select(spot[1], spot[0])

    def action_phase(self, number: int) -> None:
        """Go to the first row of phase `number` (from 1)."""
        phase = PHASES[number - 1]
        if not self._map.select_phase(phase):
            self.notify(f"no sites in phase {phase}", timeout=2)

    def action_detail(self) -> None:
        """Into the detail, or back."""
        (self._map if isinstance(self.focused, DetailPane) else self.query_one(DetailPane)).focus()

    def action_map(self) -> None:
        """Back to the map."""
        self._map.focus()

    def action_verdict(self) -> None:
        """Everything the result says in words."""
        if self.view is not None:
            self.push_screen(TextScreen("verdict", in_full(self.view)))

    def action_help(self) -> None:
        """Keys and legend."""
        self.push_screen(TextScreen("help", help_text(single=self.view is not None and self.view.single)))


def _described(selection: Selection) -> Selection:
    try:
        detail = selection.view.detail(selection.row, selection.step)
    except TfdiffError as error:
        return Selection(selection.view, selection.row, selection.step, trouble=str(error))
    return Selection(selection.view, selection.row, selection.step, detail, picture(detail))


def run_viewer(a: Path, b: Path | None, explain: Explain | None = None) -> int:
    """Browse one trace, or two compared, until the user leaves; returns the exit code.

    `explain` is handed to `comparison.compare.compare`: it names causes, and the viewer may not import it. Raises
    TfdiffError for traces that cannot be read or compared, after the terminal is back to normal.
    """
    waiting = f"comparing {a.name} with {b.name} ..." if b else f"reading {a.name} ..."
    app = ViewerApp(lambda: load(a, b, explain), waiting)
    app.run()
    if app.view is not None:
        app.view.close()
    if app.error is not None:
        raise app.error
    return app.return_code or 0
