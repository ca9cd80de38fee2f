"""Faults of no known kind stay unexplained, at their place: two of those of `python -m tests.bench.unknown`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .alarms import FOLDER
from .unknown.faults import FAULTS
from .unknown.trial import Bench, planted

if TYPE_CHECKING:
    from collections.abc import Iterator

TRIED = ("two channels exchanged", "an activation made up, in a network by hand")


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """Its worker processes."""
    started = Bench(tmp_path_factory.mktemp("unknown"))
    yield started
    started.close()


@pytest.mark.parametrize("name", TRIED)
def test_it_is_found_and_gets_no_name(bench: Bench, name: str) -> None:
    """The first divergence is at the fault, and `unexplained` is all that is said of it."""
    (fault,) = [fault for fault in FAULTS if fault.name == name]
    outcome = bench.run(fault)
    assert outcome.placed, outcome.said
    assert outcome.codes == ("unexplained",)


def test_enough_faults() -> None:
    """At least 15, each of which can be made."""
    assert len({fault.name for fault in FAULTS}) == len(FAULTS) >= 15
    for fault in FAULTS:
        text = (FOLDER / fault.pair / "b.py").read_text()
        assert planted(text, fault) != text
