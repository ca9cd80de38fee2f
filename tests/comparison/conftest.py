"""Compares two programs of `build.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tfdiff.comparison.compare import compare
from tfdiff.trace.reader import open_trace

from . import build

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tfdiff.comparison.findings import Finding
    from tfdiff.model import Cause, Result


@pytest.fixture
def diff(tmp_path: Path) -> Callable[..., Result]:
    """Record the reference and a program with the given plan that starts equal to it, and compare them."""

    def run(
        *, reference: build.Plan | None = None, sources: bool = True, seen: list[Finding] | None = None, **plan: Any
    ) -> Result:
        first = reference or build.Plan()
        second = build.Plan(**{"style": "raw", "rename": True, "steps": first.steps, **plan})
        a = build.record(tmp_path / "a.h5", first, sources=sources)
        b = build.record(tmp_path / "b.h5", second, reference=first, sources=sources)

        def explain(finding: Finding) -> list[Cause]:
            if seen is not None:
                seen.append(finding)
            return []

        with open_trace(a) as one, open_trace(b) as other:
            return compare(one, other, explain=explain)

    return run
