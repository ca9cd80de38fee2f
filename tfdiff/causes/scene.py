"""What a hypothesis looks at: both sides of a divergence, their tensors, and what agrees between them.

A `Scene` wraps a `Finding`. Tensors come as float64, `None` where the trace keeps too little; a tensor of which only a
sketch is kept is computed again from its operands and checked against the sketch.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from tfdiff.causes import replay
from tfdiff.comparison.lockstep import LockstepTrace
from tfdiff.comparison.metrics import into_layout, relative_error
from tfdiff.errors import TfdiffError
from tfdiff.pairing.pairs import convert_back, taken
from tfdiff.trace.sketch import sketch

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy.typing as npt

    from tfdiff.comparison.findings import Finding, Match
    from tfdiff.model import Observation, Phase, Place
    from tfdiff.pairing.variables import VariablePair
    from tfdiff.trace.reader import Block, Trace

    Array = npt.NDArray[Any]
    Floats = npt.NDArray[np.float64]

TINY = float(np.finfo(np.float32).tiny)
EPS32 = float(np.finfo(np.float32).eps)
MAX_ELEMENTS = 1 << 23
"""Larger tensors are judged by sketches only: a hypothesis may look at a hundred of them."""
LINEAR_OPS = frozenset(
    {"MatMul", "BatchMatMulV2", "BatchMatMul", "Einsum", "Conv2D", "Conv1D", "Conv3D", "DepthwiseConv2dNative"}
)
RESHAPES = frozenset({"Reshape", "Squeeze", "ExpandDims", "Transpose", "Cast", "Identity", "StopGradient"})
MAX_CUTS = 12


class Side:
    """One run at the step of the divergence."""

    def __init__(self, name: str, trace: Trace, block: Block, bad: tuple[int, ...], frontier: int | None) -> None:
        self.name = name
        self.trace = trace
        self.block = block
        self.bad = bad
        self.frontier = frontier
        self._arrays: dict[int, Floats] = {}
        self._tried: dict[int, int] = {}
        """How many ops deep an array was looked for: a deeper look may find what a shallow one did not."""
        self.memo: dict[tuple[Any, ...], Any] = {}
        """What hypotheses found out about this side, so that the next one need not again."""

    @property
    def observations(self) -> tuple[Observation, ...]:
        """All observations of the step."""
        return self.block.observations

    @property
    def step(self) -> int:
        """Number of the step."""
        return self.block.info.index

    def array(self, index: int, depth: int = 6) -> Floats | None:
        """The tensor in float64; None where it is neither stored nor can be computed from what is."""
        if index < 0 or self.observations[index].size > MAX_ELEMENTS:
            return None
        known = self._arrays.get(index)
        if known is not None or self._tried.get(index, -1) >= depth:
            return known
        self._tried[index] = depth  # ends a cycle in a damaged graph too
        found: Floats | None = None
        if self.observations[index].stored:
            found = np.asarray(self.block.array(index)).astype(np.float64)
        elif depth > 0:
            found = self._computed(index, depth)
        if found is not None:
            self._keep(index, found)
        return found

    def _keep(self, index: int, value: Floats) -> None:
        """Remember an array; the oldest ones go when there is no room."""
        self._arrays[index] = value
        while sum(v.size for v in self._arrays.values()) > 2 * MAX_ELEMENTS:
            gone = next(iter(self._arrays))
            del self._arrays[gone], self._tried[gone]

    def _computed(self, index: int, depth: int) -> Floats | None:
        seen = self.observations[index]
        if seen.site.op not in replay.OPS:
            return None
        operands = [self.array(operand, depth - 1) for operand in seen.inputs]
        known = [operand for operand in operands if operand is not None]
        if len(known) != len(operands):
            return None
        result = replay.apply(seen.site.op, seen.site.attrs, known, seen.shape)
        return result if result is not None and self.error(index, result) <= 1e-4 else None

    def error(self, index: int, predicted: Array) -> float:
        """Relative error between a prediction and what was recorded, in the order of the elements."""
        seen = self.observations[index]
        if predicted.size != seen.size:
            return float("inf")
        if seen.stored:
            known = self.array(index)
            known = self.block.array(index) if known is None else known
            return relative_error(known, predicted.reshape(seen.shape))
        difference = sketch(predicted).astype(np.float64) - self.block.sketch(index)
        scale = max(seen.stats.norm, float(np.linalg.norm(predicted)), TINY)
        return float(np.linalg.norm(difference)) / scale

    def find(self, predicted: Array, among: Iterable[int] | None = None, tolerance: float = 2e-5) -> int | None:
        """The first of the given observations (default: the bad ones) that has these values, in any shape."""
        norm = float(np.linalg.norm(predicted))
        for index in self.bad if among is None else among:
            seen = self.observations[index]
            near = abs(seen.stats.norm - norm) <= 2 * tolerance * max(norm, seen.stats.norm)
            if (
                near
                and seen.size == predicted.size
                and "float" in seen.dtype
                and self.error(index, predicted) <= tolerance
            ):
                return index
        return None

    def ancestors(self, roots: Iterable[int]) -> set[int]:
        """Everything the roots were computed from, themselves included."""
        seen: set[int] = set()
        todo = list(roots)
        while todo:
            index = todo.pop()
            if index >= 0 and index not in seen:
                seen.add(index)
                todo.extend(self.observations[index].inputs)
        return seen

    def descendants(self, index: int) -> set[int]:
        """Everything computed from an observation, itself not included."""
        seen: set[int] = set()
        todo = [index]
        while todo:
            for user in self.consumers.get(todo.pop(), []):
                if user not in seen:
                    seen.add(user)
                    todo.append(user)
        return seen

    @cached_property
    def consumers(self) -> dict[int, list[int]]:
        """Indices of the ops that take each observation."""
        found: dict[int, list[int]] = {}
        for seen in self.observations:
            for operand in set(seen.inputs):
                found.setdefault(operand, []).append(seen.index)
        return found

    def users(self, index: int) -> list[int]:
        """Bad ops that take this observation, directly or through a change of shape or type."""
        bad = set(self.bad)
        found: list[int] = []
        todo = [user for user in self.consumers.get(index, []) if user in bad or self._is_reshape(user)]
        while todo:
            user = todo.pop(0)
            if self._is_reshape(user):
                todo += self.consumers.get(user, [])
            elif user in bad and user not in found:
                found.append(user)
        return found

    def _is_reshape(self, index: int) -> bool:
        return self.observations[index].site.op in RESHAPES and self.observations[index].site.role == "activation"

    def scalar(self, index: int) -> float | None:
        """The value of an observation with one element (the statistics hold it)."""
        if index < 0 or self.observations[index].size != 1:
            return None
        return self.observations[index].stats.mean

    def with_role(self, *roles: str) -> list[Observation]:
        """Observations of the given roles, in order of execution."""
        return [seen for seen in self.observations if seen.site.role in roles]

    def variable_of(self, index: int) -> int | None:
        """The variable an observation holds, unchanged but for type and shape."""
        for _ in range(4):
            if index < 0:
                return None
            seen = self.observations[index]
            if seen.site.role in ("weight", "state"):
                return seen.site.variable
            if seen.site.op not in RESHAPES or not seen.inputs:
                return None
            index = seen.inputs[0]
        return None

    def before(self, variable: int) -> Floats | None:
        """A variable's value at the start of the step."""
        return self._value(variable, self.step - 1)

    def after(self, variable: int) -> Floats | None:
        """A variable's value after the step."""
        return self._value(variable, self.step)

    def _value(self, variable: int, step: int) -> Floats | None:
        try:
            value = self.trace.value_after(variable, step)
        except TfdiffError:
            return None
        return None if value is None else np.asarray(value).astype(np.float64)

    def optimizer(self) -> dict[str, Any]:
        """The one optimizer of the step, empty where there is none or more than one kind."""
        found = self.block.info.optimizers
        return dict(found[0]) if found and all(o.get("class") == found[0].get("class") for o in found) else {}


@dataclass(frozen=True)
class Cut:
    """A pair of equal tensors, each in its own side's layout."""

    a: int
    b: int
    x_a: Floats
    x_b: Floats
    permutation: tuple[int, ...] | None


class Scene:
    """A finding as hypotheses see it."""

    def __init__(self, finding: Finding) -> None:
        self.finding = finding
        divergence = finding.divergence
        self.phase: Phase = divergence.phase
        self.step = divergence.step
        if finding.pairing is not None:
            blocks = finding.pairing.a, finding.pairing.b
        else:
            blocks = tuple(t.step(min(divergence.step, t.steps - 1)) for t in (finding.a, finding.b))  # type: ignore[assignment]
        self.a = Side("a", finding.a, blocks[0], finding.a_bad, divergence.a_index)
        self.b = Side("b", finding.b, blocks[1], finding.b_bad, divergence.b_index)
        self.tolerance = min(max(2e-5, divergence.tolerance), 1e-3)
        """Up to which relative error a prediction counts as what was recorded."""

    @property
    def lockstep(self) -> bool:
        """Whether B's step is one of its isolated pass: it began with A's variables, and A's gradients were applied."""
        return isinstance(self.finding.b, LockstepTrace)

    @property
    def sides(self) -> tuple[Side, Side]:
        """A and B."""
        return self.a, self.b

    @cached_property
    def cuts(self) -> tuple[Cut, ...]:
        """The equal tensors in front of the divergence of which the values are known, the nearest first."""
        first = () if self.finding.cut is None else (self.finding.cut,)
        found: dict[tuple[int, int], Cut] = {}
        for match in (*first, *self.finding.cuts):
            if len(found) < MAX_CUTS and (match.a, match.b) not in found:
                cut = self._cut(match)
                if cut is not None:
                    found[match.a, match.b] = cut
        return tuple(found.values())

    def _cut(self, match: Match) -> Cut | None:
        x_a, x_b = self.a.array(match.a), self.b.array(match.b)
        plain = match.permutation is None
        if x_a is None and x_b is not None:
            x_a = into_layout(x_b, self.a.observations[match.a].shape, match.permutation)
        elif x_b is None and x_a is not None and plain:
            x_b = x_a.reshape(self.b.observations[match.b].shape)
        return None if x_a is None or x_b is None else Cut(match.a, match.b, x_a, x_b, match.permutation)

    def in_a(self, value: Floats, shape: tuple[int, ...], cut: Cut | None = None) -> Floats | None:
        """A tensor of B in A's layout, for tensors shaped like the cut."""
        return into_layout(value, shape, cut.permutation if cut is not None else None)

    def distance(self, i: int, j: int, cut: Cut | None = None) -> float:
        """Relative error between observation `i` of A and `j` of B, infinite where it cannot be told."""
        x, y = self.a.array(i), self.b.array(j)
        if x is None or y is None:
            return self._sketched(i, j)
        turned = self.in_a(y, x.shape, cut)
        return float("inf") if turned is None else relative_error(x, turned)

    def _sketched(self, i: int, j: int) -> float:
        first, second = self.a.observations[i], self.b.observations[j]
        if first.size != second.size:
            return float("inf")
        difference = self.a.block.sketch(i).astype(np.float64) - self.b.block.sketch(j)
        return float(np.linalg.norm(difference)) / max(first.stats.norm, second.stats.norm, TINY)

    def miss(self, index: int, predicted: Floats, cut: Cut | None = None) -> float:
        """Relative error between A's observation and its prediction from B's values (B's layout)."""
        turned = self.in_a(predicted, self.a.observations[index].shape, cut)
        return float("inf") if turned is None else self.a.error(index, turned)

    @cached_property
    def pair_of_a(self) -> dict[int, VariablePair]:
        """Pair of each of A's variables."""
        return {pair.a: pair for pair in self.finding.variables}

    @cached_property
    def pair_of_b(self) -> dict[int, VariablePair]:
        """Pair of each of B's variables."""
        return {pair.b: pair for pair in self.finding.variables}

    @property
    def concerned(self) -> tuple[VariablePair, ...]:
        """The variables the divergence is about."""
        found = self.finding.also or ((self.finding.variable,) if self.finding.variable is not None else ())
        return tuple(found)

    def updates(self, pairs: Iterable[VariablePair]) -> list[Update]:
        """What the step did to the variables, B's in A's layout; pairs without values on a side are left out."""
        found = []
        for pair in pairs:
            values = [self.a.before(pair.a), self.a.after(pair.a), self.b.before(pair.b), self.b.after(pair.b)]
            known = [value for value in values if value is not None]
            if len(known) < 4:
                continue
            w, w_after, b_w, b_after = known
            try:
                w, w_after = taken(w, pair.a_part), taken(w_after, pair.a_part)
                b_w, b_after = convert_back(b_w, pair), convert_back(b_after, pair)
            except ValueError:
                continue
            if w.shape == b_w.shape:
                found.append(Update(pair, w, w_after - w, b_w, b_after - b_w))
        return found

    def place(self, side: Side) -> Place | None:
        """The divergence's place on a side."""
        return self.finding.divergence.a if side is self.a else self.finding.divergence.b


@dataclass(frozen=True)
class Update:
    """A variable before the step and what was added to it, both sides in A's layout."""

    pair: VariablePair
    w_a: Floats
    u_a: Floats
    w_b: Floats
    u_b: Floats


def joined(arrays: Iterable[Floats]) -> Floats:
    """All elements in one vector."""
    return np.concatenate([np.zeros(0), *(np.ravel(array) for array in arrays)])


def proportion(x: Floats, y: Floats) -> tuple[float, float]:
    """(k, relative error of k * x against y): the least-squares factor between two tensors of one shape."""
    x, y = np.ravel(x), np.ravel(y)
    square = float(x @ x)
    k = float(x @ y) / square if square > 0.0 else 0.0
    return k, relative_error(k * x, y)


def same(x: float, y: float, tolerance: float = 1e-3) -> bool:
    """Whether two constants are equal up to a relative tolerance."""
    return abs(x - y) <= tolerance * max(abs(x), abs(y), TINY)
