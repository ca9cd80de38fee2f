"""Two faults at once: what hides behind the first one shows in the isolated pass, and nothing else does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tfdiff.causes.engine import explain_finding
from tfdiff.comparison.compare import compare
from tfdiff.comparison.lockstep import LockstepTrace
from tfdiff.comparison.runs import pair_runs
from tfdiff.trace.reader import open_trace

from . import build, isolate

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tfdiff.model import Result

STEPS = 4


@pytest.fixture
def pair(tmp_path: Path) -> Callable[..., tuple[Path, Path, bool]]:
    """The traces of the reference and of a program with a plan, isolated where that was wanted, and whether it was."""

    def run(
        *, always: bool = False, isolated: bool = True, misplaced: bool = False, **plan: Any
    ) -> tuple[Path, Path, bool]:
        first = build.Plan(steps=STEPS)
        second = build.Plan(**{"style": "raw", "rename": True, "steps": STEPS, **plan})
        a = build.record(tmp_path / "a.h5", first)
        b = build.record(tmp_path / "b.h5", second, reference=first)
        return a, b, isolated and isolate.record_isolated(a, b, second, first, always=always, misplaced=misplaced)

    return run


@pytest.fixture
def judged(pair: Callable[..., tuple[Path, Path, bool]]) -> Callable[..., Result]:
    """What a program against the reference gives."""

    def run(**plan: Any) -> Result:
        a, b, _ = pair(**plan)
        with open_trace(a) as one, open_trace(b) as other:
            return compare(one, other, explain=explain_finding)

    return run


def codes(result: Result) -> list[tuple[str, int]]:
    """Causes and the steps they begin with."""
    return [(cause.code, cause.step) for cause in result.causes]


TWO: dict[str, tuple[dict[str, Any], list[tuple[str, int]]]] = {
    "activation and learning rate": ({"activation": "tanh", "lr": 0.0505}, [("activation", 0), ("lr", 0)]),
    "rate and momentum": ({"rate": 0.5, "momentum": 0.9}, [("dropout-rate", 0), ("state-norm-momentum", 0)]),
    "in one layer": ({"activation": "tanh", "rate": 0.5}, [("activation", 0), ("dropout-rate", 0)]),
    "epsilon and clipping": ({"epsilon": 1e-5, "clip": 0.001}, [("norm-epsilon", 0), ("grad-clipping", 0)]),
    "forward and loss": ({"activation": "tanh", "reduction": "sum"}, [("activation", 0), ("loss-reduction", 0)]),
    "stopped behind a rate": ({"rate": 0.5, "stop": True}, [("dropout-rate", 0), ("grad-stopped", 0)]),
    "frozen behind a rate": ({"rate": 0.5, "frozen": ("W1",)}, [("dropout-rate", 0), ("frozen-layer", 0)]),
    "decay": ({"activation": "tanh", "decay": 0.01}, [("activation", 0), ("weight-decay", 0)]),
    "a schedule": ({"activation": "tanh", "halved_from": 2}, [("activation", 0), ("lr-schedule", 2)]),
    "idle statistics": ({"rate": 0.5, "idle": True}, [("dropout-rate", 0), ("state-updates-not-run", 0)]),
}


@pytest.mark.parametrize("name", TWO)
def test_both_are_found(judged, name):
    """Of two faults each is told once, with its step and its cause, and nothing besides."""
    plan, wanted = TWO[name]
    result = judged(**plan)
    assert codes(result) == wanted
    assert [one.step for one in result.divergences] == [step for _, step in wanted]
    assert all(one.introduced for one in result.divergences)
    assert result.first == result.divergences[0]
    assert result.isolation is not None
    assert result.isolation.steps == STEPS


@pytest.mark.parametrize("name", ["activation and learning rate", "forward and loss", "a schedule"])
def test_the_free_run_shows_one(judged, name):
    """Without an isolated pass the second fault of these pairs does not show: it is what the pass is for."""
    plan, wanted = TWO[name]
    assert codes(judged(isolated=False, **plan)) == wanted[:1]


def test_constants(judged):
    """The constants behind a fault are exact: the update is told from equal gradients."""
    result = judged(activation="tanh", lr=0.05005)
    assert [cause.constants for cause in result.causes] == [{"a": "relu", "b": "tanh"}, {"a": 0.05, "b": 0.05005}]


def test_nothing_is_planned_without_need(pair):
    """An equivalent pair, and one that differs only in what nothing hangs on, need no further run."""
    assert pair()[2] is False
    assert pair(momentum=0.9)[2] is False


@pytest.mark.parametrize("plan", [{}, {"style": "keras"}, {"momentum": 0.9}, {"rename": False}])
def test_forced_on_equal_programs(judged, plan):
    """An isolated pass of a program that is equivalent shows nothing, and nothing new of one that is not."""
    result = judged(always=True, **plan)
    assert result.isolation is not None
    assert len(result.isolation.joints) >= 2
    wanted = [("state-norm-momentum", 0)] if plan.get("momentum") else []
    assert codes(result) == wanted
    assert len(result.divergences) == len(wanted)


@pytest.mark.parametrize(("plan", "wanted"), [({}, []), ({"lr": 0.06}, [("lr", 0)])])
def test_against_the_free_run(judged, plan, wanted):
    """Where b by itself comes to a's values, an isolated pass that says otherwise was given the wrong ones: it is not
    believed there, nor in later steps.
    """
    result = judged(always=True, misplaced=True, **plan)
    assert result.isolation is not None
    assert len(result.isolation.joints) >= 2
    assert codes(result) == wanted


def test_rows_say_carried(judged):
    """In the rows what follows from a fault is carried, in the free run as it was; only the faults are introduced."""
    rows = judged(activation="tanh", lr=0.06).rows
    first = {(row.phase, row.a_name): row.cells[0].status for row in rows if row.cells}
    assert first["forward", "net/act"] == "introduced"
    assert first["loss", "Mean"] == "carried"
    introduced = [row for row in rows if any(cell.status == "introduced" for cell in row.cells)]
    assert {row.phase for row in introduced} == {"forward", "update"}


def test_values_step_by_step(pair):
    """In an isolated step a variable begins with a's value and moves as b moves it; others are told from there."""
    a, b, done = pair(activation="tanh", lr=0.1, frozen=("b2",))
    assert done
    with open_trace(a) as one, open_trace(b) as other:
        free = pair_runs(one, other)
        for pair_of in free.weights:
            at = LockstepTrace(other, free, 2)
            before, after = at.value_after(pair_of.b, 1), at.value_after(pair_of.b, 2)
            assert np.array_equal(before, one.value_after(pair_of.a, 1))
            name = one.variables[pair_of.a].name
            if name == "second/b2":
                values = [at.value_after(pair_of.b, step) for step in range(-1, STEPS)]
                assert all(np.array_equal(value, before) for value in values)
            else:
                moved = one.value_after(pair_of.a, 2) - before
                assert np.allclose(after - before, 2 * moved, rtol=1e-3, atol=1e-7)
                assert not np.array_equal(at.value_after(pair_of.b, 3), after)
