"""Judged by measured noise: small faults are found, what is as noisy as that is not, and where a is no measure."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tfdiff.comparison.compare import compare
from tfdiff.comparison.floor import find_horizon, step_noise
from tfdiff.comparison.runs import pair_runs
from tfdiff.comparison.tolerance import MOST, MOST_OF_NOISE, MULTIPLE, StepNoise, Tolerances
from tfdiff.recorder.floor import measure_floor
from tfdiff.reports import json as as_json
from tfdiff.reports import text
from tfdiff.trace.reader import open_trace
from tfdiff.trace.writer import TraceWriter

from .build import LINES, Plan, record

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tfdiff.model import Result

    Pair = Callable[..., tuple[Path, Path]]

ULP = 2.0**-23


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    """Traces of a calibrated reference and of a program that starts equal to it.

    By step: `louder`, what the noise is multiplied with (`everywhere`: that of the weights too); `loss`, that of a's
    loss.
    """

    def run(
        reference: Plan | None = None,
        *,
        louder: dict[int, float] | None = None,
        everywhere: bool = False,
        loss: dict[int, float] | None = None,
        calibrate: bool = True,
        **plan: Any,
    ) -> tuple[Path, Path]:
        first = reference or Plan()
        a = record(tmp_path / "a.h5", first)
        if calibrate:
            again = record(tmp_path / "again.h5", replace(first, moved=ULP))
            floor, why = measure_floor(a, again, 0)
            assert why == ""
            with open_trace(a) as trace:
                for step, errors in enumerate(floor.steps):
                    for seen in trace.step(step).observations:
                        if everywhere or seen.site.role != "weight":
                            errors[seen.index] *= (louder or {}).get(step, 1.0)
                        if seen.site.role == "loss":
                            errors[seen.index] = (loss or {}).get(step, errors[seen.index])
            with TraceWriter.reopen(a) as writer:
                writer.noise(floor.steps, floor.updates)
        second = Plan(**{"style": "raw", "rename": True, "steps": first.steps, **plan})
        return a, record(tmp_path / "b.h5", second, reference=first)

    return run


def diff(traces: tuple[Path, Path]) -> Result:
    """The two compared."""
    with open_trace(traces[0]) as a, open_trace(traces[1]) as b:
        return compare(a, b)


def test_equivalent_programs_stay_so(pair: Pair) -> None:
    """The same network in other words, over several steps, is within measured noise."""
    result = diff(pair(Plan(steps=6), steps=6))
    assert (result.verdict, result.tolerance_source, result.not_calibrated) == ("equivalent", "calibrated", "")
    assert result.horizon is None


def test_small_fault_is_found_where_noise_was_measured(pair: Pair) -> None:
    """An epsilon of 1.0005e-3 instead of 1e-3 is below the general bound, and far above this network's
    noise.
    """
    assert diff(pair(calibrate=False, epsilon=1.0005e-3)).verdict == "equivalent"
    first = diff(pair(epsilon=1.0005e-3)).first
    assert first is not None
    assert first.b is not None
    assert (first.step, first.phase, first.b.source) == (0, "forward", f"b.py:{LINES['bn']}")
    assert first.noise is not None
    assert 1e-9 < first.noise < 1e-6
    assert first.multiple == pytest.approx(first.error / max(first.noise, 2.0**-24))
    assert first.multiple > MULTIPLE


def test_as_noisy_as_that_is_no_difference(pair: Pair) -> None:
    """An activation that is off by 3e-5 is found in a quiet network, and is nothing where noise does as much."""
    quiet = diff(pair(coarse=3e-5))
    assert quiet.first is not None
    assert quiet.first.phase == "forward"
    assert diff(pair(coarse=3e-5, louder=dict.fromkeys(range(3), 300.0))).verdict == "equivalent"


@pytest.mark.parametrize("plan", [{"lr": 0.0505}, {"rate": 0.31}, {"momentum": 0.999}])
def test_faults_of_a_hundredth(pair: Pair, plan: dict[str, float]) -> None:
    """A learning rate times 1.01, a rate of 0.31 for 0.3 and another momentum are many times the noise."""
    result = diff(pair(**plan))
    assert len(result.divergences) == 1
    assert result.divergences[0].multiple is not None
    assert result.divergences[0].multiple > 100


def test_without_calibration_it_is_said(pair: Pair) -> None:
    """The general bound is called analytic, with the reason; multiples of noise are not known."""
    traces = pair(calibrate=False, lr=0.1)
    result = diff(traces)
    assert result.tolerance_source == "analytic"
    assert "a.h5 was recorded without measuring noise" in result.not_calibrated
    assert "Tolerance: analytic" in text.render(result)
    assert "--no-calibrate" in text.render(result)
    document = as_json.document(result)
    assert document["tolerance"]["source"] == "analytic"
    assert (document["first"]["noise"], document["first"]["multiple"]) == (None, None)


def test_multiples_and_what_would_have_passed(pair: Pair) -> None:
    """Text and JSON show the error in multiples of noise, and a tolerance with which it would have passed."""
    result = diff(pair(rate=0.31))
    document = json.loads(json.dumps(as_json.document(result)))
    first = document["first"]
    assert document["tolerance"]["source"] == "calibrated"
    assert first["multiple"] == pytest.approx(first["error"] / first["noise"], rel=1e-3)
    assert first["error"] <= first["would_pass"] <= 1.1 * first["error"]
    assert "times what noise does to a here" in text.render(result)
    assert "would have passed" in text.render(result)


def test_partly_calibrated(pair: Pair, tmp_path: Path) -> None:
    """Steps without a measurement are judged by the general bound; how far it reached is said."""
    a, b = pair(Plan(steps=4), steps=4)
    with open_trace(a) as trace:
        known = [trace.noise(step) for step in range(2)]
    short = record(tmp_path / "short.h5", Plan(steps=4))
    with TraceWriter.reopen(short) as writer:
        writer.noise([errors for errors in known if errors is not None], (), "it ended after 2 steps")
    result = diff((short, b))
    assert (result.verdict, result.tolerance_source) == ("equivalent", "calibrated")
    assert result.not_calibrated == "short.h5: it ended after 2 steps"


def test_horizon(pair: Pair) -> None:
    """The first step at which a's loss moves by more than a hundredth under noise is the horizon; in JSON and text."""
    result = diff(pair(Plan(steps=6), steps=6, loss={4: 0.03, 5: 0.3}))
    assert result.horizon == 4
    assert as_json.document(result)["steps"]["horizon"] == 4
    rendered = " ".join(text.render(result).split())
    assert "from step 4 on a differs from itself by more than 1%" in rendered
    assert result.verdict == "equivalent"


def test_behind_the_horizon_only_what_begins_alike_is_judged(pair: Pair) -> None:
    """Two runs that noise has driven 2e-4 apart are judged as long as a is a measure, and not behind the horizon."""
    noisy = {"louder": dict.fromkeys(range(6), 300.0), "coarse": 2e-4, "steps": 6}
    before = diff(pair(Plan(steps=6), **noisy))
    behind = diff(pair(Plan(steps=6), **noisy, loss={3: 0.5}))
    assert (before.verdict, before.horizon) == ("equivalent", None)
    assert behind.horizon == 3
    assert not any("were not judged" in note for note in before.notes)
    assert any("noise alone drives the two apart" in note for note in behind.notes)
    assert behind.verdict == "equivalent"


def test_nearer_to_each_other_than_a_to_itself(pair: Pair) -> None:
    """Where a and b begin a step a thousand times nearer to each other than the two runs of a, a thousandth of the
    noise is to be expected between them.
    """
    traces = pair(louder={2: 1e4}, everywhere=True)
    with open_trace(traces[0]) as a, open_trace(traces[1]) as b:
        runs = pair_runs(a, b)
        quiet, loud = step_noise(runs, 0, ()), step_noise(runs, 2, ())
        assert quiet is not None
        assert loud is not None
        assert 0.3 < quiet.share <= 1.0
        assert loud.share < 1e-2
        assert find_horizon(runs) is None


def test_tolerances_of_a_place() -> None:
    """Ten times the noise of the place or of the median place, at least the general bound, at most what can be told or
    three times the noise; what is missing on one side is always told.
    """
    values = np.array([1e-7, 1e-5, 0.5, np.nan, 2e-3, 0.02], np.float32)
    noise = StepNoise(values, {3: 1e-4, 4: 0.5, 6: 2e-3}, usual=1e-6, share=1.0)
    known = Tolerances(1e-6, 2e-6, 1e-4, 2e-4, 1e-3, noise)
    assert known.at(0) == pytest.approx(1e-5)
    assert known.at(1) == pytest.approx(1e-4)
    assert known.at(2) == MOST == 0.9
    assert known.at(4) == MOST_OF_NOISE["forward"] == 1e-2
    assert known.at(5) == pytest.approx(0.06)
    assert known.at(3) == pytest.approx(1e-5)
    assert known.at(1, "gradient") == pytest.approx(1e-4)
    assert known.at(None, "loss") == 2e-6
    assert (known.of_change(3, "update"), known.of_change(5, "update")) == (pytest.approx(1e-3), 2e-4)
    assert (known.of_change(4, "update"), known.of_change(6, "update")) == (MOST, pytest.approx(6e-3))
    assert known.limits(6, 1e-6).tolist() == pytest.approx([known.at(index) for index in range(6)])
    halved = replace(known, noise=replace(noise, share=0.5))
    assert halved.at(1) == pytest.approx(5e-5)
    assert Tolerances(1e-6, 2e-6, 1e-4, 2e-4, 1e-3).at(2) == 1e-6
