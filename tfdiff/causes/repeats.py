"""Rows of a table that a batch looks up: once, several times, or not at all.

The gradient of a table comes as the rows that were looked up and their ids. An id that occurs twice has two rows; what
is linear in the gradient may take them one by one, its square may not. Nor do all optimizers treat rows that were not
looked up as rows with a gradient of zero.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from tfdiff.pairing.distance import relative_error

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tfdiff.causes.rules import Moment, Rule
    from tfdiff.causes.scene import Floats
    from tfdiff.model import Observation
    from tfdiff.trace.block import Block

SLICES = "IndexedSlices"
AGREE = 1e-5
"""Relative error up to which the rows add up to the gradient."""
BY_ROWS = {
    "summed": "adds its rows up first",
    "squared": "squares each of its rows by itself",
    "last": "lets only the last of its rows count",
}
OF_OTHERS = {
    True: "moves only the rows of the table that a batch looks up",
    False: "moves all rows of the table in every step, as momentum and means of squares go on without a gradient",
}
DENSE = "hand the optimizer dense gradients: tf.convert_to_tensor(g)"
FIXES = {
    "summed": f"{DENSE}, or add the rows up with tf.unique and tf.math.unsorted_segment_sum",
    "squared": "add up the rows' squares as A does: tf.scatter_nd(g.indices[:, None], g.values ** 2, table.shape)",
    "last": "take only the last row of each id, as A does (an error of A's, most likely)",
}


@dataclass(frozen=True)
class LookedUp:
    """A table's gradient row by row, in the variable's own shape."""

    squares: Floats
    """The sum of the squares of the rows of each id."""
    last: Floats
    """The last row of each id."""
    seen: Floats
    """One in the rows that were looked up, zero elsewhere."""


def looked_up_rows(block: Block, gradient: Observation, dense: Floats) -> LookedUp | None:
    """What a recorded gradient was made of; None where it came dense, or where its parts are not in the trace."""
    if gradient.site.op != SLICES or len(gradient.inputs) != 2 or min(gradient.inputs) < 0:
        return None
    values, ids = (block.observations[index] for index in gradient.inputs)
    if not (values.stored and ids.stored) or not ids.size or dense.ndim < 2:
        return None
    where = np.asarray(block.array(ids.index)).reshape(-1)
    rows = np.asarray(block.array(values.index), np.float64)
    if where.dtype.kind not in "iu" or rows.size != where.size * dense[0].size:
        return None
    if where.min() < 0 or where.max() >= len(dense):
        return None
    rows = rows.reshape(-1, *dense.shape[1:])
    total, squares, last, seen = (np.zeros(dense.shape) for _ in range(4))
    np.add.at(total, where, rows)
    np.add.at(squares, where, rows * rows)
    for at, row in zip(where, rows, strict=True):
        last[at] = row
    seen[where] = 1.0
    return LookedUp(squares, last, seen) if relative_error(dense, total) <= AGREE else None


def ways(rule: Rule, moments: Sequence[Moment]) -> Iterator[Rule]:
    """The rule with each other treatment of looked-up rows that would show in the given steps."""
    if rule.clip_kind:  # what is clipped is not told row by row
        return
    remembers = rule.family != "sgd" or rule.momentum > 0.0
    repeated = any(not np.allclose(moment.last, moment.gradient, rtol=1e-6, atol=0.0) for moment in moments)
    lazy = [False, True] if remembers and _idle(moments) else [False]
    kinds = ["summed", *(["squared"] if rule.family != "sgd" else []), "last"] if repeated else ["summed"]
    for kind in kinds:
        for skips in lazy:
            if skips or kind != "summed":
                yield replace(rule, rows=kind, lazy=skips)


def _idle(moments: Sequence[Moment]) -> bool:
    """Whether a row that was looked up is not looked up in a later step."""
    before = np.zeros(moments[0].gradient.shape, bool)
    for moment in moments:
        if np.any(before & (moment.seen == 0.0)):
            return True
        before |= moment.seen > 0.0
    return False


def difference(a: Rule, b: Rule, names: Sequence[str]) -> str:
    """What each side does, for the settings that differ."""
    said = []
    if "rows" in names:
        said.append(f"of an id that occurs several times in a batch B {BY_ROWS[b.rows]}, A {BY_ROWS[a.rows]}")
    if "lazy" in names:
        said.append(f"B {OF_OTHERS[b.lazy]}, A {OF_OTHERS[a.lazy]}")
    return "; ".join(said)


def fix(wanted: Rule, names: Sequence[str]) -> str:
    """How to do it as A does."""
    ways_out = [FIXES[wanted.rows]] if "rows" in names else []
    if "lazy" in names and wanted.lazy:
        ways_out.append("gather the looked-up rows of the table and of its slots, update these, and scatter them back")
    elif "lazy" in names and wanted.rows != "summed":
        ways_out.append("let the slots of all rows decay in every step")
    elif "lazy" in names and not ways_out:
        ways_out.append(DENSE)
    return "; ".join(ways_out)
