"""Whether two runs scale their losses otherwise: then a gradient of one is not the gradient of the other."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from tfdiff.trace.reader import Trace

_SCALED = 4.0
"""A factor between two losses that another loss or a fault in front of it seldom makes, and every loss scale does."""


def scaled_otherwise(a: Trace, b: Trace) -> str | None:
    """Why gradients of a may not stand in for b's (from an equal start, at step 0); None where they may.

    A loss that one side scales and later takes back (loss scaling of mixed precision) is told from one that is really
    another (a sum against a mean) by what becomes of the gradients: a scale is taken out of them again.
    """
    if not a.steps or not b.steps:
        return None
    first, second = _loss(a), _loss(b)
    if not first or not second or not math.isfinite(first) or not math.isfinite(second):
        return None
    ratio = math.log(abs(first / second))
    back = math.log(_kept(a) / _kept(b))
    taken_out = abs(back) >= math.log(_SCALED) and abs(ratio + back) < abs(ratio) / 2
    inside = abs(ratio) >= math.log(_SCALED) and (_scales(a) or _scales(b))
    if taken_out or inside:
        return f"the loss that is differentiated is {math.exp(ratio):.4g} times this run's: one of the two is scaled"
    return None


def _scales(trace: Trace) -> bool:
    """Whether an optimizer takes the scale out by itself."""
    optimizers = trace.step(0).info.optimizers
    return any(
        "LossScale" in str(o.get("class")) or (o.get("config") or {}).get("loss_scale_factor") for o in optimizers
    )


def _loss(trace: Trace) -> float | None:
    block = trace.step(0)
    for seen in block.observations:
        if seen.site.role == "loss" and seen.stored and seen.size == 1:
            return float(block.array(seen.index).reshape(()))
    return None


def _kept(trace: Trace) -> float:
    """Which share of the gradients' norm is left when the optimizer gets them (1 where that is not seen)."""
    block = trace.step(0)
    norms: dict[str, dict[Any, float]] = {"weight gradient": {}, "applied gradient": {}}
    for seen in block.observations:
        if seen.site.role in norms and seen.site.variable is not None:
            norms[seen.site.role][seen.site.variable] = seen.stats.norm
    both = [index for index, norm in norms["weight gradient"].items() if norm and index in norms["applied gradient"]]
    shares = [norms["applied gradient"][index] / norms["weight gradient"][index] for index in both]
    share = float(np.median(shares)) if shares else 1.0
    return share or 1.0
