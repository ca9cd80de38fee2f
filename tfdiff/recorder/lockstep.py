"""What each step of an isolated pass starts from: the reference's variables as they were before that step."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np

from tfdiff.pairing.slots import is_steady, pair_slots, slots_of
from tfdiff.pairing.values import Values
from tfdiff.pairing.variables import convert
from tfdiff.recorder.share import Wanted

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tfdiff.pairing.pairs import Part, VariablePair
    from tfdiff.trace.reader import Trace

    Array = np.ndarray[Any, Any]
    Source = tuple[int, Part | None, Callable[[Array], Array]]
    """Variable of the reference, the part of this run's that it gives, and how."""

_KINDS = ("weight", "state")
_ALIKE = 1e-4
"""By how much the factor between two slots may miss 1 where it is none."""


class Lockstep:
    """Values for the variables of this run (by index), step by step."""

    def __init__(self, reference: Trace, free: Trace, pairs: Sequence[VariablePair]) -> None:
        self._values = Values(reference)
        self._variables = free.variables
        self._sources: dict[int, list[Source]] = defaultdict(list)
        self._slots: dict[int, list[Source]] = defaultdict(list)
        self.left: list[tuple[str, str]] = []
        """What stays this run's own, and why."""
        for pair in pairs:
            if free.variables[pair.b].kind in _KINDS:
                self._sources[pair.b].append((pair.a, pair.b_part, _start(pair)))
        self._pair_slots(reference, free, pairs)
        self._say_left()

    def wanted(self, step: int) -> dict[int, Wanted]:
        """What to write before a step. Slots only from the second one on: how they begin is a thing to be judged."""
        found: dict[int, Wanted] = {}
        for index, sources in (*self._sources.items(), *(self._slots.items() if step else ())):
            wanted = Wanted(self._variables[index].shape)
            for variable, part, turn in sources:
                value = self._values.after(variable, step - 1)
                if value is not None:
                    wanted.parts.append((part, turn(value)))
            if wanted.parts:
                found[index] = wanted
        return found

    def _pair_slots(self, reference: Trace, free: Trace, pairs: Sequence[VariablePair]) -> None:
        steady = _steady(reference) and _steady(free)
        for found in pair_slots(slots_of(reference), slots_of(free), pairs):
            alike = abs(found.factor - 1.0) <= _ALIKE
            holds = steady and (alike or all(map(is_steady, (reference, free), found.slots)))
            if found.factor == 1.0 or holds:
                self._slots[found.pair.b].append((found.pair.a, found.pair.b_part, found.start))
                continue
            why = "how it is scaled against the reference's changes from step to step: it goes on from where it was"
            self.left.append((_named(free, found.pair.b), why))

    def _say_left(self) -> None:
        said = {what for what, _ in self.left}
        for index, variable in sorted(self._variables.items()):
            sources = self._sources.get(index) or self._slots.get(index) or []
            what = f"{variable.kind} {variable.name}"
            if what in said or variable.kind not in (*_KINDS, "slot") or not variable.shape:
                continue
            if not sources:
                self.left.append((what, "no variable of the reference is seen to be the same"))
            elif not _complete(sources, variable.shape):
                self.left.append((what, "only a part of it has a counterpart in the reference; the rest is its own"))


def _start(pair: VariablePair) -> Callable[[Array], Array]:
    def start(value: Array) -> Array:
        converted = convert(value, pair)
        return converted + np.asarray(pair.offset, converted.dtype) if pair.offset else converted

    return start


def _complete(sources: Sequence[Source], shape: tuple[int, ...]) -> bool:
    return Wanted(shape, [(part, np.zeros(0)) for _, part, _ in sources]).complete


def _named(trace: Trace, index: int) -> str:
    return f"{trace.variables[index].kind} {trace.variables[index].name}"


def _steady(trace: Trace) -> bool:
    """Whether all steps use one learning rate."""
    rates = {
        optimizer.get("learning_rate") for step in range(trace.steps) for optimizer in trace.step(step).info.optimizers
    }
    return len(rates) <= 1
