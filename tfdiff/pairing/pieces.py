"""The pieces a variable comes apart in, and what becomes of each: which gate of a recurrent cell it is.

A piece is told by its *meetings*: the tensors it is first multiplied with elementwise, each described by the
nonlinearities passed on either side and by where the other tensor comes from (`before`: nothing of this step's weights
went into it, as a previous state; `gate`: it stands beside this one, straight from its weights; `beyond`: it was made
from gates already). So the input gate meets a tanh gate, the forget gate a state, the output gate what lies beyond.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from tfdiff.pairing.direction import backwards
from tfdiff.pairing.flow import ACTIVATIONS
from tfdiff.pairing.labels import REARRANGING
from tfdiff.pairing.tags import ELEMENTWISE, MAX_CUTS, Join, Tags

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from tfdiff.model import Variable
    from tfdiff.pairing.flow import Flow
    from tfdiff.pairing.pairs import Part
    from tfdiff.pairing.parts import Constant

_MOVED_OR_SUMMED = REARRANGING | {"AddV2", "Add", "BiasAdd"}
Meeting = tuple[frozenset[str], str, frozenset[str]]
"""Nonlinearities passed before, where the other tensor comes from, nonlinearities it has passed."""


@dataclass(frozen=True)
class Piece:
    """A part of a variable that the program treats by itself; the whole where it never comes apart."""

    variable: int
    part: Part | None
    shape: tuple[int, ...]
    meetings: frozenset[Meeting] | None
    """None where the variable could not be followed."""
    recurrent: bool | None
    """Whether it is multiplied with what it was part of before; None for what no data is multiplied with."""
    backwards: bool | None
    """Whether it is fed a sequence from its end; None where it is fed no item of one."""
    position: int | None
    """The first observation that it stands in without other pieces of its variable."""
    upstream: frozenset[tuple[int, int]]
    """Variables, and which of their pieces, that its data has met before."""
    added: float = 0.0
    """A constant that is added to its columns before their first nonlinearity, where it is their only bias."""
    join: Join | None = None
    """Where its columns are joined to those of other variables."""
    activations: frozenset[str] | None = None
    """As `VariableUse.activations`, of the piece."""
    side: str | None = None
    """As `VariableUse.side`, of the piece."""


def pieces_of(
    variables: Sequence[Variable], flow: Flow, shapes: Sequence[tuple[int, ...]], constant: Constant
) -> dict[int, list[Piece]]:
    """The pieces of every variable that the forward pass reads."""
    read = [v for v in variables if v.index in flow.reads and v.dtype.startswith(("float", "bfloat", "complex"))]
    return _Pieces(read, Tags(read, flow, shapes, constant)).all()


def _ranges(chosen: npt.NDArray[np.int64]) -> tuple[tuple[int, int], ...]:
    """Sorted indices as ranges."""
    breaks = np.flatnonzero(np.diff(chosen) != 1) + 1
    return tuple((int(run[0]), int(run[-1]) + 1) for run in np.split(chosen, breaks))


def _boxes(classes: npt.NDArray[np.int64]) -> list[Part] | None:
    """The pieces as boxes; None where one is none."""
    found: list[Part] = []
    for number in range(int(classes.max()) + 1):
        where = np.nonzero(classes == number)
        axes = [np.unique(axis) for axis in where]
        if int(np.prod([len(axis) for axis in axes])) != len(where[0]):
            return None
        found.append(tuple(_ranges(axis) for axis in axes))
    return sorted(found)


class _Pieces:
    """The pieces of a step, each a bit of a set."""

    def __init__(self, variables: Sequence[Variable], tags: Tags) -> None:
        self.tags, self.flow = tags, tags.flow
        self.parts: list[tuple[int, Part | None, tuple[int, ...]]] = []
        self.of_variable: dict[int, int] = {}
        """By variable: the bits of its pieces."""
        self._number: dict[int, npt.NDArray[np.int64]] = {}
        """By variable: the piece of each element, in C order."""
        for variable in variables:
            self._enter(variable)
        self._groups: dict[tuple[int, bytes], int] = {}
        self._columns: dict[int, dict[int, int]] = {}
        self._directions: dict[int, bool | None] = {}
        count = len(self.flow.sites)
        self.own, self.before = [0] * count, [0] * count
        self.passed: list[frozenset[str]] = [frozenset()] * count
        for position in range(count):
            if self.flow.live[position]:
                self._visit(position)

    def _enter(self, variable: Variable) -> None:
        classes = self.tags.classes.get(variable.index)
        boxes = _boxes(classes) if classes is not None and classes.max() < MAX_CUTS else None
        start = len(self.parts)
        if boxes is None or len(boxes) < 2:
            self.parts.append((variable.index, None, variable.shape))
        else:
            numbers = np.zeros(variable.shape, np.int64)
            for part in boxes:
                lengths = [[np.arange(*extent) for extent in axis] for axis in part]
                chosen = [np.concatenate(axis) for axis in lengths]
                numbers[np.ix_(*chosen)] = len(self.parts)
                self.parts.append((variable.index, part, tuple(len(axis) for axis in chosen)))
            self._number[variable.index] = numbers.reshape(-1)
        self.of_variable[variable.index] = sum(1 << n for n in range(start, len(self.parts)))

    def _bits(self, variable: int, elements: npt.NDArray[np.int32]) -> int:
        """The pieces that some elements of a variable are in."""
        numbers = self._number.get(variable)
        if numbers is None:
            return self.of_variable.get(variable, 0)
        return sum(1 << int(n) for n in np.unique(numbers[elements]))

    def _columns_of(self, variable: int) -> dict[int, int]:
        """By the name of a column: the pieces it is in."""
        if variable not in self._columns:
            names = self.tags.columns.get(variable)
            numbers = self._number[variable]
            of_column = np.arange(len(numbers)) if names is None else names.reshape(-1)
            found: dict[int, int] = {}
            for name, number in np.unique(np.stack([of_column, numbers]), axis=1).T:
                found[int(name)] = found.get(int(name), 0) | 1 << int(number)
            self._columns[variable] = found
        return self._columns[variable]

    def _standing(self, variable: int, labels: npt.NDArray[np.int32]) -> int:
        """The pieces whose columns stand in a tensor."""
        if variable not in self._number:
            return self.of_variable.get(variable, 0)
        key = (variable, labels.tobytes())
        if key not in self._groups:
            columns, found = self._columns_of(variable), 0
            for name in np.unique(labels):
                found |= columns.get(int(name), 0)
            self._groups[key] = found
        return self._groups[key]

    def _visit(self, position: int) -> None:
        tags, site = self.tags, self.flow.sites[position]
        tagged, inputs = tags.tensors[position], tags.sources_of(position)
        if site.role in ("weight", "state") and site.variable is not None:
            self.before[position] = self.of_variable.get(site.variable, 0)
            return
        if tagged.pure:
            for (variable, _), labels in tagged.labels.items():
                self.before[position] |= self._bits(variable, labels[labels >= 0])
            if not tagged.labels:
                self.before[position] = self._all(inputs)
            return
        for (variable, _), labels in tagged.labels.items():
            self.own[position] |= self._standing(variable, labels)
        named = sum(self.of_variable.get(variable, 0) for variable in {variable for variable, _ in tagged.labels})
        product = position in tags.products
        for source in inputs:
            if tags.tensors[source].pure:
                self.before[position] |= self.met(source) & ~named
            elif product or not tagged.labels:
                self.before[position] |= self.met(source)
            else:
                self.before[position] |= self.before[source] | (self.own[source] & ~named)
        self.passed[position] = self._passed(position, inputs, mixing=not tagged.labels)

    def _all(self, inputs: Sequence[int]) -> int:
        found = 0
        for source in inputs:
            found |= self.met(source)
        return found

    def met(self, position: int) -> int:
        """All pieces that went into a tensor."""
        return self.own[position] | self.before[position]

    def _passed(self, position: int, inputs: Sequence[int], *, mixing: bool) -> frozenset[str]:
        """Nonlinearities since the last product or meeting."""
        op = self.flow.sites[position].op
        if op in ELEMENTWISE:
            moving = [source for source in inputs if self.tags.mixes(source)]
            if mixing and len(moving) > 1 and op in ("Mul", "RealDiv"):
                return frozenset()
            found = frozenset().union(*(self.passed[source] for source in moving))
            if op in ACTIVATIONS:
                return found | {ACTIVATIONS[op]}
            turned = op == "Neg" or (op == "Sub" and len(inputs) == 2 and not self.tags.mixes(inputs[0]))
            return found | {"turned"} if turned else found
        # What only moves a tensor (a split, a reshape) hands on what it has passed.
        larger = [source for source in inputs if self.tags.mixes(source)]
        carried = op not in ("MatMul", "Einsum", "Select", "SelectV2") and len(larger) == 1
        return self.passed[larger[0]] if carried and position not in self.tags.products else frozenset()

    @cached_property
    def _first(self) -> list[int | None]:
        """By piece: the first tensor that it stands in without pieces of other columns of its variable."""
        found: list[int | None] = [None] * len(self.parts)
        alone = [self._alone(number) for number in range(len(self.parts))]
        whole = [self.of_variable[variable] for variable, _, _ in self.parts]
        for position, own in enumerate(self.own):
            rest = own
            while rest:
                number = (rest & -rest).bit_length() - 1
                rest &= rest - 1
                if found[number] is None and own & whole[number] == alone[number]:
                    found[number] = position
        return found

    def _alone(self, number: int) -> int:
        """The pieces that share the columns of a piece."""
        variable, part, _ = self.parts[number]
        if part is None:
            return 1 << number
        masks = {bits for bits in self._columns_of(variable).values() if bits >> number & 1}
        return masks.pop() if len(masks) == 1 else 1 << number

    def all(self) -> dict[int, list[Piece]]:
        """The pieces by variable."""
        found: dict[int, list[Piece]] = {}
        for number, (variable, part, shape) in enumerate(self.parts):
            first = self._first[number]
            followed = variable in self.tags.columns or first is not None
            piece = Piece(
                variable,
                part,
                shape,
                self._meetings(number, first) if followed and first is not None else None,
                self._recurrent(number),
                self._backwards(number, first),
                first,
                frozenset(self._names[n] for n in _members(self._upstream(number, first)) if n != number),
                self._added(number, first) if first is not None else 0.0,
                self.tags.joins.get(variable) if part is None else None,
            )
            found.setdefault(variable, []).append(piece)
        return found

    @cached_property
    def _names(self) -> list[tuple[int, int]]:
        """By piece: its variable, and which of its pieces it is."""
        counts: dict[int, int] = {}
        found = []
        for variable, _, _ in self.parts:
            found.append((variable, counts.get(variable, 0)))
            counts[variable] = counts.get(variable, 0) + 1
        return found

    @cached_property
    def _entered(self) -> list[int | None]:
        """By piece: the first tensor that depends on data and has it in it."""
        found: list[int | None] = [None] * len(self.parts)
        seen = 0
        for position, own in enumerate(self.own):
            for number in _members(own & ~seen):
                found[number] = position
            seen |= own
        return found

    def _recurrent(self, number: int) -> bool | None:
        variable = self.parts[number][0]
        uses = [s.data for s in self.tags.sources.get(variable, ()) if self._bits(variable, s.elements) >> number & 1]
        return any(self.met(data) >> number & 1 for data in uses) if uses else None

    def _backwards(self, number: int, first: int | None) -> bool | None:
        """As its own data says, else that of the pieces it stands together with (a state's matrix, a bias)."""
        beside = () if first is None else (n for n in _members(self.own[first]) if n != number)
        told = (self._own_direction(n) for n in (number, *beside))
        return next((direction for direction in told if direction is not None), None)

    def _own_direction(self, number: int) -> bool | None:
        if number not in self._directions:
            variable = self.parts[number][0]
            first = next(
                (s for s in self.tags.sources.get(variable, ()) if self._bits(variable, s.elements) >> number & 1), None
            )
            told = None
            if first is not None:
                told = backwards(self.flow, self.tags.shapes, self.tags.constant, first.data)
            self._directions[number] = told
        return self._directions[number]

    def _upstream(self, number: int, first: int | None) -> int:
        variable = self.parts[number][0]
        for source in self.tags.sources.get(variable, ()):
            if self._bits(variable, source.elements) >> number & 1:
                return self.met(source.data)
        if first is None:
            return 0
        earlier = 0
        for other in _members(self.own[first]):
            at, own = self._entered[other], self._entered[number]
            if at is not None and own is not None and at < own:
                earlier |= 1 << other
        return self.before[first] | earlier

    def _meetings(self, number: int, first: int) -> frozenset[Meeting]:
        """What the piece is first multiplied with, before it comes round again."""
        variable, alone = self.parts[number][0], self._alone(number)
        whole = self.of_variable[variable]
        found: set[Meeting] = set()
        queue, seen = [first], {first}
        while queue:
            position = queue.pop()
            for consumer in self.flow.consumers[position]:
                if consumer in seen or self.before[position] >> number & 1:
                    continue
                if self._goes_on(position, consumer, alone, whole):
                    seen.add(consumer)
                    queue.append(consumer)
                elif self.flow.sites[consumer].op in ("Mul", "RealDiv") and not self.own[consumer]:
                    others = [s for s in self.tags.sources_of(consumer) if s != position]
                    if len(others) == 1:
                        found.add((self.passed[position], self._kind(others[0], position), self.passed[others[0]]))
        return frozenset(found)

    def _goes_on(self, position: int, consumer: int, alone: int, whole: int) -> bool:
        """Whether a piece stands in the consumer as it stood before, or with something added."""
        own = self.own[consumer]
        if own & alone != alone:
            return False
        return self.flow.sites[consumer].op in ELEMENTWISE or not own & whole & ~self.own[position]

    def _added(self, number: int, first: int) -> float:
        """The constants on the way from a bias to its sigmoid or tanh; 0 where there are other biases beside it."""
        variable, alone = self.parts[number][0], self._alone(number)
        whole, found = self.of_variable[variable], set[float]()
        queue = [(first, 0.0)]
        seen = {first}
        while queue:
            position, total = queue.pop()
            for consumer in self.flow.consumers[position]:
                if consumer in seen or self.before[position] >> number & 1:
                    continue
                site = self.flow.sites[consumer]
                if site.op in ("Sigmoid", "Tanh"):
                    beside = [n for n in _members(self.own[position]) if n != number and self._is_vector(n)]
                    found.add(0.0 if beside else total)
                elif site.op in _MOVED_OR_SUMMED and self._goes_on(position, consumer, alone, whole):
                    seen.add(consumer)
                    queue.append((consumer, total + self._constant_in(consumer)))
        return found.pop() if len(found) == 1 else 0.0

    def _is_vector(self, number: int) -> bool:
        return sum(extent > 1 for extent in self.parts[number][2]) <= 1

    def _constant_in(self, position: int) -> float:
        """The single number that an addition adds."""
        if self.flow.sites[position].op not in ("AddV2", "Add"):
            return 0.0
        constants = [s for s in self.tags.sources_of(position) if self.flow.sites[s].role == "constant"]
        values = [self.tags.constant(s) for s in constants if int(np.prod(self.tags.shapes[s])) == 1]
        return sum(float(np.asarray(value).reshape(())) for value in values if value is not None)

    def _kind(self, other: int, position: int) -> str:
        if self.own[other]:
            return "gate"
        return "beyond" if self.met(other) & ~self.before[position] else "before"


def _members(bits: int) -> list[int]:
    found = []
    while bits:
        found.append((bits & -bits).bit_length() - 1)
        bits &= bits - 1
    return found
