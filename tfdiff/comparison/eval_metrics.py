"""The numbers an evaluation ended in: what they measure, and whether A's and B's measure the same.

Judged only where the outputs agree and both passes saw the same rows. Which number is which is told by its name, where
an API gave it one, else by the ops it was computed with.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tfdiff.comparison.eval_formulas import explained, matching_labels
from tfdiff.comparison.findings import Finding, StepPairing
from tfdiff.comparison.places import layer_name, place_of
from tfdiff.model import Divergence, Place

if TYPE_CHECKING:
    import numpy.typing as npt

    from tfdiff.comparison.eval_pairing import EvalPair, Evaluation
    from tfdiff.comparison.runs import Runs
    from tfdiff.model import Observation

    Array = npt.NDArray[Any]

COMPARING = ("Equal", "InTopK", "InTopKV2", "NotEqual")
ACCURATE = 1e-3
"""Relative error up to which two sums over batches are the same number."""
UNEVEN = 2e-3
"""Relative difference from which the mean of the batches is another number than the mean of the rows."""
KINDS = {
    "mse": "mean squared error",
    "mean_squared_error": "mean squared error",
    "mae": "mean absolute error",
    "mean_absolute_error": "mean absolute error",
}


@dataclass(frozen=True)
class Measured:
    """One number of a pass."""

    kind: str
    name: str
    value: float
    at: Observation | None = None


def metric_finding(runs: Runs, pair: EvalPair) -> Finding | None:
    """The first number that measures the same on both sides and differs although the outputs agree."""
    if pair.a.info.rows != pair.b.info.rows:
        return None
    a, b = measured(pair.a), measured(pair.b)
    for first in a:
        alike = [second for second in b if second.kind == first.kind]
        if len(alike) != 1 or sum(other.kind == first.kind for other in a) != 1:
            continue
        second = alike[0]
        if same_number(first, second, pair.a.info.rows) or not matching_labels(pair):
            continue
        formulas = explained(pair.a, first.kind, first.value), explained(pair.b, second.kind, second.value)
        if first.kind == "loss" and (None in formulas or formulas[0] == formulas[1]):
            continue  # what a loss is made of besides its outputs (penalties, weights) is not known
        return _finding(runs, pair, first, second)
    return None


def measured(side: Evaluation) -> list[Measured]:
    """The numbers of a pass: those an API returned, else those its batches ended in."""
    if side.info.metrics:
        return [
            Measured(_kind(name), name, float(value))
            for name, value in side.info.metrics.items()
            if isinstance(value, (int, float)) and np.isfinite(value)
        ]
    found = []
    for column in side.numbers:
        kind = _kind_of_ops(side, column)
        values = side.block.array(column.index).astype(np.float64).reshape(-1)
        if kind and values.size and np.isfinite(values).all():
            found.append(Measured(kind, kind, _over_batches(side, column, values), column))
    return found


def _over_batches(side: Evaluation, column: Observation, values: Array) -> float:
    """The mean over all rows: sums are divided by the rows, means weighted by the size of their batch."""
    rows, batches = side.info.rows, len(values)
    if column.site.op == "Sum":
        return float(values.sum() / max(rows, 1))
    size = side.info.batch_rows if batches > 1 else rows
    rest = rows - size * (batches - 1)
    weights = np.full(batches, float(size))
    weights[-1] = rest if 0 < rest <= size else size
    return float((values * weights).sum() / weights.sum())


def uneven_note(pair: EvalPair) -> str | None:
    """What is said of numbers that one side has batch by batch, the last batch being smaller: their mean is another
    number than that of all rows, and what a script makes of them in Python is not seen.
    """
    for name, side in (("a", pair.a), ("b", pair.b)):
        if side.info.metrics:
            continue
        for column in side.numbers:
            kind, values = _kind_of_ops(side, column), side.block.array(column.index).astype(np.float64).reshape(-1)
            if not kind or len(values) < 2 or column.site.op == "Sum" or not np.isfinite(values).all():
                continue
            whole, plain = _over_batches(side, column, values), float(values.mean())
            if abs(whole - plain) > UNEVEN * max(abs(whole), abs(plain)):
                return (
                    f"{name}'s {kind} comes from {len(values)} batches of which the last is smaller: over all rows it "
                    f"is {whole:.4g}, the mean of the batches is {plain:.4g}; which one the script reports was not seen"
                )
    return None


def _kind(name: str) -> str:
    lower = name.lower()
    if "top" not in lower and ("acc" in lower):
        return "accuracy"
    return KINDS.get(lower, lower)


def _kind_of_ops(side: Evaluation, column: Observation) -> str:
    """What a number measures, by the ops between the outputs and it."""
    todo = [column.of] if column.of is not None else []
    ops: set[str] = set()
    seen: set[int] = set()
    while todo:
        index = todo.pop()
        if index < 0 or index in seen or index in side.info.outputs:
            continue
        seen.add(index)
        ops.add(side.block.observations[index].site.op)
        todo.extend(side.block.observations[index].inputs)
    if ops & set(COMPARING):
        return "accuracy"
    if any("CrossEntropy" in op for op in ops) or "Log" in ops:
        return "loss"
    if ops & {"SquaredDifference", "Square"}:
        return "mean squared error"
    return "mean absolute error" if "Abs" in ops else ""


def same_number(a: Measured, b: Measured, rows: int) -> bool:
    """Whether two numbers of one kind agree, up to rounding and one row."""
    scale = max(abs(a.value), abs(b.value), 1e-12)
    if a.kind == "accuracy":  # a tie may fall to either side; some write it in percent
        slack = 1.5 / max(rows, 1)
        shares = [each.value / 100.0 if each.value > 1.0 + slack else each.value for each in (a, b)]
        return abs(shares[0] - shares[1]) <= slack
    return abs(a.value - b.value) <= ACCURATE * scale


def _finding(runs: Runs, pair: EvalPair, a: Measured, b: Measured) -> Finding:
    step = max(pair.a.info.after - 1, 0)
    divergence = Divergence(
        step,
        "eval",
        _place(pair.a, a),
        _place(pair.b, b),
        abs(a.value - b.value) / max(abs(a.value), abs(b.value), 1e-12),
        ACCURATE,
        summary=f"the outputs agree, but {a.name} is {a.value:.6g} in a, {b.name} {b.value:.6g} in b",
        a_index=a.at.of if a.at is not None else None,
        b_index=b.at.of if b.at is not None else None,
    )
    return Finding(
        divergence,
        runs.a,
        runs.b,
        runs.pairs,
        pairing=StepPairing(step, pair.a.block, pair.b.block, (), {}, {}),
        kind="eval-metric",
        numbers={"kind": a.kind, "a": a.value, "b": b.value},
    )


def _place(side: Evaluation, number: Measured) -> Place:
    """The op of the number; where an API returned it, the line that called it."""
    if number.at is not None and number.at.of is not None:
        return place_of(side.block.observations[number.at.of])
    return Place(layer_name(None), number.name, side.info.source or side.info.called, side.info.called, None)
