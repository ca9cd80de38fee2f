"""Says which pairs nothing decided, so that nobody takes a choice among equals for knowledge."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfdiff.pairing.map_names import variable_names

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tfdiff.comparison.runs import Runs
    from tfdiff.model import Row
    from tfdiff.pairing.pairs import VariablePair

LISTED = 4
"""Pairs that a sentence names."""
AMBIGUOUS = ", ambiguous"
"""What the evidence of such a row ends with."""


def ambiguities(runs: Runs, rows: Sequence[Row], *, parted: bool) -> list[str]:
    """Notes on pairs that were chosen among equals.

    Weights told apart by nothing but the order in which they are used are only named where the forward passes part:
    where these agree the order was right, or there was nothing to tell.
    """
    notes = []
    undecided = [pair for pair in runs.pairs if pair.ambiguous]
    if undecided:
        notes.append(f"ambiguous: nothing tells which weights pair, chosen were {_named(runs, undecided)}")
    by_order = [pair for pair in runs.pairs if pair.rivals and pair.ordered]
    if by_order and parted:
        notes.append(
            f"ambiguous: only the order of use told which weights pair, {_named(runs, by_order)}; where it should be "
            "otherwise, give the pairs with --map"
        )
    sites = [row for row in rows if row.evidence.endswith(AMBIGUOUS) and row.evidence.startswith("value")]
    if sites:
        names = [f"{row.a_name} with {row.b_name}" for row in sites]
        notes.append(f"ambiguous: of several equal tensors these were paired: {_some(names)}")
    return notes


def _named(runs: Runs, pairs: Sequence[VariablePair]) -> str:
    a, b = variable_names(runs.a.variables.values()), variable_names(runs.b.variables.values())
    return _some([f"{a[pair.a]} with {b[pair.b]} (or {', '.join(b[i] for i in pair.rivals)})" for pair in pairs])


def _some(names: Sequence[str]) -> str:
    listed = list(dict.fromkeys(names))
    more = f" and {len(listed) - LISTED} more" if len(listed) > LISTED else ""
    return "; ".join(listed[:LISTED]) + more
