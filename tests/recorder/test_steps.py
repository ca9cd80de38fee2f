"""`StepBuilder` on hand-made events: which ops make a step, without TensorFlow."""

from __future__ import annotations

import weakref

import numpy as np
import pytest

from tfdiff.recorder import steps
from tfdiff.recorder.steps import StepBuilder
from tfdiff.recorder.stream import (
    READ_OP,
    ApplyEvent,
    Code,
    GradientBegin,
    GradientEnd,
    OpEvent,
    Slices,
    fresh,
)
from tfdiff.recorder.variables import Entry, Variables

CODE = Code(called="a.py:1", source="a.py:1")


class Owner:
    """What stands for a `tf.Variable` here: the recorder only holds it weakly."""


class Program:
    """Feeds a builder as the hooks do; values are made up, the dataflow is what counts."""

    def __init__(self) -> None:
        self.variables = Variables()
        self.steps = []
        self.builder = StepBuilder(self.variables, self.steps.append)
        self._owners = []

    def variable(self, name: str, shape=(2,), *, trainable: bool = True, dtype: str = "float32") -> int:
        """A variable; its handle's token is what names it."""
        token, owner = fresh(), Owner()
        self._owners.append(owner)
        index = len(self.variables.entries)
        entry = Entry(index, weakref.ref(owner), name, shape, dtype, trainable, None, None)
        self.variables.entries.append(entry)
        self.variables._handles[token] = entry
        return token

    def op(self, kind: str, *inputs: int, value=None, after=None, **options) -> int:
        """An op with one output; an update has `after`, the new value of its first (or of each) variable."""
        outputs = [] if after is not None else [fresh()]
        values = [] if after is not None else [np.zeros(2, "float32") if value is None else np.asarray(value)]
        if after is not None:
            after = after if isinstance(after, dict) else {inputs[0]: after}
        event = OpEvent(kind, options.pop("code", CODE), list(inputs), outputs, values, after=after or {}, **options)
        self.builder.add(event)
        return outputs[0] if outputs else 0

    def leaf(self, shape=(4, 8)) -> int:
        """A batch."""
        return self.op("Leaf", value=np.ones(shape, "float32"))

    def forward(self, *handles: int) -> int:
        """A loss that reads each variable once."""
        value = self.leaf()
        for handle in handles:
            value = self.op("MatMul", value, self.op(READ_OP, handle), boundary=True)
        return self.op("Mean", value, value=np.float32(1.0))

    def gradient(self, loss: int, *handles: int) -> list[int]:
        """A gradient call."""
        self.builder.gradient_begin(GradientBegin([loss], CODE, list(handles)))
        found = [self.op("MatMulGrad", loss) for _ in handles]
        for handle in handles:  # as `Passes.gradient_end` does
            self.variables.mark(handle, "weight")
        self.builder.gradient_end(GradientEnd(list(zip(handles, found, strict=True)), []))
        return found

    def descend(self, handle: int, gradient: int) -> None:
        """w -= rate * g."""
        self.op("AssignSubVariableOp", handle, self.op("Mul", gradient), after=np.ones(2, "float32"))

    def finish(self):
        """The steps, each as (role, phase, op, variable's name)."""
        self.builder.finish()
        return [[self.described(record) for record in step.records] for step in self.steps]

    def described(self, record):
        """One record."""
        variable = record.site.variable
        name = None if variable is None else self.variables.entries[variable].name
        return (record.site.role, record.site.phase, record.site.op, name)


@pytest.fixture
def program() -> Program:
    """A program that has done nothing yet."""
    return Program()


def assigns(step):
    """(phase, variable) of each assign."""
    return [(phase, name) for role, phase, _, name in step if role == "assign"]


def test_one_step(program):
    """Forward, loss, backward and update come in this order, producers before consumers."""
    w = program.variable("w")
    program.descend(w, *program.gradient(program.forward(w), w))
    (step,) = program.finish()
    assert step == [
        ("input", "forward", "Leaf", None),
        ("weight", "forward", READ_OP, "w"),
        ("activation", "forward", "MatMul", None),
        ("activation", "forward", "Mean", None),
        ("loss", "loss", "Mean", None),
        ("operation", "backward", "MatMulGrad", None),
        ("weight gradient", "backward", "MatMulGrad", "w"),
        ("operation", "update", "Mul", None),
        ("assign", "update", "AssignSubVariableOp", "w"),
        ("weight", "update", "", "w"),
    ]
    records = program.steps[0].records
    assert [record.inputs for record in records[:5]] == [(), (), (0, 1), (2,), (3,)]
    assert records[6].inputs == (5,)
    assert program.steps[0].info.applied


def test_a_step_is_complete_when_the_next_forward_pass_has_ended(program):
    """Step k is handed out at gradient call k + 1, with its own update and nothing of the next forward pass."""
    w = program.variable("w")
    for k in range(3):
        loss = program.forward(w)
        assert len(program.steps) == max(0, k - 1)
        gradients = program.gradient(loss, w)
        assert len(program.steps) == k
        program.descend(w, *gradients)
    found = program.finish()
    assert len(found) == 3
    assert found[0] == found[1] == found[2]


def test_equal_places_have_equal_sites(program):
    """The same op of the next step has the same site; a repeat within a step has another occurrence."""
    w = program.variable("w")
    for _ in range(2):
        value = program.leaf()
        for _ in range(2):
            value = program.op("MatMul", value, program.op(READ_OP, w), boundary=True)
        program.descend(w, *program.gradient(value, w))
    program.finish()
    ids = [[record.site.id for record in step.records] for step in program.steps]
    assert ids[0] == ids[1]
    assert len(set(ids[0])) == len(ids[0])
    products = [record.site.occurrence for record in program.steps[0].records if record.site.op == "MatMul"]
    assert products[:2] == [0, 1]


def test_accumulation(program):
    """Micro-batches whose gradients reach only an accumulator are steps; the last one also updates the weights."""
    w, total = program.variable("w"), program.variable("total", trainable=False)
    for k in range(4):
        (gradient,) = program.gradient(program.forward(w), w)
        program.op("AssignAddVariableOp", total, gradient, after=np.ones(2, "float32"))
        if k % 2:
            mean = program.op("RealDiv", program.op(READ_OP, total))
            program.op("AssignSubVariableOp", w, mean, after=np.ones(2, "float32"))
            program.op("AssignVariableOp", total, program.op("Const", value=np.zeros(2)), after=np.zeros(2, "float32"))
    found = program.finish()
    assert len(found) == 4
    assert assigns(found[0]) == [("update", "total")]
    assert assigns(found[1]) == [("update", "total"), ("update", "w"), ("update", "total")]
    assert [step.info.applied for step in program.steps] == [False, True, False, True]
    assert program.variables.by_handle(total).kind == "slot"


def test_two_passes_over_one_forward(program):
    """Two gradient calls on one forward pass (two losses, two optimizers) are two steps, each with its own update."""
    g, d = program.variable("g"), program.variable("d")
    hidden = program.op("MatMul", program.leaf(), program.op(READ_OP, g))
    score = program.op("MatMul", hidden, program.op(READ_OP, d))
    losses = program.op("Mean", score), program.op("Neg", score)
    (of_g,) = program.gradient(losses[0], g)
    (of_d,) = program.gradient(losses[1], d)
    program.descend(g, of_g)
    program.descend(d, of_d)
    first, second = program.finish()
    assert assigns(first) == [("update", "g")]
    assert assigns(second) == [("update", "d")]
    assert {name for role, phase, _, name in second if role == "weight" and phase == "forward"} == {"g", "d"}


def test_two_passes_with_an_update_between(program):
    """The discriminator's pass and update, then the generator's over a new forward pass: two steps of their own."""
    g, d = program.variable("g"), program.variable("d")
    program.descend(d, *program.gradient(program.forward(g, d), d))
    program.descend(g, *program.gradient(program.forward(g, d), g))
    first, second = program.finish()
    assert (assigns(first), assigns(second)) == ([("update", "d")], [("update", "g")])


def test_update_between_two_passes_over_one_forward(program):
    """A persistent tape: first pass, its update, second pass over the same forward, its update."""
    w, v = program.variable("w"), program.variable("v")
    for _ in range(2):
        losses = program.forward(w), program.forward(v)
        program.descend(w, *program.gradient(losses[0], w))
        program.descend(v, *program.gradient(losses[1], v))
    found = program.finish()
    assert [assigns(step) for step in found] == [[("update", "w")], [("update", "v")]] * 2
    assert [step.info.applied for step in program.steps] == [True] * 4


def test_variable_by_variable_is_one_step(program):
    """A persistent tape asked for one variable after the other, each updated at once, makes one step."""
    first, second = program.variable("w"), program.variable("v")
    loss = program.forward(first, second)
    for handle in (first, second):
        (found,) = program.gradient(loss, handle)
        program.op("AssignSubVariableOp", handle, program.op("Mul", found), after=np.ones(2, "float32"))
    program.builder.finish()
    assert program.builder.begun == len(program.steps) == 1
    roles = [record.site.role for record in program.steps[0].records]
    assert roles.count("weight gradient") == roles.count("assign") == 2
    assert {r.site.variable for r in program.steps[0].records if r.site.op == ""} == {0, 1}


def test_two_networks_updated_together(program):
    """Two passes over forward passes of their own, both updates at the end: each step has its own, states included."""
    g, d, mean = program.variable("g"), program.variable("d"), program.variable("mean", trainable=False)
    for _ in range(2):
        (of_g,) = program.gradient(program.forward(g), g)
        loss = program.forward(d)
        program.op("AssignSubVariableOp", mean, program.op("Sum", loss), after=np.ones(2, "float32"))
        (of_d,) = program.gradient(loss, d)
        program.descend(g, of_g)
        program.descend(d, of_d)
    found = program.finish()
    assert [assigns(step) for step in found] == [[("update", "g")], [("state", "mean"), ("update", "d")]] * 2


def test_gradients_added_up_by_the_script(program):
    """Micro-batches whose gradients a Python list adds up: only the last one is followed by the update."""
    w = program.variable("w")
    for _ in range(2):
        (one,) = program.gradient(program.forward(w), w)
        (two,) = program.gradient(program.forward(w), w)
        program.descend(w, program.op("AddN", one, two))
    program.finish()
    assert [step.info.applied for step in program.steps] == [False, True, False, True]


def test_draw_before_the_tape_opens(program):
    """What ran between the last update and the tape belongs to the next step, for each of its gradient calls."""
    g, d = program.variable("g"), program.variable("d")
    for _ in range(3):
        noise = program.op("RandomStandardNormal", value=np.zeros((4, 2)))
        program.builder.finish()  # as the opening of a tape does
        hidden = program.op("MatMul", noise, program.op(READ_OP, g), boundary=True)
        losses = [program.op("Mean", program.op("MatMul", hidden, program.op(READ_OP, d))) for _ in range(2)]
        (of_g,) = program.gradient(losses[0], g)
        (of_d,) = program.gradient(losses[1], d)
        program.descend(g, of_g)
        program.descend(d, of_d)
    found = program.finish()
    assert len(found) == 6
    assert [[role for role, *_ in step].count("noise") for step in found] == [1] * 6


def test_batch_made_once(program):
    """A batch made before the loop is the input of every step."""
    w, x = program.variable("w"), program.leaf()
    for _ in range(5):
        product = program.op("MatMul", x, program.op(READ_OP, w), boundary=True)
        program.descend(w, *program.gradient(program.op("Mean", product), w))
    found = program.finish()
    assert [[role for role, *_ in step].count("input") for step in found] == [1] * 5


def test_second_pass_asks_for_its_own_activations(program):
    """A gradient call is asked for the activations of its own target, also when they ran before another call."""
    w, v = program.variable("w"), program.variable("v")

    class Symbol(float):
        """A value that a tape could be asked for."""

        _id, dtype = 1, np.dtype("float32")

    def branch(handle):
        event = OpEvent("MatMul", CODE, [program.op(READ_OP, handle)], [fresh()], [Symbol()], boundary=True)
        program.builder.add(event)
        return event.outputs[0]

    one, two = branch(w), branch(v)
    assert [token for token, _ in program.builder.activations([one])] == [one]
    program.gradient(one, w)
    assert [token for token, _ in program.builder.activations([two])] == [two]


def test_metrics_are_no_part_of_the_update(program):
    """What a metric counts, and the evaluation it counts, stay out of the step they follow."""
    w, total = program.variable("w"), program.variable("total", trainable=False)
    program.variables.by_handle(total).kind = "metric"
    program.descend(w, *program.gradient(program.forward(w), w))
    program.op("AssignAddVariableOp", total, program.forward(w), after=np.ones(2, "float32"))
    (step,) = program.finish()
    assert len(step) == 10
    assert assigns(step) == [("update", "w")]


def test_moving_statistics(program):
    """A state assigned during the forward pass belongs to that step, in phase state, with what it was computed from."""
    w, mean = program.variable("w"), program.variable("mean", trainable=False)
    for _ in range(2):
        x = program.leaf()
        product = program.op("MatMul", x, program.op(READ_OP, w), boundary=True)
        batch = program.op("Sum", product)
        delta = program.op("Sub", program.op(READ_OP, mean), batch)
        program.op("AssignSubVariableOp", mean, delta, after=np.ones(2, "float32"))
        loss = program.op("Mean", product)
        program.descend(w, *program.gradient(loss, w))
    found = program.finish()
    for step in found:
        assert assigns(step) == [("state", "mean"), ("update", "w")]
        assert ("activation", "state", "Sub", None) in step
        assert ("state", "state", "", "mean") in step
        assert [phase for role, phase, op, _ in step if op == "MatMul"] == ["forward"]
    assert program.variables.by_handle(mean).kind == "state"


def test_evaluation_between_steps(program):
    """A forward pass that leads to no gradient belongs to no step, whatever it computes."""
    w = program.variable("w")
    program.descend(w, *program.gradient(program.forward(w), w))
    program.op("EvalOnly", program.forward(w))
    program.descend(w, *program.gradient(program.forward(w), w))
    program.op("EvalOnly", program.forward(w))
    found = program.finish()
    assert [len(step) for step in found] == [10, 10]
    assert all(op != "EvalOnly" for step in found for _, _, op, _ in step)


def test_side_computations_are_left_out(program):
    """What the loss was not computed from (metrics, prints) is no activation."""
    w = program.variable("w")
    loss = program.forward(w)
    program.op("ArgMax", loss)
    program.descend(w, *program.gradient(loss, w))
    (step,) = program.finish()
    assert all(op != "ArgMax" for _, _, op, _ in step)


def test_forward_pass_that_began_before_the_last_update(program):
    """A tensor computed once and used in a later step (features outside the loop) is still found as its input."""
    w = program.variable("w")
    features = program.op("Relu", program.leaf())
    for _ in range(2):
        product = program.op("MatMul", features, program.op(READ_OP, w), boundary=True)
        program.descend(w, *program.gradient(program.op("Mean", product), w))
    found = program.finish()
    assert [op for role, _, op, _ in found[0] if role == "activation"] == ["Relu", "MatMul", "Mean"]
    assert len(found) == 2


def test_data_prepared_once_is_in_every_step(program):
    """A data set that was scaled before training, and the rows each step cuts out of it, are told for good."""
    w = program.variable("w")
    scaled = program.op("RealDiv", program.leaf((40, 8)), value=np.ones((40, 8), "float32"))
    for _ in range(4):
        rows = program.op("StridedSlice", scaled, program.op("Const", value=[0]), value=np.ones((4, 8), "float32"))
        product = program.op("MatMul", rows, program.op(READ_OP, w), boundary=True)
        program.descend(w, *program.gradient(program.op("Mean", product), w))
    for step in program.finish():
        inputs = [op for role, _, op, _ in step if role == "input"]
        assert inputs == ["StridedSlice"], "the data set itself is no batch"
        assert all(op not in ("Leaf", "RealDiv") for _, _, op, _ in step)


def test_steps_of_a_sequence_are_no_batch(program):
    """What one step cuts into several pieces at one place is a batch of sequences: the whole is the input."""
    w = program.variable("w")
    whole = program.leaf((5, 4, 8))
    value = program.op(READ_OP, w)
    for _ in range(5):
        value = program.op("MatMul", program.op("StridedSlice", whole, value=np.ones((4, 8), "float32")), value)
    program.descend(w, *program.gradient(program.op("Mean", value), w))
    (step,) = program.finish()
    assert [op for role, _, op, _ in step if role == "input"] == ["Leaf"]


def test_aliases_are_one_tensor(program):
    """An identity leaves no trace: its output is its input under another name."""
    w = program.variable("w")
    loss = program.forward(w)
    other, third = fresh(), fresh()
    program.builder.known.alias(other, loss)
    program.builder.known.alias(third, other)
    assert program.builder.known.resolve(third) == loss
    assert program.builder.known.has(third)
    program.descend(w, *program.gradient(third, w))
    (step,) = program.finish()
    assert ("loss", "loss", "Mean", None) in step


def test_sparse_gradient_is_written_densely(program):
    """Rows that occur twice are added up; rows that do not occur are zero."""
    w = program.variable("table", shape=(4, 2))
    rows = program.op("Const", value=np.array([1, 3, 1]))
    loss = program.op("Mean", program.op("ResourceGather", w, rows))
    program.builder.gradient_begin(GradientBegin([loss], CODE))
    values = program.op("Reshape", loss, value=np.array([[1, 2], [3, 4], [10, 20]], "float32"))
    program.builder.gradient_end(GradientEnd([(w, Slices(values, rows))], []))
    program.op("ResourceScatterSub", w, rows, values, after=np.ones((4, 2), "float32"))
    program.builder.finish()
    (dense,) = [r for r in program.steps[0].records if r.site.role == "weight gradient"]
    assert dense.value.tolist() == [[0, 0], [11, 22], [0, 0], [3, 4]]
    (taken,) = [r for r in program.steps[0].records if r.site.role == "assign"]
    assert taken.value.tolist() == dense.value.tolist()


def test_optimizer_calls(program):
    """What an optimizer was handed, its rate and its count are the step's."""
    w = program.variable("w")
    (gradient,) = program.gradient(program.forward(w), w)
    clipped = program.op("Clip", gradient)
    rate, count = np.float32(0.5), np.int64(7)
    program.builder.add(ApplyEvent({"class": "SGD"}, [(clipped, w)], rate, count))
    program.descend(w, clipped)
    (step,) = program.finish()
    (optimizer,) = program.steps[0].info.optimizers
    assert optimizer == {"class": "SGD", "learning_rate": 0.5, "iterations": 7}
    assert ("applied gradient", "update", "Clip", "w") in step


def test_fused_update(program):
    """An op that writes weight and slots at once leaves the value of each; the slots are slots by that."""
    w, m = program.variable("w"), program.variable("m", trainable=False)
    (gradient,) = program.gradient(program.forward(w), w)
    after = {w: np.full(2, 7, "float32"), m: np.full(2, 3, "float32")}
    program.op("ResourceApplyKerasMomentum", w, m, gradient, after=after)
    (step,) = program.finish()
    assert assigns(step) == [("update", "w"), ("update", "m")]
    assert step[-2:] == [("weight", "update", "", "w"), ("slot", "update", "", "m")]
    assert [record.value[0] for record in program.steps[0].records[-4:]] == [7, 3, 7, 3]
    made_by = [record.inputs for record in program.steps[0].records if record.site.role == "assign"]
    assert made_by == [made_by[0]] * 2
    assert len(made_by[0]) == 1, "of the gradient, not of the variables it writes"


def test_fused_update_of_a_metric_is_no_update(program):
    """Whatever op writes it: what a metric counts in belongs to no step."""
    w, total = program.variable("w"), program.variable("total", trainable=False)
    program.variables.mark(total, "metric")
    program.descend(w, *program.gradient(program.forward(w), w))
    program.op("ResourceScatterAdd", total, program.op("Const"), program.op("Ones"), after=np.ones(2, "float32"))
    (step,) = program.finish()
    assert assigns(step) == [("update", "w")]


def test_missing_gradients_are_left_out(program):
    """A variable whose gradient is None has no weight gradient."""
    w, v = program.variable("w"), program.variable("v")
    loss = program.forward(w)
    program.builder.gradient_begin(GradientBegin([loss], CODE))
    gradient = program.op("MatMulGrad", loss)
    program.builder.gradient_end(GradientEnd([(w, gradient), (v, None)], []))
    program.descend(w, gradient)
    (step,) = program.finish()
    assert [name for role, _, _, name in step if role == "weight gradient"] == ["w"]


def test_dropping_a_step_that_never_updated(program):
    """After `drop` the pending gradient call makes no step."""
    w = program.variable("w")
    program.gradient(program.forward(w), w)
    assert program.builder.waiting
    assert not program.builder.updated
    program.builder.drop()
    assert program.finish() == []


def test_updated_says_that_the_update_began(program):
    """`updated` tells a step that only has its gradients from one whose assigns began."""
    w = program.variable("w")
    program.descend(w, *program.gradient(program.forward(w), w))
    assert program.builder.updated


def test_memory_stays_that_of_a_step(program):
    """What no later step can refer to is forgotten."""
    w = program.variable("w")
    sizes = []
    for _ in range(30):
        program.descend(w, *program.gradient(program.forward(w), w))
        sizes.append(len(program.builder.known.makers))
    assert max(sizes[5:]) <= max(sizes[:5])


def test_evaluation_outside_tapes_is_bounded(program, monkeypatch):
    """A long evaluation between steps does not pile up: values outside tapes are dropped beyond the limit."""
    monkeypatch.setattr(steps, "_UNTAPED_LIMIT", 1000)
    monkeypatch.setattr(steps, "_HELD_LIMIT", 1000)
    for _ in range(20):
        program.op("Relu", value=np.zeros(100, "float32"), taped=False)
    kept = sum(value is not None for event in program.builder.segment for value in event.values)
    assert kept < 5
    w = program.variable("w")
    program.descend(w, *program.gradient(program.forward(w), w))
    (step,) = program.finish()
    assert len(step) == 10


def test_strings_and_resources_are_no_tensors(program):
    """Values that are no numbers are passed over."""
    w = program.variable("w")
    text = program.op("StringOp", value=np.array(["a"]))
    loss = program.op("Mean", program.forward(w), text)
    program.descend(w, *program.gradient(loss, w))
    (step,) = program.finish()
    assert all(op != "StringOp" for _, _, op, _ in step)
