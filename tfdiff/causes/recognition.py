"""Which rule a side's optimizer follows: the one that gives every one of its own recorded updates.

Candidates come from what the optimizer says of itself; where it says nothing, from the constants that flow into its
ops. The rates are read off the updates, so that nothing needs to be known of a schedule.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import islice, product
from typing import TYPE_CHECKING, Any

import numpy as np

from tfdiff.causes.repeats import ways
from tfdiff.causes.rules import Memory, Rule, advance
from tfdiff.causes.scene import TINY, same

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from tfdiff.causes.rules import Moment
    from tfdiff.causes.scene import Side

FIT = 1e-4
"""Relative error of an update up to which a rule gives it, where nothing is lost to rounding."""
EQUAL = 2e-3
"""Relative difference of two rates up to which they are one."""
FEW = 192
"""Elements on which candidates are tried first."""
MAX_CONSTANTS = 12
MAX_TRIES = 20_000
"""Candidates that are tried before a side's rule counts as unknown."""
TINY_SUM = 1e-3
"""Least sum of squares that one begins with on purpose."""
SHORTEST = 0.3
"""Least share of a mean of squares that is kept."""
FAMILIES = {
    "SGD": "sgd",
    "GradientDescentOptimizer": "sgd",
    "MomentumOptimizer": "sgd",
    "Adam": "adam",
    "AdamW": "adam",
    "AdamOptimizer": "adam",
    "RMSprop": "rmsprop",
    "RMSPropOptimizer": "rmsprop",
    "Adagrad": "adagrad",
    "AdagradOptimizer": "adagrad",
}
"""Class of an optimizer, new, legacy or of TensorFlow 1: how it updates."""


@dataclass(frozen=True)
class Fit:
    """A rule that gives all of a side's updates, and the rate of each step."""

    rule: Rule
    rates: tuple[float, ...]
    error: float
    """Largest relative error of an update."""
    told: bool
    """Whether the optimizer says so itself."""

    @property
    def changes(self) -> int:
        """How often the rate changes."""
        return sum(not same(x, y, EQUAL) for x, y in zip(self.rates[1:], self.rates, strict=False))


def recognise(side: Side, moments: Sequence[Moment], constants: Sequence[float], *, doubted: bool) -> list[Fit]:
    """The rules that fit: as told, else (where nothing is told, or it is doubted) the simplest ones made of the given
    constants with the steadiest rate.
    """
    rules = [one for rule in told_rules(side) for one in (rule, *ways(rule, moments))]
    told = [fit for rule in rules if (fit := fitted(rule, moments, told=True)) is not None]
    if told or (rules and not doubted):
        return sorted(told, key=lambda fit: fit.error)[:1]
    found: list[Fit] = []
    few, left = [_first_elements(moment) for moment in moments], MAX_TRIES
    for candidates in _stages(moments, constants):
        tried = list(islice(candidates, left))
        near = [rule for rule in tried if fitted(rule, few, told=False, slack=3.0) is not None]
        found += [fit for rule in near if (fit := fitted(rule, moments, told=False)) is not None]
        left -= len(tried)
        # A rate that changes in every step is what a missing factor of a rule looks like.
        steady = min((fit.changes for fit in found), default=len(moments))
        if steady < max(1, len(moments) - 1) or not left:
            break
    return [fit for fit in found if fit.changes == min(other.changes for other in found)]


def _first_elements(moment: Moment) -> Moment:
    """Some elements of each variable, spread over all of them."""
    chosen = np.unique(np.linspace(0, moment.update.size - 1, FEW).astype(int))
    edges = [(np.searchsorted(chosen, start), np.searchsorted(chosen, stop)) for start, stop, _ in moment.parts]
    parts = tuple((int(start), int(stop), norm) for (start, stop), (*_, norm) in zip(edges, moment.parts, strict=True))
    names = ("gradient", "weight", "update", "squares", "last", "seen")
    return replace(moment, parts=parts, **{name: getattr(moment, name)[chosen] for name in names})


def fitted(rule: Rule, moments: Sequence[Moment], *, told: bool, slack: float = 1.0) -> Fit | None:
    """The rule with the rates that fit, None where it does not give one of the updates."""
    memory, worst = Memory(), 0.0
    for moment in moments:
        update = advance(rule, memory, moment)
        size, rate = float(np.linalg.norm(moment.update)), memory.rates[-1]
        error = float(np.linalg.norm(update - moment.update)) / max(size, TINY) if size or np.any(update) else 0.0
        if not error <= slack * (FIT + 3.0 * moment.rounding) or (size and rate <= 0.0):
            return None
        if told and size and moment.rate is not None and not same(rate, moment.rate, EQUAL + 3.0 * moment.rounding):
            return None
        worst = max(worst, error)
    settled = _settled(rule, memory) if rule.decay_kind == "fitted" else rule
    return None if settled is None else Fit(settled, tuple(memory.rates), worst, told)


def _settled(rule: Rule, memory: Memory) -> Rule | None:
    """Fitted shares of the weights as one decay in terms of the rate; None where the shares are not alike."""
    decays = [share / rate for share, rate in zip(memory.shares, memory.rates, strict=True) if rate > 0.0]
    decay = float(np.median(decays)) if decays else 0.0
    if decay <= 0.0 or not all(same(decay, other, 0.05) for other in decays):
        return None
    return replace(rule, decay=decay, decay_kind="decoupled")


def told_rules(side: Side) -> list[Rule]:
    """What the step's optimizers say of themselves, in each way in which the versions of their classes do it."""
    return list(dict.fromkeys(rule for about in side.block.info.optimizers for rule in _told(about)))


def _told(about: Mapping[str, Any]) -> list[Rule]:
    family, config = FAMILIES.get(str(about.get("class"))), about.get("config") or {}
    if family is None or not config:
        return []
    rule = Rule(family, momentum=_number(config, "momentum"))
    if family == "sgd":
        rule = replace(rule, nesterov=bool(config.get("nesterov") or config.get("use_nesterov")))
        return [replace(one, within=within) for one in _told_extras(rule, config) for within in (True, False)]
    rule = replace(rule, epsilon=_number(config, "epsilon"))
    places: tuple[str, ...] = ("outside",) if family == "adam" else ("inside", "outside")
    if family == "adam":
        beta_1, beta_2 = _number(config, "beta_1"), _number(config, "beta_2")
        rule = replace(rule, beta_1=beta_1, beta_2=beta_2, amsgrad=bool(config.get("amsgrad")), momentum=0.0)
    elif family == "rmsprop":
        ones = about.get("class") == "RMSPropOptimizer"  # TensorFlow 1's mean of squares starts from one
        rho = _number(config, "rho", "decay_rate", "decay")
        rule = replace(rule, rho=rho, centered=bool(config.get("centered")), initial=float(ones))
    else:
        rule = replace(rule, initial=_number(config, "initial_accumulator_value"), momentum=0.0)
    return [replace(one, place=place) for one in _told_extras(rule, config) for place in places]


def _told_extras(rule: Rule, config: dict[str, Any]) -> list[Rule]:
    """With the weight decay that is told; with clipping in the optimizer, or in front of what was recorded."""
    decay = _number(config, "weight_decay")
    if decay:
        rule = replace(rule, decay=decay, decay_kind="decoupled")
    names = {"clipvalue": "value", "clipnorm": "norm", "global_clipnorm": "global"}
    clips = [replace(rule, clip_kind=kind, clip=c) for key, kind in names.items() if (c := _number(config, key))]
    return [*clips, rule]


def _number(config: dict[str, Any], *names: str) -> float:
    value = next((config[name] for name in names if config.get(name) is not None), None)
    return float(value) if isinstance(value, (int, float)) else 0.0


def _stages(moments: Sequence[Moment], constants: Sequence[float]) -> Iterator[Iterable[Rule]]:
    """Sets of candidates, simple ones first: the first set of which one fits is taken."""
    shares = _shares(constants)
    # Most programs write both shares of a mean: 0.9 * m + 0.1 * g.
    both = [x for x in shares if _among(x, constants) and _among(1.0 - x, constants)]
    decay: dict[str, Any] = {"decay_kind": "fitted"}
    clips = list(_clips(moments, constants))
    couplings: list[dict[str, Any]] = [
        {"decay_kind": "coupled", "decay": share} for share in _distinct(constants, 0.0, 0.2)
    ]
    # A share of a mean stands with its rest; what stands alone may be a decay, and a threshold sooner than others.
    alone = [coupled for coupled in couplings if not _among(1.0 - coupled["decay"], constants)]
    likely = [clip for clip in clips if clip["clip"] < 1.0 and not _among(1.0 - clip["clip"], constants)]
    rest = [clip for clip in clips if clip not in likely]
    for among in (both, shares):
        rules = list(_candidates(constants, shares, among))
        yield rules
        yield (way for rule in rules for way in ways(rule, moments))
        yield (replace(rule, **decay) for rule in rules)
        for coupled in couplings:
            yield (replace(rule, **coupled) for rule in rules)
        for some in likely, rest:
            for clip in some:
                yield (replace(rule, **clip) for rule in rules)
                yield (replace(rule, **clip, **decay) for rule in rules)
            for clip, coupled in product(some, alone):
                if clip["clip"] != coupled["decay"]:
                    yield (replace(rule, **clip, **coupled) for rule in rules)
        yield _rare(constants, shares, among)


def _clips(moments: Sequence[Moment], constants: Sequence[float]) -> Iterator[dict[str, Any]]:
    """The constants that would clip something, all gradients together first."""
    for c in constants:
        if any(moment.total > c for moment in moments):
            yield {"clip_kind": "global", "clip": c}
    for c in constants:
        if any(norm > c for moment in moments for *_, norm in moment.parts):
            yield {"clip_kind": "norm", "clip": c}
        if any(np.any(np.abs(moment.gradient) > c) for moment in moments):
            yield {"clip_kind": "value", "clip": c}


def _candidates(constants: Sequence[float], every: Sequence[float], shares: Sequence[float]) -> Iterator[Rule]:
    """Rules made of the given constants: momentum of every share, means of squares of the given ones."""
    small = [0.0, *_distinct(constants, 0.0, 0.2)]
    yield from _descents(Rule("sgd"), every)
    for rho, epsilon, place in product(shares, small, ("inside", "outside")):
        if epsilon or place == "outside":
            yield Rule("rmsprop", rho=rho, epsilon=epsilon, place=place)
    for initial, epsilon, place in product([0.0, *_distinct(constants, TINY_SUM, 2.0)], small, ("inside", "outside")):
        # Inside the root epsilon and what the sum begins with are one number: the small one is epsilon.
        if epsilon < TINY_SUM and (epsilon or place == "outside"):
            yield Rule("adagrad", initial=initial, epsilon=epsilon, place=place)
    kinds = [("outside", True), ("hat", True), ("outside", False), ("inside", True)]
    long = [share for share in shares if share > SHORTEST]
    for beta_1, beta_2, epsilon, (place, corrected) in product(shares, long, small, kinds):
        if epsilon or place == "outside":
            yield Rule("adam", beta_1=beta_1, beta_2=beta_2, epsilon=epsilon, place=place, corrected=corrected)


def _rare(constants: Sequence[float], every: Sequence[float], shares: Sequence[float]) -> Iterator[Rule]:
    """Variants that few programs write out."""
    small = _distinct(constants, 0.0, 0.2)
    for rho, epsilon, place, momentum in product(shares, small, ("inside", "outside"), [0.0, *every]):
        rule = Rule("rmsprop", rho=rho, epsilon=epsilon, place=place, momentum=momentum)
        yield replace(rule, centered=True)
        if momentum:
            yield from (rule, replace(rule, within=False))
        yield replace(rule, initial=1.0)
    for beta_1, beta_2, epsilon, place in product(shares, shares, small, ("outside", "hat")):
        yield Rule("adam", beta_1=beta_1, beta_2=beta_2, epsilon=epsilon, place=place, amsgrad=True)


def _among(value: float, constants: Sequence[float]) -> bool:
    return any(same(value, c) for c in constants)


def _shares(constants: Sequence[float]) -> list[float]:
    return _distinct([*constants, *(1.0 - c for c in constants if c < 1.0)], 1e-4, 1.0 - 1e-5)


def _descents(rule: Rule, shares: Sequence[float]) -> Iterator[Rule]:
    yield rule
    for momentum, nesterov, within in product(shares, (False, True), (True, False)):
        yield replace(rule, momentum=momentum, nesterov=nesterov, within=within)


def _distinct(values: Iterable[float], low: float, high: float) -> list[float]:
    found: list[float] = []
    for value in values:
        rounded = float(f"{value:.5g}")  # 1 - 0.9 in float32, and 0.1
        if low < rounded < high and not any(same(rounded, other, 1e-4) for other in found):
            found.append(rounded)
    return found[:MAX_CONSTANTS]
