"""Whole arrays that feed a run, where they can be seen: arrays into `fit`, `from_tensor_slices`, bases of NumPy slices.

Kept as hashes of rows, so that a batch can be found in them: in order, shuffled, or with rows left out.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from tfdiff.model import RowSource
from tfdiff.pairing.rows import row_signatures

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tfdiff.trace.records import Record

Array = np.ndarray[Any, Any]
Hashes = np.ndarray[Any, np.dtype[np.uint64]]
_MOST_BYTES = 2 << 30
"""Arrays beyond this are not hashed: it would take longer than the recording."""


@dataclass(slots=True)
class _Source:
    name: str
    place: str | None
    parts: list[Array] = field(default_factory=list)


@dataclass(slots=True)
class _Transform:
    """Rows that a generator made from those of a whole array."""

    parts: tuple[str, ...]
    drawn: list[tuple[Hashes, Hashes, int]] = field(default_factory=list)
    """Per draw the rows as made, what they were made from, and how many were changed; another thread may append."""


class RowSources:
    """The arrays seen by one recording."""

    def __init__(self) -> None:
        self._sources: dict[tuple[str, str | None, int], _Source] = {}
        self._transforms: dict[tuple[str, str | None], _Transform] = {}
        self._drawing: dict[tuple[str, str | None], tuple[str, ...]] = {}
        self._described: list[tuple[RowSource, Hashes]] | None = None

    def add(self, name: str, place: str | None, parts: list[Any]) -> None:
        """Arrays with a common first dimension, handed over together."""
        arrays = [a for a in parts if isinstance(a, np.ndarray) and a.ndim and a.dtype.kind in "biuf"]
        if not arrays or len({len(a) for a in arrays}) != 1 or sum(a.nbytes for a in arrays) > _MOST_BYTES:
            return
        key = (name, place, len(arrays[0]))
        if key not in self._sources:
            self._sources[key] = _Source(name, place, arrays)
            self._described = None

    def slice(self, view: Array, place: str | None) -> None:
        """A NumPy slice that became a tensor: its base is the whole array, if it has the same rows."""
        base = view.base
        if (
            not isinstance(base, np.ndarray)
            or not base.ndim
            or not view.ndim
            or len(base) <= len(view)
            or not len(view)
        ):
            return
        if (
            base.dtype != view.dtype
            or base.size // len(base) != view.size // len(view)
            or base.dtype.kind not in "biuf"
        ):
            return
        source = self._sources.setdefault(("array slices", None, len(base)), _Source("array slices", place))
        if not any(part is base for part in source.parts) and base.nbytes <= _MOST_BYTES:
            source.parts.append(base)
            self._described = None

    def transform(self, name: str, place: str | None, made: list[Array], originals: list[Array]) -> None:
        """Rows as a generator made them, and the rows of its whole array that it made them from."""
        found = self._transforms.setdefault((name, place), _Transform(tuple(_describe(part) for part in made)))
        flat = [(x.reshape(len(x), -1), y.reshape(len(y), -1)) for x, y in zip(made, originals, strict=True)]
        changed = np.any([(x != y).any(axis=1) for x, y in flat], axis=0)
        found.drawn.append((row_signatures(made), row_signatures(originals), int(changed.sum())))
        self._described = None

    def drawing(self, name: str, place: str | None, ops: list[str]) -> None:
        """A map on the way into the step that draws random numbers, by these ops: the rows it makes are not seen."""
        self._drawing[name, place] = tuple(ops)
        self._described = None

    def described(self) -> list[tuple[RowSource, Hashes]]:
        """Each source with the signature of each of its rows (uint64)."""
        if self._described is None:
            self._described = [
                (
                    RowSource(s.name, s.place, len(s.parts[0]), tuple(_describe(part) for part in s.parts)),
                    row_signatures(s.parts),
                )
                for s in self._sources.values()
                if s.parts
            ]
            for (name, place), t in self._transforms.items():
                made, originals, changed = zip(*t.drawn, strict=True)
                hashes = np.concatenate([*made, *originals])
                source = RowSource(name, place, len(hashes) // 2, t.parts, transformed=sum(changed))
                self._described.append((source, hashes))
            self._described += [
                (RowSource(name, place, 0, ops, transformed=0), np.zeros(0, np.uint64))
                for (name, place), ops in self._drawing.items()
            ]
        return self._described


def batch_signatures(records: Sequence[Record]) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """uint64[n]: a signature per row of a step's own batch (before sharing); empty where it has none.

    The same tensors as `comparison.own_data` takes: those with the most frequent number of rows, each once.
    """
    role = "own input" if any(record.site.role == "own input" for record in records) else "input"
    values = [r.value for r in records if r.site.role == role and r.value.ndim and r.value.size]
    if not values:
        return np.zeros(0, np.uint64)
    length = Counter(len(value) for value in values).most_common(1)[0][0]
    kept: list[Array] = []
    for value in values:
        if len(value) == length and not any(np.array_equal(value, other) for other in kept):
            kept.append(value)
    return row_signatures(kept)


def _describe(part: Array) -> str:
    return f"{part.dtype}[{','.join(str(n) for n in part.shape[1:])}]"
