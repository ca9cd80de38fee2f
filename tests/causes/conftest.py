"""Two small programs in, the causes out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from . import programs

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tfdiff.model import Cause, Result


@pytest.fixture
def diff(tmp_path: Path) -> Callable[[programs.Program, programs.Program], Result]:
    """Compare two programs with causes."""
    return lambda a, b: programs.diff(a, b, tmp_path)


@pytest.fixture
def first(diff: Callable[[programs.Program, programs.Program], Result]) -> Callable[..., Cause]:
    """The first cause of two programs."""

    def run(a: programs.Program, b: programs.Program) -> Cause:
        result = diff(a, b)
        assert result.causes, (result.verdict, result.notes)
        return result.causes[0]

    return run
