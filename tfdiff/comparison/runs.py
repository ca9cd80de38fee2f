"""The two runs side by side: paired variables, their values, and one step of both."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from tfdiff.comparison.graph import StepGraph, build_graph
from tfdiff.comparison.metrics import own_values, pair_values
from tfdiff.pairing.given import Given, barred, overridden
from tfdiff.pairing.pairs import VariablePair, covers, pair_from_json
from tfdiff.pairing.sites import PARAMETERS
from tfdiff.pairing.values import Values
from tfdiff.pairing.variables import pair_variables, variable_uses

if TYPE_CHECKING:
    import numpy.typing as npt

    from tfdiff.comparison.findings import Match
    from tfdiff.comparison.tolerance import Tolerances
    from tfdiff.model import Observation, Role
    from tfdiff.trace.block import Block
    from tfdiff.trace.reader import Trace

    Array = npt.NDArray[Any]

IGNORED_KINDS = frozenset({"hyper", "seed", "metric", "slot"})
"""Variables that no phase is judged by: what they do shows in weights and states."""
IDLE = "other"
"""Kind of a variable that no step moves."""
FIRST_STEPS = 2
"""Steps that show every weight in use: two, because a GAN's networks take turns."""


@dataclass(frozen=True)
class Runs:
    """Two traces and which variable of A is which of B."""

    a: Trace
    b: Trace
    pairs: tuple[VariablePair, ...]
    given: Given = field(default_factory=Given)
    """What the user's map says."""
    _known: dict[tuple[VariablePair, int], tuple[Array, Array] | None] = field(default_factory=dict, repr=False)
    """Values by pair and step: those after one step are those before the next."""

    @property
    def compared(self) -> int:
        """Number of steps that both have."""
        return min(self.a.steps, self.b.steps)

    @cached_property
    def by_a(self) -> dict[int, VariablePair]:
        """Pair of each of A's variables that are paired as a whole."""
        return {pair.a: pair for pair in self.pairs if pair.whole}

    @cached_property
    def all_by_a(self) -> dict[int, tuple[VariablePair, ...]]:
        """Pairs of each of A's variables: several where it is paired part by part."""
        found: dict[int, list[VariablePair]] = {}
        for pair in self.pairs:
            found.setdefault(pair.a, []).append(pair)
        return {variable: tuple(pairs) for variable, pairs in found.items()}

    @cached_property
    def weights(self) -> tuple[VariablePair, ...]:
        """Pairs in which a side is a weight, and which both sides use."""
        return tuple(pair for pair in self.pairs if "weight" in self._kinds(pair) and pair not in self.unused)

    @cached_property
    def unused(self) -> tuple[VariablePair, ...]:
        """Pairs of which only one side's program uses its variable (a bias that is created but never added)."""
        used = self._used(self.a), self._used(self.b)
        return tuple(pair for pair in self.pairs if (pair.a in used[0]) != (pair.b in used[1]))

    def unpaired(self, trace: Trace) -> list[str]:
        """Names of a side's weights that are used and have no (or only in part a) counterpart on the other side."""
        used, names = self._used(trace), []
        for index, variable in sorted(trace.variables.items()):
            if variable.kind == "weight" and index in used:
                parts = [
                    pair.a_part if trace is self.a else pair.b_part
                    for pair in self.pairs
                    if index == (pair.a if trace is self.a else pair.b)
                ]
                if not covers(parts, variable.shape):
                    names.append(f"part of {variable.name}" if parts else variable.name)
        return names

    def _used(self, trace: Trace) -> set[int]:
        """Variables that a forward pass reads, that get a gradient, or that are written, in the first steps."""
        used: set[int] = set()
        for step in range(min(self.compared, FIRST_STEPS)):
            for seen in trace.step(step).observations:
                variable, role = seen.site.variable, seen.site.role
                read = role in PARAMETERS and seen.site.phase == "forward"
                if variable is not None and (read or role in ("weight gradient", "assign")):
                    used.add(variable)
        return used

    @cached_property
    def states(self) -> tuple[VariablePair, ...]:
        """Pairs of state variables (moving statistics)."""
        return tuple(
            pair
            for pair in self.pairs
            if "state" in self._kinds(pair) and not self._kinds(pair) & {"weight", *IGNORED_KINDS}
        )

    def _kinds(self, pair: VariablePair) -> set[str]:
        return {self.a.variables[pair.a].kind, self.b.variables[pair.b].kind}

    def value_after(self, trace: Trace, variable: int, step: int) -> Array | None:
        """A variable's value after `step` (-1: before step 0).

        What the next forward pass reads goes before the snapshot: a write inside a `tf.cond` may leave none.
        """
        return self._values["a" if trace is self.a else "b"].after(variable, step)

    @cached_property
    def _values(self) -> dict[str, Values]:
        return {"a": Values(self.a), "b": Values(self.b)}

    def values(self, pair: VariablePair, step: int) -> tuple[Array, Array] | None:
        """Both values after `step` (-1: before step 0) in A's layout, None where a side has none or sizes differ.

        Of a pair of parts the values of these parts.
        """
        key = (pair, step)
        if key not in self._known:
            for old in [known for known in self._known if not step - 1 <= known[1] <= step + 1]:
                del self._known[old]
            self._known[key] = self._read(pair, step)
        return self._known[key]

    def _read(self, pair: VariablePair, step: int) -> tuple[Array, Array] | None:
        first, second = self.value_after(self.a, pair.a, step), self.value_after(self.b, pair.b, step)
        if first is None or second is None:
            return None
        own = own_values(pair, first)
        turned = None if own is None else pair_values(pair, second, own.shape)
        return None if own is None or turned is None else (own, turned - pair.offset if pair.offset else turned)


@dataclass(frozen=True)
class StepView:
    """One step of both runs."""

    step: int
    a: StepGraph
    b: StepGraph
    tolerances: Tolerances
    forced: tuple[Match, ...] = ()
    """In an isolated step: a's tensors and where they went on in b."""


def pair_runs(a: Trace, b: Trace, given: Given | None = None) -> Runs:
    """Take the user's pairs, else those that sharing used, or find them from the traces."""
    given = given or Given()
    shared = [pair_from_json(entry) for entry in b.header.variable_pairs]
    pairs = overridden([pair for pair in shared if pair.a in a.variables and pair.b in b.variables], given)
    if not shared:
        pairs = pair_variables(variable_uses(a), variable_uses(b), given)
    idle = [pair for pair in _idle_states(a, b, pairs) if not barred(given.barred, pair.a, pair.b)]
    return Runs(a, b, (*pairs, *idle), given)


def _idle_states(a: Trace, b: Trace, pairs: list[VariablePair]) -> list[VariablePair]:
    """Pair moving statistics with variables that the other side made for them and never touches.

    Only where their number, in order of creation, and their initial values leave no choice.
    """
    found: list[VariablePair] = []
    known = {pair.a for pair in pairs}, {pair.b for pair in pairs}
    for a_kind, b_kind in (("state", IDLE), (IDLE, "state")):
        groups = [_alone(trace, kind, used) for trace, kind, used in ((a, a_kind, known[0]), (b, b_kind, known[1]))]
        for start in groups[0].keys() & groups[1].keys():
            one, other = groups[0][start], groups[1][start]
            if len(one) == len(other):
                found += [VariablePair(i, j, None, "order") for i, j in zip(one, other, strict=True)]
    return sorted(found, key=lambda pair: pair.a)


def _alone(trace: Trace, kind: str, paired: set[int]) -> dict[tuple[Any, ...], list[int]]:
    """Unpaired untrained variables of a kind by shape and initial value."""
    groups: dict[tuple[Any, ...], list[int]] = {}
    for index, variable in sorted(trace.variables.items()):
        if variable.kind != kind or variable.trainable or index in paired:
            continue
        start = trace.value_after(index, -1)
        if start is not None and start.ndim > 0:
            groups.setdefault((variable.shape, start.tobytes()), []).append(index)
    return groups


def view_step(runs: Runs, step: int) -> tuple[StepGraph, StepGraph]:
    """The forward graphs of one step."""
    a, b = (build_graph(trace.step(step)) for trace in (runs.a, runs.b))
    parts = [pair for pair in runs.pairs if not pair.whole]
    if not parts:
        return a, b
    return (
        replace(a, in_parts=frozenset(pair.a for pair in parts)),
        replace(b, in_parts=frozenset(pair.b for pair in parts)),
    )


def of_variable(block: Block, role: Role) -> dict[int, list[Observation]]:
    """Observations of a role by `Variable.index`, in order of execution."""
    found: dict[int, list[Observation]] = {}
    for seen in block.observations:
        if seen.site.role == role and seen.site.variable is not None:
            found.setdefault(seen.site.variable, []).append(seen)
    return found


def norm(values: Array) -> float:
    """Frobenius norm in float64."""
    flat = np.asarray(values).astype(np.float64, copy=False).reshape(-1)
    return float(np.sqrt(flat @ flat))
