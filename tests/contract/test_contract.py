"""Every style agrees with another one in each direction, and a fault planted in it is found: a part of the matrix.

`python -m tests.contract.matrix` has all of it. Which pairs are tried here is the same in every run.
"""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from .suite import FAULTS, FOLDER, STYLES, Suite, fault_lines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def circle(seed: int) -> list[tuple[str, str]]:
    """Pairs in which each style is once a and once b."""
    order = random.Random(seed).sample(STYLES, len(STYLES))
    return list(zip(order, [*order[1:], order[0]], strict=True))


CLEAN = [(a, b, None) for a, b in circle(1)]
FAULTY = [(a, b, list(FAULTS)[number % len(FAULTS)]) for number, (a, b) in enumerate(circle(2))]


@pytest.fixture(scope="module")
def complaints(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Callable[..., list[str]]]:
    """What is not as it should be of a pair; all the pairs that are wanted are recorded two at a time."""
    wanted = [item.callspec.params["pair"] for item in request.session.items if item.module is request.module
              and "pair" in getattr(getattr(item, "callspec", None), "params", {})]  # fmt: skip
    suite = Suite(tmp_path_factory.mktemp("contract"))
    with ThreadPoolExecutor(2) as pool:
        outcomes = {pair: pool.submit(suite.compare, *pair) for pair in wanted}
        yield lambda pair: outcomes[pair].result()
        for outcome in outcomes.values():
            outcome.cancel()
    suite.close()


@pytest.mark.parametrize("pair", CLEAN, ids=lambda pair: f"{pair[0]}-{pair[1]}")
def test_equivalent(complaints, pair):
    """Two styles of one network are equivalent: all weights, batches and noise shared, each phase compared."""
    assert complaints(pair) == []


@pytest.mark.parametrize("pair", FAULTY, ids=lambda pair: f"{pair[0]}-{pair[1]}-{pair[2]}")
def test_fault_is_found(complaints, pair):
    """A fault in b is the first thing found: in its phase, at its line on both sides, under its name."""
    assert complaints(pair) == []


@pytest.mark.parametrize("style", STYLES)
def test_style_can_be_wrong(style):
    """Each style marks the lines of each fault, and reads the number that is wrong from the common module."""
    text = (FOLDER / f"{style}.py").read_text()
    for fault, number in (("rate", "RATE"), ("learning-rate", "LEARNING_RATE"), ("statistics", "DECAY")):
        assert fault_lines(style, fault)
        assert number in text
