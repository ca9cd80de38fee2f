"""What tfdiff says of the other demos, and of b once its faults are mended."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003

import pytest

from .answers import STEPS, check
from .test_demo_answers import NAMES as IN_SESSIONS

NAMES = tuple(name for name in STEPS if name not in IN_SESSIONS)

pytest.importorskip("tensorflow")


@pytest.mark.parametrize("name", NAMES)
def test_the_mistakes_are_named_and_once_mended_nothing_is(name: str, tmp_path: Path) -> None:
    """The faults of the registry are the causes, in this order, at these lines, and no other; b_fixed is equivalent."""
    check(name, tmp_path)
