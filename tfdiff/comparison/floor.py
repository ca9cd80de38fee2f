"""What noise does to A, as its trace has it: expected errors of a step, and from where on A is no measure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tfdiff.comparison.runs import norm
from tfdiff.comparison.tolerance import StepNoise, epsilon
from tfdiff.pairing.sites import is_float

if TYPE_CHECKING:
    from collections.abc import Collection

    from tfdiff.comparison.runs import Runs
    from tfdiff.model import Divergence
    from tfdiff.pairing.pairs import VariablePair
    from tfdiff.trace.reader import Trace

LEVEL = 1e-2
"""From which relative error on of its loss or weights a run differs from itself."""
NO_GRADIENT = 0.05
"""A weight whose first gradient is as noisy as that has a true gradient of zero."""


@dataclass(frozen=True)
class Horizon:
    """Where A begins to differ from itself."""

    step: int
    error: float
    what: str
    """loss or weights."""


def step_noise(runs: Runs, step: int, zero: Collection[VariablePair]) -> StepNoise | None:
    """What noise does to A in a step, and how much of it is to be expected in B; None where that was not measured.

    A weight in the set `zero` moves by rounding alone, which nothing else feels.
    """
    errors = runs.a.noise(step)
    if errors is None:
        return None
    seen = [o.index for o in runs.a.step(step).observations if o.site.role == "activation" and is_float(o)]
    known = errors[seen][np.isfinite(errors[seen]) & (errors[seen] > 0)]
    usual = float(np.median(known)) if known.size else 0.0
    left_out = {pair.a for pair in zero}
    unit = epsilon("float32")
    moved = weight_noise(runs.a, step, left_out)
    share = (_apart(runs, step, zero) + unit) / max(moved, unit)
    return StepNoise(errors, runs.a.update_noise(step), usual, min(share, 1.0))


def weight_noise(a: Trace, step: int, left_out: Collection[int]) -> float:
    """How far the weights that a step's forward pass reads are from those of the second run, all of them together."""
    errors, total, moved, seen = a.noise(step), 0.0, 0.0, set()
    for observation in a.step(step).observations if errors is not None else ():
        variable = observation.site.variable
        reads = observation.site.role == "weight" and observation.site.phase == "forward"
        if not reads or variable in seen or variable in left_out or variable is None or errors is None:
            continue
        seen.add(variable)
        error = float(errors[observation.index])
        if np.isfinite(error) and np.isfinite(observation.stats.norm):
            total += observation.stats.norm**2
            moved += (error * observation.stats.norm) ** 2
    return float((moved / total) ** 0.5) if total else 0.0


def _apart(runs: Runs, step: int, zero: Collection[VariablePair]) -> float:
    """How far the paired weights of the two runs are from each other before a step, all of them together."""
    total, apart = 0.0, 0.0
    for pair in runs.weights:
        values = None if pair in zero else runs.values(pair, step - 1)
        if values is not None:
            total += norm(values[0]) ** 2
            apart += norm(np.asarray(values[0], np.float64) - values[1]) ** 2
    found = (apart / total) ** 0.5 if total else 0.0
    return found if np.isfinite(found) else 1.0


def find_horizon(runs: Runs) -> Horizon | None:
    """The first compared step at which A differs from itself by more than `LEVEL`; None where there is none, or noise
    was not measured.
    """
    without_gradient: set[int] = set()
    known: set[int] = set()
    for step in range(min(runs.compared, runs.a.calibrated)):
        errors = runs.a.noise(step)
        if errors is None:
            return None
        for seen in runs.a.step(step).observations:
            variable, error = seen.site.variable, float(errors[seen.index])
            if seen.site.role == "weight gradient" and variable is not None and variable not in known:
                known.add(variable)
                without_gradient |= {variable} if error > NO_GRADIENT else set()
            if seen.site.role == "loss" and LEVEL < error < float("inf"):
                return Horizon(step, error, "loss")
        moved = weight_noise(runs.a, step, without_gradient)
        if moved > LEVEL:
            return Horizon(step, moved, "weights")
    return None


def noise_of(runs: Runs, divergence: Divergence, variable: int | None) -> float | None:
    """What noise does to A at the place of a divergence; None where it was not measured."""
    if divergence.phase in ("data", "init", "eval") or not 0 <= divergence.step < runs.a.calibrated:
        return None
    if divergence.phase in ("update", "state") and variable is not None:
        return runs.a.update_noise(divergence.step).get(variable)
    errors = runs.a.noise(divergence.step)
    if errors is None or divergence.a_index is None:
        return None
    error = float(errors[divergence.a_index])
    return error if np.isfinite(error) else None
