"""Hand-built results for the viewer's tests: real arrays, real statistics, no trace file."""

from __future__ import annotations

import asyncio
import math
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tfdiff.model import Cause, Cell, Divergence, Header, Place, Result, Row, Site, Stats
from tfdiff.tui.app import ViewerApp
from tfdiff.tui.data import CellDetail, SideData, ViewData, of_result

if TYPE_CHECKING:
    from textual.pilot import Pilot

    from tfdiff.model import Phase, Status

HEADER_A = Header("a.py", (), {"python": "3.11", "tensorflow": "2.21.0"}, {"steps": 10})
HEADER_B = Header("b.py", (), {"python": "3.11", "tensorflow": "2.21.0"}, {"steps": 10})
LAYERS: tuple[tuple[Phase, str, str], ...] = (
    ("forward", "x", "x"),
    ("forward", "sequential/dense", "tf.matmul"),
    ("forward", "sequential/dropout", "tf.nn.dropout#1"),
    ("forward", "sequential/dense_1", "tf.matmul#1"),
    ("loss", "categorical_crossentropy", "tf.reduce_mean"),
    ("backward", "sequential/dense_1/kernel", "w2"),
    ("backward", "sequential/dense/kernel", "w1"),
    ("update", "sequential/dense/kernel", "w1"),
    ("update", "sequential/dense_1/kernel", "w2"),
    ("state", "sequential/bn/moving_mean", "moving_mean"),
)


def stats(values: np.ndarray) -> Stats:
    """Statistics of an array, by definition."""
    finite = np.abs(values[np.isfinite(values)]) if np.iscomplexobj(values) else values[np.isfinite(values)]
    finite = finite.astype(np.float64)
    norm = math.hypot(*finite)
    zeros, nans, infs = int((values == 0).sum()), int(np.isnan(values).sum()), int(np.isinf(values).sum())
    if not finite.size:
        return Stats(0.0, 0.0, 0.0, norm, zeros, nans, infs)
    return Stats(float(finite.min()), float(finite.max()), float(finite.mean()), norm, zeros, nans, infs)


def side(values: np.ndarray, *, stored: bool = True) -> SideData:
    """One side of a cell."""
    return SideData(values.shape, str(values.dtype), stats(values), values if stored else None)


def site(number: int, phase: Phase, name: str, source: str | None) -> Site:
    """A site named after its layer."""
    return Site(number, "activation", phase, "MatMul", layer=name, source=source, called=source)


@dataclass
class Arrays:
    """A `DetailSource` that makes its arrays from row and step, and remembers what it was asked for."""

    result_rows: tuple[Row, ...]
    asked: list[tuple[int, int]] = field(default_factory=list)

    def __call__(self, row: Row, step: int) -> CellDetail:
        """B is A plus noise of the size of the cell's error."""
        number = self.result_rows.index(row)
        self.asked.append((number, step))
        cell = row.cells[step]
        random = np.random.default_rng(number * 1000 + step)
        a = random.normal(size=(16, 12)).astype(np.float32)
        b = a + np.float32(min(cell.error, 10.0)) * random.normal(size=a.shape).astype(np.float32)
        return CellDetail(side(a) if cell.a_index is not None else None, side(b) if cell.b_index is not None else None)


def cell(status: Status, index: int, error: float = 0.0) -> Cell:
    """A cell with its observations at `index` on the sides that have one."""
    return Cell(
        status,
        error,
        1e-6,
        None if status == "absent" else index,
        index if status not in ("absent", "unpaired") else None,
    )


def diverged_rows(steps: int = 10) -> tuple[Row, ...]:
    """A dropout fault at step 0 of the forward pass, carried on from there; one unpaired site at the end."""
    rows = []
    for number, (phase, a, b) in enumerate(LAYERS):
        cells = []
        for step in range(steps):
            status: Status = "equal" if number < 2 and step == 0 else "carried"
            error = 0.0 if status == "equal" else 1e-5 * 10 ** min(step, 6) * number
            if number == 2:
                status, error = ("introduced", 0.93) if step in (0, 4) else ("carried", 0.9)
            cells.append(cell(status, number, error))
        rows.append(
            Row(
                phase,
                site(number, phase, a, f"a.py:{10 + number}"),
                site(number, phase, b, f"b.py:{40 + number}"),
                a,
                b,
                "value",
                tuple(cells),
            )
        )
    extra = site(99, "state", "sequential/bn/moving_variance", "a.py:19")
    cells = [cell("unpaired", 99) if step % 3 else cell("absent", 99) for step in range(steps)]
    rows.append(Row("state", extra, None, "sequential/bn/moving_variance", "", "", tuple(cells)))
    return tuple(rows)


FIRST = Divergence(
    0,
    "forward",
    Place("dropout", "sequential/dropout", "a.py:14", "a.py:31", "SelectV2"),
    Place(None, "tf.nn.dropout", "b.py:41", "b.py:41", "SelectV2"),
    0.93,
    1.1e-6,
    summary="`Mul(., 1.4286)` against `Mul(., 3.3333)`",
    a_index=2,
    b_index=2,
)
DROPOUT = Cause(
    "dropout-rate",
    "forward",
    0,
    0.99,
    FIRST.a,
    FIRST.b,
    "B drops 70 %, A drops 30 %: B passes keep_prob as rate",
    "tf.nn.dropout(h, rate=1 - keep_prob)",
    {"a": 0.3, "b": 0.7},
    0.93,
    4e-8,
)


def result(
    rows: tuple[Row, ...], first: Divergence | None = None, causes: tuple[Cause, ...] = (), steps: int = 10
) -> Result:
    """A result around these rows."""
    return Result(
        "diverged" if first else "equivalent",
        "a.h5",
        "b.h5",
        HEADER_A,
        HEADER_B,
        steps,
        steps,
        steps,
        first,
        (first,) if first else (),
        (),
        causes,
        rows,
        {"weights": {"shared": 8, "a": 8, "b": 8}, "batches": True, "noise": True},
    )


def diverged(steps: int = 10) -> ViewData:
    """The dropout fault, ready to be shown."""
    rows = diverged_rows(steps)
    return of_result(result(rows, FIRST, (DROPOUT,), steps), Arrays(rows))


@pytest.fixture
def build():
    """The builders of this module, for tests that need a result."""
    return sys.modules[__name__]


Drive = Callable[["ViewerApp", "Pilot[None]"], Awaitable[None]]


@pytest.fixture(params=[(80, 24), (200, 50)], ids=["80x24", "200x50"])
def press(request):
    """Run the viewer on data and let a coroutine press keys in it, at both sizes; returns the app."""

    def run(load: Callable[[], ViewData], drive: Drive) -> ViewerApp:
        app = ViewerApp(load)

        async def go() -> None:
            async with app.run_test(size=request.param) as pilot:
                await settled(app, pilot)
                await drive(app, pilot)

        asyncio.run(go())
        return app

    return run


async def settled(app: ViewerApp, pilot: Pilot[None]) -> None:
    """Wait until the viewer has loaded and read what it wanted."""
    for _ in range(500):
        await pilot.pause()
        if app.error is not None or (app.view is not None and not app._reading and app._wanted is None):
            await pilot.pause()
            return
        await asyncio.sleep(0.01)
    pytest.fail("the viewer does not come to rest")


def text_of(app: ViewerApp) -> str:
    """What the screen shows, line by line, without colours."""
    width, height = app.size
    strips = app.screen._compositor.render_strips()
    assert len(strips) == height
    return "\n".join(strip.text[:width] for strip in strips)
