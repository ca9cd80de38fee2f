"""Batches of a run whose rows a generator made (turned, shifted, flipped images): which rows of its whole array they
were made from.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tfdiff.pairing.rows import find_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from tfdiff.comparison.runs import Runs
    from tfdiff.model import RowSource
    from tfdiff.trace.reader import Trace

    Rows = npt.NDArray[np.uint64]

UNKNOWN_SHARE = 0.05
"""Share of the rows that may be found nowhere: the two hold the same examples."""
CHANGED_SHARE = 0.05
"""Share of the rows made that must be changed: one that only scales changes none, a random flip half of them."""
MADE_SHARE = 0.5
"""Share of a run's rows that a generator must have made for its batches to be taken as its work."""


@dataclass(frozen=True)
class Made:
    """What a generator did to a run's rows."""

    source: RowSource
    originals: list[Rows]
    """Per step the rows of the whole array that its rows were made from; a row that was not made stands for itself."""
    changed: float
    """Share of the rows made that are not their originals any more."""

    @property
    def random(self) -> bool:
        """Whether the rows were really changed."""
        return self.changed > CHANGED_SHARE


def whole_sources(trace: Trace) -> list[tuple[RowSource, Rows]]:
    """The whole arrays of a run, without the lists of what a generator made."""
    return [(source, hashes) for source, hashes in trace.row_sources if source.transformed is None]


def random_maps(trace: Trace) -> list[RowSource]:
    """Maps of data sets on the way into the step that draw random numbers."""
    return [source for source, _ in trace.row_sources if source.transformed is not None and not source.rows]


def made_rows(trace: Trace, rows: Sequence[Rows]) -> Made | None:
    """What a generator made of the rows that a run was fed with; None where there is none or the rows are others."""
    for source, hashes in trace.row_sources:
        if source.transformed is None or not rows or len(hashes) != 2 * source.rows or not source.rows:
            continue
        made, originals = hashes[: source.rows], hashes[source.rows :]
        flat = np.concatenate(rows)
        found = find_rows(flat, made)
        if (found >= 0).mean() < MADE_SHARE:
            continue
        mapped = np.where(found >= 0, originals[found], flat)
        ends = np.cumsum([len(step) for step in rows])[:-1]
        return Made(source, np.split(mapped, ends), source.transformed / source.rows)
    return None


def augmentation(runs: Runs, made: tuple[Made | None, Made | None], rows: list[list[Rows]]) -> dict[str, Any] | None:
    """The numbers of an augmentation that only one side does; `rows` are both sides' with originals for rows made.

    The rows prove it: element by element they are not what they were made from, and what they were made from are the
    other side's rows.
    """
    random = [(side, found) for side, found in enumerate(made) if found is not None and found.random]
    if len(random) != 1:
        return None
    (one, generator), traces = random[0], (runs.a, runs.b)
    other = 1 - one
    unknown = min(
        _unknown(rows[one], rows[other], traces[other]),  # what was made is made from the other side's rows
        _unknown(rows[other], rows[one], traces[one]),  # or the other's rows are in the array it was made from
    )
    if unknown > UNKNOWN_SHARE:
        return None
    name = generator.source.name
    return {"by": "ab"[one], "generator": name, "changed": generator.changed, "unknown": unknown}


def _unknown(rows: list[Rows], others: list[Rows], trace: Trace) -> float:
    """Share of rows that are neither among the others nor in their trace's whole arrays."""
    known = np.concatenate([*others, *(hashes for _, hashes in whole_sources(trace))])
    return float((find_rows(np.concatenate(rows), known) < 0).mean())
