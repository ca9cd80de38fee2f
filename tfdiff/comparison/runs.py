"""The two runs side by side: paired variables, their values, and one step of both."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from tfdiff.comparison.graph import StepGraph, build_graph
from tfdiff.comparison.metrics import pair_values
from tfdiff.pairing.variables import VariablePair, pair_from_json, pair_variables, variable_uses

if TYPE_CHECKING:
    import numpy.typing as npt

    from tfdiff.comparison.tolerance import Tolerances
    from tfdiff.model import Observation, Role
    from tfdiff.trace.block import Block
    from tfdiff.trace.reader import Trace

    Array = npt.NDArray[Any]

IGNORED_KINDS = frozenset({"hyper", "seed", "metric", "slot"})
"""Variables that no phase is judged by: what they do shows in weights and states."""


@dataclass(frozen=True)
class Runs:
    """Two traces and which variable of A is which of B."""

    a: Trace
    b: Trace
    pairs: tuple[VariablePair, ...]

    @property
    def compared(self) -> int:
        """Number of steps that both have."""
        return min(self.a.steps, self.b.steps)

    @cached_property
    def by_a(self) -> dict[int, VariablePair]:
        """Pair of each of A's variables."""
        return {pair.a: pair for pair in self.pairs}

    @cached_property
    def weights(self) -> tuple[VariablePair, ...]:
        """Pairs in which a side is a weight."""
        return tuple(pair for pair in self.pairs if "weight" in self._kinds(pair))

    @cached_property
    def states(self) -> tuple[VariablePair, ...]:
        """Pairs of state variables (moving statistics)."""
        return tuple(
            pair for pair in self.pairs if "state" in self._kinds(pair) and not self._kinds(pair) & {"weight", *IGNORED_KINDS}
        )

    def _kinds(self, pair: VariablePair) -> set[str]:
        return {self.a.variables[pair.a].kind, self.b.variables[pair.b].kind}

    def values(self, pair: VariablePair, step: int) -> tuple[Array, Array] | None:
        """Both values after `step` (-1: before step 0) in A's layout, None where a side has none or sizes differ."""
        first, second = self.a.value_after(pair.a, step), self.b.value_after(pair.b, step)
        if first is None or second is None:
            return None
        turned = pair_values(pair, second, first.shape)
        return None if turned is None else (first, turned)


@dataclass(frozen=True)
class StepView:
    """One step of both runs."""

    step: int
    a: StepGraph
    b: StepGraph
    tolerances: Tolerances


def pair_runs(a: Trace, b: Trace) -> Runs:
    """Take the pairs that sharing used, or find them from the traces."""
    given = [pair_from_json(entry) for entry in b.header.variable_pairs]
    pairs = [pair for pair in given if pair.a in a.variables and pair.b in b.variables]
    if not pairs:
        pairs = pair_variables(variable_uses(a), variable_uses(b))
    return Runs(a, b, tuple(pairs))


def view_step(runs: Runs, step: int) -> tuple[StepGraph, StepGraph]:
    """The forward graphs of one step."""
    return build_graph(runs.a.step(step)), build_graph(runs.b.step(step))


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
