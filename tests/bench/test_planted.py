"""Planted faults are found where they are: a fixed-seed twentieth of `python -m tests.bench.planted`.

Without its measured noise, which takes a further run per trial: the tolerances are the analytic ones here.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from .planted.kinds import KINDS
from .planted.styles import STYLES
from .planted.trial import Bench, plan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .planted.trial import Outcome

SEED, STEPS = 1, 4
SINGLE = [(number, False) for number in range(15)]
DOUBLE = [(number, True) for number in range(5)]


@pytest.fixture(scope="module")
def outcome(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Callable[..., Outcome]]:
    """How a trial went; all the trials that are wanted are run two at a time."""
    wanted = [item.callspec.params["trial"] for item in request.session.items if item.module is request.module
              and "trial" in getattr(getattr(item, "callspec", None), "params", {})]  # fmt: skip
    bench = Bench(tmp_path_factory.mktemp("planted"), calibrate=False)

    def run(number: int, two: bool) -> Outcome:  # noqa: FBT001
        return bench.run(plan(number, SEED, STEPS, kinds=list(KINDS), styles=list(STYLES), two=two))

    with ThreadPoolExecutor(2) as pool:
        outcomes = {trial: pool.submit(run, *trial) for trial in wanted}
        yield lambda trial: outcomes[trial].result()
        for future in outcomes.values():
            future.cancel()
    bench.close()


@pytest.mark.parametrize("trial", SINGLE, ids=lambda trial: f"{trial[0]}")
def test_a_single_fault_is_first(outcome, trial):
    """The first divergence has the step, the phase and the lines of the fault, and nothing else is told."""
    found = outcome(trial)
    assert (found.verdict, found.extra) == ("right", ()), f"{found.trial}: {found.said}"


@pytest.mark.parametrize("trial", DOUBLE, ids=lambda trial: f"{trial[0]}")
def test_both_of_two_faults_are_found(outcome, trial):
    """Of two faults of different kinds at different places each has a divergence at its place."""
    found = outcome(trial)
    assert found.verdict == "right", f"{found.trial}: {found.said}"
