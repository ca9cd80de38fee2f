"""Update rules of the known optimizers as one small machine that is run on recorded gradients.

A step is `weight += base + rate * direction`: `base` comes from memory, so that the rate can be read off a recorded
update by least squares, whatever the rule and wherever the rate came from.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from tfdiff.causes.scene import TINY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tfdiff.causes.scene import Floats


@dataclass(frozen=True)
class Moment:
    """One step of one side: elements of the weights concerned, in one vector."""

    gradient: Floats
    """What came out of the tape or was handed to the optimizer."""
    weight: Floats
    """Before the step."""
    update: Floats
    """What the step added."""
    parts: tuple[tuple[int, int, float], ...]
    """(start, stop, norm of the whole gradient) of each variable."""
    total: float
    """Norm of all the step's gradients."""
    rounding: float
    """Relative error of the update that comes from reading it off float32 weights."""
    rate: float | None
    """The learning rate that the optimizer says it used."""
    squares: Floats
    """The gradient's squares, those of each row by itself where a table's id occurs several times."""
    last: Floats
    """The gradient, of such an id its last row alone."""
    seen: Floats
    """Zero in rows of a table that were not looked up, one elsewhere."""


@dataclass(frozen=True)
class Rule:
    """An optimizer and its settings; those that its family does not have keep their defaults."""

    family: str
    """sgd, adam, rmsprop or adagrad."""
    momentum: float = 0.0
    nesterov: bool = False
    within: bool = True
    """Whether the rate is in what momentum remembers (Keras) or outside (TensorFlow 1)."""
    beta_1: float = 0.0
    beta_2: float = 0.0
    rho: float = 0.0
    epsilon: float = 0.0
    place: str = "outside"
    """Where epsilon stands: outside the root, inside it, or outside with both moments corrected ("hat")."""
    corrected: bool = True
    """Whether Adam's moments are divided by what they lack in the first steps."""
    amsgrad: bool = False
    centered: bool = False
    initial: float = 0.0
    """What the sum or mean of squares begins with."""
    decay: float = 0.0
    decay_kind: str = ""
    """coupled (into the gradient), decoupled (rate * decay * w), or fitted: decay * w with a share of its own."""
    clip_kind: str = ""
    """value, norm (of each variable) or global."""
    clip: float = 0.0
    rows: str = "summed"
    """What becomes of several rows of one id of a table: summed, squared one by one, or the last one counts."""
    lazy: bool = False
    """Whether rows of a table that are not looked up keep their place and their memory."""

    @property
    def complexity(self) -> int:
        """How many things it does that simple optimizers do not."""
        extras = (self.momentum, self.nesterov, self.amsgrad, self.centered, self.decay, self.clip, not self.corrected)
        of_tables = self.lazy + (self.rows != "summed")
        return sum(bool(extra) for extra in extras) + (self.place == "hat") + (self.family == "adam") + of_tables


@dataclass
class Memory:
    """What a rule keeps between steps."""

    first: Floats | float = 0.0
    second: Floats | float = 0.0
    largest: Floats | float = 0.0
    mean: Floats | float = 0.0
    velocity: Floats | float = 0.0
    done: int = 0
    rates: list[float] = field(default_factory=list)
    shares: list[float] = field(default_factory=list)
    """Of the weights: what was taken away in each step, where decay is fitted."""

    def keep(self, known: Memory, seen: Floats) -> None:
        """Take back what was not seen: there everything stays as it was."""
        for name in ("first", "second", "largest", "mean", "velocity"):
            setattr(self, name, np.where(seen > 0.0, getattr(self, name), getattr(known, name)))


def advance(rule: Rule, memory: Memory, moment: Moment, rate: float | None = None) -> Floats:
    """The update of the next step, with the given rate or the one that fits the recorded update best."""
    memory.done += 1
    known = replace(memory)
    g = clipped(rule, moment)
    if rule.decay_kind == "coupled":
        g = g + rule.decay * moment.weight
    change = _scaled(rule, memory, g, moment.squares if rule.rows == "squared" else g * g)
    mu = rule.momentum
    ahead = 1.0 + mu if rule.nesterov else 1.0
    direction = -ahead * change
    carried = (mu * mu if rule.nesterov else mu) * memory.velocity if mu else 0.0
    base = np.zeros_like(g)
    if rule.within:
        base = base + carried
    else:
        direction = direction + carried
    if rule.decay_kind == "decoupled":
        direction = direction - rule.decay * moment.weight
    elif rule.decay_kind == "fitted":
        base = base - _share(base, direction, memory, moment) * moment.weight
    if rule.lazy:
        base, direction = moment.seen * base, moment.seen * direction
    used = _fitted(base, direction, moment.update) if rate is None else rate
    if mu:
        memory.velocity = mu * memory.velocity - (used * change if rule.within else change)
    if rule.lazy:
        memory.keep(known, moment.seen)
    memory.rates.append(used)
    return np.asarray(base + used * direction)


def _scaled(rule: Rule, memory: Memory, g: Floats, squares: Floats) -> Floats:
    """The gradient as the family's mean of its squares scales it."""
    if rule.family == "sgd":
        return g
    if memory.done == 1:
        memory.second = np.full_like(g, rule.initial)
    if rule.family == "adagrad":
        memory.second = memory.second + squares
        return g / _root(rule, memory.second)
    kept = rule.beta_2 if rule.family == "adam" else rule.rho
    memory.second = kept * memory.second + (1.0 - kept) * squares
    second = memory.second
    if rule.family == "rmsprop":
        if rule.centered:
            memory.mean = kept * memory.mean + (1.0 - kept) * g
            second = np.maximum(second - memory.mean * memory.mean, 0.0)
        return g / _root(rule, second)
    memory.first = rule.beta_1 * memory.first + (1.0 - rule.beta_1) * g
    if rule.amsgrad:
        second = memory.largest = np.maximum(memory.largest, second)
    one, two = (1.0 - rule.beta_1**memory.done, 1.0 - kept**memory.done) if rule.corrected else (1.0, 1.0)
    if rule.place != "outside":
        return np.asarray(memory.first / one / _root(rule, second / two))
    return np.asarray(memory.first * (np.sqrt(two) / one) / _root(rule, second))


def _root(rule: Rule, second: Floats) -> Floats:
    root = np.sqrt(second + rule.epsilon) if rule.place == "inside" else np.sqrt(second) + rule.epsilon
    return np.asarray(np.maximum(root, TINY))


def clipped(rule: Rule, moment: Moment) -> Floats:
    """The gradient behind the rule's clipping, of repeated rows those that count."""
    g, c = moment.last if rule.rows == "last" else moment.gradient, rule.clip
    if rule.clip_kind == "value":
        return np.clip(g, -c, c)
    if rule.clip_kind == "global":
        return g * min(1.0, c / max(moment.total, TINY))
    if rule.clip_kind == "norm":
        g = g.copy()
        for start, stop, norm in moment.parts:
            g[start:stop] *= min(1.0, c / max(norm, TINY))
    return g


def _share(base: Floats, direction: Floats, memory: Memory, moment: Moment) -> float:
    """The share of the weights that is taken away besides, by least squares."""
    away = -moment.weight
    if not np.any(direction) or not np.any(away):
        memory.shares.append(0.0)
        return 0.0
    solved = np.linalg.lstsq(np.stack([direction, away], axis=1), moment.update - base, rcond=None)[0]
    memory.shares.append(float(solved[1]))
    return memory.shares[-1]


def _fitted(base: Floats, direction: Floats, update: Floats) -> float:
    square = float(direction @ direction)
    return float(direction @ (update - base)) / square if square > 0.0 else 0.0


def run(rule: Rule, moments: Sequence[Moment], rates: Sequence[float]) -> list[Floats]:
    """The updates of successive steps from an empty memory with the given rates."""
    memory = Memory()
    return [advance(rule, memory, moment, rate) for moment, rate in zip(moments, rates, strict=True)]
