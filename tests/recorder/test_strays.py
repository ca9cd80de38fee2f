"""Which ops that belong to no step are a forward pass, on hand-made events, without TensorFlow."""

from __future__ import annotations

import weakref

import numpy as np
import pytest

from tfdiff.model import Site
from tfdiff.recorder.batches import Column, row_statistics, shortened
from tfdiff.recorder.steps import StepBuilder
from tfdiff.recorder.stream import Code, EvalBegin, EvalEnd, GradientBegin, GradientEnd, OpEvent, fresh
from tfdiff.recorder.variables import Entry, Variables
from tfdiff.trace.records import Record

CODE = Code(called="a.py:1", source="a.py:1")


class Owner:
    """Stands for a `tf.Variable`."""


class Program:
    """Feeds a builder as the hooks do."""

    def __init__(self) -> None:
        self.variables, self.steps, self.evals = Variables(), [], []
        self.builder = StepBuilder(self.variables, self.steps.append, self.evals.append)
        self.owner = Owner()
        self.w = fresh()
        entry = Entry(0, weakref.ref(self.owner), "w", (3, 2), "float32", True, None, None)
        self.variables.entries.append(entry)
        self.variables._handles[self.w] = entry

    def op(self, kind: str, *inputs: int, value, line: str = "net", **options) -> int:
        """An op with one output outside every tape."""
        out = fresh()
        code = Code(called=line, source=line)
        self.builder.add(OpEvent(kind, code, list(inputs), [out], [np.asarray(value)], taped=False, **options))
        return out

    def forward(self, rows: int = 4, stack: tuple[str, ...] = ("main",)) -> tuple[int, int, int]:
        """A batch, the network's output, and the batch's labels."""
        x = self.op("Leaf", value=np.ones((rows, 3), np.float32))
        w = self.op("ReadVariableOp", self.w, value=np.ones((3, 2), np.float32), stack=stack)
        out = self.op("MatMul", x, w, value=np.full((rows, 2), 3, np.float32))
        return x, out, self.op("Leaf", value=np.zeros(rows, np.int64), attrs={"feed": 0})

    def accuracy(self, out: int, labels: int, rows: int = 4) -> int:
        """A number in which a batch ends."""
        best = self.op("ArgMax", out, value=np.zeros(rows, np.int64))
        equal = self.op(
            "Cast", self.op("Equal", best, labels, value=np.ones(rows, bool)), value=np.ones(rows, np.float32)
        )
        return self.op("Mean", equal, value=np.float32(1))

    def train(self) -> None:
        """A step whose forward pass is the last one."""
        _, out, _ = self.forward()
        loss = self.op("Mean", out, value=np.float32(3))
        self.builder.add(GradientBegin([loss], CODE, [self.w]))
        gradient = self.op("MatMul", out, value=np.ones((3, 2), np.float32))
        self.builder.add(GradientEnd([(self.w, gradient)], []))
        self.builder.add(
            OpEvent(
                "AssignSubVariableOp", CODE, [self.w, gradient], [], [], after={self.w: np.zeros((3, 2), np.float32)}
            )
        )

    def close(self) -> list:
        """The run ends; what was seen of the passes."""
        self.builder.finish()
        self.builder.close()
        return [
            (e.info.kind, e.info.after, e.info.batches, e.info.rows, [e.records[i].site.op for i in e.info.outputs])
            for e in self.evals
        ]


@pytest.fixture
def program():
    """A fresh program."""
    return Program()


def test_pass_between_steps(program):
    """A forward pass between two steps is a pass of its own, with its output and the number it ends in."""
    program.train()
    _, out, labels = program.forward()
    program.accuracy(out, labels)
    program.train()
    assert program.close() == [("forward", 1, 1, 4, ["MatMul"])]
    assert len(program.steps) == 2
    columns = [(r.site.role, r.site.op, r.value.shape) for r in program.evals[0].records if r.site.phase == "eval"]
    assert columns == [
        ("input", "Leaf", (4, 3)),
        ("input", "Leaf", (4,)),
        ("activation", "MatMul", (4, 2)),
        ("activation", "Mean", (1,)),
    ]


def test_a_decision_is_no_output(program):
    """`p > 0.5` as numbers is what a metric makes of the output; what is made of it and the tensor goes on."""
    program.train()
    decisions = np.ones((4, 2), bool)
    for line in ("one", "other"):
        _, out, labels = program.forward(stack=(line,))
        positive = program.op("Cast", program.op("Greater", out, value=decisions), value=np.ones((4, 2), np.float32))
        if line == "other":
            positive = program.op("Mul", out, positive, value=np.full((4, 2), 5, np.float32))
        program.accuracy(positive, labels)
    assert [outputs for *_, outputs in program.close()] == [["MatMul"], ["Mul"]]


def test_batches_of_a_loop_are_one_pass(program):
    """The same lines lead to the batches of one pass, also where a mean is taken over all; others to another."""
    program.train()
    numbers = []
    for rows in (4, 4, 2):
        _, out, labels = program.forward(rows)
        numbers.append(program.accuracy(out, labels, rows))
    program.op("Pack", *numbers, value=np.ones(3, np.float32))
    program.forward(stack=("elsewhere",))
    assert program.close() == [("forward", 1, 3, 10, ["MatMul"]), ("forward", 1, 1, 4, ["MatMul"])]


def test_what_goes_on_from_a_step_is_no_pass(program):
    """The accuracy of a training step hangs on the step's own forward pass."""
    _, out, labels = program.forward()
    loss = program.op("Mean", out, value=np.float32(3))
    program.builder.add(GradientBegin([loss], CODE, [program.w]))
    program.builder.add(GradientEnd([(program.w, program.op("MatMul", out, value=np.ones((3, 2))))], []))
    program.accuracy(out, labels)
    program.train()
    assert program.close() == []


def test_weights_alone_are_no_pass(program):
    """The norm of a weight, or a sum of squares, meets no batch."""
    program.train()
    w = program.op("ReadVariableOp", program.w, value=np.ones((3, 2), np.float32))
    program.op("L2Loss", w, value=np.float32(3))
    assert program.close() == []


def test_told_passes(program):
    """What comes between begin and end is one pass, however many batches a function makes of it, with its metrics."""
    program.train()
    program.builder.add(EvalBegin("evaluate", CODE))
    for _ in range(3):
        program.forward()
        program.builder.flush_eval()
    program.builder.add(EvalEnd(metrics={"loss": 0.5, "name": "x"}))
    assert program.close() == [("evaluate", 1, 3, 12, ["MatMul"])]
    assert program.evals[0].info.metrics == {"loss": 0.5}


def test_told_results(program):
    """Given targets are the results: rows are outputs, single numbers are numbers."""
    program.builder.add(EvalBegin("run", CODE, ("main",)))
    _, out, labels = program.forward()
    mean = program.accuracy(out, labels)
    program.builder.add(EvalEnd([out, mean]))
    assert program.close() == [("run", 0, 1, 4, ["MatMul"])]
    assert program.builder.evals.forwards[0].info.forward_only


def test_training_discards_the_waiting_forward_passes(program):
    """Forward passes are kept as steps only as long as no training step has come."""
    program.forward()
    program.train()
    program.close()
    assert program.builder.evals.forwards is None


def test_large_outputs_keep_their_first_rows(program):
    """Of an output beyond 16 MB only the first rows are held; the pass still knows how many rows there were."""
    x = program.op("Leaf", value=np.ones((2000, 3), np.float32))
    w = program.op("ReadVariableOp", program.w, value=np.ones((3, 2), np.float32), stack=("main",))
    wide = program.op("MatMul", x, w, value=np.ones((2000, 3000), np.float32))
    program.op("Relu", wide, value=np.ones((2000, 2), np.float32))
    assert program.close() == [("forward", 0, 1, 2000, ["Relu"])]
    shapes = {r.site.op: r.value.shape for r in program.evals[0].records if r.site.phase == "forward"}
    assert shapes["MatMul"] == (256, 3000)
    assert shapes["Relu"] == (256, 2)
    assert program.evals[0].records[-1].value.shape == (2000, 2)


def test_a_large_batch_is_cut():
    """Of a first batch beyond 8 MB the first rows are kept, of every tensor as many."""
    sites = [Site(0, "input", "forward", "Leaf"), Site(1, "weight", "forward", "ReadVariableOp", variable=0)]
    records = [
        Record(sites[0], np.zeros((4000, 1000), np.float32)),
        Record(sites[1], np.zeros((1000, 100), np.float32)),
    ]
    cut, rows = shortened(records, 4000, {})
    assert rows == 2097
    assert cut[0].value.shape == (2097, 1000)
    assert (cut[1].value.shape, cut[1].keep) == ((1000, 100), False)


def test_a_large_input_leaves_statistics_of_its_rows():
    """Inputs beyond 4 MB over all batches leave four numbers a row."""
    site = Site(0, "input", "forward", "Leaf")
    column = Column("input", 1, site, 0, site, Site(1, "input", "eval", "RowStatistics"))
    rows = np.random.default_rng(0).normal(size=(600, 1000)).astype(np.float32)
    for _ in range(3):
        column.add(rows)
    record = column.record()
    assert (record.site.op, record.value.shape) == ("RowStatistics", (1800, 4))
    assert np.allclose(record.value[:600], row_statistics(rows))
