"""Evaluation passes of two hand-made traces: which pairs, what is judged, what is only said."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tfdiff.causes.engine import explain_finding
from tfdiff.comparison.compare import compare
from tfdiff.comparison.eval_formulas import FORMULAS
from tfdiff.comparison.eval_metrics import Measured, same_number
from tfdiff.model import End, EvalInfo, Header, StepInfo, Variable
from tfdiff.trace.reader import open_trace
from tfdiff.trace.writer import TraceWriter

from .recorder import Recorder

if TYPE_CHECKING:
    from pathlib import Path

    from tfdiff.model import Result

W = np.random.default_rng(1).normal(size=(6, 3)).astype(np.float32)
X = np.random.default_rng(2).normal(size=(40, 6)).astype(np.float32)
LABELS = np.random.default_rng(3).integers(0, 3, 40)


@dataclass(frozen=True)
class Pass:
    """What one side's evaluation does."""

    batch: int = 10
    scale: float = 1.0
    rate: float = 0.0
    """Of a dropout in front of the weight."""
    power: float = 1.0
    """The output is taken to this power: a difference without a name."""
    top: int = 1
    """The class counts as right among so many."""
    rows: int = 40
    weight: float = 1.0
    """Factor on the weight: another one than training left."""
    named: str = ""
    """Name under which an API returned the accuracy."""
    other: bool = False
    """Over other rows."""
    inside: float = 1.0
    """Factor on the inputs inside the pass."""
    rest: float = 0.0
    """Added to the outputs behind the first batch."""


class Side:
    """One trace: a training step, and passes behind it."""

    def __init__(self, path: Path, script: str) -> None:
        self.recorder = Recorder(script, "raw")
        self.path, self.script = path, script

    def write(self, passes: tuple[Pass, ...], after: int = 1) -> Path:
        """Write it all."""
        with TraceWriter(self.path, force=True) as writer:
            writer.header(Header(self.script, (), {"tfdiff": "0"}, {"steps": 1}))
            writer.variables([Variable(0, "w", W.shape, "float32", trainable=True, kind="weight")])
            r = self.recorder
            r.begin()
            r.put("weight", "init", "", W, variable=0)
            writer.initial(r.records)
            r.begin()
            self._train()
            writer.step(StepInfo(0), r.records)
            for number, each in enumerate(passes):
                r.begin()
                info = self._evaluate(number, after, each)
                writer.evaluation(info, r.records)
            writer.end(End(True, "script ended"))
        return self.path

    def _train(self) -> None:
        r = self.recorder
        x = r.put("input", "forward", "Leaf", X[:8])
        w = r.put("weight", "forward", "ReadVariableOp", W, variable=0)
        out = r.op("first", "MatMul", X[:8] @ W, x, w)
        loss = r.op("loss", "Mean", np.array((X[:8] @ W).mean()), out)
        r.put("loss", "loss", "Mean", r.values[loss], (loss,))
        gradient = np.repeat(X[:8].mean(0)[:, None] / 3, 3, axis=1).astype(np.float32)
        r.put("weight gradient", "backward", "MatMul", gradient, variable=0)
        r.put("weight", "update", "", W, variable=0)

    def _evaluate(self, number: int, after: int, each: Pass) -> EvalInfo:
        r, n = self.recorder, each.batch
        x = (X[::-1] * 3 + 1 if each.other else X)[: each.rows] * each.scale
        first = r.put("input", "forward", "Leaf", x[:n], api="tf.constant")
        w = r.put("weight", "forward", "ReadVariableOp", W * each.weight, variable=0)
        h, hidden = first, x * each.inside
        if each.inside != 1.0:
            h = r.op("first", "Mul", hidden[:n], first)
        if each.rate:
            draw = np.random.default_rng(9).uniform(size=x.shape).astype(np.float32)
            hidden = np.where(draw >= each.rate, x / (1 - each.rate), 0)
            u = r.put("noise", "forward", "RandomUniform", draw[:n], api="tf.nn.dropout")
            h = r.op("drop", "SelectV2", hidden[:n], u, first)
        out = np.sign(hidden @ (W * each.weight)) * np.abs(hidden @ (W * each.weight)) ** each.power
        out[n:] += each.rest
        logits = r.op("first", "MatMul", out[:n], h, w)
        labels = r.put("input", "forward", "Leaf", LABELS[:n], api="labels")
        right = (np.argsort(-out, axis=1)[:, : each.top] == LABELS[: each.rows, None]).any(1)
        equal = r.put("activation", "forward", "Equal", right[:n], (logits, labels))
        mean = r.op("loss", "Mean", np.array(right[:n].mean()), equal)
        r.put("input", "eval", "Leaf", x, of=first)
        r.put("input", "eval", "Leaf", LABELS[: each.rows], of=labels, api="labels")
        r.put("activation", "eval", "MatMul", out, of=logits)
        means = [right[start : start + n].mean() for start in range(0, each.rows, n)]
        r.put("activation", "eval", "Mean", np.array(means), of=mean)
        metrics = {each.named: float(right.mean())} if each.named else {}
        return EvalInfo(number, "forward", after, len(means), each.rows, n, (logits,), metrics)


@pytest.fixture
def judge(tmp_path):
    """Compare a pass of a with passes of b."""

    def run(*b: Pass, a: tuple[Pass, ...] = (Pass(),), after: int = 1) -> Result:
        Side(tmp_path / "a.h5", "a.py").write(a)
        Side(tmp_path / "b.h5", "b.py").write(b, after)
        with open_trace(tmp_path / "a.h5") as one, open_trace(tmp_path / "b.h5") as other:
            return compare(one, other, explain=explain_finding)

    return run


def told(result: Result) -> tuple[Any, ...]:
    """Verdict, phase, and the codes of the causes."""
    return result.verdict, result.first and result.first.phase, [cause.code for cause in result.causes]


def test_equal_passes_are_compared(judge):
    """The same evaluation on both sides is counted and shown as a row of its phase."""
    result = judge(Pass())
    assert told(result) == ("equivalent", None, [])
    assert result.evaluations == {"a": 1, "b": 1, "compared": 1}
    assert [(row.phase, row.cells[0].status) for row in result.rows if row.phase == "eval"] == [("eval", "equal")]


def test_larger_batches(judge):
    """Rows are compared in order, whatever the size of the batches."""
    assert told(judge(Pass(batch=40))) == ("equivalent", None, [])
    assert judge(Pass(batch=40)).evaluations["compared"] == 1


@pytest.mark.parametrize("batch", [10, 40])
def test_dropout_at_evaluation(judge, batch):
    """Dropout that is on at test time is found at the dropout, in larger batches too."""
    result = judge(Pass(rate=0.5, batch=batch))
    assert told(result) == ("diverged", "eval", ["eval-mode"])
    assert result.first.b.site == "tf.selectv2"
    assert result.causes[0].constants == {"a": False, "b": True}


def test_scaled_test_data(judge):
    """Test inputs that are scaled otherwise are a finding of the evaluation's data."""
    result = judge(Pass(scale=255.0))
    assert told(result) == ("diverged", "eval", ["eval-data"])
    assert result.causes[0].constants["b"] == pytest.approx(255.0, rel=1e-4)


def test_scaled_inside(judge):
    """A side that scales inside the pass what the other scaled before evaluates the same."""
    result = judge(Pass(scale=256.0, inside=1 / 256))
    assert told(result) == ("equivalent", None, [])
    assert result.evaluations["compared"] == 1


@pytest.mark.parametrize("named", ["accuracy", ""])
def test_other_metric(judge, named):
    """Equal outputs and another accuracy: each number is explained by its formula."""
    result = judge(Pass(top=2), a=(Pass(named=named),))
    assert told(result) == ("diverged", "eval", ["eval-metric"])
    assert result.causes[0].constants == {"a": "argmax equals the class", "b": "class among the top 2"}


@pytest.mark.parametrize(
    ("values", "same"),
    [((0.5, 0.51), True), ((0.5, 50.0), True), ((0.5, 0.0), False), ((0.0, 0.5), False), ((50.0, 0.0), False)],
)
def test_accuracies_in_percent(values, same):
    """An accuracy in percent is the same one; none at all is no percent of a share."""
    a, b = (Measured("accuracy", "accuracy", value) for value in values)
    assert same_number(a, b, 70) == same


@pytest.mark.parametrize(("rows", "said"), [(40, True), (32, False)])
def test_a_smaller_last_batch_is_told(judge, rows, said):
    """Where the mean of the batches is not that of the rows a note says so: what Python makes of them is not seen."""
    result = judge(Pass(batch=16, rows=rows), a=(Pass(named="accuracy", rows=rows),))
    assert told(result) == ("equivalent", None, [])
    assert any("the last is smaller" in note for note in result.notes) == said


@pytest.mark.parametrize("limit", [0.2, 0.5, 0.7])
def test_thresholds(limit):
    """Which threshold an accuracy of one output was taken with."""
    p, t = np.random.default_rng(0).uniform(size=(400, 1)), np.random.default_rng(1).integers(0, 2, 400)
    value = ((p[:, 0] > limit) == (t > 0)).mean()
    assert abs(FORMULAS["accuracy"][f"output > {limit}"](p, t) - value) < 1e-9


def test_unknown_difference(judge):
    """Outputs that differ without a known cause are found at their op."""
    result = judge(Pass(power=1.1))
    assert told(result) == ("diverged", "eval", ["unexplained"])
    assert result.first.b.op == "MatMul"


def test_later_rows(judge):
    """Outputs that part behind the first batch are found though that agrees."""
    result = judge(Pass(rest=0.5, top=3), a=(Pass(top=3),))
    assert result.first.phase == "eval"
    assert "the first batch agrees" in result.first.summary


def test_other_weights_are_carried(judge):
    """A pass whose weights differ already says nothing new."""
    result = judge(Pass(weight=1.5))
    assert told(result) == ("equivalent", None, [])
    assert result.evaluations["compared"] == 0
    assert any("weights that differed already" in note for note in result.notes)


def test_unshared_noise_is_not_judged(judge):
    """Noise at evaluation is not shared: where both sides draw, nothing is said of the outputs."""
    result = judge(Pass(rate=0.5), a=(Pass(rate=0.5),))
    assert told(result) == ("equivalent", None, [])
    assert any("drew random numbers on both sides" in note for note in result.notes)


@pytest.mark.parametrize(("b", "after"), [((Pass(other=True),), 1), ((Pass(),), 0), ((), 1)])
def test_without_counterpart(judge, b, after):
    """Other rows, another moment or no evaluation at all are no difference; the notes say so."""
    result = judge(*b, after=after)
    assert told(result) == ("equivalent", None, [])
    assert result.evaluations["compared"] == 0
    assert any("no counterpart" in note for note in result.notes)


def test_several_passes_find_their_own(judge):
    """Passes pair by their rows, not by their place."""
    result = judge(Pass(other=True), Pass(), a=(Pass(), Pass(other=True)))
    assert told(result) == ("equivalent", None, [])
    assert result.evaluations == {"a": 2, "b": 2, "compared": 2}
