"""The steps of an isolated pass as a run in which every step begins where a's began."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from tfdiff.comparison.metrics import relative_error
from tfdiff.comparison.runs import Runs, norm
from tfdiff.pairing.pairs import convert
from tfdiff.trace.reader import Trace

if TYPE_CHECKING:
    import numpy.typing as npt

    from tfdiff.pairing.pairs import VariablePair
    from tfdiff.trace.block import Block

    Array = npt.NDArray[Any]

HELD = frozenset({"weight", "state", "slot"})


class LockstepTrace(Trace):
    """b's trace with the steps of its isolated pass in the place of its own, seen from one of them.

    What a variable holds before and after that step is what it held there. The values of other steps are that one with
    b's own changes of the steps between added or taken away: differences between two steps are b's, and a variable
    that b never moves is the same everywhere.
    """

    def __init__(self, b: Trace, runs: Runs, at: int) -> None:
        self.__dict__.update(b.__dict__)
        self.steps = b.isolated_steps
        self._free, self._at = b, at
        self._first = {pair.b: pair for pair in runs.pairs if pair.whole}
        self._reference, self._runs = runs.a, runs

    def step(self, index: int) -> Block:
        """The block of an isolated step."""
        return self._free.isolated(index)

    def value_after(self, variable: int, step: int) -> Array | None:
        """A variable's value; None where what it held, or one of the changes, is not known."""
        step = min(step, self.steps - 1)
        value = self.before(variable, self._at) if step < self._at else self.after(variable, self._at)
        for between in range(self._at + 1, step + 1):
            value = _moved(value, self._change(variable, between), 1.0)
        for between in range(self._at - 1, step, -1):
            value = _moved(value, self._change(variable, between), -1.0)
        return value

    def before(self, variable: int, step: int) -> Array | None:
        """The value with which a step began: as the step read it first, else a's, which it was given."""
        block = self.step(step)
        for seen in block.observations:
            if seen.site.variable != variable or seen.site.role not in (*HELD, "assign"):
                continue
            if seen.site.role == "assign" or not seen.site.op:
                break
            if seen.stored:
                return block.array(seen.index)
        pair = self._first.get(variable)
        if pair is not None:
            given = self._runs.value_after(self._reference, pair.a, step - 1)
            if given is None:
                return None
            turned = convert(given, pair)
            return turned + pair.offset if pair.offset else turned
        return self._free.value_after(variable, -1) if step == 0 else None

    def after(self, variable: int, step: int) -> Array | None:
        """The value with which a step ended."""
        block = self.step(step)
        written = False
        for seen in reversed(block.observations):
            if seen.site.variable != variable:
                continue
            if seen.site.role in HELD and not seen.site.op and seen.site.phase in ("update", "state"):
                return block.array(seen.index) if seen.stored else None
            written = written or seen.site.role == "assign"
        return None if written else self.before(variable, step)

    def _change(self, variable: int, step: int) -> Array | None:
        early, late = self.before(variable, step), self.after(variable, step)
        if early is None or late is None:
            return None
        return np.asarray(late, np.float64) - np.asarray(early, np.float64)


def _moved(value: Array | None, change: Array | None, sign: float) -> Array | None:
    """A value with a change; a change of nothing leaves it as it is, to the last bit."""
    if value is None or change is None or value.shape != change.shape:
        return None
    return np.asarray(value, np.float64) + sign * change if np.any(change) else value


@dataclass(frozen=True)
class LockstepRuns(Runs):
    """a and b at one step of b's isolated pass; `b` is a `LockstepTrace`."""

    free: Runs | None = None
    """The two runs as they went by themselves."""

    @cached_property
    def unused(self) -> tuple[VariablePair, ...]:
        """As in the free run."""
        return self.free.unused if self.free is not None else ()

    def value_after(self, trace: Trace, variable: int, step: int) -> Array | None:
        """As in the free run for a; for b what the isolated step says."""
        return super().value_after(trace, variable, step) if trace is self.a else trace.value_after(variable, step)


def lockstep_runs(free: Runs, step: int) -> LockstepRuns:
    """Both sides at an isolated step."""
    return LockstepRuns(free.a, LockstepTrace(free.b, free, step), free.pairs, free=free)


def not_set(runs: Runs, step: int, limit: float) -> set[VariablePair]:
    """Pairs whose variable in b did not begin a step with a's value."""
    found = set()
    for pair in (*runs.weights, *runs.states):
        values = runs.values(pair, step - 1)
        if values is not None and (norm(values[0]) or norm(values[1])) and relative_error(*values) > limit:
            found.add(pair)
    return found
