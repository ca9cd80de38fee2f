"""One network in every TensorFlow 2 style: what is recorded of it, and that one style agrees with another.

Through the whole path: `tfdiff record`, `tfdiff record --reference`, comparison.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

import tfdiff
from tfdiff.trace.reader import open_trace

if TYPE_CHECKING:
    from collections.abc import Callable

    from tfdiff.model import Observation
    from tfdiff.trace.reader import Block, Trace

SCRIPT = Path(__file__).parent / "scripts" / "styles.py"
LINES = {
    line.rpartition("# mark: ")[2]: f"styles.py:{number}"
    for number, line in enumerate(SCRIPT.read_text().splitlines(), 1)
    if "# mark: " in line
}
FITS = ("fit_sequential", "fit_functional", "fit_subclass", "fit_own_step", "fit_eagerly")
STYLES = (*FITS, "train_on_batch", "keras_eager", "keras_function", "raw_eager", "raw_function", "module")
RAW = ("raw_eager", "raw_function")
"""Styles that have no optimizer object: they write their own momentum."""
NETWORK = {
    "fit_sequential": "sequential",
    "fit_functional": "functional",
    "fit_subclass": "subclass",
    "fit_own_step": "subclass",
    "fit_eagerly": "sequential",
    "train_on_batch": "sequential",
    "keras_eager": "sequential",
    "keras_function": "sequential",
    "raw_eager": "raw",
    "raw_function": "raw",
    "module": "module",
}
STEPS, BATCH, RATE, LR, MOMENTUM = 3, 16, 0.25, 0.1, 0.9
_data = np.random.RandomState(1)
X = _data.normal(size=(STEPS * BATCH, 12)).astype("float32")
Y = _data.randint(0, 4, size=STEPS * BATCH).astype("int64")
SHUFFLED = _data.permutation(len(X))


@pytest.fixture(scope="module")
def record(zygote, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Record a style, with its rows shuffled against a reference if one is named; each recording is made once."""
    folder = tmp_path_factory.mktemp("styles")

    def make(style: str, reference: str | None = "fit_sequential", rate: float = RATE) -> Path:
        against = None if style == reference and rate == RATE else reference
        path = folder / f"{style}-{rate}-{against}.h5"
        if not path.exists():
            options = [] if against is None else ["--reference", make(against, against)]
            shuffle = [] if against is None else ["shuffle"]  # so that equal batches are never a coincidence
            arguments = (SCRIPT, style, rate, STEPS, *shuffle)
            ran = zygote.run("record", "-o", path, "--quiet", *options, *arguments, cwd=folder)
            assert (ran.code, ran.out) == (0, ""), ran.err
        return path

    return make


@pytest.fixture(params=STYLES)
def style(request: pytest.FixtureRequest) -> str:
    """Each style."""
    return request.param


@pytest.fixture
def trace(record, style: str):
    """Its trace."""
    with open_trace(record(style)) as opened:
        yield opened


def of_role(block: Block, role: str, **site: object) -> list[Observation]:
    """The observations of that role whose site has these attributes."""
    return [
        o for o in block.observations if o.site.role == role and all(getattr(o.site, k) == v for k, v in site.items())
    ]


def by_variable(trace: Trace, block: Block, role: str, **site: object) -> dict[tuple[int, ...], np.ndarray]:
    """Arrays by the shape of their variable (all four weights have different ones); the last of each."""
    return {trace.variables[o.site.variable].shape: block.array(o.index) for o in of_role(block, role, **site)}


SHAPES = {(12, 16), (16,), (16, 4), (4,)}


def only(found: list[Observation]) -> Observation:
    """The one there is."""
    assert len(found) == 1, found
    return found[0]


def logits_of(block: Block) -> Observation:
    """The last forward activation that is (16, 4) and float, and not the crossentropy's own."""
    ops = ("BiasAdd", "AddV2")
    return [o for o in of_role(block, "activation") if o.shape == (16, 4) and o.site.op in ops][-1]


def test_recorded_to_its_end(trace):
    """The trace holds each of the steps, knows its script and arguments, and lacks nothing it would have to name."""
    assert trace.steps == STEPS
    assert trace.header.script == "styles.py"
    assert trace.end is not None
    assert (trace.end.complete, trace.end.exit_code) == (True, 0)
    assert (trace.header.not_recorded, trace.header.switched_off) == ((), ())
    assert {"tensorflow", "keras", "python", "numpy", "tfdiff"} <= set(trace.header.versions)


def test_inputs(trace):
    """Each step's batch and labels are recorded as inputs, with the values the script fed."""
    for step in range(STEPS):
        block, rows = trace.step(step), slice(step * BATCH, (step + 1) * BATCH)
        x = only([o for o in of_role(block, "input") if o.shape == (BATCH, 12)])
        y = only([o for o in of_role(block, "input") if o.shape == (BATCH,)])
        assert np.array_equal(block.array(x.index), X[rows])
        assert np.array_equal(block.array(y.index), Y[rows])


def test_noise(trace, style):
    """The one draw of dropout is recorded, and what it drops is what the activation behind it lacks."""
    block = trace.step(1)
    noise = only(of_role(block, "noise"))
    assert (noise.shape, noise.dtype) == ((BATCH, 16), "float32")
    before = block.array(only(of_role(block, "activation", op="Relu")).index)
    behind = [o for o in of_role(block, "activation", op="SelectV2") if o.shape == (BATCH, 16)]
    kept = block.array(noise.index) >= RATE
    expected = np.where(kept, before / (1 - RATE), 0)
    np.testing.assert_allclose(block.array(only(behind).index), expected, rtol=1e-6, err_msg=style)


def test_forward(trace):
    """Weights as read, activations and loss are those of the network, computed here from the recorded inputs."""
    for step in range(STEPS):
        block = trace.step(step)
        read = by_variable(trace, block, "weight", phase="forward")
        assert set(read) == SHAPES
        x = block.array(only([o for o in of_role(block, "input") if o.shape == (BATCH, 12)]).index)
        hidden = np.maximum(x @ read[12, 16] + read[16,], 0)
        relu = block.array(only(of_role(block, "activation", op="Relu")).index)
        np.testing.assert_allclose(relu, hidden, rtol=1e-5, atol=1e-6)
        kept = np.where(block.array(only(of_role(block, "noise")).index) >= RATE, hidden / (1 - RATE), 0)
        logits = kept @ read[16, 4] + read[4,]
        np.testing.assert_allclose(block.array(logits_of(block).index), logits, rtol=1e-4, atol=1e-5)
        loss = block.array(only(of_role(block, "loss")).index)
        assert loss.shape == ()
        np.testing.assert_allclose(loss, crossentropy(logits, step), rtol=1e-5)


def crossentropy(logits: np.ndarray, step: int) -> float:
    """The step's mean loss."""
    labels = Y[step * BATCH : (step + 1) * BATCH]
    return float(np.mean(np.log(np.exp(logits).sum(1)) - logits[np.arange(BATCH), labels]))


def test_dataflow(trace):
    """Producers come before consumers, and from the loss the inputs, the noise and every weight can be reached."""
    block = trace.step(1)
    for o in block.observations:
        assert all(i < o.index for i in o.inputs)
        assert o.of is None or o.of < o.index
    reached, stack = set(), [only(of_role(block, "loss")).index]
    while stack:
        index = stack.pop()
        if index >= 0 and index not in reached:
            reached.add(index)
            stack += block.observations[index].inputs
    roles = [block.observations[i].site.role for i in sorted(reached)]
    assert (roles.count("input"), roles.count("noise")) == (2, 1)
    read = {block.observations[i].site.variable for i in reached if block.observations[i].site.role == "weight"}
    assert {trace.variables[v].shape for v in read} == SHAPES


def test_activation_gradients(trace):
    """The gradient of the logits is softmax minus labels, that of the hidden layer follows from it."""
    for step in range(STEPS):
        block = trace.step(step)
        found = {o.of: block.array(o.index) for o in of_role(block, "activation gradient")}
        last = logits_of(block)
        logits = block.array(last.index)
        expected = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        expected[np.arange(BATCH), Y[step * BATCH : (step + 1) * BATCH]] -= 1
        expected /= BATCH
        np.testing.assert_allclose(found[last.index], expected, rtol=1e-4, atol=1e-6)
        relu = only(of_role(block, "activation", op="Relu"))
        kept = block.array(only(of_role(block, "noise")).index) >= RATE
        read = by_variable(trace, block, "weight", phase="forward")
        back = np.where(kept, expected @ read[16, 4].T / (1 - RATE), 0)
        np.testing.assert_allclose(found[relu.index], back, rtol=1e-4, atol=1e-6)


def test_weight_gradients(trace, style):
    """Each weight's gradient is recorded as the tape gave it and, where there is an optimizer, as that got it."""
    block = trace.step(2)
    gradients = by_variable(trace, block, "weight gradient")
    assert set(gradients) == SHAPES
    found = {o.of: block.array(o.index) for o in of_role(block, "activation gradient")}
    upstream = found[logits_of(block).index]
    np.testing.assert_allclose(gradients[4,], upstream.sum(0), rtol=1e-4, atol=1e-6)
    applied = by_variable(trace, block, "applied gradient")
    assert set(applied) == (set() if style in RAW else SHAPES)
    for shape, value in applied.items():
        assert np.array_equal(value, gradients[shape])


def test_update(trace):
    """Slots and weights after the step follow from those before it, and are what the next step reads."""
    start = trace.initial()
    before = {trace.variables[o.site.variable].shape: start.array(o.index) for o in weights(trace, start)}
    velocity = {shape: np.zeros(shape, "float32") for shape in SHAPES}
    for step in range(STEPS):
        block = trace.step(step)
        read = by_variable(trace, block, "weight", phase="forward")
        gradients = by_variable(trace, block, "weight gradient")
        slots = by_variable(trace, block, "slot", op="", phase="update")
        after = by_variable(trace, block, "weight", op="", phase="update")
        assert set(read) == set(slots) == set(after) == set(before) == SHAPES
        for shape in SHAPES:
            assert np.array_equal(read[shape], before[shape])
            np.testing.assert_allclose(
                slots[shape], MOMENTUM * velocity[shape] - LR * gradients[shape], rtol=1e-5, atol=1e-8
            )
            np.testing.assert_allclose(after[shape], before[shape] + slots[shape], rtol=1e-5, atol=1e-8)
        before, velocity = after, slots


def weights(trace: Trace, block: Block) -> list[Observation]:
    """The initial values of variables that got a gradient."""
    return [o for o in block.observations if trace.variables[o.site.variable].kind == "weight"]


def test_assigns(trace):
    """Every weight and every slot is seen being written, and what was written is named with its variable."""
    block = trace.step(1)
    assigned = [trace.variables[o.site.variable] for o in of_role(block, "assign", phase="update")]
    for kind in ("weight", "slot"):
        assert sorted(v.shape for v in assigned if v.kind == kind) == sorted(SHAPES)


def test_optimizer(trace, style):
    """The learning rate used and the iteration count are known where there is an optimizer."""
    for step in range(STEPS):
        info = trace.step(step).info
        assert info.applied
        if style in RAW:
            assert info.optimizers == ()
            continue
        (optimizer,) = info.optimizers
        assert (optimizer["class"], optimizer["iterations"]) == ("SGD", step)
        assert optimizer["learning_rate"] == pytest.approx(LR)
        assert optimizer["source"] == LINES["keras optimizer"]


def test_source_lines(trace, style):
    """A site names the line that creates its layer, or else the line that runs the op."""
    block, network = trace.step(1), NETWORK[style]
    sites = {
        "hidden": only(of_role(block, "activation", op="Relu")).site,
        "dropout": only(of_role(block, "noise")).site,
        "logits": logits_of(block).site,
    }
    assert {part: site.source for part, site in sites.items()} == {part: LINES[f"{network} {part}"] for part in sites}
    loss = {"raw": "raw loss", "module": "module loss"}.get(network, "keras loss")
    assert only(of_role(block, "loss")).site.source == LINES[loss]
    if network in ("raw", "module"):
        assert sites["dropout"].api == "tf.nn.dropout"
        assert all(o.site.layer is None for o in of_role(block, "activation"))
    else:
        assert [site.layer.rpartition("/")[2] for site in sites.values()] == ["dense", "dropout", "dense_1"]
    if style in ("fit_sequential", "fit_functional", "fit_eagerly"):
        assert {site.called for site in sites.values()} == {LINES["fit"]}
    if style in ("keras_eager", "keras_function"):
        assert {site.called for site in sites.values()} == {LINES["keras forward"]}


def test_boundaries_are_kept(trace):
    """What each layer or API call returns is marked and stored."""
    block = trace.step(0)
    for observation in (only(of_role(block, "activation", op="Relu")), logits_of(block), only(of_role(block, "noise"))):
        assert observation.site.boundary
        assert observation.stored


def test_own_start_is_kept(record, trace, style):
    """What a run had of its own before sharing is in its trace too: initial weights and batches."""
    if style == "fit_sequential":
        assert trace.own_initial().observations == ()
        assert of_role(trace.step(0), "own input") == []
        return
    with open_trace(record("fit_sequential")) as reference:
        start = reference.initial()
        a = {reference.variables[o.site.variable].shape: start.array(o.index) for o in weights(reference, start)}
    b, own = (
        {trace.variables[o.site.variable].shape: block.array(o.index) for o in weights(trace, block)}
        for block in (trace.initial(), trace.own_initial())
    )
    assert set(a) == set(b) == set(own) == SHAPES
    assert all(np.array_equal(a[shape], b[shape]) for shape in SHAPES)
    assert not np.array_equal(b[12, 16], own[12, 16])
    block = trace.step(1)
    batch = {o.shape: block.array(o.index) for o in of_role(block, "own input")}
    assert set(batch) == {(BATCH, 12), (BATCH,)}
    assert np.array_equal(batch[BATCH, 12], X[SHUFFLED][BATCH : 2 * BATCH])
    assert np.array_equal(batch[BATCH,], Y[SHUFFLED][BATCH : 2 * BATCH])


@pytest.mark.parametrize("b", STYLES[1:])
def test_equivalent_to_fit(record, b):
    """Every style is equivalent to `fit` of the sequential model: everything shared, nothing found."""
    assert_equivalent(tfdiff.diff(record("fit_sequential"), record(b)))


@pytest.mark.parametrize(
    ("a", "b"), [("raw_eager", "fit_sequential"), ("module", "raw_function"), ("keras_function", "raw_eager")]
)
def test_equivalent_the_other_way(record, a, b):
    """Any style can be the reference."""
    assert_equivalent(tfdiff.diff(record(a, a), record(b, a)))


def assert_equivalent(result) -> None:
    """All shared, all compared, nothing found."""
    assert (result.verdict, result.first, result.own, result.divergences) == ("equivalent", None, (), ())
    assert result.compared == STEPS
    expected = {"weights": {"shared": 4, "a": 4, "b": 4}, "batches": True, "noise": True}
    assert {part: result.shared[part] for part in expected} == expected
    assert result.not_shared == ()
    equal = [row for row in result.rows if row.evidence and all(cell.status == "equal" for cell in row.cells)]
    assert {"data", "forward", "loss", "backward", "update"} <= {row.phase for row in equal}


@pytest.mark.parametrize(
    "b", ["fit_functional", "fit_eagerly", "keras_function", "raw_eager", "raw_function", "module"]
)
def test_fault_is_found_at_its_line(record, b):
    """Another dropout rate in b: first in the forward pass of step 0, at both dropout lines, under its name."""
    result = tfdiff.diff(record("fit_sequential"), record(b, rate=0.6))
    assert result.verdict == "diverged"
    first = result.first
    assert (first.step, first.phase, first.introduced) == (0, "forward", True)
    assert (first.a.source, first.b.source) == (LINES["sequential dropout"], LINES[f"{NETWORK[b]} dropout"])
    assert first.a.layer == "dropout"
    assert [cause.code for cause in result.causes] == ["dropout-rate"]
    assert result.causes[0].constants == pytest.approx({"a": RATE, "b": 0.6})


def test_style_one_real_process(record, tmp_path, python):
    """The same through `python -m tfdiff` alone, TensorFlow imported by nobody but the script."""
    ran = python(
        "-m", "tfdiff", "record", "-o", "b.h5", "--reference", record("fit_sequential"), SCRIPT, "raw_function"
    )
    assert ran.code == 0, ran.err
    assert ran.talk[-1] == f"tfdiff: {STEPS} steps in b.h5"
    assert_equivalent(tfdiff.diff(record("fit_sequential"), tmp_path / "b.h5"))
