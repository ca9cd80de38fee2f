"""Traces that were cut (`tfdiff.trace.trim`): what of the verdict survives without arrays and later steps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from tfdiff.comparison import own_batches
from tfdiff.comparison.compare import compare
from tfdiff.comparison.runs import pair_runs
from tfdiff.recorder.rowsource import batch_signatures
from tfdiff.trace.reader import open_trace
from tfdiff.trace.trim import trim
from tfdiff.trace.writer import TraceWriter

from . import build

if TYPE_CHECKING:
    from pathlib import Path

STEPS = 7


class Keeping(TraceWriter):
    """Keeps the rows of the batches, as the recorder does."""

    def step(self, info, records):
        """Note the rows too."""
        super().step(info, records)
        self.batches = [*getattr(self, "batches", []), batch_signatures(records)]

    def rows(self, sources, batches=()):
        """Write them too."""
        super().rows(sources, batches or self.batches)


def pair(folder: Path, steps: int, **plan: object) -> list[Path]:
    """The traces of the reference and of a program that starts equal to it, cut to `steps` steps without arrays."""
    first = build.Plan(steps=STEPS)
    build.record(folder / "a.h5", first)
    build.record(folder / "b.h5", build.Plan(style="raw", rename=True, steps=STEPS, **plan), reference=first)
    for side in "ab":
        with open_trace(folder / f"{side}.h5") as trace:
            trim(trace, folder / f"cut-{side}.h5", steps=steps, largest=200)
    return [folder / f"cut-{side}.h5" for side in "ab"]


def own_of(paths: list[Path]) -> tuple[list[str], tuple[str, ...]]:
    """Summaries of what b had of its own data, and the notes."""
    with open_trace(paths[0]) as a, open_trace(paths[1]) as b:
        result = compare(a, b)
        return [own.summary for own in result.own if own.phase == "data"], result.notes


@pytest.mark.parametrize("steps", [1, STEPS])
def test_order_survives_the_cut(tmp_path, monkeypatch, steps):
    """Who shuffles is read from the rows of all recorded steps, also of those that were cut off."""
    monkeypatch.setattr(build, "TraceWriter", Keeping)
    paths = pair(tmp_path, steps, shuffle=True)
    whole = own_of([tmp_path / "a.h5", tmp_path / "b.h5"])
    assert own_of(paths)[0] == whole[0] == ["b shuffles the rows, a takes them in the order of the array"]
    with open_trace(paths[0]) as a, open_trace(paths[1]) as b:
        fed = own_batches.fed_batches(pair_runs(a, b))
        assert [len(one.rows) for one in fed] == [STEPS, STEPS]
        assert [one.parts for one in fed] == [[], []]


def test_kept_rows_are_those_of_the_arrays(tmp_path, monkeypatch):
    """With and without kept rows the same is found: the recorder takes the tensors that the comparison takes."""
    monkeypatch.setattr(build, "TraceWriter", Keeping)
    pair(tmp_path, 1, shuffle=True)
    with open_trace(tmp_path / "a.h5") as a, open_trace(tmp_path / "b.h5") as b:
        runs = pair_runs(a, b)
        kept = own_batches.fed_batches(runs)
        monkeypatch.setattr(type(a), "batch_rows", [])
        computed = own_batches.fed_batches(runs)
    for first, second in zip(kept, computed, strict=True):
        assert len(first.rows) == STEPS
        assert all(np.array_equal(x, y) for x, y in zip(first.rows, second.rows, strict=True))


def test_without_rows_it_says_so(tmp_path):
    """Where neither the arrays nor the rows are kept, the data is not compared, and that is a note."""
    own, notes = own_of(pair(tmp_path, STEPS, shuffle=True))
    assert own == []
    assert any("only statistics of the batches are kept" in note for note in notes)


def test_a_scale_needs_the_values(tmp_path, monkeypatch):
    """Rows of other values are told; that they are scaled is not, without the arrays."""
    monkeypatch.setattr(build, "TraceWriter", Keeping)
    own, notes = own_of(pair(tmp_path, STEPS, scale=1 / 255))
    assert own == []
    assert any("their values are not kept" in note for note in notes)
