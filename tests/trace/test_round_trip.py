"""What is written is what is read."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tfdiff.errors import UsageError
from tfdiff.model import End, Header, RowSource, Site, StepInfo, Variable
from tfdiff.trace.reader import open_trace
from tfdiff.trace.records import NotStoredError, Record
from tfdiff.trace.schema import STORED_AS
from tfdiff.trace.sketch import sketch
from tfdiff.trace.stats import stats
from tfdiff.trace.writer import TraceWriter

HEADER = Header("a.py", (), {}, {})
NARROW = ("bfloat", "float8", "int2", "uint2", "int4", "uint4")
NUMPY_DTYPES = [name for name in STORED_AS if not name.startswith(NARROW)]


def test_documents(tmp_path):
    """Header, variables, row sources and end come back as they went in; of several the last one holds."""
    header = Header(
        script="a.py",
        arguments=("--lr", "0.1"),
        versions={"python": "3.11", "tensorflow": "2.21"},
        options={"steps": 10, "share": ["weights"], "ratio": float("inf")},
        reference="b.h5",
        shared={"weights": {"shared": 8, "a": 8, "b": 8}, "batches": True},
        variable_pairs=({"a": 0, "b": 1, "permutation": [1, 0], "evidence": "shape"},),
        not_shared=({"what": "noise", "why": "none drawn"},),
        not_recorded=({"what": "tf.py_function", "why": "opaque"},),
        switched_off=({"what": "jit_compile", "why": "XLA cannot carry taps"},),
    )
    first = Variable(0, "k", (2, 3), "float32", trainable=True, kind="weight", layer="dense", source="a.py:3")
    second = Variable(1, "m", (), "int64", trainable=False, kind="hyper")
    source = RowSource("x", "a.py:5", 3, ("float32[784]", "int64[]"))
    hashes = np.array([1, 2**64 - 1, 7], np.uint64)
    end = End(complete=False, why="script ended", exit_code=None)
    with TraceWriter(tmp_path / "t.h5") as writer:
        writer.header(HEADER)
        writer.variables([replace(first, kind="other")])
        writer.rows([])
        writer.end(End(complete=True, why="steps recorded"))
        writer.header(header)
        writer.variables([first, second])
        writer.rows([(source, hashes), (replace(source, name="empty"), hashes[:0])])
        writer.end(end)
    with open_trace(str(tmp_path / "t.h5")) as trace:
        assert (trace.header, trace.end) == (header, end)
        assert trace.variables == {0: first, 1: second}
        (seen, read), (_, empty) = trace.row_sources
        assert seen == source
        assert read.dtype == np.uint64
        assert read.tolist() == hashes.tolist()
        assert empty.size == 0
        assert trace.steps == 0


def test_steps(sample, step_records):
    """A step's information, observations, statistics, sketches and arrays come back, in order."""
    with open_trace(sample) as trace:
        assert trace.steps == 3
        for step in range(3):
            block = trace.step(step)
            written = step_records(step)
            assert block.info == StepInfo(step, ({"class": "Adam", "learning_rate": 0.1},))
            assert [seen.index for seen in block.observations] == list(range(len(written)))
            for seen, record in zip(block.observations, written, strict=True):
                assert seen.site == record.site == trace.sites[record.site.id]
                assert (seen.shape, seen.dtype) == (record.value.shape, record.value.dtype.name)
                assert (seen.inputs, seen.of, seen.stored) == (record.inputs, record.of, record.keep)
                assert seen.stats == stats(record.value)
                assert np.array_equal(block.sketch(seen.index), sketch(record.value))
                if record.keep:
                    assert np.array_equal(block.array(seen.index), record.value)


def test_statistics_only(sample):
    """Asking for an array that was not kept says so, with the slug not-stored."""
    with open_trace(sample) as trace, pytest.raises(NotStoredError, match="statistics and sketch only") as caught:
        trace.step(0).array(1)
    assert caught.value.slug == "not-stored"


@pytest.mark.parametrize("name", NUMPY_DTYPES)
def test_dtypes(tmp_path, name):
    """Every NumPy dtype comes back: empty, scalar, many-dimensional, non-contiguous and big-endian arrays."""
    kind = np.dtype(name)
    generator = np.random.default_rng(0)
    base = generator.integers(0, 2, (6, 5, 4)).astype(kind)
    values = [
        base,
        base[::2, :, ::-1],
        base[0, 0, 0],
        base[:0],
        base.T,
        np.ones((1,) * 12, kind),
        base.byteswap().view(base.dtype.newbyteorder()),
    ]
    _check(tmp_path / "t.h5", values, kind.name)


def _check(path, values, name):
    with TraceWriter(path) as writer:
        writer.header(HEADER)
        writer.step(StepInfo(0), [Record(Site(i, "input", "data", ""), np.asarray(v)) for i, v in enumerate(values)])
    with open_trace(path) as trace:
        block = trace.step(0)
        for i, value in enumerate(values):
            read = block.array(i)
            assert read.shape == np.shape(value)
            assert block.observations[i].dtype == name
            assert np.array_equal(read, np.asarray(value).astype(read.dtype))


@pytest.mark.parametrize("name", ["bfloat16", "float8_e4m3fn", "float8_e5m2", "int4", "uint4"])
def test_narrow_dtypes(tmp_path, name):
    """Kinds that NumPy lacks come back as float32 with equal values, under their own names."""
    ml_dtypes = pytest.importorskip("ml_dtypes")
    value = np.array([[0, 1, 2], [3, 4, 6]], np.float32).astype(getattr(ml_dtypes, name))
    path = tmp_path / "t.h5"
    _check(path, [value, value[:0]], name)
    with open_trace(path) as trace:
        block = trace.step(0)
        assert block.array(0).dtype == np.float32
        assert block.observations[0].stats.maximum == 6
        assert np.array_equal(block.sketch(0), sketch(value.astype(np.float32)))


def test_bfloat16_bits(tmp_path):
    """Each of the 65,536 bfloat16 patterns comes back as the float32 it stands for."""
    ml_dtypes = pytest.importorskip("ml_dtypes")
    value = np.arange(65536, dtype=np.uint16).view(ml_dtypes.bfloat16)
    with TraceWriter(tmp_path / "t.h5") as writer:
        writer.header(HEADER)
        writer.step(StepInfo(0), [Record(Site(0, "input", "data", ""), value)])
    with open_trace(tmp_path / "t.h5") as trace, np.errstate(invalid="ignore"):
        assert np.array_equal(trace.step(0).array(0), value.astype(np.float32), equal_nan=True)


def test_large_arrays(tmp_path):
    """Arrays larger than what is written or read at once keep their bytes and their neighbours'."""
    generator = np.random.default_rng(0)
    values = [generator.random(size) for size in (3, 2_500_000, 100, 70_000, 1)]
    _check(tmp_path / "t.h5", values, "float64")


def test_initial_values_append(tmp_path, sample):
    """Late variables are appended to the initial values, and their inputs still point at their own block."""
    first, second = Site(0, "weight", "init", "", variable=0), Site(1, "slot", "init", "", variable=1)
    with TraceWriter(tmp_path / "t.h5") as writer:
        writer.header(HEADER)
        writer.initial([Record(first, np.zeros(2)), Record(first, np.full(2, 5.0), inputs=(0, -1))])
        writer.initial([Record(second, np.ones(3)), Record(second, np.full(3, 2.0), inputs=(0,), of=0)], [])
    with open_trace(tmp_path / "t.h5") as trace:
        block = trace.initial()
        assert block.info.index == -1
        assert [seen.index for seen in block.observations] == [0, 1, 2, 3]
        assert [seen.inputs for seen in block.observations] == [(), (0, -1), (), (2,)]
        assert block.observations[3].of == 2
        assert [block.array(i).tolist() for i in range(4)] == [[0, 0], [5, 5], [1, 1, 1], [2, 2, 2]]
        assert block.sketches().shape == (4, 256)
        assert trace.own_initial().observations == ()
    with open_trace(sample) as trace:
        assert (trace.own_initial().array(0) == -2).all()


def test_value_after(tmp_path, sample):
    """The value of a variable after a step is its newest snapshot, None where only its statistics are kept (an older
    one would be wrong); values read in the forward pass are none.
    """
    with open_trace(sample) as trace:
        assert [trace.value_after(0, step)[0, 0] for step in (-1, 0, 1, 2, 99)] == [-1, 0, 1, 2, 2]
        assert trace.value_after(1, 2) is None
    state = Site(0, "state", "state", "", variable=7)
    read = Site(1, "state", "forward", "ReadVariableOp", variable=7)
    assign = Site(2, "assign", "state", "AssignSubVariableOp", variable=7)
    with TraceWriter(tmp_path / "t.h5") as writer:
        writer.header(HEADER)
        writer.step(StepInfo(0), [Record(read, np.array(1.0))])
        writer.step(
            StepInfo(1), [Record(read, np.array(2.0)), Record(state, np.array(3.0)), Record(assign, np.array(9.0))]
        )
        writer.step(StepInfo(2), [Record(read, np.array(4.0)), Record(state, np.array(5.0), keep=False)])
    with open_trace(tmp_path / "t.h5") as trace:
        assert [trace.value_after(7, step) for step in (-1, 0, 1, 2)] == [None, None, 3.0, None]


def test_many_steps(tmp_path):
    """Steps beyond the first groups of the tree are found, whatever was looked at before."""
    with TraceWriter(tmp_path / "t.h5") as writer:
        writer.header(HEADER)
        for step in range(70):
            writer.step(StepInfo(step), [Record(Site(0, "loss", "loss", ""), np.array(float(step)))])
    with open_trace(tmp_path / "t.h5") as trace:
        assert trace.steps == 70
        for step in (69, 0, 63, 64, 15, 16, 4, 3, 69):
            assert trace.step(step).array(0) == step
        with pytest.raises(IndexError):
            trace.step(70)


def test_empty_step(tmp_path):
    """A step without a tensor is a step."""
    with TraceWriter(tmp_path / "t.h5") as writer:
        writer.header(HEADER)
        writer.step(StepInfo(0, applied=False), [])
    with open_trace(tmp_path / "t.h5") as trace:
        block = trace.step(0)
        assert block.observations == ()
        assert block.sketches().shape == (0, 256)
        assert block.info.applied is False


def test_input_is_not_changed(tmp_path):
    """The writer leaves the arrays it is given as they are, NaN included."""
    value = np.array([1.0, np.nan, np.inf, -0.0])
    before = value.tobytes()
    value.flags.writeable = False
    _check_nan = Record(Site(0, "input", "data", ""), value)
    with TraceWriter(tmp_path / "t.h5") as writer:
        writer.header(HEADER)
        writer.step(StepInfo(0), [_check_nan])
    with open_trace(tmp_path / "t.h5") as trace:
        assert trace.step(0).array(0).tobytes() == before == value.tobytes()


def test_small_overhead(tmp_path, write):
    """A step of small tensors costs its arrays and little else: no sketch that its array has too."""
    few, many = write(tmp_path / "few.h5", 10), write(tmp_path / "many.h5", 74)
    per_step = (many.stat().st_size - few.stat().st_size) / 64
    assert per_step < 4.5 * (64 + 113 + 40) + 4096


def test_equal_arrays_are_stored_once(tmp_path):
    """A tensor in two roles costs its bytes and its sketch once, and comes back in both."""
    generator = np.random.default_rng(0)
    site = Site(0, "activation", "forward", "Relu")
    values = [generator.normal(size=50_000) for _ in range(2)]
    for name, chosen in (("once", values), ("twice", [values[0], values[1], values[0].copy(), values[1]])):
        with TraceWriter(tmp_path / name) as writer:
            writer.header(HEADER)
            writer.step(StepInfo(0), [Record(site, value) for value in chosen])
    assert (tmp_path / "twice").stat().st_size - (tmp_path / "once").stat().st_size < 1000
    with open_trace(tmp_path / "twice") as trace:
        block = trace.step(0)
        assert [np.array_equal(block.array(i), values[i % 2]) for i in range(4)] == [True] * 4
        assert [np.array_equal(block.sketch(i), sketch(values[i % 2])) for i in range(4)] == [True] * 4


@pytest.mark.parametrize("keep", [True, False])
def test_sketches_are_those_of_the_tensors(tmp_path, keep):
    """Whatever of a sketch lies in the file, what is read is `sketch` of the tensor, bit by bit."""
    ml_dtypes = pytest.importorskip("ml_dtypes")
    generator = np.random.default_rng(0)
    odd = np.array([np.nan, np.inf, -np.inf, -0.0, 0.0, 1e300, -1e300, 1e-300, 1.5])
    values = [np.zeros(0), np.float32(2.5), odd, np.tile(odd, 40), np.array([True, False])]
    values += [generator.normal(size=size) for size in (1, 255, 256, 257, 70_000)]
    values += [generator.normal(size=(size, 2)).view(complex) for size in (128, 129)]
    values += [generator.normal(size=(16, 16)).T.astype(kind) for kind in (np.float16, np.float32, np.int64)]
    values += [generator.normal(size=200).astype(ml_dtypes.bfloat16), np.ones(3, np.uint64) * np.uint64(2**64 - 1)]
    site = Site(0, "activation", "forward", "Relu")
    with TraceWriter(tmp_path / "t.h5") as writer:
        writer.header(HEADER)
        writer.step(StepInfo(0), [Record(site, np.asarray(value), keep=keep) for value in values])
    with open_trace(tmp_path / "t.h5") as trace:
        read = trace.step(0).sketches()
        assert read.shape == (len(values), 256)
        assert read.dtype == np.float32
        for row, value in zip(read, values, strict=True):
            seen = np.asarray(value)
            expected = sketch(seen if seen.dtype.kind in "biufc" else seen.astype(np.float32))
            assert row.tobytes() == expected.tobytes()


def test_many_blocks_are_kept_without_their_arrays(tmp_path, monkeypatch):
    """Two dozen blocks stay parsed; of large ones neither arrays nor sketches stay in memory."""
    monkeypatch.setattr("tfdiff.trace.block._KEPT_SKETCHES", 1024)
    site = Site(0, "activation", "forward", "Relu")
    with TraceWriter(tmp_path / "t.h5") as writer:
        writer.header(HEADER)
        for step in range(30):
            writer.step(StepInfo(step), [Record(site, np.full(300_000, step)), Record(site, np.full(9, step))])
    with open_trace(tmp_path / "t.h5") as trace:
        blocks = [trace.step(step) for step in range(24)]
        for block in blocks:
            block.sketches()
            block.array(0)
        assert [trace.step(step) for step in range(24)] == blocks
        held = [sum(part._lead.nbytes for part in block._parts) for block in blocks]
        assert max(held) <= 1 << 20
        assert sum(block._sketches is not None for block in blocks) <= 4
        assert np.array_equal(blocks[0].sketch(1), sketch(np.full(9, 0)))
        trace.step(24)
        assert trace.step(0) is not blocks[0]


def test_batch_rows(tmp_path):
    """The row hashes of each step's batch come back next to those of the whole arrays, empty ones too."""
    hashes = np.arange(10, dtype=np.uint64) + np.uint64(2**63)
    source = RowSource("x", None, 4, ("float32[3]",))
    with TraceWriter(tmp_path / "t.h5") as writer:
        writer.header(HEADER)
        writer.rows([(source, hashes[:4])], [hashes[4:6], hashes[:0], hashes[6:]])
    with open_trace(tmp_path / "t.h5") as trace:
        assert [found.tolist() for _, found in trace.row_sources] == [hashes[:4].tolist()]
        assert [found.tolist() for found in trace.batch_rows] == [hashes[4:6].tolist(), [], hashes[6:].tolist()]


def test_existing_file(sample):
    """An existing file is refused with the slug exists, and replaced with force."""
    before = sample.read_bytes()
    with pytest.raises(UsageError, match="--force") as caught:
        TraceWriter(sample)
    assert caught.value.slug == "exists"
    assert sample.read_bytes() == before
    with TraceWriter(sample, force=True) as writer:
        writer.header(HEADER)
    with open_trace(sample) as trace:
        assert trace.steps == 0


def test_impossible_targets(tmp_path):
    """A folder, and a file in a folder that is not there, are refused in one line."""
    for target in (tmp_path, tmp_path / "no" / "t.h5"):
        with pytest.raises(UsageError) as caught:
            TraceWriter(target, force=True)
        assert "\n" not in str(caught.value)


def test_site_keeps_its_meaning(tmp_path):
    """Two different sites under one id are a mistake of the recorder, not a trace."""
    with TraceWriter(tmp_path / "t.h5") as writer:
        writer.header(HEADER)
        site = Site(0, "input", "data", "", attrs={"x": float("nan")})
        writer.step(StepInfo(0), [Record(site, np.zeros(1)), Record(replace(site), np.zeros(1))])
        with pytest.raises(ValueError, match="site 0"):
            writer.step(StepInfo(1), [Record(replace(site, op="Relu"), np.zeros(1))])
        writer.step(StepInfo(1), [Record(site, np.zeros(1))])
    with open_trace(tmp_path / "t.h5") as trace:
        assert trace.steps == 2
