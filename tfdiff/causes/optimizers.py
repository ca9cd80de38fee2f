"""Another optimizer, or another setting of it: both are run again on the recorded gradients, as they say they are set.

Each side's own settings must give its own update; then B's gradients with A's optimizer, or with one setting of A's,
must give A's update.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tfdiff.causes.hypothesis import Proposal
from tfdiff.causes.optimizer import rounding
from tfdiff.causes.scene import joined
from tfdiff.causes.words import creator, number, optimizer_name, plain
from tfdiff.pairing.distance import relative_error
from tfdiff.pairing.pairs import convert_back, taken

if TYPE_CHECKING:
    from tfdiff.causes.scene import Floats, Scene, Side, Update

FIT = 1e-3
MAX_STEPS = 40
FAMILIES = {
    "SGD": "sgd",
    "GradientDescentOptimizer": "sgd",
    "MomentumOptimizer": "sgd",
    "Adam": "adam",
    "AdamOptimizer": "adam",
    "RMSprop": "rmsprop",
    "RMSPropOptimizer": "rmsprop",
    "Adagrad": "adagrad",
    "AdagradOptimizer": "adagrad",
}
"""Class of an optimizer, new, legacy or of TensorFlow 1: how it updates."""
UNUSUAL = ("amsgrad", "centered", "weight_decay", "clipnorm", "clipvalue", "global_clipnorm", "decay", "use_ema")
CAUSES: dict[str, tuple[str, ...]] = {
    "optimizer-epsilon": ("epsilon",),
    "optimizer-betas": ("beta_1", "beta_2", "rho"),
    "optimizer-momentum": ("momentum",),
    "optimizer-nesterov": ("nesterov",),
}
SETTINGS = tuple(name for names in CAUSES.values() for name in names)


@dataclass(frozen=True)
class Optimizer:
    """An optimizer as it says it is set."""

    family: str
    ones: bool = False
    """TensorFlow 1's RMSProp starts its mean of squares from one."""
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 0.0
    momentum: float = 0.0
    nesterov: float = 0.0
    rho: float = 0.9
    initial: float = 0.1

    def update(self, gradients: list[Floats], rates: list[float], memory: Optimizer | None = None) -> Floats:
        """The last of successive updates from an empty memory; those before it made by `memory` where it is given."""
        if memory is not None and len(gradients) > 1 and memory.family == self.family:
            first, second = memory.run(gradients[:-1], rates[:-1])[:2]
            return self.run(gradients[-1:], rates[-1:], (first, second), len(gradients) - 1)[2]
        return self.run(gradients, rates)[2]

    def run(
        self,
        gradients: list[Floats],
        rates: list[float],
        slots: tuple[Floats, Floats] | None = None,
        done: int = 0,
    ) -> tuple[Floats, Floats, Floats]:
        """Both slots and the last update, after `done` steps that left the given slots."""
        first, second, moved = (np.zeros_like(gradients[0]) for _ in range(3))
        if slots is not None:
            first, second = slots
        elif self.family == "adagrad" or self.ones:
            second += 1.0 if self.ones else self.initial
        for step, (g, rate) in enumerate(zip(gradients, rates, strict=True), done + 1):
            if self.family == "adam":
                first = self.beta_1 * first + (1.0 - self.beta_1) * g
                second = self.beta_2 * second + (1.0 - self.beta_2) * g * g
                rate_now = rate * np.sqrt(1.0 - self.beta_2**step) / (1.0 - self.beta_1**step)
                moved = -rate_now * first / (np.sqrt(second) + self.epsilon)
                continue
            change = -rate * g
            if self.family == "rmsprop":
                second = self.rho * second + (1.0 - self.rho) * g * g
                change = change / np.sqrt(second + self.epsilon)
            elif self.family == "adagrad":
                second = second + g * g
                change = change / np.sqrt(second + self.epsilon)
            first = self.momentum * first + change
            moved = self.momentum * first + change if self.nesterov else first
        return first, second, np.asarray(moved)


def other_optimizer(scene: Scene) -> Proposal | None:
    """B with A's optimizer, or with one of its settings, updates as A does."""
    a, b = (_told(side) for side in scene.sides)
    updates = scene.updates(scene.concerned)
    if a is None or b is None or not updates:
        return None
    u_a, u_b = joined(u.u_a for u in updates), joined(u.u_b for u in updates)
    limit = max(FIT, 4.0 * rounding(updates))
    inputs = [_inputs(scene, side, updates) for side in scene.sides]
    if inputs[0] is None or inputs[1] is None or not np.any(u_a) or not np.any(u_b):
        return None
    if scene.lockstep:  # B's optimizer was handed A's gradients, step by step
        inputs[1] = inputs[0][0], [*inputs[0][1][:-1], inputs[1][1][-1]]
    gradients, rates = inputs[1]
    # In lockstep what it remembers is A's, but for slots that have no counterpart.
    memories = [m for m in ((a, None) if scene.lockstep else (None,)) if _fits(b, u_b, inputs[1], m, limit)]
    if relative_error(u_a, a.update(*inputs[0])) > limit or not memories:
        return None
    tries: list[tuple[str, Optimizer, list[float]]] = [
        (code, replace(b, **{name: getattr(a, name) for name in names}), rates) for code, names in CAUSES.items()
    ]
    if a.family != b.family:
        tries = [("optimizer-kind", a, inputs[0][1])]
    for code, changed, used in tries:
        after = relative_error(u_a, changed.update(gradients, used, memories[0]))
        if changed != b and after <= limit:
            return _proposal(scene, code, (a, b), (relative_error(u_a, u_b), after), limit)
    return None


def _fits(
    told: Optimizer, update: Floats, inputs: tuple[list[Floats], list[float]], memory: Optimizer | None, limit: float
) -> bool:
    return relative_error(update, told.update(*inputs, memory)) <= limit


def _proposal(
    scene: Scene, code: str, told: tuple[Optimizer, Optimizer], errors: tuple[float, float], limit: float
) -> Proposal:
    a, b = told
    if code == "optimizer-kind":
        names = optimizer_name(scene.a), optimizer_name(scene.b)
        constants: dict[str, Any] = {"a": names[0], "b": names[1]}
        summary, fix = f"B's optimizer is {names[1]}, A's is {names[0]}", f"{names[0]} as in A"
    else:
        changed = [name for name in CAUSES[code] if getattr(a, name) != getattr(b, name)]
        said = [", ".join(f"{name} {number(getattr(o, name))}" for name in changed) for o in told]
        constants = {side: [getattr(o, name) for name in changed] for side, o in zip("ab", told, strict=True)}
        constants = {side: values[0] if len(values) == 1 else values for side, values in constants.items()}
        summary = f"the optimizer has {said[1]} in B, {said[0]} in A: equal gradients, other updates"
        arguments = ", ".join(f"{name}={number(getattr(a, name))}" for name in changed)
        fix = f"{optimizer_name(scene.b)}({arguments})"
    return Proposal(*errors, summary, f"{plain(fix)}{creator(scene, scene.b)}", constants, 0, code, limit)


def _told(side: Side) -> Optimizer | None:
    """The step's optimizer; None for one that is not known or does something besides."""
    about = side.optimizer()
    family, config = FAMILIES.get(str(about.get("class"))), about.get("config") or {}
    if family is None or not config or any(config.get(name) for name in UNUSUAL):
        return None
    found = {name: _number(config, name) for name in SETTINGS}
    found["nesterov"] = _number(config, "nesterov", "use_nesterov")
    found["initial"] = _number(config, "initial_accumulator_value")
    found["rho"] = _number(config, "rho", "decay_rate")
    known = {name: value for name, value in found.items() if value is not None}
    return Optimizer(family, ones=about.get("class") == "RMSPropOptimizer", **known)


def _number(config: dict[str, Any], *names: str) -> float | None:
    value = next((config[name] for name in names if name in config), None)
    return float(value) if isinstance(value, (int, float)) else None


def _inputs(scene: Scene, side: Side, updates: list[Update]) -> tuple[list[Floats], list[float]] | None:
    """Gradients in A's layout, joined, and learning rates of all steps up to this one; None where one is not known."""
    if scene.step >= MAX_STEPS:
        return None
    gradients, rates = [], []
    for step in range(scene.step + 1):
        block = side.trace.step(step)
        optimizers = block.info.optimizers
        rate = optimizers[0].get("learning_rate") if optimizers else None
        found = _gradients(side, step)
        parts = []
        for update in updates:
            value = found.get(update.pair.a if side is scene.a else update.pair.b)
            try:
                turned = None if value is None else _turned(value, update, of_a=side is scene.a)
            except ValueError:
                turned = None
            if turned is None or turned.shape != update.u_a.shape:
                return None
            parts.append(turned)
        if not isinstance(rate, (int, float)):
            return None
        gradients.append(joined(parts))
        rates.append(float(rate))
    return gradients, rates


def _turned(value: Floats, update: Update, *, of_a: bool) -> Floats:
    return np.asarray(taken(value, update.pair.a_part) if of_a else convert_back(value, update.pair))


def _gradients(side: Side, step: int) -> dict[int | None, Floats]:
    """What the optimizer was handed, by variable; else what came out of the tape."""
    block = side.trace.step(step)
    found: dict[int | None, Floats] = {}
    for role in ("weight gradient", "applied gradient"):
        for seen in block.observations:
            if seen.site.role == role and seen.stored:
                found[seen.site.variable] = np.asarray(block.array(seen.index)).astype(np.float64)
    return found
