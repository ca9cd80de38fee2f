"""From which error on two tensors count as different. Analytic: nothing here is measured on the traces but the drift.

Two programs that compute the same in another order differ by a few units in the last place per op; what was seen
between equivalent programs of the cases is 1e-7 to 4e-6 in outputs, 1e-5 to 1e-4 behind a fused batch normalization.
The drift is the largest relative difference among the shared weights at the start of the step; it may grow by `GROWTH`
in one step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from tfdiff.comparison.graph import StepGraph

FORWARD = 2e-5
NORMALIZED = 2e-4
"""Outputs where one side's normalization is a fused op and the other's is not."""
LOSS = 1e-5
GRADIENT = 1e-3
FUSED_GRADIENT = 5e-2
"""Gradients where one side's normalization is a fused op and the other's is not."""
UPDATE = 2e-4
STATE = 1e-3
GROWTH = 30.0
"""An output may err this many times more than its inputs before the op is held to have introduced the error."""
CEILING = 0.3
"""No tolerance grows beyond this: an update that is missing altogether has error 1."""
UNITS = 20.0
"""Forward tolerance in units of the dtype's epsilon, where that is more than `FORWARD` (half precision)."""
BFLOAT16_EPS = 2.0**-7


@dataclass(frozen=True)
class Tolerances:
    """Relative errors up to which a step's tensors count as equal."""

    forward: float
    loss: float
    gradient: float
    update: float
    state: float


def epsilon(dtype: str) -> float:
    """Distance from 1 to the next number of a floating point type given by name."""
    if "bfloat16" in dtype:
        return BFLOAT16_EPS
    try:
        return float(np.finfo(np.dtype(dtype)).eps)
    except (TypeError, ValueError):
        return float(np.finfo(np.float32).eps)


def step_tolerances(a: StepGraph, b: StepGraph, drift: float) -> Tolerances:
    """The tolerances of one step, given the drift of the shared weights at its start."""
    unit = max((epsilon(name) for name in a.dtypes | b.dtypes), default=epsilon("float32"))
    coarse = UNITS * unit if unit > epsilon("float32") else 0.0
    fused = a.ops("FusedBatchNorm") != b.ops("FusedBatchNorm")
    carried = GROWTH * drift

    def bounded(*values: float) -> float:
        return min(max(*values, carried, coarse), CEILING)

    return Tolerances(
        forward=bounded(NORMALIZED if fused else FORWARD),
        loss=bounded(5 * LOSS if fused else LOSS),
        gradient=bounded(FUSED_GRADIENT if fused else GRADIENT),
        update=bounded(UPDATE),
        state=bounded(STATE),
    )
