"""Steps that are shifted: b's step k has the rows of a's step k + 1, for one run does a step more, or a batch less."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    Rows = npt.NDArray[np.uint64]

MOST = 5
"""Largest number of steps that are looked for."""
FEWEST = 2
"""Steps that must have each other's rows behind the shift: random batches never have, not even one."""


@dataclass(frozen=True)
class Shift:
    """B's step k + `steps` has the rows of a's step k."""

    steps: int
    """Negative where b is ahead of a."""
    found: int
    """Steps that have each other's rows so."""
    known: bool
    """Whether the rows of the further steps at the beginning are among those of the other run's compared steps."""

    @property
    def words(self) -> str:
        """The shift, and what the run that is behind does before."""
        by = abs(self.steps)
        behind, ahead = ("b", "a") if self.steps > 0 else ("a", "b")
        first = "steps" if by > 1 else "step"
        what = "repeats rows of later steps" if self.known else f"has rows that {ahead} has in none of these steps"
        later = f"{behind}'s step k + {by} has the rows of {ahead}'s step k ({self.found} of the steps)"
        return f"{later}: {behind} does {by} {first} more before, which {what}"

    @property
    def numbers(self) -> dict[str, Any]:
        """What a finding says of it."""
        return {"steps": self.steps, "found": self.found}


def find_shift(a: Sequence[Rows], b: Sequence[Rows]) -> Shift | None:
    """The smallest shift after which every step has the rows of the other run's, in whatever order; None without one.

    `a`, `b`: row signatures of the steps, before sharing. Batches that repeat from step to step tell nothing.
    """
    first, second = _sorted(a), _sorted(b)
    if not first or not second or _alike(first, second, 0):
        return None
    for by in range(1, MOST + 1):
        for steps in (by, -by):
            found = _alike(first, second, steps)
            if found >= FEWEST:
                extra = (b if steps > 0 else a)[:by]
                others = np.concatenate(list(a if steps > 0 else b))
                rows = np.concatenate(list(extra))
                known = bool(rows.size and np.isin(rows, others).all())
                return Shift(steps, found, known)
    return None


def _sorted(steps: Sequence[Rows]) -> list[bytes]:
    return [np.sort(rows).tobytes() for rows in steps]


def _alike(a: list[bytes], b: list[bytes], shift: int) -> int:
    """How many steps agree when b's step k + `shift` is a's step k; 0 where any does not, or all are one batch."""
    pairs = list(zip(a, b[shift:], strict=False)) if shift >= 0 else list(zip(a[-shift:], b, strict=False))
    if shift and len({first for first, _ in pairs}) < FEWEST:
        return 0
    return len(pairs) if all(first == second for first, second in pairs) else 0
