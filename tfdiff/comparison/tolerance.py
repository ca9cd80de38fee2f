"""From which error on two tensors count as different: above the rounding of the arithmetic, and well above what noise
does to this very network.

Two programs that compute the same in another order differ by a few units in the last place per op; what was seen
between equivalent programs of the cases is 1e-7 to 4e-6 in outputs, 1e-5 to 1e-4 behind a fused batch normalization.
Where the reference was run again with its weights moved by one unit in the last place, the trace says how far each
value moved: rounding is then allowed `MULTIPLE` times that at each place, and the general bounds may be tighter,
since the places at which much cancels have bounds of their own.
The drift is the largest relative difference among the shared weights at the start of the step; it may grow by `GROWTH`
in one step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from tfdiff.comparison.graph import StepGraph

FORWARD = 2e-5
CALIBRATED_FORWARD = 4e-6
NORMALIZED = 2e-4
"""Outputs where one side's normalization is a fused op and the other's is not."""
LOSS = 1e-5
CALIBRATED_LOSS = 4e-6
GRADIENT = 1e-3
CALIBRATED_GRADIENT = 1e-4
FUSED_GRADIENT = 5e-2
"""Gradients where one side's normalization is a fused op and the other's is not."""
UPDATE = 2e-4
STATE = 1e-3
DOUBLE = (1e-10, 1e-10, 1e-8, 1e-6, 1e-6)
"""The five of a network in float64, far above its rounding: what is left is a float32 on the way, but learning rates
and averages may be kept in float32."""
GROWTH = 30.0
"""An output may err this many times more than its inputs before the op is held to have introduced the error."""
CEILING = 0.3
"""No tolerance grows beyond this: an update that is missing altogether has error 1."""
UNITS = 20.0
"""Forward tolerance in units of the dtype's epsilon, where that is more than `FORWARD` (half precision)."""
MULTIPLE = 10.0
"""An error of so many times what noise does is no difference."""
MOST_OF_NOISE = {"forward": 1e-2, "loss": 1e-2, "gradient": CEILING, "update": 3e-3, "state": 1e-2}
"""No tolerance grows beyond this because of noise, but for `LEAST_MULTIPLE`: what is as noisy as that cannot be told by
its value.
"""
LEAST_MULTIPLE = 3.0
"""An error of so many times what noise does is no difference, however much that is, up to `MOST`."""
MOST = 0.9
"""What is missing altogether on one side has error 1, which is always told."""
BFLOAT16_EPS = 2.0**-7


Kind = Literal["forward", "loss", "gradient", "update", "state"]


@dataclass(frozen=True)
class StepNoise:
    """What moving A's weights by one unit in the last place does in one step."""

    errors: npt.NDArray[np.float32]
    """Relative error per observation of A; NaN where it is not known."""
    updates: Mapping[int, float]
    """By A's variable that of what the step changes it by."""
    usual: float
    """Median over the activations: a single number may stay by chance what it was."""
    share: float
    """The part of it that is to be expected between A and B, whose weights may be nearer to each other than those that
    it was measured with; at most 1."""

    def measured(self, index: int) -> float:
        """The error at an observation of A, 0 where it is not known."""
        error = float(self.errors[index]) if index < len(self.errors) else 0.0
        return 0.0 if np.isnan(error) else error

    def at(self, index: int) -> float:
        """The error to be expected at an observation of A."""
        return self.share * max(self.measured(index), self.usual)


@dataclass(frozen=True)
class Tolerances:
    """Relative errors up to which a step's tensors count as equal."""

    forward: float
    loss: float
    gradient: float
    update: float
    state: float
    noise: StepNoise | None = None
    """None where it was not measured."""

    def at(self, index: int | None, kind: Kind = "forward") -> float:
        """The tolerance at an observation of A's step."""
        least: float = getattr(self, kind)
        if self.noise is None or index is None:
            return least
        return max(least, _of_noise(self.noise.at(index), kind))

    def of_change(self, variable: int, kind: Kind) -> float:
        """The tolerance of what the step changes a variable of A by."""
        least: float = getattr(self, kind)
        if self.noise is None:
            return least
        measured = self.noise.share * self.noise.updates.get(variable, 0.0)
        return max(least, _of_noise(measured, kind))

    def limits(self, count: int, least: float) -> npt.NDArray[np.float64]:
        """Forward tolerances of all `count` observations of A's step, `least` being the smallest."""
        if self.noise is None:
            return np.full(count, least)
        noise = self.noise.share * np.fmax(self.noise.errors.astype(np.float64), self.noise.usual)
        most = np.maximum(MOST_OF_NOISE["forward"], np.minimum(LEAST_MULTIPLE * noise, MOST))
        return np.maximum(least, np.minimum(MULTIPLE * noise, most))


def _of_noise(noise: float, kind: Kind) -> float:
    return min(MULTIPLE * noise, max(MOST_OF_NOISE[kind], min(LEAST_MULTIPLE * noise, MOST)))


def epsilon(dtype: str) -> float:
    """Distance from 1 to the next number of a floating point type given by name."""
    if "bfloat16" in dtype:
        return BFLOAT16_EPS
    try:
        return float(np.finfo(np.dtype(dtype)).eps)
    except (TypeError, ValueError):
        return float(np.finfo(np.float32).eps)


def _double(carried: float, noise: StepNoise | None) -> Tolerances:
    """Those of two networks in float64."""
    forward, loss, gradient, update, state = (min(max(bound, carried), CEILING) for bound in DOUBLE)
    return Tolerances(forward, loss, gradient, update, state, noise)


def step_tolerances(a: StepGraph, b: StepGraph, drift: float, noise: StepNoise | None = None) -> Tolerances:
    """The tolerances of one step, given the drift of the shared weights at its start and what noise does in it."""
    units = [max(map(epsilon, graph.precisions), default=epsilon("float32")) for graph in (a, b)]
    # Half precision on one side only is no rounding that both have: it is a difference.
    coarse = UNITS * min(units) if min(units) > epsilon("float32") else 0.0
    if a.precisions == b.precisions == {"float64"}:
        return _double(GROWTH * drift, noise)
    fused = a.ops("FusedBatchNorm") != b.ops("FusedBatchNorm")
    carried = GROWTH * drift

    def bounded(analytic: float, calibrated: float) -> float:
        return min(max(analytic if noise is None or fused else calibrated, carried, coarse), CEILING)

    return Tolerances(
        forward=bounded(NORMALIZED if fused else FORWARD, CALIBRATED_FORWARD),
        loss=bounded(5 * LOSS if fused else LOSS, CALIBRATED_LOSS),
        gradient=bounded(FUSED_GRADIENT if fused else GRADIENT, CALIBRATED_GRADIENT),
        update=bounded(UPDATE, UPDATE),
        state=bounded(STATE, STATE),
        noise=noise,
    )
