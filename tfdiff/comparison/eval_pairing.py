"""Which evaluation pass of A is which of B: after the same number of training steps, over the same rows.

B's test data are its own and never replaced. Passes whose inputs are equal row by row belong together; so do, if
nothing else fits, passes whose inputs are the same but for a scale.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from tfdiff.pairing.distance import relative_error

if TYPE_CHECKING:
    import numpy.typing as npt

    from tfdiff.model import EvalInfo, Observation
    from tfdiff.trace.block import Block
    from tfdiff.trace.reader import Trace

    Array = npt.NDArray[Any]

SAME = 1e-5
"""Relative error up to which the rows of two inputs are the same."""
SCALED = 1e-3
"""What an affine map may leave of the spread."""
STATISTICS = "RowStatistics"
"""Op of an input of which only mean, root mean square, minimum and maximum of each row are kept."""


@dataclass(frozen=True)
class Evaluation:
    """One pass of one side."""

    number: int
    block: Block

    @property
    def info(self) -> EvalInfo:
        """What pass it is."""
        assert self.block.evaluation is not None  # noqa: S101 - the reader gives every one its own
        return self.block.evaluation

    def columns(self, role: str) -> list[Observation]:
        """What all batches have of the inputs (role input) or of outputs and numbers (role activation)."""
        return [
            seen
            for seen in self.block.observations
            if seen.site.phase == "eval" and seen.site.role == role and seen.of is not None
        ]

    @cached_property
    def ancestors(self) -> set[int]:
        """Observations of the first batch that the outputs were computed from."""
        found: set[int] = set()
        todo = list(self.info.outputs)
        while todo:
            index = todo.pop()
            if index >= 0 and index not in found:
                found.add(index)
                todo.extend(self.block.observations[index].inputs)
        return found

    @cached_property
    def features(self) -> list[Observation]:
        """Input columns that the outputs depend on."""
        return [seen for seen in self.columns("input") if seen.of in self.ancestors and seen.stored]

    @cached_property
    def labels(self) -> list[Observation]:
        """The other input columns."""
        return [seen for seen in self.columns("input") if seen.of not in self.ancestors and seen.stored]

    @cached_property
    def outputs(self) -> list[Observation]:
        """Columns of the outputs."""
        return [s for s in self.columns("activation") if s.of in self.info.outputs and s.stored]

    @cached_property
    def numbers(self) -> list[Observation]:
        """Columns of the numbers in which the batches ended."""
        return [s for s in self.columns("activation") if s.of not in self.info.outputs and s.stored]


@dataclass(frozen=True)
class EvalPair:
    """A pass of A and its counterpart."""

    a: Evaluation
    b: Evaluation
    rows: int
    """Rows that both have, in order."""
    scale: tuple[float, float] | None = None
    """b's inputs are scale * a's + offset; None: they are equal."""
    error: float = 0.0
    """Between the inputs."""


@dataclass(frozen=True)
class EvalPairs:
    """All pairs, and what has none."""

    pairs: tuple[EvalPair, ...]
    a_alone: tuple[Evaluation, ...]
    b_alone: tuple[Evaluation, ...]


def evaluations(trace: Trace) -> list[Evaluation]:
    """The passes of a trace."""
    return [Evaluation(number, trace.eval(number)) for number in range(trace.evals)]


def pair_evaluations(a: list[Evaluation], b: list[Evaluation]) -> EvalPairs:
    """Pair passes; each is taken once, the best fitting first, else in order."""
    pairs: list[EvalPair] = []
    left_a, left_b = list(a), list(b)
    for compare in (_equal, _scaled):
        ranked = []
        for first in left_a:
            for second in left_b:
                if first.info.after != second.info.after or not (first.info.rows and second.info.rows):
                    continue
                found = compare(first, second)
                if found is not None:
                    ranked.append((_rank(first, second), first.number, second.number, found))
        ranked.sort(key=lambda entry: entry[:3])
        for *_, found in ranked:
            if found.a in left_a and found.b in left_b:
                pairs.append(found)
                left_a.remove(found.a)
                left_b.remove(found.b)
    pairs.sort(key=lambda pair: pair.a.number)
    return EvalPairs(tuple(pairs), tuple(left_a), tuple(left_b))


def _rank(a: Evaluation, b: Evaluation) -> tuple[bool, bool, int]:
    """Same number of rows, and labels on both sides or on none, come first."""
    return (a.info.rows != b.info.rows, bool(a.labels) != bool(b.labels), abs(a.number - b.number))


def _equal(a: Evaluation, b: Evaluation) -> EvalPair | None:
    rows = min(a.info.rows, b.info.rows)
    error = _feature_error(a, b, rows)
    return EvalPair(a, b, rows, error=error) if error <= SAME else None


def _feature_error(a: Evaluation, b: Evaluation, rows: int) -> float:
    """The largest error between an input of A and the input of B that is most like it; infinite where one has none."""
    if not a.features or not b.features or len(a.features) != len(b.features):
        return float("inf")
    worst = 0.0
    for first in a.features:
        worst = max(worst, min(input_error(a, first, b, second, rows) for second in b.features))
    return worst


def input_error(a: Evaluation, first: Observation, b: Evaluation, second: Observation, rows: int) -> float:
    """Relative error between the rows of two input columns, by statistics where they lie differently."""
    x, y = a.block.array(first.index)[:rows], b.block.array(second.index)[:rows]
    if len(x) != len(y):
        return float("inf")
    x, y = _alike(first, x, second, y)
    return relative_error(x, y.reshape(x.shape)) if x.size == y.size else float("inf")


def _alike(first: Observation, x: Array, second: Observation, y: Array) -> tuple[Array, Array]:
    """Both as numbers, or both as statistics of their rows."""
    kept = first.site.op == STATISTICS, second.site.op == STATISTICS
    if not any(kept) and (x.size != y.size or x.squeeze().shape == y.squeeze().shape):
        return x.astype(np.float64), y.astype(np.float64)
    if not kept[0]:
        x = _statistics(x)
    if not kept[1]:
        y = _statistics(y)
    return x.astype(np.float64), y.astype(np.float64)


def _statistics(rows: Array) -> Array:
    flat = rows.reshape(len(rows), -1).astype(np.float64)
    return np.stack([flat.mean(1), np.sqrt((flat**2).mean(1)), flat.min(1), flat.max(1)], axis=1)


def _scaled(a: Evaluation, b: Evaluation) -> EvalPair | None:
    """Inputs that are an affine map of each other, row by row."""
    if a.info.rows != b.info.rows or len(a.features) != 1 or len(b.features) != 1:
        return None
    rows = a.info.rows
    first, second = a.features[0], b.features[0]
    x, y = a.block.array(first.index)[:rows], b.block.array(second.index)[:rows]
    if len(x) != len(y):
        return None
    x, y = _alike(first, x, second, y)
    if STATISTICS in (first.site.op, second.site.op):
        x, y = np.delete(x, 1, axis=1), np.delete(y, 1, axis=1)  # the root mean square is no affine map
    if x.size != y.size or x.size < 8:
        return None
    p, q = x.reshape(-1), y.reshape(-1)
    if p.std() == 0.0 or q.std() == 0.0:
        return None
    scale, offset = (float(value) for value in np.polyfit(p, q, 1))
    residual = float(np.linalg.norm(q - scale * p - offset) / np.linalg.norm(q - q.mean()))
    if residual > SCALED or scale == 0.0:
        return None
    return EvalPair(a, b, rows, (scale, offset), relative_error(x, y))
