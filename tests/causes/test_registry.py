"""The registry, the engine around it and the pages."""

import dataclasses
import json

import numpy as np
import pytest

from tfdiff.causes import explain
from tfdiff.causes.engine import explain_finding
from tfdiff.causes.registry import HYPOTHESES, UNEXPLAINED, returnable
from tfdiff.comparison.findings import Finding, Match, StepPairing
from tfdiff.errors import UsageError
from tfdiff.model import PHASES, Divergence, Place
from tfdiff.pairing.variables import VariablePair
from tfdiff.trace.reader import open_trace

from . import programs
from . import test_layers as layers_test


def test_every_code_has_a_page():
    """Every code that can be returned has its page, and every page its code."""
    assert set(explain.codes()) == returnable()


@pytest.mark.parametrize("code", explain.codes())
def test_pages_have_their_parts(code):
    """What it is, how people run into it, how it is proved, an example of both sides, the fix."""
    text = explain.text(code)
    assert text.startswith(f"# {code}: ")
    for part in ("## How people run into it", "## How tfdiff proves it", "## Example", "# a\n", "# b\n", "## Fix"):
        assert part in text, part
    assert max(map(len, text.splitlines())) <= 120


def test_unknown_code_lists_the_codes():
    """An unknown code is a usage error that names those that exist."""
    with pytest.raises(UsageError, match="did you mean dropout-rate") as caught:
        explain.text("droput-rate")
    assert "weight-decay" in str(caught.value)


def test_phases_exist():
    """Every hypothesis applies somewhere."""
    assert all(h.phases and set(h.phases) <= set(PHASES) and h.codes for h in HYPOTHESES)


def test_nothing_known_is_said_plainly(tmp_path):
    """A finding with nothing around it gives one cause with its summary, control characters gone."""
    for name in ("a", "b"):
        p = programs.Program(f"{name}.py")
        programs.squared(p, p.dense(p.input(programs.features()), "out", 3), p.input(programs.features(24, 3)))
        p.end_step()
        p.write(tmp_path / f"{name}.h5")
    place = Place(None, "x\x1b[2J", "b.py:3")
    with open_trace(tmp_path / "a.h5") as a, open_trace(tmp_path / "b.h5") as b:
        for phase in PHASES:
            divergence = Divergence(0, phase, place, place, 0.5, 1e-5, summary="Mul(., 2) \x1b[31magainst Mul(., 3)")
            (cause,) = explain_finding(Finding(divergence, a, b, ()))
            assert cause.code == UNEXPLAINED
            assert cause.error_after == cause.error_before == 0.5
            assert "\x1b" not in cause.summary + cause.fix
            assert "Mul(., 2)" in cause.summary
            assert "b.py:3" in cause.fix


def test_causes_are_json(first):
    """Constants are plain JSON values, texts are one line."""
    a, b = (layers_test.network(s, layers_test.FUNCTIONS[f]) for s, f in (("a.py", "relu"), ("b.py", "tanh")))
    cause = first(a, b)
    json.dumps(dataclasses.asdict(cause), allow_nan=False)
    assert "\n" not in cause.summary + cause.fix
    assert 0.9 < cause.confidence <= 1.0


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 0.0, 1e30])
def test_broken_numbers_break_nothing(first, bad):
    """NaN, infinities, zeros and huge values are no cause, and no hypothesis falls over them."""
    a = layers_test.network("a.py", layers_test.FUNCTIONS["relu"])
    b = layers_test.network("b.py", lambda x: np.where(x > 0, x, bad) if bad else x * 0.0)
    cause = first(a, b)
    assert cause.code == "unexplained"


@pytest.mark.parametrize("seed", range(6))
def test_random_findings_name_nothing(tmp_path, seed):
    """Two unrelated programs under every phase: nothing can be proved, nothing is named."""
    rng = np.random.default_rng(seed)
    for name in ("a", "b"):
        p = programs.Program(f"{name}.py")
        p.variable("s", rng.normal(size=12), state=True)
        x = p.input(rng.normal(size=(24, 8)))
        h = p.dense(x, name, 12)
        h = p.op("Act", rng.normal(size=(24, 12)) * (rng.random((24, 12)) > 0.3), h, p.noise(rng.random((24, 12))))
        programs.squared(p, p.dense(h, f"{name}2", 3), p.input(rng.normal(size=(24, 3))))
        for number, variable in enumerate((f"{name}/w", f"{name}2/w")):
            p.gradient(variable, rng.normal(size=p.weights[variable].shape))
            p.assign(variable, rng.normal(size=p.weights[variable].shape) * 0.1, p.constant(0.1 + number, "update"))
        p.assign("s", rng.normal(size=12), phase="state")
        p.end_step()
        p.write(tmp_path / f"{name}.h5")
    place = Place(None, "x", "b.py:3")
    with open_trace(tmp_path / "a.h5") as a, open_trace(tmp_path / "b.h5") as b:
        pairs = tuple(VariablePair(i, i, None, "test") for i in range(5))
        matches = tuple(
            Match(i, i, 0.0, 1e-5, "value")
            for i in range(4)
            if a.step(0).observations[i].size == b.step(0).observations[i].size
        )
        count = len(a.step(0).observations)
        table = StepPairing(
            0, a.step(0), b.step(0), matches, {m.a: m for m in matches}, {m.b: m for m in matches}, count - 1
        )
        for phase in PHASES:
            divergence = Divergence(0, phase, place, place, 0.9, 1e-5, a_index=5, b_index=5)
            bad = tuple(range(4, count))
            finding = Finding(divergence, a, b, pairs, table, matches[-1], matches, bad, bad, pairs[1], pairs[1:3])
            assert [cause.code for cause in explain_finding(finding)] == [UNEXPLAINED]
