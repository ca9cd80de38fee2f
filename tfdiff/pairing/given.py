"""What a user's map means for two runs: which variables and sites pair, which must not."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from tfdiff.errors import UsageError
from tfdiff.pairing.layouts import Fit, fit, permuted
from tfdiff.pairing.map_names import site_names, variable_names
from tfdiff.pairing.pairs import VariablePair, indices
from tfdiff.pairing.uses import variable_uses

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tfdiff.orders import MapEntry, PairMap
    from tfdiff.pairing.layouts import Shape
    from tfdiff.pairing.map_names import Names
    from tfdiff.pairing.pairs import Part
    from tfdiff.pairing.uses import VariableUse
    from tfdiff.trace.reader import Trace

USER = "user"
"""The evidence of a pair that the user gave."""

Barred = frozenset[tuple[int | None, int | None]]


@dataclass(frozen=True)
class Given:
    """A map with its names found: indices of variables, ids of sites."""

    variables: tuple[VariablePair, ...] = ()
    sites: tuple[tuple[int, int], ...] = ()
    barred: Barred = frozenset()
    """Variables that are no pair; with None for the other side, have no counterpart."""
    barred_sites: Barred = frozenset()

    def settles(self, a: int | None, b: int | None) -> bool:
        """Whether the map leaves nothing to find for a variable of one side (the other is None)."""
        if (a, b) in self.barred:
            return True
        return any(a == pair.a if b is None else b == pair.b for pair in self.variables)

    def bars(self, a: int, b: int) -> bool:
        """Whether two variables must not pair."""
        return barred(self.barred, a, b)


def barred(table: Barred, a: int, b: int) -> bool:
    """Whether a pair is in the table, as a pair or by one side."""
    return bool(table) and not table.isdisjoint({(a, b), (a, None), (None, b)})


def check_names(pairs: PairMap, trace: Trace, side: str) -> None:
    """Raise UsageError for a name of one side (`a` or `b`) that the trace does not have, or has several times."""
    _Side(trace, side).check(pairs)


def resolve(pairs: PairMap | None, a: Trace, b: Trace) -> Given:
    """Find what the entries name; UsageError, in one line, for a name or shape that does not fit."""
    if pairs is None:
        return Given()
    sides = _Side(a, "a"), _Side(b, "b")
    variables = tuple(_variable_pair(entry, *sides) for entry in pairs.variables)
    _refuse_overlaps(pairs.variables, variables, *sides)
    sites = tuple(_site_pair(entry, *sides) for entry in pairs.sites)
    for number, which in enumerate("ab"):
        _refuse_repeats(pairs.sites, [site[number] for site in sites], which)
    bars: list[set[tuple[int | None, int | None]]] = [set(), set()]
    for entry in pairs.unpaired:
        kind, found = _unpaired(entry, *sides)
        bars[kind].add(found)
    for entry, pair in zip(pairs.variables, variables, strict=True):
        if barred(frozenset(bars[0]), pair.a, pair.b):
            raise UsageError(f"{entry.where}: {entry.a!r} and {entry.b!r} are a pair here and unpaired further on")
    for entry, pair_of_sites in zip(pairs.sites, sites, strict=True):
        if barred(frozenset(bars[1]), *pair_of_sites):
            raise UsageError(f"{entry.where}: {entry.a!r} and {entry.b!r} are a pair here and unpaired further on")
    return Given(variables, sites, frozenset(bars[0]), frozenset(bars[1]))


class _Side:
    """One run and its names."""

    def __init__(self, trace: Trace, side: str) -> None:
        self.trace, self.side = trace, side
        self.variables: Names[int] = variable_names(trace.variables.values())
        self.sites: Names[int] = site_names(trace.step(0).observations if trace.steps else ())
        self._uses: Mapping[int, VariableUse] | None = None

    @property
    def uses(self) -> Mapping[int, VariableUse]:
        """How step 0 uses each variable."""
        if self._uses is None:
            self._uses = {use.index: use for use in variable_uses(self.trace)}
        return self._uses

    def shape(self, site: int) -> Shape:
        """Of the tensor at a site in step 0."""
        return next(seen.shape for seen in self.trace.step(0).observations if seen.site.id == site)

    def check(self, pairs: PairMap) -> None:
        """Look all names up."""
        for entries, names in ((pairs.variables, self.variables), (pairs.sites, self.sites)):
            for entry in entries:
                self.find(entry, names)
        for entry in pairs.unpaired:
            if getattr(entry, self.side) is not None:
                self.find(entry, self.either(entry))

    def find(self, entry: MapEntry, names: Names[int]) -> int:
        """What this side's name in an entry means."""
        return names.find(getattr(entry, self.side), f"{entry.where}, {self.side}")

    def either(self, entry: MapEntry) -> Names[int]:
        """Variables or sites, whichever have this side's name; variables where both have."""
        text = getattr(entry, self.side)
        return self.sites if self.sites.candidates(text) and not self.variables.candidates(text) else self.variables


def _variable_pair(entry: MapEntry, a: _Side, b: _Side) -> VariablePair:
    i, j = a.find(entry, a.variables), b.find(entry, b.variables)
    shapes = [
        _part_shape(side.trace.variables[index].shape, part, f"{entry.where}, {side.side}_part")
        for side, index, part in ((a, i, entry.a_part), (b, j, entry.b_part))
    ]
    found = _fit(entry, shapes[0], shapes[1], a.uses[i], b.uses[j])
    if found is None:
        turned = f" with axes {entry.permutation}" if entry.permutation else ""
        raise UsageError(
            f"{entry.where}: {a.variables[i]} of shape {shapes[0]}{turned} does not fit {b.variables[j]} of shape "
            f"{shapes[1]}; give a permutation, parts (a_part, b_part), or another pair"
        )
    layout = found.permutation, USER, found.reshape, found.restore
    return VariablePair(i, j, *layout, entry.a_part, entry.b_part, entry.offset)


def _fit(entry: MapEntry, shape: Shape, target: Shape, a: VariableUse, b: VariableUse) -> Fit | None:
    """As the user says, else as the uses tell, else as the shapes allow."""
    order = entry.permutation
    if order is None:
        return fit(shape, target, a.layout, b.layout) or fit(shape, target)
    if len(order) != len(shape) or prod(shape) != prod(target):
        return None

    turned = permuted(shape, order)
    plain = None if order == tuple(range(len(order))) else order
    return Fit(plain) if turned == target else Fit(plain, target, turned)


def _part_shape(shape: Shape, part: Part | None, where: str) -> Shape:
    if part is None:
        return shape
    extents = [max(stop for _, stop in axis) for axis in part]
    if len(part) != len(shape) or any(stop > extent for stop, extent in zip(extents, shape, strict=False)):
        raise UsageError(f"{where}: expected ranges within the shape {shape}, one list for each axis")
    return tuple(sum(stop - start for start, stop in axis) for axis in part)


def _refuse_overlaps(entries: tuple[MapEntry, ...], pairs: tuple[VariablePair, ...], a: _Side, b: _Side) -> None:
    """A variable has one counterpart, or parts of it have one each."""
    for side in (a, b):
        taken: dict[int, np.ndarray[tuple[int, ...], np.dtype[np.bool_]]] = {}
        for entry, pair in zip(entries, pairs, strict=True):
            index, part = (pair.a, pair.a_part) if side is a else (pair.b, pair.b_part)
            mask = taken.setdefault(index, np.zeros(side.trace.variables[index].shape, bool))
            chosen = ... if part is None else indices(part)
            if mask[chosen].any():
                raise UsageError(f"{entry.where}, {side.side}: {side.variables[index]} has a counterpart above")
            mask[chosen] = True


def _refuse_repeats(entries: tuple[MapEntry, ...], found: list[int], side: str) -> None:
    for entry, site, before in zip(entries, found, range(len(found)), strict=True):
        if site in found[:before]:
            raise UsageError(f"{entry.where}, {side}: {getattr(entry, side)!r} has a counterpart above")


def _site_pair(entry: MapEntry, a: _Side, b: _Side) -> tuple[int, int]:
    i, j = a.find(entry, a.sites), b.find(entry, b.sites)
    shapes = a.shape(i), b.shape(j)
    if prod(shapes[0]) != prod(shapes[1]):
        raise UsageError(
            f"{entry.where}: expected two tensors of one size, found {a.sites[i]} of shape {shapes[0]} and "
            f"{b.sites[j]} of shape {shapes[1]}"
        )
    return i, j


def _unpaired(entry: MapEntry, a: _Side, b: _Side) -> tuple[int, tuple[int | None, int | None]]:
    """0 for variables, 1 for sites, and the pair that is barred."""
    given = [side for side in (a, b) if getattr(entry, side.side) is not None]
    tables = [side.either(entry) for side in given]
    if len({table is side.sites for table, side in zip(tables, given, strict=True)}) > 1:
        raise UsageError(f"{entry.where}: expected two variables or two sites, found one of each")
    found = {side.side: side.find(entry, table) for side, table in zip(given, tables, strict=True)}
    return int(tables[0] is given[0].sites), (found.get("a"), found.get("b"))


def overridden(pairs: list[VariablePair], given: Given) -> list[VariablePair]:
    """Pairs that were found, with the user's in the place of those that they contradict."""
    taken = {pair.a for pair in given.variables}, {pair.b for pair in given.variables}
    kept = [
        pair
        for pair in pairs
        if pair.a not in taken[0] and pair.b not in taken[1] and not barred(given.barred, pair.a, pair.b)
    ]
    place = {pair.a: number for number, pair in enumerate(pairs)}
    return sorted([*given.variables, *kept], key=lambda pair: place.get(pair.a, len(pairs)))
