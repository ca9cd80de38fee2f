"""Cutting a trace: what goes, and that nothing else changes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tfdiff.errors import TraceError, UsageError
from tfdiff.model import Header, Site, StepInfo
from tfdiff.trace.reader import open_trace
from tfdiff.trace.records import Record
from tfdiff.trace.trim import trim
from tfdiff.trace.writer import TraceWriter


def cut(source, target, **options):
    """Cut a file."""
    with open_trace(source) as trace:
        trim(trace, target, **options)
    return target


@pytest.mark.parametrize("largest", [0, 47, 48, 10**9])
def test_only_the_large_arrays_go(sample, tmp_path, largest):
    """Observations, statistics and sketches stay bit by bit; arrays up to the limit stay, larger ones go."""
    path = cut(sample, tmp_path / "cut.h5", steps=2, largest=largest)
    with open_trace(sample) as whole, open_trace(path) as small:
        assert small.steps == 2
        pairs = [(whole.initial(), small.initial()), (whole.own_initial(), small.own_initial())]
        pairs += [(whole.step(step), small.step(step)) for step in range(2)]
        for before, after in pairs:
            assert after.info == before.info
            assert len(after.observations) == len(before.observations)
            for seen, left in zip(before.observations, after.observations, strict=True):
                stays = seen.stored and before.array(seen.index).nbytes <= largest
                assert left == replace(seen, stored=stays)
                assert after.sketch(left.index).tobytes() == before.sketch(seen.index).tobytes()
                if stays:
                    assert np.array_equal(after.array(left.index), before.array(seen.index))


def test_the_run_stays(sample, tmp_path):
    """Header, variables, sites and row hashes are those of the source; the end says how the trace was cut."""
    path = cut(sample, tmp_path / "cut.h5", steps=1, largest=0)
    with open_trace(sample) as whole, open_trace(path) as small:
        assert (small.header, small.variables, small.sites) == (whole.header, whole.variables, whole.sites)
        assert [(s, h.tolist()) for s, h in small.row_sources] == [(s, h.tolist()) for s, h in whole.row_sources]
        assert small.end == replace(whole.end, why="steps recorded, cut to 1 step")


def test_all_batches_stay(tmp_path):
    """The row hashes of steps that are cut off are kept: the order of the data can still be told."""
    batches = [np.arange(3, dtype=np.uint64) + np.uint64(step) for step in range(5)]
    with TraceWriter(tmp_path / "t.h5") as writer:
        writer.header(Header("a.py", (), {}, {}))
        for step in range(5):
            writer.step(StepInfo(step), [])
        writer.rows([], batches)
    with open_trace(cut(tmp_path / "t.h5", tmp_path / "cut.h5", steps=2, largest=0)) as small:
        assert small.steps == 2
        assert [found.tolist() for found in small.batch_rows] == [found.tolist() for found in batches]


def test_a_killed_run_stays_killed(tmp_path, write):
    """A trace without an end has none after the cut; more steps than there are is all of them."""
    path = cut(write(tmp_path / "t.h5", 3, end=False), tmp_path / "cut.h5", steps=99, largest=0)
    with open_trace(path) as small:
        assert small.end is None
        assert small.steps == 3


def test_wanted_arrays_stay(sample, tmp_path):
    """`also` keeps single arrays whatever their size, and nothing that was not stored."""
    path = tmp_path / "cut.h5"
    with open_trace(sample) as whole:
        trim(
            whole, path, steps=2, largest=0, also=lambda block, seen: (block.info.index, seen.index) in {(1, 0), (1, 1)}
        )
    with open_trace(path) as small:
        assert [seen.stored for seen in small.step(0).observations] == [False] * 4
        assert [seen.stored for seen in small.step(1).observations] == [True] + [False] * 4


def test_later_initial_values(tmp_path):
    """Initial values that were appended stay, with the inputs they had."""
    site = Site(0, "weight", "init", "", variable=0)
    with TraceWriter(tmp_path / "t.h5") as writer:
        writer.header(Header("a.py", (), {}, {}))
        writer.initial([Record(site, np.zeros(2))])
        writer.initial([Record(site, np.ones(300)), Record(site, np.full(3, 2.0), inputs=(0, -1), of=0)])
    with open_trace(cut(tmp_path / "t.h5", tmp_path / "cut.h5", steps=1, largest=100)) as small:
        block = small.initial()
        assert [seen.inputs for seen in block.observations] == [(), (), (1, -1)]
        assert [seen.of for seen in block.observations] == [None, None, 1]
        assert [seen.stored for seen in block.observations] == [True, False, True]


def test_it_is_small(tmp_path):
    """What is left costs what it holds: equal arrays and sketches once, a few hundred bytes per tensor."""
    value = np.random.default_rng(0).normal(size=100_000)
    site = Site(0, "activation", "forward", "Relu")
    with TraceWriter(tmp_path / "t.h5") as writer:
        writer.header(Header("a.py", (), {}, {}))
        writer.step(StepInfo(0), [Record(site, value) for _ in range(100)] + [Record(site, value[:200])] * 100)
    assert cut(tmp_path / "t.h5", tmp_path / "cut.h5", steps=1, largest=1600).stat().st_size < 50_000


def test_targets(sample, tmp_path):
    """The source itself, an existing file without force and a missing folder are refused; nothing is written."""
    before = sample.read_bytes()
    with open_trace(sample) as trace:
        with pytest.raises(UsageError, match="another file"):
            trim(trace, sample, steps=1, largest=0, force=True)
        (tmp_path / "there.h5").write_text("mine")
        with pytest.raises(UsageError, match="--force"):
            trim(trace, tmp_path / "there.h5", steps=1, largest=0)
        assert (tmp_path / "there.h5").read_text() == "mine"
        with pytest.raises(UsageError):
            trim(trace, tmp_path / "no" / "cut.h5", steps=1, largest=0)
        trim(trace, tmp_path / "there.h5", steps=1, largest=0, force=True)
    assert sample.read_bytes() == before
    with open_trace(tmp_path / "there.h5") as small:
        assert small.steps == 1


def test_damage_leaves_nothing(sample, tmp_path):
    """A source whose array is damaged is not copied: the error says what, and no half copy stays."""
    with open_trace(sample) as trace:
        data = trace._files[0]["steps/0/0/0/0/0/0/0/0/0/1/data"]
        place = data.id.get_offset()
    content = bytearray(sample.read_bytes())
    content[place] ^= 1
    sample.write_bytes(content)
    with open_trace(sample) as trace, pytest.raises(TraceError, match="damage"):
        trim(trace, tmp_path / "cut.h5", steps=3, largest=10**9)
    assert not (tmp_path / "cut.h5").exists()
