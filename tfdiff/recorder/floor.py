"""The noise floor: how far each value moves when the weights of a run move by about one unit in the last place."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from tfdiff.errors import TfdiffError
from tfdiff.pairing.distance import relative_error, sketch_errors
from tfdiff.trace.reader import open_trace

if TYPE_CHECKING:
    from pathlib import Path

    from tfdiff.model import Observation
    from tfdiff.trace.reader import Block, Trace

    Floats = np.ndarray[Any, np.dtype[np.float32]]

MAX_EXACT = 1 << 22
"""Elements up to which arrays are compared where their sketches would do, as the comparison of two runs has it."""
MOVING = ("weight", "state")
_GIVEN = ("input", "own input", "noise")
"""What both runs are given: where it differs, the difference is not one of rounding."""


@dataclass
class Floor:
    """What was measured."""

    steps: list[Floats] = field(default_factory=list)
    """Per step the relative error of each observation."""
    updates: list[dict[int, float]] = field(default_factory=list)
    """Per step the relative error of what it changed each variable by."""
    final: dict[int, float] = field(default_factory=dict)
    """By variable that of its value after the last step."""


def measure_floor(path: Path, again: Path, code: int) -> tuple[Floor, str]:
    """What the two traces say, and what was not as it should be ("" if nothing)."""
    floor = Floor()
    try:
        with open_trace(path) as first, open_trace(again) as second:
            if not second.steps:
                return floor, f"it recorded no step (exit code {code})"
            for step in range(min(first.steps, second.steps)):
                errors, given = step_noise(first.step(step), second.step(step))
                if not given:
                    return floor, f"what it was fed at step {step} is not what the first run was fed"
                floor.steps.append(errors)
                floor.updates.append(update_noise(first, second, step))
            floor.final = _final(first, second, len(floor.steps) - 1)
            ended = second.end.why if second.end is not None else "it was killed"
            done = len(floor.steps)
            return floor, "" if done == first.steps else f"it ended after {done} steps: {ended}"
    except TfdiffError as error:
        return floor, f"it left no trace (exit code {code}: {error})"


def update_noise(a: Trace, b: Trace, step: int) -> dict[int, float]:
    """By variable how far what a step changed it by is from what the same step of `b` changed it by."""
    found = {}
    for index, variable in a.variables.items():
        values = [trace.value_after(index, at) for trace in (a, b) for at in (step - 1, step)]
        if variable.kind not in MOVING or any(v is None or v.shape != variable.shape for v in values):
            continue
        before, after, b_before, b_after = (np.asarray(value, np.float64) for value in values)
        found[index] = relative_error(after - before, b_after - b_before)
    return found


def _final(a: Trace, b: Trace, step: int) -> dict[int, float]:
    found = {}
    for index, variable in a.variables.items():
        first, second = (trace.value_after(index, step) for trace in (a, b))
        if variable.kind in MOVING and first is not None and second is not None and first.shape == second.shape:
            found[index] = relative_error(first, second)
    return found


def step_noise(a: Block, b: Block) -> tuple[Floats, bool]:
    """Per observation of `a` how far it is from the same place in `b` (NaN where `b` has none), and whether both were
    given the same.
    """
    places: dict[tuple[Any, ...], list[int]] = defaultdict(list)
    for seen in b.observations:
        places[_place(seen)].append(seen.index)
    errors = np.full(len(a.observations), np.nan, np.float32)
    given, counts = True, dict.fromkeys(places, 0)
    for seen in a.observations:
        key = _place(seen)
        number = counts.get(key, 0)
        counts[key] = number + 1
        if number < len(places[key]):
            error = _error(a, seen.index, b, places[key][number])
            errors[seen.index] = error
            given &= not (seen.site.role in _GIVEN and error > 0)
    return errors, given


def _place(seen: Observation) -> tuple[Any, ...]:
    site = seen.site
    where = (site.role, site.phase, site.op, site.output, site.layer, site.called, site.api, site.occurrence)
    return (*where, site.variable, seen.shape, seen.dtype)


def _error(a: Block, i: int, b: Block, j: int) -> float:
    first, second = a.observations[i], b.observations[j]
    if first.stored and second.stored and first.size <= MAX_EXACT:
        return relative_error(a.array(i), b.array(j))
    if (first.stats.nans, first.stats.infs) != (second.stats.nans, second.stats.infs):
        return float("inf")
    norms = np.array([first.stats.norm]), np.array([second.stats.norm])
    return float(sketch_errors(a.sketch(i)[None], b.sketch(j)[None], *norms, first.size)[0])
