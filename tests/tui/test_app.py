"""The viewer with keys pressed in it, at 80x24 and 200x50."""

from __future__ import annotations

import asyncio
import dataclasses
import subprocess
import sys
import threading
import time

import pytest

from tfdiff.errors import IncomparableError, TraceError
from tfdiff.model import Cell, Row
from tfdiff.tui.app import ViewerApp
from tfdiff.tui.data import CellDetail, of_result
from tfdiff.tui.detail import DetailPane
from tfdiff.tui.help import TextScreen
from tfdiff.tui.sitemap import SiteMap


def here(app: ViewerApp) -> tuple[int, int]:
    """The cursor: row, step."""
    sites = app.query_one(SiteMap)
    return sites.row, sites.step


def test_the_first_screen_answers(build, press):
    """Verdict, both places, error, cause and fix are seen at once, and the cursor stands on the first divergence."""

    async def drive(app, _pilot):
        text = " ".join(build.text_of(app).split())
        assert "DIVERGED" in text
        assert (
            "step 0, forward: dropout (a.py:14) against tf.nn.dropout (b.py:41), error 0.93, 8.5e5 x tolerance" in text
        )
        assert "dropout-rate: B drops 70 %, A drops 30 %: B passes keep_prob as rate" in text
        assert "tf.nn.dropout(h, rate=1 - keep_prob)" in text
        assert "◆ introduced here" in text
        assert "float32" in text
        assert here(app) == (2, 0)

    press(build.diverged, drive)


KEYS = (
    (["down"], (3, 0)),
    (["j", "j"], (4, 0)),
    (["up"], (1, 0)),
    (["k", "k", "k", "k"], (0, 0)),
    (["right", "l"], (2, 2)),
    (["l", "l", "h", "left"], (2, 0)),
    (["h"], (2, 0)),
    (["n"], (2, 4)),
    (["n", "n"], (2, 4)),
    (["n", "N"], (2, 0)),
    (["N"], (2, 0)),
    (["G", "f"], (2, 0)),
    (["end"], (10, 0)),
    (["end", "home"], (0, 0)),
    (["G", "g"], (0, 0)),
    (["g", "pagedown", "pageup"], (0, 0)),
    (["1"], (2, 0)),
    (["2"], (2, 0)),
    (["5", "3"], (0, 0)),
    (["4"], (4, 0)),
    (["5"], (5, 0)),
    (["6"], (7, 0)),
    (["7"], (9, 0)),
    (["8"], (2, 0)),
    (["enter", "l"], (2, 1)),
    (["tab", "j", "escape", "j"], (3, 0)),
    (["enter", "enter", "j"], (3, 0)),
    (["question_mark", "j", "escape", "j"], (3, 0)),
    (["v", "j", "q", "j"], (3, 0)),
    (["dollar_sign"], (2, 9)),
    (["dollar_sign", "0"], (2, 0)),
)


def test_keys_move_the_cursor(build, press):
    """Each key does what the help says; every case starts on the first divergence."""

    async def drive(app, pilot):
        for keys, expected in KEYS:
            app.query_one(SiteMap).focus()
            app.query_one(SiteMap).select(2, 0)
            await pilot.press(*keys)
            assert here(app) == expected, keys

    press(build.diverged, drive)


def test_the_detail_takes_the_focus_and_more_room(build, press):
    """Enter goes in, scrolling works there, Escape comes back."""

    async def drive(app, pilot):
        pane = app.query_one(DetailPane)
        before = pane.size.width * pane.size.height
        await pilot.press("enter")
        await pilot.pause()
        assert app.focused is pane
        assert pane.size.width * pane.size.height > before
        await pilot.press("G", "j", "k", "g", "pagedown", "pageup", "end", "down", "up")
        assert pane.scroll_offset.y >= 0
        await pilot.press("escape")
        await pilot.pause()
        assert isinstance(app.focused, SiteMap)
        assert pane.size.width * pane.size.height == before

    press(build.diverged, drive)


def test_the_detail_shows_worst_elements_and_histograms(build, press):
    """What the thread read is on the screen, for the cell under the cursor and no other."""

    async def drive(app, pilot):
        await pilot.press("enter")
        await pilot.pause()
        if app.size.height < 30:
            await pilot.press("pagedown")
            await pilot.pause()
        text = build.text_of(app)
        assert "192 unequal" in text
        assert "A - B" in text
        assert "█" in text

    press(build.diverged, drive)


@pytest.mark.parametrize(("key", "word"), [("question_mark", "Esc closes"), ("v", "confidence 0.99")])
def test_screens_of_text_open_and_close(build, press, key, word):
    """Help and the full verdict lie over the map until a key closes them."""

    async def drive(app, pilot):
        await pilot.press(key)
        await pilot.pause()
        assert isinstance(app.screen, TextScreen)
        assert word in build.text_of(app)
        await pilot.press("down", "up", "pagedown", "pageup", "k", key)
        await pilot.pause()
        assert not isinstance(app.screen, TextScreen)

    press(build.diverged, drive)


def test_q_quits(build, press):
    """Quitting is no failure, whatever the verdict."""

    async def drive(_app, pilot):
        await pilot.press("q")

    app = press(build.diverged, drive)
    assert (app.return_code, app.error) == (0, None)


def test_equivalent_says_so_and_has_nowhere_to_jump(build, press):
    """Without a divergence n, N and f stay where they are and say why."""
    rows = tuple(
        dataclasses.replace(row, cells=tuple(build.cell("equal", 1) for _ in row.cells))
        for row in build.diverged_rows()
    )

    async def drive(app, pilot):
        assert "EQUIVALENT" in build.text_of(app)
        await pilot.press("n", "N", "f")
        await pilot.pause()
        assert here(app) == (0, 0)
        assert "no divergence" in build.text_of(app)

    press(lambda: of_result(build.result(rows), build.Arrays(rows)), drive)


def test_what_b_had_of_its_own_is_told_without_a_step(build, press):
    """With only a difference before sharing, the verdict names its phase, its cause and no step."""
    own = dataclasses.replace(build.FIRST, phase="init", a_index=None, b_index=None)
    rows = build.diverged_rows()[:2]
    found = dataclasses.replace(build.result(rows, None, (build.DROPOUT,)), verdict="diverged", own=(own,))

    async def drive(app, _pilot):
        text = " ".join(build.text_of(app).split())
        assert "own init: dropout (a.py:14) against tf.nn.dropout (b.py:41), error 0.93 " in text
        assert "cause dropout-rate" in text

    press(lambda: of_result(found, build.Arrays(rows)), drive)


def test_no_rows_at_all(build, press):
    """An incomparable result without rows or steps can be looked at, and every key is harmless."""

    def load():
        empty = dataclasses.replace(build.result((), steps=0), verdict="incomparable", notes=("no common sites",))
        return of_result(empty, build.Arrays(()))

    async def drive(app, pilot):
        text = build.text_of(app)
        assert "INCOMPARABLE" in text
        assert "no common sites" in text
        assert "no sites to show" in text
        await pilot.press(*"hjklnNfgG12345678", "up", "down", "left", "right", "pageup", "pagedown", "home", "end")
        await pilot.press("enter", "j", "escape", "tab", "tab", "v", "escape", "question_mark", "escape")
        await pilot.pause()

    press(load, drive)


def test_hostile_names_are_harmless(build, press):
    """Escapes, markup, bidi overrides and 10,000 characters neither steer the terminal nor break the layout."""
    evil = (
        "\x1b]0;own\x07\x1b[2J[bold red]x[/] [/nothing] [link=file:///]\u202e" + "漢" * 5000 + "y" * 5000 + "\n\x9b31m"
    )
    rows = tuple(
        dataclasses.replace(
            row,
            a_name=evil,
            b_name=evil[::-1],
            evidence=evil,
            a=dataclasses.replace(row.a, op=evil, api=evil, source=evil, called=evil, layer=evil, role=evil),
        )
        for row in build.diverged_rows()
    )
    place = dataclasses.replace(build.FIRST.a, layer=evil, site=evil, source=evil)
    first = dataclasses.replace(build.FIRST, a=place, b=place, summary=evil)
    cause = dataclasses.replace(build.DROPOUT, code=evil, summary=evil, fix=evil)
    header = dataclasses.replace(build.HEADER_A, script=evil, versions={evil: evil})
    what = ({"what": evil, "why": evil},)
    found = dataclasses.replace(
        build.result(rows, first, (cause,)),
        a_trace=evil,
        a_header=header,
        b_header=header,
        own=(first,),
        notes=(evil,),
        not_shared=what,
        not_recorded=what,
        shared={evil: evil},
    )
    arrays = build.Arrays(rows)

    def detail(row: Row, step: int) -> CellDetail:
        shown = arrays(row, step)
        return dataclasses.replace(shown, note=evil, a=shown.a and dataclasses.replace(shown.a, dtype=evil))

    async def drive(app, pilot):
        for keys in ((), ("enter",), ("G",), ("v",), ("escape",), ("question_mark",)):
            await pilot.press(*keys)
            await build.settled(app, pilot)
            text = build.text_of(app)
            assert not [char for char in text if char != "\n" and (ord(char) < 32 or 0x7F <= ord(char) < 0xA0)]
            assert "\u202e" not in text
        assert "[bold red]" in text or "help" in text

    press(lambda: of_result(found, detail), drive)


def test_a_large_result_answers_quickly(build, press):
    """300 rows and 50 steps: both ends can be reached, the cursor stays on the screen, a key costs well under 0.1 s."""
    pattern = build.diverged_rows(50)
    rows = tuple(dataclasses.replace(row, a_name=f"{row.a_name}_{copy}") for row in pattern[:-1] for copy in range(30))
    arrays = build.Arrays(rows)

    async def drive(app, pilot):
        assert len(app.view.rows) == 300
        await pilot.press("G", "dollar_sign")
        await build.settled(app, pilot)
        assert here(app) == (299, 49)
        text = build.text_of(app)
        assert "▸" in text
        assert "moving_mean_29" in text
        start = time.process_time()  # not the clock: the machine may be busy with something else
        await pilot.press(*"kjkjkjkjkj")
        assert time.process_time() - start < 1.0
        await pilot.press("g", "0")
        await build.settled(app, pilot)
        assert here(app) == (0, 0)
        assert "x_0" in build.text_of(app)

    press(lambda: of_result(build.result(rows, build.FIRST, steps=50), arrays), drive)


def test_only_the_newest_wish_is_read(build, press):
    """While one cell is being read, the cells passed over are not read at all."""
    view = build.diverged()
    gate = threading.Event()
    asked = []

    def detail(row: Row, step: int) -> CellDetail:
        asked.append(step)
        if len(asked) > 1:
            gate.wait(5)
        return view.detail(row, step)

    async def drive(app, pilot):
        await pilot.press(*"llllllll")
        gate.set()
        await build.settled(app, pilot)
        assert asked == [0, 1, 8]

    press(lambda: dataclasses.replace(view, detail=detail), drive)


def test_a_cell_that_cannot_be_read_says_why(build, press):
    """A damaged tensor costs its own picture, not the session."""

    def detail(_row: Row, _step: int) -> CellDetail:
        raise TraceError("a.h5: expected the checksum of observation 3, found another")

    async def drive(app, pilot):
        assert "expected the checksum" in build.text_of(app)
        await pilot.press("j")
        await build.settled(app, pilot)
        assert app.error is None

    press(lambda: dataclasses.replace(build.diverged(), detail=detail), drive)


@pytest.mark.parametrize("error", [TraceError("b.h5 is no trace"), IncomparableError("nothing in common")])
def test_an_expected_failure_ends_with_its_exit_code(press, error):
    """What loading raises is kept for run_viewer, and the exit code is the error's own."""

    def load():
        raise error

    async def drive(_app, pilot):
        await pilot.pause()

    app = press(load, drive)
    assert app.error is error
    assert app.return_code == error.exit_code


def test_comparing_is_said_and_does_not_hold_up_quitting(build):
    """Until there is a result the screen says what it does, and q does not wait for it."""
    gate = threading.Event()

    def load():
        gate.wait(30)
        return build.diverged()

    async def go():
        app = ViewerApp(load)
        async with app.run_test(size=(80, 24)) as pilot:
            await pilot.pause()
            assert "comparing ..." in build.text_of(app)
            await pilot.press(*"hjklnNf123v", "enter", "escape", "tab", "question_mark", "escape")
            await pilot.press("q")
        return app

    start = time.perf_counter()
    app = asyncio.run(go())
    assert time.perf_counter() - start < 20
    assert app.return_code == 0
    gate.set()


def test_absent_cells_are_not_read(build, press):
    """Where nothing was recorded, nothing is asked for."""
    row = dataclasses.replace(build.diverged_rows()[0], cells=(Cell("absent", 0.0, 0.0),) * 10)
    arrays = build.Arrays((row,))

    async def drive(app, _pilot):
        assert "nothing recorded in this step" in build.text_of(app)
        assert arrays.asked == []

    press(lambda: of_result(build.result((row,)), arrays), drive)


def test_clicks_select(build, press):
    """A click on a cell selects its row and step, a click on a name its row, a click elsewhere nothing."""

    async def drive(app, pilot):
        sites = app.query_one(SiteMap)
        start = sites._columns.start
        await pilot.click(SiteMap, offset=(start + 6, 3))
        assert here(app) == (1, 3)
        await pilot.click(SiteMap, offset=(5, 2))
        assert here(app) == (0, 3)
        await pilot.click(SiteMap, offset=(5, 0))
        await pilot.click(SiteMap, offset=(5, 1))
        assert here(app) == (0, 3)

    press(build.diverged, drive)


def test_importing_the_package_costs_nothing():
    """`import tfdiff.tui` loads neither Textual nor TensorFlow; the app loads no TensorFlow and no SciPy."""
    check = "import sys, tfdiff.tui; assert 'textual' not in sys.modules; import tfdiff.tui.app; "
    check += "sys.exit(any(name in sys.modules for name in ('tensorflow', 'keras', 'scipy')))"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
