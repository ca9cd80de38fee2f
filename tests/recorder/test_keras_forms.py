"""Keras in its many forms, Keras 3 against tf_keras against loops by hand: equal where they should be, faults found.

Through the whole path: `tfdiff record`, `tfdiff record --reference`, comparison.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import tfdiff
from tfdiff.trace.reader import open_trace

if TYPE_CHECKING:
    from collections.abc import Callable

    from tfdiff.model import Result

SCRIPT = Path(__file__).parent / "scripts" / "keras_forms.py"
LINES = {
    line.rpartition("# mark: ")[2]: f"keras_forms.py:{number}"
    for number, line in enumerate(SCRIPT.read_text().splitlines(), 1)
    if "# mark: " in line
}
STEPS = 5


@dataclass(frozen=True)
class Form:
    """One form: how it is written in a and in b, and where b's fault must be found."""

    name: str
    a: tuple[str, str]
    b: tuple[str, str]
    phase: str
    cause: str = "unexplained"
    step: int = 0


FORMS = (
    Form("several", ("keras", "fit"), ("tf_keras", "function"), "loss", "loss-weights"),
    Form("subclass", ("tf_keras", "own step"), ("keras", "batches"), "state", "state-norm-momentum"),
    Form("callbacks", ("keras", "fit"), ("tf_keras", "eagerly"), "update", "lr-schedule", 4),
    Form("mixed", ("tf_keras", "fit"), ("keras", "loop"), "update", "lr"),
    Form("weights", ("keras", "classes"), ("tf_keras", "loop"), "loss", "loss-weights"),
    Form("penalties", ("tf_keras", "fit"), ("keras", "loop"), "loss", "loss-regularization-missing"),
    Form("augmentation", ("keras", "fit"), ("tf_keras", "function"), "forward"),
)


@pytest.fixture(scope="module")
def record(zygote, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Record a form, against a reference if one is named; each recording is made once."""
    folder = tmp_path_factory.mktemp("forms")

    def make(*arguments: str, reference: Path | None = None, steps: int = STEPS) -> Path:
        path = folder / f"{'-'.join(arguments)}-{reference is not None}.h5".replace(" ", "_")
        if not path.exists():
            options = [] if reference is None else ["--reference", reference]
            ran = zygote.run(
                "record", "-o", path, "--quiet", "--steps", steps, *options, SCRIPT, *arguments, cwd=folder
            )
            assert (ran.code, ran.out) == (0, ""), ran.err
        return path

    return make


def assert_equivalent(result: Result, trace: Path) -> None:
    """Nothing differs, and nothing had to be left unshared."""
    assert result.verdict == "equivalent", (result.first, result.own)
    with open_trace(trace) as b:
        shared = b.header.shared
        assert (shared["weights"]["shared"], shared["batches"], shared["noise"]) == (shared["weights"]["a"], True, True)
        assert shared["weights"]["a"] == shared["weights"]["b"]
        assert (b.header.not_shared, b.header.not_recorded) == ((), ())


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_equal(record, form):
    """The same network in two forms is equivalent, with all weights, batches and noise shared."""
    a = record(form.name, *form.a)
    b = record(form.name, *form.b, reference=a)
    assert_equivalent(tfdiff.diff(a, b), b)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_fault(record, form):
    """A fault planted in one of them is found at its step, phase and line."""
    a = record(form.name, *form.a)
    result = tfdiff.diff(a, record(form.name, *form.b, "fault", reference=a))
    assert result.verdict == "diverged"
    assert result.own == ()
    assert (result.first.step, result.first.phase, result.first.b.source) == (form.step, form.phase, LINES[form.name])
    assert [cause.code for cause in result.causes][:1] == [form.cause]
    assert form.phase != "loss" or {cause.code for cause in result.causes} == {form.cause}


def test_a_total_with_penalties_belongs_to_what_compile_made(record):
    """The op that adds the penalties to the loss: its source is the line of `compile`, called by that of `fit`."""
    with open_trace(record("penalties", "keras", "fit")) as trace:
        step = trace.step(0)
        (loss,) = (seen for seen in step.observations if seen.site.role == "loss")
        total = step.observations[loss.inputs[0]].site
    assert (total.source, total.called) == (LINES["total"], LINES["total is called"])


def test_weights_of_rows(record):
    """Weights of rows are part of the batch, also where other rows are drawn first."""
    a = record("weights", "tf_keras", "rows", steps=4)
    b = record("weights", "keras", "batches", reference=a, steps=4)
    result = tfdiff.diff(a, b)
    assert result.first is None
    with open_trace(b) as trace:
        assert trace.header.shared["batches"]


def test_class_weights_of_ones_own(record):
    """Class weights that only b's pipeline makes are those of a's labels."""
    a = record("weights", "keras", "loop")
    b = record("weights", "tf_keras", "classes", reference=a)
    assert_equivalent(tfdiff.diff(a, b), b)


def test_feeds(record):
    """A generator against a Sequence; what compiles several steps into one call, or with XLA, is switched off."""
    a = record("feeds", "keras", "sequence")
    b = record("feeds", "tf_keras", "generator", reference=a)
    assert_equivalent(tfdiff.diff(a, b), b)
    with open_trace(b) as trace:
        assert {note["what"] for note in trace.header.switched_off} == {"jit_compile", "steps_per_execution"}
