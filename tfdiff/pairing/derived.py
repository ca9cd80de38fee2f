"""Parts of a batch that a run makes of its labels by itself: class weights, sample weights that are all the same."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tfdiff.pairing.batches import PartRule
from tfdiff.pairing.rows import is_one_hot

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Array = npt.NDArray[Any]
_MOST_CLASSES = 1000
_FEWEST_ROWS = 4
"""Rows per class, on average, from which on a number that each class always has is no coincidence."""


@dataclass(frozen=True)
class Derived:
    """One number per row that follows from an earlier part."""

    of: int
    """Number of the part with the classes."""
    table: tuple[tuple[float, float], ...]
    """(class, number); one entry for all rows where the number is always the same."""


def derived_parts(parts: Sequence[Array]) -> dict[int, Derived]:
    """Which parts (all rows of a run, joined) follow from an earlier part of the same run."""
    found: dict[int, Derived] = {}
    for number, part in enumerate(parts):
        if number == 0 or part.dtype.kind not in "biuf" or prod(part.shape[1:]) != 1 or not len(part):
            continue
        values = part.reshape(-1).astype(np.float64)
        if (values == values[0]).all():
            found[number] = Derived(0, ((0.0, float(values[0])),))
            continue
        for earlier in range(number):
            table = None if earlier in found else _table(parts[earlier], values)
            if table is not None:
                found[number] = Derived(earlier, table)
                break
    return found


def _table(labels: Array, values: Array) -> tuple[tuple[float, float], ...] | None:
    classes = class_of(labels)
    if classes is None:
        return None
    known, where = np.unique(classes, return_inverse=True)
    if not 1 < len(known) <= min(_MOST_CLASSES, len(values) // _FEWEST_ROWS):
        return None
    first = np.zeros(len(known))
    first[where] = values
    return tuple(zip(known.tolist(), first.tolist(), strict=True)) if np.array_equal(first[where], values) else None


def class_of(labels: Array) -> Array | None:
    """The class of each row, None where the part holds no classes."""
    if is_one_hot(labels):
        classes: Array = labels.argmax(axis=1).astype(np.float64)
        return classes
    if labels.dtype.kind not in "biuf" or prod(labels.shape[1:]) != 1:
        return None
    flat: Array = labels.reshape(-1).astype(np.float64)
    return flat if np.array_equal(flat, np.floor(flat)) else None


def with_derived(
    rules: Mapping[int, PartRule], derived: Mapping[int, Derived], parts: Sequence[Array]
) -> list[PartRule | None]:
    """Rules for all parts: those of the others, and for a derived part one that looks its numbers up."""
    found: list[PartRule | None] = []
    for number, part in enumerate(parts):
        maker = derived.get(number)
        base = rules.get(maker.of) if maker is not None else rules.get(number)
        if maker is None or base is None:
            found.append(base)
            continue
        evidence = f"looked up by {base.evidence}"
        found.append(
            PartRule("by class", base.sources, tuple(part.shape[1:]), of=base, table=maker.table, evidence=evidence)
        )
    return found


def renumbered(rule: PartRule, numbers: Sequence[int]) -> PartRule:
    """The rule with the sources' numbers among all of a's parts; `numbers`: those of the parts it was made for."""
    columns = tuple((numbers[source], column) for source, column in rule.columns)
    of = None if rule.of is None else renumbered(rule.of, numbers)
    return replace(rule, sources=tuple(numbers[source] for source in rule.sources), columns=columns, of=of)
