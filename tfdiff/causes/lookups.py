"""Rows of a table: looked up at other places."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tfdiff.causes.hypothesis import Proposal
from tfdiff.causes.words import at

if TYPE_CHECKING:
    from tfdiff.causes.scene import Floats, Scene, Side

GATHERING = frozenset({"ResourceGather", "GatherV2", "Gather"})


def embedding_offset(scene: Scene) -> Proposal | None:
    """Both sides look rows of one table up, and B's are A's moved by a constant: moved back, B's rows are A's."""
    a, b = scene.a.frontier, scene.b.frontier
    first, second = _lookup(scene.a, a), _lookup(scene.b, b)
    if a is None or b is None or first is None or second is None:
        return None
    (rows_a, table_a), (rows_b, table_b) = first, second
    pair, table = scene.pair_of_a.get(table_a), scene.b.before(table_b)
    if pair is None or pair.b != table_b or table is None or rows_a.size != rows_b.size:
        return None
    moved = np.unique(rows_b.ravel() - rows_a.ravel())
    if moved.size != 1 or moved[0] == 0:
        return None
    offset, known = int(moved[0]), rows_b.astype(np.int64) - int(moved[0])
    if known.min() < 0 or known.max() >= len(table):
        return None
    more, back = f"{'+' if offset > 0 else '-'} {abs(offset)}", f"{'-' if offset > 0 else '+'} {abs(offset)}"
    return Proposal(
        scene.distance(a, b),
        scene.miss(a, table[known]),
        f"B looks up row i {more} of the embedding where A looks up row i: the ids are shifted by {abs(offset)}",
        f"look the ids up as A does, ids {back}{at(scene.finding.divergence.b, called=True)}",
        {"a": 0, "b": offset},
        fitted=0,
    )


def _lookup(side: Side, index: int | None) -> tuple[Floats, int] | None:
    """(whole numbers, variable): which rows of which table an op looks up."""
    if index is None or side.observations[index].site.op not in GATHERING:
        return None
    operands = side.observations[index].inputs
    tables = [variable for operand in operands if (variable := side.variable_of(operand)) is not None]
    numbers = [
        rows
        for operand in operands
        if operand >= 0 and "int" in side.observations[operand].dtype and (rows := side.array(operand)) is not None
    ]
    return (max(numbers, key=np.size), tables[0]) if tables and numbers else None
