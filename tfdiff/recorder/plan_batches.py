"""Which places of the other run are fed the reference's batches, and how these are built from the reference's parts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tfdiff.errors import TfdiffError
from tfdiff.pairing.batches import match_parts
from tfdiff.pairing.derived import derived_parts, renumbered, with_derived
from tfdiff.pairing.rows import find_rows, row_signatures
from tfdiff.pairing.scales import scaled_rule
from tfdiff.recorder.selections import SELECTIONS
from tfdiff.recorder.share import FeedKey, Plan, feed_key
from tfdiff.recorder.stream import LEAF

if TYPE_CHECKING:
    from tfdiff.model import Observation
    from tfdiff.pairing.batches import PartRule
    from tfdiff.recorder.plan import Planned
    from tfdiff.trace.reader import Block, Trace

    Array = np.ndarray[Any, Any]


def batch_of(block: Block, *, fed: bool) -> list[Observation]:
    """The observations of a step that are its batch: inputs with a common number of rows.

    `fed` leaves only those that recording can write over.
    """
    inputs = [o for o in block.observations if o.site.role == "input" and o.shape and o.stored]
    if fed:
        inputs = [o for o in inputs if "feed" in o.site.attrs]
    known = [o for o in inputs if "feed" in o.site.attrs] or inputs
    rows = {o.shape[0] for o in known}
    if not rows:
        return []
    most = max(rows, key=lambda n: (sum(o.shape[0] == n for o in known), n))
    return [o for o in inputs if o.shape[0] == most]


def plan_batches(planned: Planned, reference: Trace, scout: Trace) -> None:
    """Plan the feeds of each kind of step, or say why that cannot be told."""
    plan = planned.plan
    carried = carried_places(reference)
    plan.inputs = {
        k: [o.index for o in batch_of(reference.step(k), fed=False) if feed_key(o.site) not in carried]
        for k in range(reference.steps)
    }
    plan.carried = carried_places(scout)
    a_steps = {k: _parts(reference.step(k), indices) for k, indices in plan.inputs.items() if indices}
    b_steps = {k: _by_key(scout.step(k), plan.carried) for k in range(scout.steps)}
    first, *others = _kinds(b_steps) or [[]]
    found = _rules_of(first, a_steps, b_steps, whole=True)
    if isinstance(found, str):
        planned.not_shared.append(("batches", found))
        return
    a_parts, b_parts = _alike(first, a_steps, b_steps, list(found))
    found = {key: _scaled(rule, key, reference, scout, plan, a_parts, b_steps) for key, rule in found.items()}
    plan.feeds = found
    for steps in others:  # a generator's steps, between those of its discriminator
        more = _rules_of(steps, a_steps, b_steps)
        if isinstance(more, str):
            continue  # `Share.unequal` says of how many steps the batches were not the reference's
        plan.feeds = more | plan.feeds
        plan.feeds_at |= dict.fromkeys(steps, more)
    plan.feeds_at |= dict.fromkeys(first, found) if plan.feeds_at else {}
    planned.shared["batches_from"] = "own rows" if _holds_all(a_parts, b_parts, scout) else "values of a"


def fed_by(plan: Plan, scout: Trace) -> dict[int, frozenset[int]]:
    """By tensor of the batch of b's first step: the tensors of a's first step that it is made of."""
    inputs = plan.inputs.get(0, [])
    found = {}
    for seen in batch_of(scout.step(0), fed=True) if scout.steps else ():
        rule = plan.feeds.get(feed_key(seen.site))
        if rule is not None and all(source < len(inputs) for source in rule.sources):
            found[seen.index] = frozenset(inputs[source] for source in rule.sources)
    return found


def _kinds(b_steps: dict[int, dict[FeedKey, Array]]) -> list[list[int]]:
    """The steps by the places their batch is fed at; those with more of them than the first ones count to these."""
    kinds: dict[frozenset[FeedKey], list[int]] = {}
    for k, step in b_steps.items():
        keys = frozenset(step)
        first = next(iter(kinds), keys)
        if keys:
            kinds.setdefault(first if keys.issuperset(first) else keys, []).append(k)
    return list(kinds.values())


def _alike(
    steps: list[int],
    a_steps: dict[int, list[Array]],
    b_steps: dict[int, dict[FeedKey, Array]],
    keys: list[FeedKey],
    *,
    whole: bool = False,
) -> tuple[list[list[Array]], list[list[Array]]]:
    """The parts of these steps' batches on both sides, where they are as many and as large (but for the rows) as those
    of the first one: a state that is handed in from the second step on is none.
    """
    a_known = [parts for k, parts in a_steps.items() if whole or k in steps]
    b_known = [[b_steps[k][key] for key in keys] for k in steps if all(key in b_steps[k] for key in keys)]
    return _as_first(a_known), _as_first(b_known)


def _as_first(steps: list[list[Array]]) -> list[list[Array]]:
    """The steps whose parts have the first one's shapes, rows apart."""
    shapes = [[part.shape[1:] for part in parts] for parts in steps]
    return [parts for parts, found in zip(steps, shapes, strict=True) if found == shapes[0]]


def _rules_of(
    steps: list[int], a_steps: dict[int, list[Array]], b_steps: dict[int, dict[FeedKey, Array]], *, whole: bool = False
) -> dict[FeedKey, PartRule] | str:
    """How the batches of these steps are built, or why that is not known."""
    varying, still = _varying([b_steps[k] for k in steps], change=_change(list(a_steps.values())))
    found = _rules_for(varying, steps, a_steps, b_steps, whole=whole)
    if still and (isinstance(found, str) or not _takes_all(found, a_steps)):
        # A part of a's batch goes nowhere: the labels of a few short batches may be alike by chance.
        keys = [key for key in b_steps[steps[0]] if key in {*varying, *still}]
        more = _rules_for(keys, steps, a_steps, b_steps, whole=whole)
        return found if isinstance(more, str) else more
    return found


def _takes_all(rules: dict[FeedKey, PartRule], a_steps: dict[int, list[Array]]) -> bool:
    """Whether each part of the reference's batch is a part of b's, or the same array as one that is."""
    a_parts = [parts for parts in a_steps.values() if len(parts) == len(next(iter(a_steps.values())))]
    same = _first_alike(a_parts)
    return {same[source] for rule in rules.values() for source in rule.sources} == set(same)


def _rules_for(
    keys: list[FeedKey],
    steps: list[int],
    a_steps: dict[int, list[Array]],
    b_steps: dict[int, dict[FeedKey, Array]],
    *,
    whole: bool,
) -> dict[FeedKey, PartRule] | str:
    a_parts, b_parts = _alike(steps, a_steps, b_steps, keys, whole=whole)
    if not keys or not b_parts or not a_parts:
        return "the tensors that make up a batch were not found on both sides"
    first = _first_alike(b_parts)
    kept, chosen = sorted(set(_first_alike(a_parts))), sorted(set(first))
    found = _rules(_picked(a_parts, kept), _picked(b_parts, chosen))
    if found is not None:
        found = [None if rule is None else renumbered(rule, kept) for rule in found]
    rules = None if found is None else [found[chosen.index(i)] for i in first]
    if rules is not None:  # rows may also be cut out of a table that is no data; it then stays as it is
        needed = [i for i, key in enumerate(keys) if rules[i] is not None or key[0] not in SELECTIONS]
        keys, rules = [keys[i] for i in needed], [rules[i] for i in needed]
    if rules is None or any(rule is None for rule in rules):
        missing = ", ".join(
            f"{k[1]} output {k[-1]}" for k, r in zip(keys, rules or [None] * len(keys), strict=True) if r is None
        )
        return f"cannot tell which part of the reference's batch this is: {missing}"
    return {key: rule for key, rule in zip(keys, rules, strict=True) if rule is not None}


def carried_places(trace: Trace) -> set[FeedKey]:
    """Places that are fed what the step before gave back: the first step's zeros there are no batch either."""
    seen = (o for k in range(trace.steps) for o in trace.step(k).observations)
    return {feed_key(o.site) for o in seen if "carried" in o.site.attrs}


def _scaled(
    rule: PartRule,
    key: FeedKey,
    reference: Trace,
    scout: Trace,
    plan: Plan,
    a_parts: list[list[Array]],
    b_steps: dict[int, dict[FeedKey, Array]],
) -> PartRule:
    """The rule, with the scale that one of the runs leaves to the data and the other to the step."""
    inputs = plan.inputs.get(0, [])[rule.sources[0] :][:1]
    own = [o.index for o in batch_of(scout.step(0), fed=True) if feed_key(o.site) == key][:1]
    if rule.kind != "copy" or not inputs or not own:
        return rule
    a = np.concatenate([parts[rule.sources[0]].reshape(-1) for parts in a_parts])
    b = np.concatenate([step[key].reshape(-1) for step in b_steps.values() if key in step])
    return scaled_rule(rule, (a, b), (reference.step(0), scout.step(0)), (inputs[0], own[0]))


def _varying(steps: list[dict[FeedKey, Array]], *, change: bool) -> tuple[list[FeedKey], list[FeedKey]]:
    """The parts of b's batch, and what else may be one; where a's batches `change`, arrays that stay the same in every
    step are none.

    They are whole data sets that the steps take their rows from, or tables; but for those with as many rows as the
    batch has, of which that is not sure.
    """
    first = next((step for step in steps if step), {})
    if not change or len(steps) < 2:
        return list(first), []
    held = [key for key in first if key[0] in (LEAF, *SELECTIONS)]
    whole = {key for key in held if all(key in step and np.array_equal(step[key], first[key]) for step in steps)}
    varying = [key for key in first if key not in whole]
    rows = {first[key].shape[:1] for key in varying}
    return varying, [key for key in whole if first[key].shape[:1] in rows]


def _change(steps: list[list[Array]]) -> bool:
    """Whether not all steps have the same batch."""
    return any(len(parts) != len(steps[0]) or not all(map(np.array_equal, parts, steps[0])) for parts in steps[1:])


def _holds_all(a_parts: list[list[Array]], b_parts: list[list[Array]], scout: Trace) -> bool:
    """Whether b has all of a's rows itself: then sharing only means another order."""
    wanted = np.concatenate([row_signatures(parts) for parts in a_parts])
    own = [row_signatures(parts) for parts in b_parts] + [signatures for _, signatures in scout.row_sources]
    return bool(np.isin(wanted, np.concatenate(own)).all())


def _first_alike(steps: list[list[Array]]) -> list[int]:
    """For each part the first one that is the same array in every step: some scripts hand an array over twice."""
    count = len(steps[0])
    return [
        next(j for j in range(i + 1) if j == i or all(np.array_equal(step[i], step[j]) for step in steps))
        for i in range(count)
    ]


def _picked(steps: list[list[Array]], numbers: list[int]) -> list[list[Array]]:
    """Only the parts of these numbers."""
    return [[parts[i] for i in numbers] for parts in steps]


def _parts(block: Block, indices: list[int]) -> list[Array]:
    return [block.array(index) for index in indices]


def _by_key(block: Block, carried: set[FeedKey]) -> dict[FeedKey, Array]:
    return {
        feed_key(o.site): block.array(o.index) for o in batch_of(block, fed=True) if feed_key(o.site) not in carried
    }


def _rules(a_parts: list[list[Array]], b_parts: list[list[Array]]) -> Any:
    """Rules for all of b's parts; what either run makes of its labels by itself only takes part if need be."""
    best = None
    derived = [derived_parts(_joined(parts)) for parts in (a_parts, b_parts)]
    for leave_a, leave_b in ((False, False), (False, True), (True, False), (True, True)):
        if (leave_a and not derived[0]) or (leave_b and not derived[1]):
            continue
        a_kept = [i for i in range(len(a_parts[0])) if not (leave_a and i in derived[0])]
        b_kept = [i for i in range(len(b_parts[0])) if not (leave_b and i in derived[1])]
        found = _direct_rules(_picked(a_parts, a_kept), _picked(b_parts, b_kept))
        if found is None:
            continue
        known = {b_kept[n]: renumbered(rule, a_kept) for n, rule in enumerate(found) if rule is not None}
        rules = with_derived(known, derived[1] if leave_b else {}, b_parts[0])
        if all(rule is not None for rule in rules):
            return rules
        best = best or rules
    return best


def _joined(steps: list[list[Array]]) -> list[Array]:
    """Each part with the rows of all steps."""
    return [np.concatenate([parts[i] for parts in steps]) for i in range(len(steps[0]))]


def _direct_rules(a_parts: list[list[Array]], b_parts: list[list[Array]]) -> Any:
    """Rules from rows that both runs met, checked by value; from shapes where they met none in common."""
    a_all, b_all = _joined(a_parts), _joined(b_parts)
    try:
        place = find_rows(row_signatures(b_all), row_signatures(a_all))
    except TfdiffError:
        place = np.full(len(b_all[0]), -1)
    common = place >= 0
    if common.sum() > 1:
        rules = match_parts([part[place[common]] for part in a_all], [part[common] for part in b_all], same_rows=True)
        if rules is not None and all(rule is not None for rule in rules):
            return rules
    return match_parts(a_parts[0], b_parts[0], same_rows=False)


def plan_passes(plan: Plan, scout: Trace) -> None:
    """Where nothing trains: which array of the run feeds which forward pass."""
    plan.forward_only = True
    reads = (o.site.called for o in scout.step(0).observations if o.site.role == "weight")
    plan.first_read = next(reads, None)
    for k in range(scout.steps):
        block = scout.step(k)
        numbers = dict(zip(block.info.feeds[::2], block.info.feeds[1::2], strict=False))
        for seen in block.observations:
            key = feed_key(seen.site) if seen.site.role == "input" else ()
            rule = plan.feeds.get(key)
            if rule is not None and seen.index in numbers:
                op, made, _, taped, output = key
                plan.passes.setdefault((op, made, numbers[seen.index], taped, output), []).append((k, rule))
