"""The same script once more: what a further run shares with the one that was recorded, known without any pairing.

Variables, batches and draws have the same place in both, so each is its own counterpart.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np

from tfdiff.pairing.batches import PartRule
from tfdiff.recorder.plan import Planned, draws_of, noise_key
from tfdiff.recorder.plan_batches import batch_of, carried_places, plan_passes
from tfdiff.recorder.share import Plan, Wanted, feed_key

if TYPE_CHECKING:
    from tfdiff.model import Variable
    from tfdiff.recorder.share import NoiseKey
    from tfdiff.trace.reader import Trace

    Array = np.ndarray[Any, Any]

_KINDS = ("weight", "state")
_BFLOAT16_EPS = 2.0**-7
_COARSE = 2.0**-3
_SEED = 20
"""Of the signs of the moves: the same in every measurement."""


def plan_again(trace: Trace, *, move: bool) -> Planned:
    """Start as the recorded run did; with `move` each weight starts about one unit in the last place beside it."""
    plan = Plan(trace)
    starts = _starts(trace)
    for index, value in (_moved(trace, starts) if move else starts).items():
        plan.weights[index] = Wanted(value.shape, [(None, value)])
    _plan_batches(plan, trace)
    _plan_draws(plan, trace)
    if trace.step(0).info.forward_only:
        plan_passes(plan, trace)
    return Planned(plan)


def _starts(trace: Trace) -> dict[int, Array]:
    found = {}
    for index, variable in trace.variables.items():
        value = trace.value_after(index, -1) if variable.kind in _KINDS else None
        if value is not None:
            found[index] = value
    return found


def _moved(trace: Trace, starts: dict[int, Array]) -> dict[int, Array]:
    """The values, those of weights moved up or down by about the distance to the next number of their dtype.

    The distance is that at the element or at the tensor's root mean square, whichever is larger. A tensor of zeros (a
    bias) has no such scale of its own: it moves by that of the last weight before it with an axis of its size.
    """
    random = np.random.default_rng(_SEED)
    moved, scales = dict(starts), _scales(trace, starts)
    for index, scale in scales.items():
        value = starts[index]
        signs = random.choice((-1.0, 1.0), value.shape)
        step = _epsilon(trace.variables[index]) * np.maximum(np.abs(value, dtype=np.float64), scale)
        moved[index] = (value + signs * step).astype(value.dtype)
    return moved


def _scales(trace: Trace, starts: dict[int, Array]) -> dict[int, float]:
    """The root mean square of each weight, or of the one that feeds the same units."""
    own = {
        index: _rms(value)
        for index, value in starts.items()
        if trace.variables[index].kind == "weight" and value.dtype.kind == "f" and value.size
    }
    usual = float(np.median([scale for scale in own.values() if scale] or [1.0]))
    found: dict[int, float] = {}
    before: list[tuple[float, tuple[int, ...]]] = []
    for index in sorted(own):
        size = starts[index].size
        alike = (scale for scale, shape in reversed(before) if size in shape)
        found[index] = own[index] or next(alike, usual)
        if own[index]:
            before.append((own[index], starts[index].shape))
    return found


def _rms(value: Array) -> float:
    finite = np.asarray(value, np.float64)[np.isfinite(value)]
    return float(np.sqrt(np.mean(np.square(finite)))) if finite.size else 0.0


def _epsilon(variable: Variable) -> float:
    if "bfloat16" in variable.dtype:
        return _BFLOAT16_EPS
    try:
        return float(np.finfo(np.dtype(variable.dtype)).eps)
    except TypeError:  # narrower kinds, which NumPy does not know
        return _COARSE


def _plan_batches(plan: Plan, trace: Trace) -> None:
    plan.carried = carried_places(trace)
    for k in range(trace.steps):
        block = trace.step(k)
        inputs = [o for o in batch_of(block, fed=False) if feed_key(o.site) not in plan.carried]
        fed = {o.index for o in batch_of(block, fed=True)}
        plan.inputs[k] = [o.index for o in inputs]
        plan.feeds_at[k] = {
            feed_key(o.site): PartRule("copy", (number,), o.shape[1:], evidence="the same run")
            for number, o in enumerate(inputs)
            if o.index in fed
        }
        plan.feeds = plan.feeds_at[k] | plan.feeds


def _plan_draws(plan: Plan, trace: Trace) -> None:
    draws: dict[NoiseKey, list[tuple[int, int, tuple[int, ...] | None] | None]] = defaultdict(list)
    for k in range(trace.steps):
        block = trace.step(k)
        numbers = block.info.draws
        place = dict(zip(numbers[::2], numbers[1::2], strict=False))
        for seen in draws_of(block):
            sequence = draws[noise_key(seen)]
            if seen.index in place:  # others of this place, in evaluations, come in between
                sequence += [None] * (place[seen.index] - len(sequence))
            sequence.append((k, seen.index, None))
    plan.draws = dict(draws)
