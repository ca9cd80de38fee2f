"""Weights that one side updates twice (or n times) in a step, with the same gradients each time.

Each side's writes are counted. Where one has n times as many, the other's update must be what its first writes make,
and the rest the same update again: the same numbers, or what the other's rule gives when it is run once more.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tfdiff.causes.histories import history, settings, turned_gradient, usable
from tfdiff.causes.hypothesis import Proposal
from tfdiff.causes.optimizer import rounding
from tfdiff.causes.recognition import recognise
from tfdiff.causes.rules import Memory, advance
from tfdiff.causes.scene import joined
from tfdiff.causes.words import number, plain, variables
from tfdiff.pairing.distance import relative_error

if TYPE_CHECKING:
    from tfdiff.causes.rules import Moment, Rule
    from tfdiff.causes.scene import Floats, Scene, Side, Update
    from tfdiff.model import Observation

MOST = 8
"""Applications in a step; more are a loop of their own kind."""
FIT = 1e-3


@dataclass(frozen=True)
class Repeat:
    """How often a side applies what the other applies once."""

    side: Side
    other: Side
    times: int
    writes: list[Observation]
    """Of the first variable concerned, in order."""


def update_twice(scene: Scene) -> Proposal | None:
    """The update is n of the other side's, one after the other, of the same gradients."""
    repeat = _repeat(scene)
    updates = scene.updates(scene.concerned)
    if repeat is None or not updates:
        return None
    limit = max(FIT, rounding(updates))
    u_a, u_b = joined(u.u_a for u in updates), joined(u.u_b for u in updates)
    once, more = (u_a, u_b) if repeat.side is scene.b else (u_b, u_a)
    after = min(relative_error(more, repeat.times * once), _by_rule(scene, repeat, updates))
    first = joined(change for update in updates if (change := _first(scene, repeat, update)) is not None)
    if after > limit or first.size != once.size or relative_error(first, once) > limit:
        return None
    name = "B" if repeat.side is scene.b else "A"
    times = "twice" if repeat.times == 2 else f"{repeat.times} times"
    lines = _lines(repeat.writes, repeat.times)
    return Proposal(
        relative_error(u_a, u_b),
        after,
        f"{name} updates {variables(scene)} {times} in each step with the same gradients, the other side once: "
        f"norm {number(float(np.linalg.norm(u_b)))} in B, {number(float(np.linalg.norm(u_a)))} in A",
        _fix(name, lines),
        {"a": 1 if name == "B" else repeat.times, "b": repeat.times if name == "B" else 1},
        fitted=0,
        noise=limit,
    )


def _fix(name: str, lines: list[str]) -> str:
    if name == "A":
        return "apply the gradients as often as A does in each step (most likely A's is the error)"
    where = f" at {lines[0]}" if len(lines) == 1 else f": there are updates at {' and '.join(lines)}" if lines else ""
    once = (
        "apply the gradients once in each step: one call of apply_gradients or minimize, each variable once in its list"
    )
    return f"{once}{where}"


def _lines(writes: list[Observation], times: int) -> list[str]:
    """Where the update is applied each time."""
    last = writes[len(writes) // times - 1 :: len(writes) // times]
    return list(dict.fromkeys(plain(seen.site.called or seen.site.source) for seen in last if seen.site.called))


def _repeat(scene: Scene) -> Repeat | None:
    """The side that writes each of the concerned variables n times as often as the other."""
    found: set[int] = set()
    for pair in scene.concerned:
        a, b = len(_writes(scene.a, pair.a)), len(_writes(scene.b, pair.b))
        if not a or not b or a == b or max(a, b) % min(a, b):
            return None
        found.add(b // a if b > a else -(a // b))
    times = found.pop() if len(found) == 1 else 0
    if not 2 <= abs(times) <= MOST:
        return None
    side, other = (scene.b, scene.a) if times > 0 else (scene.a, scene.b)
    pair = scene.concerned[0]
    return Repeat(side, other, abs(times), _writes(side, pair.b if times > 0 else pair.a))


def _writes(side: Side, variable: int) -> list[Observation]:
    return [s for s in side.with_role("assign") if s.site.variable == variable and s.site.phase == "update"]


def _first(scene: Scene, repeat: Repeat, update: Update) -> Floats | None:
    """What the first of the n applications does to a variable, in A's layout; None where that is not recorded."""
    of_a = repeat.side is scene.a
    variable = update.pair.a if of_a else update.pair.b
    before, writes = repeat.side.before(variable), _writes(repeat.side, variable)
    value = before
    for seen in writes[: len(writes) // repeat.times]:
        written = repeat.side.array(seen.index, 0)
        if value is None or written is None or written.shape != value.shape:
            return None
        sign = -1.0 if "Sub" in seen.site.op else 1.0
        value = value + sign * written if re.search("Add|Sub", seen.site.op) else written
    return None if before is None or value is None else turned_gradient(value - before, update, of_a=of_a)


def _by_rule(scene: Scene, repeat: Repeat, updates: list[Update]) -> float:
    """Largest error of the repeating side's updates by the other's rule, run n times in each step."""
    updates = usable(scene, updates)
    steps = history(scene, repeat.other, updates) if updates else []
    mine = history(scene, repeat.side, updates) if updates else []
    if not steps or not mine:
        return float("inf")
    seen = settings(repeat.other, updates, of_a=repeat.other is scene.a)
    fits = recognise(repeat.other, steps, seen, doubted=True)
    return min((_again(fit.rule, fit.rates[0], mine, repeat.times) for fit in fits), default=float("inf"))


def _again(rule: Rule, rate: float, moments: list[Moment], times: int) -> float:
    """The largest error of one memory's n updates in each step."""
    memory, worst = Memory(), 0.0
    for moment in moments:
        whole: Floats = np.zeros_like(moment.update)
        for _ in range(times):
            whole = whole + advance(rule, memory, moment, rate)
        worst = max(worst, relative_error(moment.update, whole) - 3.0 * moment.rounding)
    return worst
