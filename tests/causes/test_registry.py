"""The registry, the engine around it and the pages."""

import dataclasses
import json

import pytest

from tfdiff.causes import explain
from tfdiff.causes.engine import explain_finding
from tfdiff.causes.registry import HYPOTHESES, UNEXPLAINED, returnable
from tfdiff.comparison.findings import Finding
from tfdiff.errors import UsageError
from tfdiff.model import PHASES, Divergence, Place
from tfdiff.trace.reader import open_trace

from . import programs


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
    """A finding without any tensor around it gives one cause, with the summary of the divergence, and control characters gone."""
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
    from .test_layers import FUNCTIONS, network

    cause = first(network("a.py", FUNCTIONS["relu"]), network("b.py", FUNCTIONS["tanh"]))
    json.dumps(dataclasses.asdict(cause), allow_nan=False)
    assert "\n" not in cause.summary + cause.fix
    assert 0.9 < cause.confidence <= 1.0
