"""Ops that only our taps keep running: TensorFlow leaves them out of the function they were traced in."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tfdiff.recorder.graphs import Program
from tfdiff.recorder.idle import mark_idle
from tfdiff.recorder.items import GraphAlias, GraphApply, GraphOp
from tfdiff.recorder.stream import Code, GradientBegin, GradientEnd, Slices
from tfdiff.trace.reader import open_trace

if TYPE_CHECKING:
    from pathlib import Path

CODE = Code(called="a.py:1")
RECURRENT = """\
import keras
import numpy as np

model = keras.Sequential([keras.layers.Input((5, 3)), keras.layers.LSTM(4), keras.layers.Dense(1)])
model.compile("sgd", "mse")
for _ in range(3):
    model.train_on_batch(np.ones((6, 5, 3), "float32"), np.ones((6, 1), "float32"))
"""
SPARSE = """\
import keras
import numpy as np

model = keras.Sequential([keras.layers.Embedding(9, 4), keras.layers.GlobalAveragePooling1D(), keras.layers.Dense(1)])
model.compile(keras.optimizers.Adagrad(0.1), "mse")
model.fit(np.arange(24).reshape(8, 3) % 9, np.ones((8, 1)), batch_size=4, verbose=0)
"""


def op(kind: str, inputs=(), outputs=(), **more) -> GraphOp:
    """An op of a graph."""
    return GraphOp(kind, CODE, list(inputs), list(outputs), [None] * len(outputs), [None] * len(outputs), **more)


def idle(*items, outputs=()) -> list[str]:
    """The types of the ops that are marked."""
    program = Program(None, list(items))
    mark_idle(program, outputs)
    return [item.type for item in items if isinstance(item, GraphOp) and item.idle]


def test_what_an_output_is_computed_from():
    """Only what leads to an output is needed, also through an op that hands its input on."""
    assert idle(op("A", [], [1]), op("B", [1], [2]), GraphAlias(3, 2), op("C", [1], [4]), outputs=[3]) == ["C"]


def test_writes_prints_and_host_functions():
    """What is written into a variable, printed or handed to the host is needed without an output."""
    write = op("AssignVariableOp", [9, 1], [], after_tags={9: None})
    assert idle(op("A", [], [1]), write) == []
    assert idle(op("A", [], [1]), op("PrintV2", [1])) == []
    assert idle(op("A", [], [1]), op("EagerPyFunc", [1], [2])) == []
    assert idle(op("A", [], [1])) == ["A"]


def test_what_a_gradient_is_asked_of():
    """The loss of a gradient call and what an optimizer is handed are needed, dense or sparse."""
    assert idle(op("Loss", [], [1]), GradientBegin([1], CODE)) == []
    assert idle(op("A", [], [1]), op("B", [], [2]), GradientEnd([(9, Slices(1, 2))], [])) == []
    assert idle(op("A", [], [1]), GraphApply({}, [(1, 9)], None, None)) == []


def test_no_evaluation_of_the_programs_own(tfdiff, tmp_path: Path):
    """Keras traces a recurrent cell once only for the shape of its output: that is no evaluation pass."""
    (tmp_path / "a.py").write_text(RECURRENT)
    assert tfdiff("record", "-o", "a.h5", "a.py").code == 0
    with open_trace(tmp_path / "a.h5") as trace:
        assert (trace.steps, trace.evals) == (3, 0)


def test_cast_behind_a_traced_branch(tfdiff, tmp_path: Path):
    """TensorFlow adds a cast to a branch that it has traced already, for sparse gradients: the script runs all the
    same, and both runs of it agree.
    """
    (tmp_path / "a.py").write_text(SPARSE)
    assert tfdiff("record", "-o", "a.h5", "a.py").code == 0
    assert tfdiff("record", "-o", "b.h5", "--reference", "a.h5", "a.py").code == 0
    answer = json.loads(tfdiff("diff", "a.h5", "b.h5", "--json", "-").out)
    assert (answer["verdict"], answer["steps"]["compared"]) == ("equivalent", 2), answer["first"]
