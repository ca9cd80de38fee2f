"""Which slot of an optimizer is which of the other's, told by how the first step changes it.

A slot that is a running sum or mean of gradients (or of their squares) is `decay * before + gain * g` after a step:
what fits exactly says which weight's it is, and the two gains by which factor two of them differ (Keras' velocity is
minus the learning rate times the accumulator of others).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tfdiff.pairing.pairs import convert

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tfdiff.pairing.pairs import VariablePair
    from tfdiff.trace.reader import Trace

Array = npt.NDArray[Any]

_FIT = 1e-4
"""Residual, relative to the slot's change, up to which a slot is held to be what was fitted."""
_FAR = 10.0
"""By how much the best fit must be better than another weight's."""
_EPSILON = float(np.finfo(np.float32).eps)
_ROUNDING = 1e-6
_MEAN = 1e-3
"""By how much decay and gain of a running mean may miss 1 together."""
_STEADY = 1e-3
"""By how much, relatively, a gain may be another one in a later step."""


@dataclass(frozen=True)
class Slot:
    """A slot of a weight: after a step `decay * before + gain * g ** power`."""

    index: int
    weight: int
    power: int
    gain: float
    decay: float | None
    """None where the slot was zero before."""


@dataclass(frozen=True)
class SlotPair:
    """What b's slot starts from: the value of a's in its layout, times a factor."""

    pair: VariablePair
    """Of the slots; parts and layout as those of their weights."""
    factor: float
    slots: tuple[Slot, Slot]
    """What is known of a's and b's."""

    def start(self, value: Array) -> Array:
        """The start of b's slot (of the pair's part of it)."""
        converted: Array = convert(value, self.pair) * np.asarray(self.factor, value.dtype)
        return converted


@dataclass(frozen=True)
class _Change:
    """One slot's first step."""

    index: int
    before: Array
    after: Array


def slots_of(trace: Trace) -> list[Slot]:
    """The slots that stood before the first step and that it changes as running sums."""
    if not trace.steps:
        return []
    gradients, changes = _gradients(trace, 0), []
    for index, variable in trace.variables.items():
        before, after = (trace.value_after(index, step) for step in (-1, 0))
        if variable.kind == "slot" and before is not None and after is not None:
            changes.append(_Change(index, np.asarray(before, np.float64), np.asarray(after, np.float64)))
    found = {change.index: slot for change in changes if (slot := _only(_fits(change, gradients))) is not None}
    # A slot of few elements fits anything: it counts as what the others of its optimizer are.
    laws = {(slot.power, slot.gain, slot.decay) for slot in found.values()}
    for change in changes:
        if change.index not in found:
            slot = _only([known for law in sorted(laws, key=str) for known in _as(change, gradients, *law)])
            if slot is not None:
                found[change.index] = slot
    return list(found.values())


def is_steady(trace: Trace, slot: Slot) -> bool:
    """Whether the second step, where there is one, adds to the slot with the gain of the first.

    What an optimizer clips by itself stands in the gain, and changes with the gradients; so does a learning rate.
    """
    if trace.steps < 2:
        return True
    before, after = (trace.value_after(slot.index, step) for step in (0, 1))
    gradient = _gradients(trace, 1).get(slot.weight)
    if before is None or after is None or gradient is None or gradient.shape != before.shape:
        return False
    old, new = (np.asarray(value, np.float64).ravel() for value in (before, after))
    driven = (gradient**slot.power).ravel()
    if not np.any(driven):
        return True
    columns = [driven, old] if slot.decay is None else [driven]
    solution, *_ = np.linalg.lstsq(np.stack(columns, 1), new - (slot.decay or 0.0) * old, rcond=None)
    return abs(float(solution[0]) - slot.gain) <= _STEADY * abs(slot.gain)


def _gradients(trace: Trace, step: int) -> dict[int, Array]:
    """What a step's optimizer was handed, by weight; else what the tape gave."""
    block, gradients = trace.step(step), dict[int, Array]()
    for role in ("weight gradient", "applied gradient"):
        for seen in block.observations:
            if seen.site.role == role and seen.site.variable is not None and seen.stored:
                gradients[seen.site.variable] = np.asarray(block.array(seen.index), np.float64)
    return gradients


def _only(fits: list[tuple[float, Slot]]) -> Slot | None:
    """The fit that is better than those of any other weight or power by far."""
    fits = sorted(fits, key=lambda fit: fit[0])
    for miss, slot in fits[1:]:
        rival = (slot.weight, slot.power) != (fits[0][1].weight, fits[0][1].power)
        if rival and miss < _FAR * max(fits[0][0], _ROUNDING):
            return None
    return fits[0][1] if fits else None


def _fits(change: _Change, gradients: dict[int, Array]) -> list[tuple[float, Slot]]:
    found = []
    for weight, gradient in gradients.items():
        for power in (1, 2) if gradient.shape == change.before.shape else ():
            old, new, driven = change.before.ravel(), change.after.ravel(), (gradient**power).ravel()
            columns = [driven, old] if np.any(old) else [driven]
            if len(columns) + 1 >= old.size or not np.any(driven):
                continue  # nearly as many unknowns as elements fit anything
            solution, *_ = np.linalg.lstsq(np.stack(columns, 1), new, rcond=None)
            law = power, float(solution[0]), float(solution[1]) if len(columns) > 1 else None
            found += _as(change, {weight: gradient}, *law)
    return found


def _as(
    change: _Change, gradients: dict[int, Array], power: int, gain: float, decay: float | None
) -> list[tuple[float, Slot]]:
    """The weights by whose gradients the slot changes just so, with how much is left unexplained."""
    found = []
    for weight, gradient in gradients.items():
        if gradient.shape != change.before.shape or (decay is None and np.any(change.before)):
            continue
        driven = gain * gradient**power
        size = float(np.linalg.norm(driven))
        miss = float(np.linalg.norm(change.after - (decay or 0.0) * change.before - driven))
        rounding = 4.0 * _EPSILON * float(np.linalg.norm(change.after))
        if size > 8.0 * rounding and miss <= _FIT * size + rounding:
            found.append((miss / size, Slot(change.index, weight, power, gain, decay)))
    return found


def pair_slots(a: Sequence[Slot], b: Sequence[Slot], pairs: Sequence[VariablePair]) -> list[SlotPair]:
    """Slots of paired weights that are driven by the same power of the gradient; ones with a rival stay unpaired."""
    found = []
    for pair in pairs:
        for power in (1, 2):
            own = [slot for slot in a if slot.weight == pair.a and slot.power == power]
            other = [slot for slot in b if slot.weight == pair.b and slot.power == power]
            if len(own) == len(other) == 1:
                slots = replace(pair, a=own[0].index, b=other[0].index)
                found.append(SlotPair(slots, _factor(own[0], other[0]), (own[0], other[0])))
    return found


def _factor(a: Slot, b: Slot) -> float:
    """1 for running means, whatever their decays; else the ratio of the gains."""
    means = [s.decay is None or abs(abs(s.decay) + abs(s.gain) - 1.0) <= _MEAN for s in (a, b)]
    known = [slot.decay is not None for slot in (a, b)]
    if all(means) and any(known) and a.gain > 0 and b.gain > 0:
        return 1.0
    return b.gain / a.gain
