"""The learning rate: another one throughout, or another course of it (a schedule)."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from tfdiff.causes import optimizer
from tfdiff.causes.histories import settings
from tfdiff.causes.optimizer import others_agree, zero_rate
from tfdiff.causes.optimizers import ALIKE, Words, proposal, rules_of
from tfdiff.causes.recognition import EQUAL
from tfdiff.causes.rules import Rule
from tfdiff.causes.scene import same
from tfdiff.causes.words import number, optimizer_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tfdiff.causes.hypothesis import Proposal
    from tfdiff.causes.optimizers import Rules
    from tfdiff.causes.scene import Scene, Side

STEADY = 1e-2
"""Relative difference up to which the ratio of two rates is the same in another step: rates are fitted there."""
MOST_RUNS = 3
"""Runs of equal rates that are told with their steps; of more, the first rates."""
FARTHEST = 5
"""Steps by which one schedule may run ahead of the other."""
Course = list[float | None]
"""The rate of each step, None where it is not known."""


def other_rate(scene: Scene) -> Proposal | None:
    """Both sides follow one rule with other rates: by one factor in all steps, or as another schedule."""
    found = rules_of(scene)
    if found is None or found.codes or others_agree(scene):
        return None
    a, b = _rate(scene, found, scene.a), _rate(scene, found, scene.b)
    if a is None or b is None or same(a, b, ALIKE):
        return None
    courses = _course(scene, found, scene.a, a), _course(scene, found, scene.b, b)
    other = not _in_proportion(courses, a, b)
    rates = [*found.b.rates[: scene.step], a]
    said = f"the learning rate is {number(b)} in B, {number(a)} in A"
    if other:
        words = Words("lr-schedule", f"{said} in step {scene.step}: {story(*courses)}", _fix(courses), {})
    else:
        told = f"{optimizer_name(scene.b)}(learning_rate={number(a)})"
        plain_step = found.b.rule == Rule("sgd")
        by_hand = f"learning rate {number(a)} instead of {number(b)}{f': w.assign_sub({number(a)} * g)' * plain_step}"
        times = f": equal gradients, updates {number(b / a)} x A's" if a else ""
        words = Words("lr", f"{said}{times}", told if scene.b.optimizer() else by_hand, {})
    words.constants.update({"a": float(f"{a:.6g}"), "b": float(f"{b:.6g}")})
    return proposal(scene, found, found.b.rule, rates, words)


def learning_rate(scene: Scene) -> Proposal | None:
    """As the constants and a factor tell it, unless another rule is what makes the factor."""
    found = rules_of(scene)
    return None if found is not None and found.codes else optimizer.learning_rate(scene)


def _rate(scene: Scene, found: Rules, side: Side) -> float | None:
    """A side's rate: as told, as among its constants, else as fitted; None where it may as well be something else."""
    fit, moments = (found.a, found.moments[0]) if side is scene.a else (found.b, found.moments[1])
    rate, told = fit.rates[scene.step], moments[scene.step].rate
    updates = list(found.updates)
    if not moments[scene.step].update.any():
        return 0.0 if zero_rate(scene, side, updates) else None
    if fit.told and told is not None:
        return told
    seen = [c for c in settings(side, updates, of_a=side is scene.a) if same(rate, c, EQUAL)]
    if seen:
        return min(seen, key=lambda c: abs(c - rate))
    # A factor on the gradients would do the same, unless their size does not matter.
    return rate if fit.rule.family != "sgd" else None


def _course(scene: Scene, found: Rules, side: Side, here: float) -> Course:
    """The rates of all steps whose updates are known."""
    fit, moments = (found.a, found.moments[0]) if side is scene.a else (found.b, found.moments[1])
    course: Course = []
    for step, (rate, moment) in enumerate(zip(fit.rates, moments, strict=True)):
        if step == scene.step:
            course.append(here)
        elif fit.told and moment.rate is not None:
            course.append(moment.rate)
        else:
            course.append(rate if moment.update.any() else None)
    return course


def _in_proportion(courses: tuple[Course, Course], a: float, b: float) -> bool:
    """Whether the ratio of the rates is the same in all steps."""
    known = [(x, y) for x, y in zip(*courses, strict=False) if x is not None and y is not None]
    return all(same(x * b, y * a, STEADY) for x, y in known)


def story(a: Course, b: Course) -> str:
    """How both rates go on, as one says it."""
    changes = _changes(a), _changes(b)
    ahead = _ahead(a, b)
    if ahead:
        which = f"B's schedule is {abs(ahead)} step{'s' * (abs(ahead) > 1)} {'ahead of' if ahead > 0 else 'behind'} A's"
        return f"{which} (A: {_said(a)}; B: {_said(b)})"
    for name, other, course in (("A", "B", changes[0]), ("B", "A", changes[1])):
        if not course and changes[name == "A"]:
            still, moving = (a, b) if name == "A" else (b, a)
            return f"{name}'s rate stays {_said(still)}, {other}'s changes ({_said(moving)})"
    return f"A's rate goes {_said(a)}; B's {_said(b)}"


def _fix(courses: tuple[Course, Course]) -> str:
    ahead = _ahead(*courses)
    if ahead:
        many = f"{abs(ahead)} step{'s' * (abs(ahead) > 1)} {'later' if ahead > 0 else 'earlier'}"
        return f"count the steps as A does, so that each rate comes {many}: {_said(courses[0])}"
    return f"the same schedule as in A: learning rate {_said(courses[0])}"


def _changes(course: Course) -> list[int]:
    """Steps in which the rate is not that of the step before."""
    pairs = enumerate(pairwise(course), 1)
    return [at for at, (x, y) in pairs if x is not None and y is not None and not same(x, y, EQUAL)]


def _ahead(a: Course, b: Course) -> int:
    """By how many steps B's course is ahead of A's; negative: behind; 0 where it is neither."""
    for steps in range(1, FARTHEST + 1):
        if _follows(a[steps:], b):
            return steps
        if _follows(b[steps:], a):
            return -steps
    return 0


def _follows(late: Sequence[float | None], early: Sequence[float | None]) -> bool:
    """Whether two courses agree where both are known, with a change among it."""
    known = [(x, y) for x, y in zip(late, early, strict=False) if x is not None and y is not None]
    agree = all(same(x, y, STEADY) for x, y in known)
    return agree and len(known) > 1 and not all(same(x, known[0][0], STEADY) for x, _ in known)


def _said(course: Course) -> str:
    """`0.1, from step 3 on 0.02`; the first rates where it changes more often."""
    runs: list[tuple[int, float]] = []
    for step, rate in enumerate(course):
        if rate is not None and (not runs or not same(rate, runs[-1][1], EQUAL)):
            runs.append((step, rate))
    if len(runs) <= MOST_RUNS:
        parts = [number(rate) if not at else f"from step {at} on {number(rate)}" for at, rate in runs]
        return ", ".join(parts)
    return f"{', '.join(number(rate) for _, rate in runs[: MOST_RUNS + 1])}, ..."
