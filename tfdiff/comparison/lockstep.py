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

    free: Trace
    """b's own run, in which every step follows from the one before."""

    def __init__(self, b: Trace, runs: Runs, at: int) -> None:
        self.__dict__.update(b.__dict__)
        self.steps = b.isolated_steps
        self.free, self._at = b, at
        self._first = {pair.b: pair for pair in runs.pairs if pair.whole}
        self._reference, self._runs = runs.a, runs

    def step(self, index: int) -> Block:
        """The block of an isolated step."""
        return self.free.isolated(index)

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
        read = self._first_read(variable, step)
        if read is not None:
            return read
        pair = self._first.get(variable)
        if pair is not None:
            given = self._runs.value_after(self._reference, pair.a, step - 1)
            if given is None:
                return None
            turned = convert(given, pair)
            return turned + pair.offset if pair.offset else turned
        return self.free.value_after(variable, -1) if step == 0 else None

    def _first_read(self, variable: int, step: int) -> Array | None:
        """What a step read of a variable before it wrote it."""
        block = self.step(step)
        for seen in block.observations:
            if seen.site.variable != variable or seen.site.role not in (*HELD, "assign"):
                continue
            if seen.site.role == "assign" or not seen.site.op:
                return None
            if seen.stored:
                return block.array(seen.index)
        return None

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
        # A write that no hook sees (inside a `tf.cond`) shows in what the next step reads, but only in the free run.
        return None if written or self._moves_freely(variable, step) else self.before(variable, step)

    def _moves_freely(self, variable: int, step: int) -> bool:
        first, last = (self._runs.value_after(self.free, variable, at) for at in (step - 1, step))
        return first is None or last is None or not np.array_equal(first, last)

    def slot_error(self) -> float:
        """How far at most a slot began the step from what the step before left in it and from what any of a's had.

        One that did neither was given a's times a factor that is not quite one.
        """
        worst = 0.0
        if self._at == 0:
            return worst
        for index, variable in self.variables.items():
            first = self._first_read(index, self._at) if variable.kind == "slot" else None
            if first is None:
                continue
            last = self.after(index, self._at - 1)
            known = [] if last is None else [last]
            known += self._slots_like(variable.shape)
            worst = max(worst, min((relative_error(first, value) for value in known), default=1.0))
        return worst

    def _slots_like(self, shape: tuple[int, ...]) -> list[Array]:
        """What a's slots of a shape held before the step."""
        alike = [
            index for index, slot in self._reference.variables.items() if (slot.kind, slot.shape) == ("slot", shape)
        ]
        values = (self._reference.value_after(index, self._at - 1) for index in alike)
        return [value for value in values if value is not None]

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

    @property
    def slot_error(self) -> float:
        """How far b's slots began the step from what they should be."""
        return self.b.slot_error() if isinstance(self.b, LockstepTrace) else 0.0

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
