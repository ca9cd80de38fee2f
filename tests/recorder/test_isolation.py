"""The isolated pass of b: own values at the joints, a's behind them; a's gradients and a's weights in every step."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tfdiff.pairing.pairs import convert, pair_from_json
from tfdiff.pairing.values import Values
from tfdiff.recorder.isolation import key_of
from tfdiff.trace.reader import open_trace

from .conftest import HERE, ROOT, Zygote

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tfdiff.model import Observation
    from tfdiff.orders import Joint
    from tfdiff.pairing.pairs import VariablePair
    from tfdiff.trace.block import Block
    from tfdiff.trace.reader import Trace

STYLES = ROOT / "tests" / "contract" / "styles"
SCRIPT = HERE / "scripts" / "isolated.py"
RELU = ("Relu", "Relu")
CLOSE = {"rtol": 2e-5, "atol": 1e-6}
"""Rounding of a segment whose inputs are a's to the last bit."""


@dataclass
class Pair:
    """An isolated run of b, against a."""

    a: Trace
    b: Trace

    @property
    def pairs(self) -> list[VariablePair]:
        """Variables of a and b."""
        return [pair_from_json(entry) for entry in self.b.header.variable_pairs]

    @property
    def steps(self) -> Iterator[tuple[int, Block, Block]]:
        """Number of each isolated step, with a's block and b's."""
        for step in range(self.b.isolated_steps):
            yield step, self.a.step(step), self.b.isolated(step)

    def joints(self, a: Block, b: Block) -> Iterator[tuple[Observation, Observation, Observation]]:
        """At each joint a's tensor, b's own and what went on in its place."""
        known = {joint.b: joint for joint in self.b.isolation.joints}
        for seen in b.observations:
            if seen.site.role == "forced":
                own = b.observations[seen.inputs[0]]
                yield self._of(known[key_of(own.site)], a), own, seen

    @staticmethod
    def _of(joint: Joint, a: Block) -> Observation:
        return next(seen for seen in a.observations if seen.site.id == joint.a)


class Isolating:
    """Records pairs with joints at the outputs of ops."""

    def __init__(self, zygote: Zygote, folder: Path) -> None:
        self._zygote, self._folder = zygote, folder
        self._open: list[Trace] = []

    def run(self, *arguments: object) -> str:
        """Record; what was said on stderr."""
        return self.run_in(self._folder, *arguments)

    def run_in(self, folder: Path, *arguments: object) -> str:
        """Record in a folder; what was said on stderr."""
        ran = self._zygote.run("record", "--force", *arguments, cwd=folder)
        assert ran.code == 0, ran.err
        return ran.err

    def __call__(self, a: tuple[object, ...], b: tuple[object, ...], *joints: tuple[str, str], steps: int = 3) -> Pair:
        """The pair of two scripts with their arguments; `joints` are pairs of ops, a's and b's."""
        (self._folder / "joints.json").write_text(json.dumps(joints))
        options = ("--quiet", "--steps", steps, "-o")
        if not self.path("a", a).exists():
            self.run(*options, self.path("a", a), *a)
        self.run(*options, "b.h5", "--reference", self.path("a", a), *b)
        return self.opened(self.path("a", a))

    def opened(self, a: Path) -> Pair:
        """The last b beside its reference."""
        pair = Pair(open_trace(a), open_trace(self._folder / "b.h5"))
        self._open += [pair.a, pair.b]
        return pair

    def path(self, side: str, arguments: tuple[object, ...]) -> Path:
        """Where the trace of a script with these arguments lies."""
        name = "-".join(str(argument).rpartition("/")[2] for argument in arguments)
        return self._folder / f"{side}-{name}.h5"

    def close(self) -> None:
        """Close all traces."""
        for trace in self._open:
            trace.close()


@pytest.fixture(scope="module")
def _process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Zygote, Path]]:
    folder = tmp_path_factory.mktemp("isolating")
    started = Zygote(folder, "isolating.py")
    yield started, folder
    started.close()


@pytest.fixture
def isolating(_process: tuple[Zygote, Path]) -> Iterator[Isolating]:
    """Records isolated pairs."""
    made = Isolating(*_process)
    yield made
    made.close()


def style(name: str, *faults: str) -> tuple[object, ...]:
    """A script of the contract's."""
    return (STYLES / f"{name}.py", *faults)


def of(block: Block, role: str) -> dict[int, np.ndarray]:
    """Values of a role by variable."""
    found = {s.site.variable: s.index for s in block.observations if s.site.role == role and s.stored}
    return {variable: block.array(index) for variable, index in found.items()}


def first_reads(block: Block) -> dict[int, np.ndarray]:
    """What the forward pass reads of weights."""
    seen = [s for s in block.observations if s.site.role == "weight" and s.site.op and s.site.phase == "forward"]
    return {s.site.variable: block.array(s.index) for s in reversed(seen)}


def check(pair: Pair, *, handed: bool = True) -> None:
    """What holds of every isolated pass, whatever the fault."""
    done = pair.b.isolation
    assert done.missed == ()
    assert done.lockstep
    values = Values(pair.a)
    for step, a, b in pair.steps:
        assert len(list(pair.joints(a, b))) == len(done.joints)
        for theirs, own, onward in pair.joints(a, b):
            assert own.site.role == "activation"
            assert own.stored
            assert (onward.site.op, onward.shape, onward.site.called) == ("Forced", own.shape, own.site.called)
            assert np.array_equal(b.array(onward.index), a.array(theirs.index).reshape(own.shape))
            consumers = [s for s in b.observations if onward.index in s.inputs and s.site.phase == "forward"]
            assert consumers
            others = [s for s in b.observations if own.index in s.inputs and s.site.phase in ("forward", "loss")]
            assert others == [onward]
            assert len([s for s in b.observations if s.of == onward.index]) == 1
            assert not [s for s in b.observations if s.of == own.index]
        gradients, applied = of(a, "weight gradient"), of(b, "applied gradient")
        for match in pair.pairs:
            if pair.b.variables[match.b].kind != "weight":
                continue
            began = convert(values.after(match.a, step - 1), match)
            assert np.array_equal(first_reads(b)[match.b], began)
            if handed and match.b in applied:
                assert np.array_equal(applied[match.b], convert(gradients[match.a], match))


BEHIND = (
    "keras_sequential",
    "keras_own_step",
    "keras_eager",
    "raw_eager",
    "raw_function",
    "module",
    "v1_session",
    "v1_layers",
    "v1_cond",
)


@pytest.mark.parametrize("name", BEHIND)
def test_behind_a_joint(isolating, name):
    """In front of the fault everything of b's own is a's, also the gradients: what is handed back at the joint is a's
    gradient; behind it b's own gradients show the fault.
    """
    pair = isolating(style("keras_train_on_batch"), style(name, "rate"), RELU)
    check(pair)
    for _, a, b in pair.steps:
        ((theirs, own, onward),) = pair.joints(a, b)
        assert np.allclose(b.array(own.index), a.array(theirs.index), **CLOSE)
        handed_back = next(s for s in b.observations if s.of == onward.index)
        wanted = next(s for s in a.observations if s.of == theirs.index)
        assert not np.allclose(b.array(handed_back.index), a.array(wanted.index), rtol=0.1)
        gradients, theirs_too = of(b, "weight gradient"), of(a, "weight gradient")
        equal = {
            match.b: np.allclose(gradients[match.b], convert(theirs_too[match.a], match), **CLOSE)
            for match in pair.pairs
            if match.b in gradients
        }
        first = first_kernel(b)
        assert equal[first]
        assert not all(equal.values())


def first_kernel(block: Block) -> int:
    """The variable that the first product takes."""
    product = next(s for s in block.observations if s.site.op == "MatMul")
    for index in product.inputs:
        while block.observations[index].site.variable is None and block.observations[index].inputs:
            index = block.observations[index].inputs[0]  # noqa: PLW2901 - a transposed weight
        if block.observations[index].site.variable is not None:
            return block.observations[index].site.variable
    raise AssertionError


NAMES = (
    "siamese",
    "siamese-function",
    "siamese-inside",
    "images",
    "words",
    "words-function",
    "twice",
    "accumulated",
    "accumulated-function",
)


@pytest.mark.parametrize("name", NAMES)
def test_awkward_networks(isolating, name):
    """Lines that run twice, several outputs, sparse gradients, several gradient calls: b's own tensor at the joint has
    the fault in it, what comes behind it is a's again, and so are the gradients of what comes behind it.
    """
    pair = isolating((SCRIPT, name), (SCRIPT, name, "fault"), ("Mul", "Mul"))
    check(pair)
    for _, a, b in pair.steps:
        for theirs, own, _ in pair.joints(a, b):
            assert np.allclose(b.array(own.index), 1.5 * a.array(theirs.index), **CLOSE)
        assert np.allclose(loss(a), loss(b), **CLOSE)
        gradients, theirs_too = of(b, "weight gradient"), of(a, "weight gradient")
        far = {m.b for m in pair.pairs if not np.allclose(gradients[m.b], theirs_too[m.a], rtol=1e-4, atol=1e-5)}
        assert far == {0}
        assert np.allclose(gradients[0], 1.5 * theirs_too[0], rtol=1e-4, atol=1e-5)


def loss(block: Block) -> np.ndarray:
    """What is minimized."""
    return next(block.array(s.index) for s in block.observations if s.site.role == "loss")


def test_two_networks_in_one_call(isolating):
    """Of two gradient calls in one function both get a's gradients; both begin with a's weights."""
    pair = isolating((SCRIPT, "adversaries"), (SCRIPT, "adversaries", "fault"), RELU, steps=6)
    check(pair, handed=False)
    assert pair.b.isolated_steps == 6
    for step, a, b in pair.steps:
        assert np.allclose(loss(a), loss(b), **CLOSE)
        if step % 2:
            changed = [s for s in b.observations if s.site.role == "weight" and not s.site.op]
            assert changed
            for seen in changed:
                assert np.array_equal(b.array(seen.index), pair.a.value_after(seen.site.variable, step))


@pytest.mark.parametrize(("a", "b"), [("plain", "scaled"), ("scaled", "plain")])
def test_scaled_losses_keep_their_gradients(isolating, a, b):
    """Where one side scales its loss, a gradient of a's is not b's: b goes on with its own, and that is said."""
    pair = isolating((SCRIPT, a), (SCRIPT, b, "fault"), RELU)
    check(pair, handed=False)
    (left,) = pair.b.isolation.left
    assert left["what"] == "gradients"
    assert "scaled" in left["why"]
    for _, _, block in pair.steps:
        assert not [s for s in block.observations if s.site.op == "Forced" and s.site.phase != "forward"]


def test_a_later_fault_is_told_from_what_it_carries(isolating):
    """Each step begins with a's weights, statistics and momenta: what step k changes hangs on no earlier fault."""
    pair = isolating(style("keras_train_on_batch"), style("raw_eager", "learning-rate"), RELU)
    check(pair)
    far = 0
    for step, _, b in pair.steps:
        for match in pair.pairs:
            before, free = (
                convert(pair.a.value_after(match.a, step - 1), match),
                pair.b.value_after(match.b, step - 1),
            )
            far += not np.allclose(before, free, **CLOSE)
        ours = {s.site.variable: b.array(s.index) for s in b.observations if s.site.role == "state" and not s.site.op}
        for match in pair.pairs:
            if match.b in ours:
                assert np.allclose(ours[match.b], convert(pair.a.value_after(match.a, step), match), **CLOSE)
    assert far > 4


def test_slots_begin_with_the_reference_s(isolating):
    """Momenta are a's from the second step on, up to the factor between them."""
    pair = isolating(style("keras_train_on_batch"), style("raw_eager", "learning-rate"), RELU)
    slots = {v.index for v in pair.b.variables.values() if v.kind == "slot"}
    assert len(slots) == 6
    assert pair.b.isolation.left == ()
    reads = [s for s in pair.b.isolated(2).observations if s.site.role == "slot" and s.site.op == "ReadVariableOp"]
    begun = {s.site.variable: pair.b.isolated(2).array(s.index) for s in reversed(reads)}
    known = [pair.a.value_after(v.index, 1) for v in pair.a.variables.values() if v.kind == "slot"]
    for slot in slots:
        ratios = [begun[slot] / value for value in known if value.shape == begun[slot].shape]
        assert any(np.allclose(ratio, ratio.flat[0], rtol=1e-3) for ratio in ratios)


def test_the_free_run_stays_as_it_was(isolating, tmp_path):
    """Nothing of the isolated pass is in the free steps: they are those of a run without one."""
    pair = isolating(style("keras_train_on_batch"), style("raw_eager", "rate"), RELU)
    shutil.copyfile(pair.b.path, tmp_path / "with.h5")
    isolating.run("-o", "b.h5", "--no-isolate", "--steps", 3, "--reference", pair.a.path, *style("raw_eager", "rate"))
    with open_trace(pair.b.path) as without, open_trace(tmp_path / "with.h5") as first:
        assert (without.isolated_steps, without.isolation) == (0, None)
        assert first.isolated_steps == first.steps == without.steps == 3
        for step in range(3):
            one, other = first.step(step).observations, without.step(step).observations
            assert one == other
            assert all(s.site.role != "forced" for s in one)


def test_loops_are_refused(isolating):
    """Steps inside one call follow one another without coming back: they are not isolated, and that is said."""
    pair = isolating(style("keras_train_on_batch"), style("function_loop", "rate"), RELU)
    assert pair.b.isolated_steps == 0
    assert pair.b.steps == 3
    assert any("training loop inside the function" in left["what"] for left in pair.b.isolation.left)


THIRD = """
import os, pathlib, sys
import numpy as np
import tensorflow as tf

runs = pathlib.Path("runs.txt")
count = len(runs.read_text()) + 1 if runs.exists() else 1
runs.write_text("x" * count)
w, v = tf.Variable(np.ones((5, 6), "float32")), tf.Variable(np.ones((6, 1), "float32"))
x = np.random.RandomState(0).normal(size=(3, 8, 5)).astype("float32")
for step in range(3):
    if count == 2 and step == {step}:
        {action}
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.nn.relu(x[step] @ w * {factor}) @ v)
    for variable, gradient in zip((w, v), tape.gradient(loss, (w, v))):
        variable.assign_sub(0.1 * gradient)
"""


@pytest.mark.parametrize(
    ("step", "action", "steps", "why"),
    [
        (2, "raise ValueError('the further run')", 2, "script failed with exit code 1"),
        (0, "sys.exit(3)", 0, "script failed with exit code 3"),
        (2, "os._exit(9)", 1, "it was ended by force (exit code 9)"),
        (0, "more = tf.Variable(1.0)", 0, "the script made other variables than in its run before"),
    ],
)
def test_a_pass_that_fails(isolating, tmp_path, step, action, steps, why):
    """The free run stays good; what the pass has is kept, and the trace says why it has no more."""
    runs = tmp_path / "runs.txt"
    for name, factor in (("a", 1.0), ("b", 1.5)):
        (tmp_path / f"{name}.py").write_text(THIRD.format(step=step, action=action, factor=factor))
    (tmp_path / "joints.json").write_text(json.dumps([RELU]))
    isolating.run_in(tmp_path, "-o", "a.h5", "a.py")
    runs.write_text("")  # a file that was there: the further run finds what the one that counts made of it
    said = isolating.run_in(tmp_path, "-o", "b.h5", "--reference", "a.h5", "b.py")
    assert "tfdiff: a further run of b.py with a's values written over its own, to judge each layer by itself" in said
    assert runs.read_text() == "x"
    with open_trace(tmp_path / "b.h5") as trace:
        assert (trace.steps, trace.isolated_steps, trace.end.complete) == (3, steps, True)
        assert trace.isolation.left[-1] == {"what": "the rest of the isolated pass", "why": why}
        for number in range(steps):
            assert [s for s in trace.isolated(number).observations if s.site.role == "forced"]
    ended = {0: "no isolated pass", 1: "the isolated pass ended after 1 step"}
    assert f"tfdiff: {ended.get(steps, f'the isolated pass ended after {steps} steps')}: {why}\n" in said


def test_lockstep_in_any_case(isolating, tmp_path):
    """--lockstep makes the pass also where nothing is to be written over; --no-isolate leaves the tensors out."""
    for name in ("a", "b"):
        (tmp_path / f"{name}.py").write_text(THIRD.format(step=9, action="pass", factor=1.0))
    isolating.run_in(tmp_path, "-o", "a.h5", "a.py")
    said = isolating.run_in(
        tmp_path, "-o", "b.h5", "--lockstep", "--no-isolate", "--quiet", "--reference", "a.h5", "b.py"
    )
    assert said == ""
    with open_trace(tmp_path / "b.h5") as trace:
        assert (trace.isolated_steps, trace.isolation.joints, trace.isolation.lockstep) == (3, (), True)
