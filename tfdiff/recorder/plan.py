"""What of the reference goes where in the other run: planned from the reference's trace and a scouting run's.

The scouting run is the same script with nothing shared: it shows the structure (which variable is used where, which
tensors are the batch, which places draw random numbers) that an eager script only shows by running.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from tfdiff.pairing.effects import end_of_effect
from tfdiff.pairing.given import resolve
from tfdiff.pairing.noise import Draw, pair_draws
from tfdiff.pairing.variables import convert, pair_variables, variable_uses
from tfdiff.recorder.plan_batches import batch_of, fed_by, plan_batches, plan_passes
from tfdiff.recorder.plan_slots import plan_slots
from tfdiff.recorder.share import OUTSIDE, NoiseKey, Plan, Wanted
from tfdiff.recorder.stream import RANDOM_OPS

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from tfdiff.model import Observation
    from tfdiff.orders import PairMap
    from tfdiff.pairing.given import Given
    from tfdiff.pairing.pairs import VariablePair
    from tfdiff.trace.reader import Block, Trace

    Array = np.ndarray[Any, Any]
    Drawn = tuple[Block, Observation]

_KINDS = ("weight", "state")
_DRAWING = re.compile(
    "Random(?!Get|UniformFullInt)|CandidateSampler$|Shuffle$|^Stateful(Standard|Truncated|Uniform(?!FullInt))"
)
"""Ops that draw; integers of the full range are seeds for other draws."""


@dataclass
class Planned:
    """The plan, and what is to be said about it."""

    plan: Plan
    shared: dict[str, Any] = field(default_factory=dict)
    pairs: tuple[dict[str, Any], ...] = ()
    not_shared: list[tuple[str, str]] = field(default_factory=list)


def make_plan(reference: Trace, scout: Trace, share: Collection[str], pairs: PairMap | None = None) -> Planned:
    """Plan an equal start; `share` is any of weights, batches, noise. `pairs` are the user's and hold.

    Raises UsageError for a name in `pairs` that a run does not have, and for shapes that do not fit.
    """
    planned = Planned(Plan(reference))
    given = resolve(pairs, reference, scout)
    batches = Planned(planned.plan if "batches" in share else Plan(reference))
    plan_batches(batches, reference, scout)
    _plan_weights(planned, reference, scout, (given, fed_by(batches.plan, scout)), apply="weights" in share)
    if "batches" in share:
        planned.not_shared += batches.not_shared
        planned.shared |= batches.shared
    if "noise" in share:
        _plan_noise(planned, reference, scout)
    if scout.step(0).info.forward_only and reference.step(0).info.forward_only:
        plan_passes(planned.plan, scout)
    for part in ("weights", "batches", "noise"):
        if part not in share:
            planned.not_shared.append((part, "switched off by --share"))
    return planned


def _plan_weights(
    planned: Planned,
    reference: Trace,
    scout: Trace,
    known: tuple[Given, dict[int, frozenset[int]]],
    *,
    apply: bool,
) -> None:
    pairs = pair_variables(variable_uses(reference), variable_uses(scout), *known)
    planned.pairs = tuple(pair.to_json() for pair in pairs)
    found: dict[int, Wanted] = {}
    for pair in pairs:
        value, variable = reference.value_after(pair.a, -1), scout.variables[pair.b]
        if value is not None and variable.kind in _KINDS and apply:
            found.setdefault(pair.b, Wanted(variable.shape)).parts.append((pair.b_part, _start(value, pair)))
    planned.plan.weights = dict(found)
    complete = {index for index, wanted in found.items() if wanted.complete}
    paired = {pair.b for pair in pairs}
    count = {
        side: sum(v.kind in _KINDS for v in trace.variables.values())
        for side, trace in (("a", reference), ("b", scout))
    }
    planned.shared["weights"] = {"shared": len(complete), **count}
    if apply:
        plan_slots(planned, reference, scout, pairs)
    planned.not_shared += _partly_shared(reference, scout, pairs, found, complete) if apply else []
    for variable in scout.variables.values():
        if apply and variable.kind in _KINDS and variable.index not in paired:
            why = f"no variable of the reference of shape {variable.shape} plays its part"
            planned.not_shared.append((f"weight {variable.name} {variable.shape}", why))


def _start(value: Array, pair: VariablePair) -> Array:
    converted = convert(value, pair)
    return converted + np.asarray(pair.offset, converted.dtype) if pair.offset else converted


def _partly_shared(
    reference: Trace, scout: Trace, pairs: Sequence[VariablePair], found: dict[int, Wanted], complete: set[int]
) -> list[tuple[str, str]]:
    """What is to be said of variables that only parts of were found on the other side."""
    said = []
    for index in sorted(found.keys() - complete):
        variable, parts = scout.variables[index], found[index].parts
        names = sorted({reference.variables[pair.a].name for pair in pairs if pair.b == index})
        known = sum(value.size for _, value in parts)
        why = f"{known} of its {int(np.prod(variable.shape))} elements have a counterpart, in {', '.join(names)}"
        said.append((f"all of weight {variable.name} {variable.shape}", why))
    return said


def noise_key(observation: Observation) -> NoiseKey:
    """A place that draws random numbers."""
    site = observation.site
    key: NoiseKey = (site.op, site.layer, site.called, site.api)
    return (*key, OUTSIDE) if site.attrs.get("taped") is False else key


def _plan_noise(planned: Planned, reference: Trace, scout: Trace) -> None:
    draws: dict[NoiseKey, list[tuple[int, int, tuple[int, ...] | None] | None]] = defaultdict(list)
    unpaired: Counter[NoiseKey] = Counter()
    known: dict[NoiseKey, list[tuple[Drawn, Drawn]]] = defaultdict(list)
    for k in range(min(reference.steps, scout.steps)):
        a, b = draws_of(reference.step(k)), draws_of(scout.step(k))
        rows = (_rows(scout.step(k)), _rows(reference.step(k))) if planned.plan.feeds else None
        rows = rows if rows is not None and rows[1] else None  # a step without a batch takes none to b
        pairs = {j: (i, permutation) for i, j, permutation in _pair(a, b, rows)}
        numbers = scout.step(k).info.draws
        place = dict(zip(numbers[::2], numbers[1::2], strict=False))
        for j, observation in enumerate(b):
            key = noise_key(observation)
            if observation.index in place:  # others of this place, in evaluations, come in between
                draws[key] += [None] * (place[observation.index] - len(draws[key]))
            if j in pairs:
                i, permutation = pairs[j]
                draws[key].append((k, a[i].index, permutation))
                known[key].append(((reference.step(k), a[i]), (scout.step(k), observation)))
            else:
                draws[key].append(None)
                unpaired[key] += 1
    planned.plan.draws = dict(draws)
    planned.plan.mirrored = {key for key, pairs in known.items() if _opposite(pairs)}
    for key in sorted(unpaired, key=str):
        what = f"noise of {key[3] or key[1] or key[0]} ({key[2]})"
        planned.not_shared.append(
            (what, f"the reference has no counterpart for {unpaired[key]} of its {len(draws[key])} draws")
        )
    others = _other_draws(scout)
    planned.not_shared += [(f"what {place} draws", f"the draws of {op} are not shared") for place, op in others]
    planned.shared["noise"] = not unpaired and not others


def _other_draws(trace: Trace) -> list[tuple[str | None, str]]:
    """Line and type of ops that draw random numbers in a way that sharing does not know: negative samples, orders."""
    sites = (o.site for o in trace.step(0).observations if o.site.phase in ("forward", "loss"))
    return sorted({(s.called, s.op) for s in sites if _DRAWING.search(s.op) and s.op not in RANDOM_OPS}, key=str)


def _opposite(pairs: list[tuple[Drawn, Drawn]]) -> bool:
    """Whether the draws of the two runs have their effects at opposite ends."""
    ends = [end_of_effect(draws) for draws in zip(*pairs, strict=True)]
    return ends[0] * ends[1] == -1


def draws_of(block: Block) -> list[Observation]:
    """What random ops drew in a step."""
    return [o for o in block.observations if o.site.role == "noise" and o.stored]


def _rows(block: Block) -> int:
    batch = batch_of(block, fed=False)
    return batch[0].shape[0] if batch else 0


def _pair(a: list[Observation], b: list[Observation], rows: tuple[int, int] | None) -> Any:
    return pair_draws([_draw(n, o) for n, o in enumerate(a)], [_draw(n, o, rows) for n, o in enumerate(b)])


def _draw(number: int, observation: Observation, rows: tuple[int, int] | None = None) -> Draw:
    """The draw; with `rows` (own, reference's) in the shape it will have once the reference's batch is in place."""
    site, shape = observation.site, observation.shape
    if rows is not None and shape and shape[0] == rows[0]:
        shape = (rows[1], *shape[1:])
    return Draw(number, site.op, shape, observation.dtype, site.layer, site.api)
