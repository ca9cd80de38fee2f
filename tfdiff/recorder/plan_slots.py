"""The state of the reference's optimizer in the place of the run's own: slots and the number of steps made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tfdiff.pairing.slots import pair_slots, slots_of
from tfdiff.recorder.share import Wanted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tfdiff.pairing.pairs import VariablePair
    from tfdiff.recorder.plan import Planned
    from tfdiff.trace.reader import Trace

    Array = np.ndarray[Any, Any]

_COUNTERS = ("iteration", "iterations", "iter")
"""How optimizers name what they count steps in; in a compiled step nothing else of it is seen."""


def plan_slots(planned: Planned, reference: Trace, scout: Trace, pairs: Sequence[VariablePair]) -> None:
    """Plan the slots where one of the runs starts with memory: restored, or recorded in the middle of its training.

    Slots that start as they are made on both sides need nothing.
    """
    remembered = {side: _remembered(trace) for side, trace in (("a", reference), ("b", scout))}
    if not remembered["a"] and not remembered["b"]:
        return
    wanted: dict[int, Wanted] = {}
    for found in pair_slots(slots_of(reference), slots_of(scout), pairs):
        value = reference.value_after(found.pair.a, -1)
        if value is not None:
            target = wanted.setdefault(found.pair.b, Wanted(scout.variables[found.pair.b].shape))
            target.parts.append((found.pair.b_part, found.start(value)))
    slots = {side: _slots(trace) for side, trace in (("a", reference), ("b", scout))}
    missing = [index for index in slots["b"] if index not in wanted or not wanted[index].complete]
    if not missing and slots["b"]:
        planned.plan.weights |= wanted
        _plan_counter(planned, reference, scout)
    counts = {side: len(indices) for side, indices in slots.items()}
    planned.shared["slots"] = {"shared": 0 if missing else len(wanted), **counts}
    # Half of an optimizer's memory is worse than none.
    for index in missing:
        what = f"optimizer state {scout.variables[index].name} {scout.variables[index].shape}"
        planned.not_shared.append(
            (what, "no slot of the reference is seen to be the same sum of gradients: none is set")
        )
    if not slots["b"]:
        planned.not_shared.append(("optimizer state", "the reference starts with memory, this optimizer has no slots"))


def _slots(trace: Trace) -> list[int]:
    return [index for index, variable in trace.variables.items() if variable.kind == "slot" and variable.shape]


def _remembered(trace: Trace) -> bool:
    """Whether a slot does not start as it is made, with the same number everywhere.

    That is zero, or what the optimizer was given for it (0.1 of Adagrad), which is a setting and may be a fault.
    """
    starts = [trace.value_after(index, -1) for index in _slots(trace)]
    return any(_moved(start, trace) for start in starts if start is not None and start.any())


def _moved(start: Array, trace: Trace) -> bool:
    return bool(np.any(start != start.flat[0])) if start.size > 1 else bool(_iterations(trace))


def _plan_counter(planned: Planned, reference: Trace, scout: Trace) -> None:
    """The number of steps that an optimizer's bias correction and schedule go by."""
    counts = [_iterations(trace) for trace in (reference, scout)]
    if counts[0] is None or counts[0] == (counts[1] or 0):
        return
    counters = [
        variable.index
        for variable in scout.variables.values()
        if not variable.shape and "int" in variable.dtype and variable.name.rpartition("/")[2] in _COUNTERS
    ]
    if counts[1] is not None and len(counters) == 1:
        planned.plan.weights[counters[0]] = Wanted((), [(None, np.asarray(counts[0]))])
        return
    why = "which variable counts this run's steps is not seen; its bias correction may differ"
    planned.not_shared.append((f"the {counts[0]} steps that the reference made before", why))


def _iterations(trace: Trace) -> int | None:
    found: list[Any] = [optimizer.get("iterations") for optimizer in trace.step(0).info.optimizers]
    return int(found[0]) if len(found) == 1 and isinstance(found[0], (int, float)) else None
