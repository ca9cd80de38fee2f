"""A part of the campaign without a false alarm, with the code of its command: 4 of its 100 runs, always the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .alarms import FOLDER, PAIRS, Campaign, Run, lines

if TYPE_CHECKING:
    from collections.abc import Iterator

RUNS = (
    ("dense-batchnorm-adam", 1),
    ("separable-nesterov", 0),
    ("deep-relu-float64", 3),
    ("tied-autoencoder", 2),
)
"""Of each API style the quick ones: fit against a compiled tape, eager tapes, modules and raw variables."""
STEPS = 30


@pytest.fixture(scope="module")
def campaign(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Campaign]:
    """Its worker processes."""
    started = Campaign(tmp_path_factory.mktemp("alarms"), STEPS)
    yield started
    started.close()


@pytest.mark.parametrize(("pair", "seed"), RUNS)
def test_nothing_is_reported(campaign: Campaign, pair: str, seed: int) -> None:
    """Two equivalent programs: everything is shared, every step judged, nothing reported."""
    run = campaign.run(pair, seed)
    assert run.failed is None
    assert run.reported == ()
    assert run.not_shared == ()
    assert run.judged == STEPS


def test_enough_pairs() -> None:
    """At least 14 pairs, each of two scripts that take a seed."""
    assert len(PAIRS) >= 14
    for pair in PAIRS:
        for side in "ab":
            assert "int(sys.argv[1])" in (FOLDER / pair / f"{side}.py").read_text()


def test_what_is_not_as_it_should_be_has_a_line() -> None:
    """A divergence, a failure, steps that were not judged and what was not shared all show."""
    runs = [
        Run("x", 0, 1.0, judged=30),
        Run("x", 1, 1.0, reported=("step 3",), judged=30, not_shared=("batches",)),
        Run("x", 2, 1.0, judged=7, horizon=7),
        Run("x", 3, 1.0, failed="a.py ended with 1"),
    ]
    row, *below = lines("x", runs, 30)
    assert row.split() == ["x", "4", "1", "1", "7", "of", "30", "7", "1", "4.0", "s"]
    assert [line.strip() for line in below] == [
        "seed 1: step 3",
        "seed 3: a.py ended with 1",
        "not shared: batches",
        "seed 2: 7 of 30 steps judged",
    ]
