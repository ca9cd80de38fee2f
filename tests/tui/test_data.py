"""Real traces in the viewer, and the viewer in a real (pseudo) terminal."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tfdiff.errors import TraceError
from tfdiff.model import End, EvalInfo, Header, Site, StepInfo, Variable
from tfdiff.trace.records import Record
from tfdiff.trace.writer import TraceWriter
from tfdiff.tui.data import load

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def write_trace(tmp_path):
    """Write a trace of a linear model trained by hand; `relu` adds an activation, `poison` a NaN in the last step."""

    def write(name, *, relu=False, poison=False, end=True):
        path = tmp_path / name
        random = np.random.default_rng(7)
        w = random.normal(size=(8, 4)).astype(np.float32)
        with TraceWriter(path) as writer:
            writer.header(Header(f"{path.stem}.py", (), {"python": "3.11.7"}, {"steps": 3}))
            writer.variables([Variable(0, "dense/kernel", (8, 4), "float32", True, "weight", "dense", "m.py:3")])
            writer.initial([Record(Site(0, "weight", "init", "", layer="dense", variable=0, boundary=True), w)])
            for step in range(3):
                x = random.normal(size=(16, 8)).astype(np.float32)
                if poison and step == 2:
                    x[0, 0] = np.nan
                writer.step(StepInfo(step), records(x, w, relu=relu))
            if end:
                writer.end(End(complete=True, why="steps recorded"))
        return path

    return write


def records(x, w, *, relu):
    """One step: input, weight, product, activation, loss."""
    z = x @ w
    y = np.maximum(z, 0) if relu else z
    dense = {"layer": "dense", "source": "m.py:3", "called": "m.py:9", "boundary": True}
    found = [
        Record(Site(1, "input", "forward", "", boundary=True), x),
        Record(Site(2, "weight", "forward", "ReadVariableOp", variable=0, **dense), w),
        Record(Site(3, "activation", "forward", "MatMul", **dense), z, inputs=(0, 1)),
    ]
    if relu:
        site = Site(4, "activation", "forward", "Relu", layer="relu", source="m.py:4", called="m.py:9", boundary=True)
        found.append(Record(site, y, inputs=(2,)))
    loss = np.float32(np.mean(np.square(y)))
    found.append(
        Record(Site(5, "activation", "loss", "Mean", source="m.py:5", boundary=True), loss, inputs=(len(found) - 1,))
    )
    found.append(
        Record(Site(6, "loss", "loss", "Mean", source="m.py:5", boundary=True), loss, inputs=(len(found) - 1,))
    )
    return found


def test_one_trace_is_browsed_alone(build, press, write_trace):
    """Every recorded site has a row and its tensors; NaN is marked, and n goes from one to the next."""
    path = write_trace("a.h5", relu=True, poison=True)

    async def drive(app, pilot):
        text = build.text_of(app)
        assert "TRACE" in text
        assert "3 steps · 6 sites · steps recorded" in text
        assert "• • ! " in text
        assert "dense/kernel" in text
        assert app.view.detail(app.view.rows[0], 0).a.array.shape == (16, 8)
        assert (app.query_one("#map").row, app.query_one("#map").step) == (0, 2)
        await pilot.press("n")
        assert (app.query_one("#map").row, app.query_one("#map").step) == (2, 2)
        await pilot.press("f", "h", "4", "j", "v", "escape", "question_mark", "escape")
        await build.settled(app, pilot)
        assert "step 1, loss" in build.text_of(app)
        assert "6 loss" not in build.text_of(app)

    press(lambda: load(path, None), drive)


def test_a_trace_that_ended_early_says_so(build, press, write_trace):
    """A killed writer's steps are shown, and that it was killed."""
    path = write_trace("a.h5", end=False)

    async def drive(app, _pilot):
        assert "ended early" in build.text_of(app)

    press(lambda: load(path, None), drive)


def test_two_traces_are_compared(build, press, write_trace):
    """A relu that only B has: the verdict is diverged, and the cursor stands where the two part."""
    a, b = write_trace("a.h5"), write_trace("b.h5", relu=True)

    async def drive(app, _pilot):
        text = build.text_of(app)
        assert "DIVERGED" in text
        assert "m.py:4" in text
        step, number = app.query_one("#map").step, app.query_one("#map").row
        assert step == 0
        assert app.view.rows[number].cells[0].status == "introduced"
        detail = app.view.detail(app.view.rows[number], 0)
        assert any(side is not None and side.array is not None for side in (detail.a, detail.b))

    press(lambda: load(a, b), drive)


def test_a_trace_equals_itself(build, press, write_trace):
    """The same trace on both sides is equivalent."""
    path = write_trace("a.h5")

    async def drive(app, _pilot):
        assert "EQUIVALENT" in build.text_of(app)

    press(lambda: load(path, path), drive)


def test_a_missing_file_is_one_clear_error(tmp_path):
    """Loading raises what the command line knows how to say."""
    with pytest.raises(TraceError, match="nowhere"):
        load(tmp_path / "nowhere.h5", None)


def in_terminal(paths, keys):
    """Run the viewer in a pseudo terminal, press keys once it has drawn; exit code and everything it wrote."""
    program = (
        "import sys\nfrom pathlib import Path\n"
        "from tfdiff.errors import TfdiffError\nfrom tfdiff.tui.app import run_viewer\n"
        "try:\n    sys.exit(run_viewer(Path(sys.argv[1]), Path(sys.argv[2]) if sys.argv[2:] else None))\n"
        "except TfdiffError as error:\n    print('said:', error)\n    sys.exit(error.exit_code)\n"
    )
    leader, follower = pty.openpty()
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TERM": "xterm-256color", "LINES": "24", "COLUMNS": "80"}
    process = subprocess.Popen(
        [sys.executable, "-c", program, *map(str, paths)],
        stdin=follower,
        stdout=follower,
        stderr=follower,
        env=environment,
    )
    os.close(follower)
    seen, until, pressed = b"", time.monotonic() + 60, False
    while time.monotonic() < until:
        ready = select.select([leader], [], [], 0.2)[0]
        try:
            seen += os.read(leader, 65536) if ready else b""
        except OSError:  # the other end is closed
            break
        if not pressed and b"quit" in seen and b"m.py" in seen:
            os.write(leader, keys)
            pressed = True
        if not ready and process.poll() is not None:
            break
    code = process.wait(timeout=10)
    os.close(leader)
    return code, seen.decode(errors="replace")


def test_the_viewer_in_a_terminal(write_trace):
    """It draws, obeys q, leaves with 0 and gives the terminal back."""
    code, seen = in_terminal([write_trace("a.h5"), write_trace("b.h5", relu=True)], b"jklnq")
    assert code == 0
    assert "\x1b[?1049l" in seen
    assert "Traceback" not in seen


def test_a_bad_file_ends_the_viewer_with_its_message(tmp_path):
    """The terminal is back to normal before the error is said, and the exit code is 2."""
    path = tmp_path / "text.h5"
    path.write_text("hello")
    code, seen = in_terminal([path], b"")
    assert code == 2
    assert "text.h5" in seen.rpartition("\x1b[?1049l")[2]
    assert "Traceback" not in seen


def test_evaluations_are_a_section(press, tmp_path):
    """Passes have rows in a section of their own, in the column of the step before them, with their tensors."""
    x = np.arange(12, dtype=np.float32).reshape(4, 3)
    path = tmp_path / "evaluated.h5"
    with TraceWriter(path) as writer:
        writer.header(Header("a.py", (), {}, {}))
        for step in range(2):
            writer.step(StepInfo(step), [Record(Site(0, "input", "forward", "Leaf"), x)])
        sites = Site(1 << 23, "activation", "forward", "MatMul"), Site((1 << 23) + 1, "activation", "eval", "MatMul")
        records = [Record(sites[0], x), Record(sites[1], 2 * x, (), 0)]
        writer.evaluation(EvalInfo(0, "evaluate", 2, 1, 4, 4, (0,)), records)

    async def drive(app, _pilot):
        number = next(number for number, row in enumerate(app.view.rows) if row.phase == "eval")
        assert [cell.status for cell in app.view.rows[number].cells] == ["absent", "unpaired"]
        assert np.array_equal(app.view.detail(app.view.rows[number], 1).a.array, 2 * x)
        assert "eval" in "".join(str(line) for line in app.query_one("#map")._titles.values())

    press(lambda: load(path, None), drive)
