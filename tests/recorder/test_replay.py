"""Executions of graphs, replayed from hand-made programs and the values that left through taps: without TensorFlow."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
import pytest

from tfdiff.recorder.graphs import Programs
from tfdiff.recorder.items import GraphAlias, GraphApply, GraphBackpropagated, GraphCall, GraphOp
from tfdiff.recorder.stream import UNKNOWN, ApplyEvent, Backpropagated, Code, GradientBegin, GradientEnd, OpEvent

CODE = Code(called="a.py:1")


@dataclass(eq=False)
class Graph:
    """A graph: only its inputs and outputs are looked at."""

    inputs: list = field(default_factory=list)
    outputs: list = field(default_factory=list)


def tensors(*ids: int) -> list[SimpleNamespace]:
    """Stand-ins for symbolic tensors."""
    return [SimpleNamespace(_id=i) for i in ids]


def op(kind: str, inputs=(), outputs=(), tags=None, **more) -> GraphOp:
    """An op; each output is tapped under its own id unless `tags` says otherwise."""
    found = list(outputs) if tags is None else tags
    return GraphOp(kind, CODE, list(inputs), list(outputs), found, [None] * len(outputs), **more)


def control(kind: str, inputs, outputs, **attributes: str | list[str]) -> GraphCall:
    """A call of a control flow op, whose attributes name functions."""

    def get_attr(name: str):
        value = attributes[name]
        if isinstance(value, list):
            return [SimpleNamespace(name=n) for n in value]
        return SimpleNamespace(name=value)

    op = SimpleNamespace(type=kind, inputs=tensors(*inputs), outputs=tensors(*outputs), get_attr=get_attr)
    return GraphCall(None, list(inputs), list(outputs), op)


class House:
    """A set of programs, and a replay of one of them."""

    def __init__(self) -> None:
        self.programs = Programs()

    def define(self, name: str, inputs, outputs, *items) -> Graph:
        """A function."""
        graph = Graph(tensors(*inputs), tensors(*outputs))
        self.programs.of(graph).items.extend(items)
        self.programs.name(name, graph)
        return graph

    def run(self, name: str, arguments, **values):
        """Replay with tapped values, `t5=[...]` for tag 5 in order; returns events, outputs, what is left."""
        queues = {int(tag[1:]): deque(np.asarray(v) for v in found) for tag, found in values.items()}
        events = []
        outputs = self.programs.replay(self.programs.get(name), list(arguments), queues, events.append)
        return events, outputs, {tag: list(queue) for tag, queue in queues.items() if queue}


@pytest.fixture
def house() -> House:
    """No functions yet."""
    return House()


def shown(events) -> list[tuple[str, list]]:
    """(op, values) of the op events."""
    return [(e.type, [None if v is None else v.tolist() for v in e.values]) for e in events if isinstance(e, OpEvent)]


def test_straight_line(house):
    """Ops come in the order of the graph, joined by the tokens of this execution; arguments keep the caller's."""
    house.define("f", [1], [3], op("Relu", [1], [2]), op("Mul", [2, 2], [3]))
    events, outputs, left = house.run("f", [900], t2=[5], t3=[25])
    assert shown(events) == [("Relu", [5]), ("Mul", [25])]
    assert events[0].inputs == [900]
    assert events[1].inputs == events[0].outputs * 2
    assert (outputs, left) == (events[1].outputs, {})


def test_executions_have_tokens_of_their_own(house):
    """Running a function twice gives different tensors."""
    house.define("f", [1], [2], op("Relu", [1], [2]))
    first, second = (house.run("f", [900], t2=[5])[0] for _ in range(2))
    assert first[0].outputs != second[0].outputs


def test_aliases_and_captures(house):
    """An identity is its input, and an output that is an argument is the caller's tensor."""
    house.define("f", [1, 2], [4, 2], op("Relu", [1], [3]), GraphAlias(4, 3))
    events, outputs, _ = house.run("f", [900, 901], t3=[5])
    assert outputs == [events[0].outputs[0], 901]


def test_constants_need_no_tap(house):
    """An op whose value is known from tracing is replayed with it."""
    constant = GraphOp("Const", CODE, [], [1], [None], [np.float32(0.5)])
    house.define("f", [], [2], constant, op("Neg", [1], [2]))
    events, _, _ = house.run("f", [], t2=[-0.5])
    assert shown(events) == [("Const", [0.5]), ("Neg", [-0.5])]


def test_op_without_outputs_seen(house):
    """An op that could not be tapped (a string, a resource) still joins what it feeds to what fed it."""
    house.define("f", [1], [3], op("Opaque", [1], [2], tags=[None]), op("Neg", [2], [3]))
    events, _, _ = house.run("f", [900], t3=[1])
    assert shown(events) == [("Opaque", [None]), ("Neg", [1])]
    assert events[1].inputs == events[0].outputs


def test_branch_taken(house):
    """Of a condition only the branch that left values is replayed; its result goes on, without the predicate."""
    house.define("yes", [11], [12], op("Exp", [11], [12]))
    house.define("no", [21], [22], op("Log", [21], [22]))
    branch = control("If", [1, 2], [3], then_branch="yes", else_branch="no")
    house.define("f", [1, 2], [4], branch, op("Neg", [3], [4]))
    taken, _, left = house.run("f", [900, 901], t12=[7], t4=[-7])
    assert shown(taken) == [("Exp", [7]), ("Neg", [-7])]
    assert taken[0].inputs == [901]
    assert taken[1].inputs == taken[0].outputs
    assert left == {}
    other, _, _ = house.run("f", [900, 901], t22=[8], t4=[-8])
    assert shown(other) == [("Log", [8]), ("Neg", [-8])]


def test_branch_that_only_hands_on(house):
    """A branch without an op of its own leaves no values: it ran if the other one, which leaves some, did not."""
    house.define("yes", [11], [11])
    house.define("no", [21], [22], op("Log", [21], [22]))
    branch = control("If", [1, 2], [3], then_branch="yes", else_branch="no")
    house.define("f", [1, 2], [4], branch, op("Neg", [3], [4]))
    taken, _, _ = house.run("f", [900, 901], t4=[-7])
    assert shown(taken) == [("Neg", [-7])]
    assert taken[0].inputs == [901]
    other, _, _ = house.run("f", [900, 901], t22=[8], t4=[-8])
    assert shown(other) == [("Log", [8]), ("Neg", [-8])]


def test_branch_that_is_known_to_be_taken(house):
    """Where the predicate is known, it says which branch ran, also of two that only hand on what they are given."""
    house.define("yes", [11, 12], [11])
    house.define("no", [21, 22], [22])
    branch = control("If", [1, 2, 3], [4], then_branch="yes", else_branch="no")
    names = {2: 902, 3: 903}
    for number, wanted in enumerate([902, 903]):
        house.programs.call(branch, names, {}, [].append, number)
        assert names[4] == wanted
    del names[4]
    house.programs.call(branch, names, {}, [].append)
    assert 4 not in names


def test_case(house):
    """The same with many branches."""
    for n in range(3):
        house.define(f"branch{n}", [10 * n + 11], [10 * n + 12], op(f"Op{n}", [10 * n + 11], [10 * n + 12]))
    case = control("Case", [1, 2], [3], branches=["branch0", "branch1", "branch2"])
    house.define("f", [1, 2], [3], case)
    events, outputs, _ = house.run("f", [900, 901], t32=[1])
    assert shown(events) == [("Op2", [1])]
    assert outputs == events[0].outputs


def test_update_in_a_branch_not_taken(house):
    """Nothing of a branch that was not taken is replayed: no op, no optimizer call."""
    apply = GraphApply({"class": "SGD"}, [(11, 900)], 40, 41)
    house.define(
        "yes", [11], [11], op("Mul", [11], [12]), apply, op("AssignAddVariableOp", [11, 12], [], after_tags={11: 42})
    )
    house.define("no", [21], [22], op("Neg", [21], [22]))
    branch = control("StatelessIf", [1, 2], [3], then_branch="yes", else_branch="no")
    house.define("f", [1, 2], [3], branch)
    events, _, _ = house.run("f", [900, 901], t22=[1])
    assert shown(events) == [("Neg", [1])]
    events, _, left = house.run("f", [900, 901], t12=[1], t40=[0.5], t41=[3], t42=[2])
    assert [type(e).__name__ for e in events] == ["OpEvent", "ApplyEvent", "OpEvent"]
    assert events[1].learning_rate == 0.5
    assert events[2].after == {901: 2}
    assert left == {}


def test_loop(house):
    """A loop's body is replayed once per iteration, each on what the one before left, and the last state goes on."""
    house.define("cond", [51, 52], [53], op("Less", [51], [53]))
    house.define("body", [11, 12], [13, 14], op("AddV2", [11], [13]), op("Mul", [12], [14]))
    loop = control("While", [1, 2], [3, 4], cond="cond", body="body")
    house.define("f", [1, 2], [5], loop, op("Neg", [4], [5]))
    values = {"t53": [True, True, True, False], "t13": [1, 2, 3], "t14": [2, 4, 8], "t5": [-8]}
    events, _, left = house.run("f", [900, 901], **values)
    products = [e for e in events if e.type == "Mul"]
    assert [e.values[0].tolist() for e in products] == [2, 4, 8]
    assert products[0].inputs == [901]
    assert [e.inputs for e in products[1:]] == [e.outputs for e in products[:-1]]
    assert events[-1].type == "Neg"
    assert events[-1].inputs == products[-1].outputs
    assert left == {}


def test_loop_that_never_runs(house):
    """A loop without an iteration hands its arguments on."""
    house.define("cond", [51], [53], op("Less", [51], [53]))
    house.define("body", [11], [13], op("AddV2", [11], [13]))
    loop = control("StatelessWhile", [1], [3], cond="cond", body="body")
    house.define("f", [1], [3], loop)
    _, outputs, left = house.run("f", [900], t53=[False])
    assert outputs == [900]
    assert left == {}


def test_inner_functions(house):
    """A called function is written out where it is called, twice if it is called twice."""
    house.define("inner", [11], [12], op("Relu", [11], [12]))
    first = control("StatefulPartitionedCall", [1], [2], f="inner")
    second = control("PartitionedCall", [2], [3], f="inner")
    house.define("f", [1], [3], first, second)
    events, outputs, _ = house.run("f", [900], t12=[1, 2])
    assert shown(events) == [("Relu", [1]), ("Relu", [2])]
    assert events[1].inputs == events[0].outputs
    assert outputs == events[1].outputs


def test_call_whose_op_gradients_rewrote(house):
    """The op is asked at replay: a gradient gave it more outputs and another function after it was noted."""
    house.define("plain", [11], [12], op("Old", [11], [12]))
    house.define("with more", [21], [22, 23], op("New", [21], [22]), op("Kept", [21], [23]))
    noted = GraphCall("plain", [1], [2], control("StatefulPartitionedCall", [1], [2, 3], f="with more").op)
    house.define("f", [1], [3], noted)
    events, outputs, _ = house.run("f", [900], t22=[1], t23=[2])
    assert shown(events) == [("New", [1]), ("Kept", [2])]
    assert outputs == events[1].outputs


def test_gradients(house):
    """A gradient call inside a function has the tokens of the execution."""
    end = GradientEnd([(70, 4), (71, None)], [(2, 5)])
    house.define(
        "f", [1], [], op("Relu", [1], [2]), GradientBegin([2], CODE), op("ReluGrad", [2], [4]), op("Neg", [4], [5]), end
    )
    events, _, _ = house.run("f", [900], t2=[1], t4=[2], t5=[3])
    begin = next(e for e in events if isinstance(e, GradientBegin))
    done = next(e for e in events if isinstance(e, GradientEnd))
    relu, relu_grad, neg = (e for e in events if isinstance(e, OpEvent))
    assert begin.targets == relu.outputs
    assert done.gradients == [(70, relu_grad.outputs[0]), (71, None)]
    assert done.activations == [(relu.outputs[0], neg.outputs[0])]


def test_gradient_from_a_backward_function(house):
    """A backward function names the activation of the forward execution that it is the gradient of."""
    forward = house.define("forward", [1], [2], op("Relu", [1], [2]))
    house.define("backward", [11], [12], op("ReluGrad", [11], [12]), GraphBackpropagated(forward, 2, 12))
    first, _, _ = house.run("forward", [900], t2=[1])
    events, _, _ = house.run("backward", [901], t12=[5])
    (found,) = [e for e in events if isinstance(e, Backpropagated)]
    assert (found.activation, found.gradient) == (first[0].outputs[0], events[0].outputs[0])


def test_unknown_tokens(house):
    """A gradient target that no op of the execution made is unknown, not another tensor."""
    house.define("f", [1], [], GradientBegin([77], CODE))
    events, _, _ = house.run("f", [900])
    assert events[0].targets == [UNKNOWN]


def test_which_functions_train(house):
    """A function trains if it, or one it calls in a branch or loop, asks for gradients; recursion does not hang."""
    house.define("gradient", [], [], GradientBegin([1], CODE))
    house.define("plain", [], [], op("Relu", [1], [2]))
    house.define("outer", [], [], GraphCall("gradient", [], []))
    house.define("branching", [], [], control("If", [1], [], then_branch="plain", else_branch="outer"))
    house.define("recursive", [], [], GraphCall("recursive", [], []))
    trains = house.programs.trains
    assert [trains(n) for n in ("gradient", "outer", "branching")] == [True, True, True]
    assert [trains(n) for n in ("plain", "recursive", "unknown")] == [False, False, False]


def test_optimizer_without_a_rate(house):
    """An optimizer call is replayed with what it was handed."""
    house.define("f", [1], [], op("Mul", [1], [2]), GraphApply({"class": "Own"}, [(2, 900)], None, None))
    events, _, _ = house.run("f", [901], t2=[3])
    (apply,) = [e for e in events if isinstance(e, ApplyEvent)]
    assert apply.pairs == [(events[0].outputs[0], 900)]
    assert (apply.learning_rate, apply.iterations) == (None, None)
