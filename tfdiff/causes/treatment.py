"""What happens to the gradients between the tape and the weights: nothing, a factor, or clipping."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tfdiff.causes.hypothesis import Proposal
from tfdiff.causes.optimizers import clipping_of
from tfdiff.causes.scene import EPS32, TINY, joined, proportion, same
from tfdiff.causes.words import at, number
from tfdiff.pairing.distance import relative_error
from tfdiff.pairing.pairs import convert_back, taken

if TYPE_CHECKING:
    from tfdiff.causes.scene import Floats, Scene, Side
    from tfdiff.pairing.variables import VariablePair
    from tfdiff.trace.block import Block

FIT = 1e-3
MAX_STEPS = 6
PLAIN = ("SGD", "GradientDescentOptimizer")
"""Optimizers whose update may be -learning rate * gradient (with momentum nothing will fit)."""
KINDS = ("none", "scale", "value", "norm", "global norm")
SAID = {
    "none": "leaves the gradients as they are",
    "value": "clips each element of the gradients at",
    "norm": "clips the norm of each gradient at",
    "global norm": "clips the global norm of the gradients at",
}
KERAS = {"value": "clipvalue", "norm": "clipnorm", "global norm": "global_clipnorm"}
CALLS = {
    "value": "tf.clip_by_value(g, -{c}, {c})",
    "norm": "tf.clip_by_norm(g, {c})",
    "global norm": "tf.clip_by_global_norm(gradients, {c})",
}


@dataclass(frozen=True)
class Treatment:
    """What a side does with its gradients."""

    kind: str
    """One of KINDS."""
    constant: float = 1.0

    def apply(self, gradients: list[Floats], rest: float) -> list[Floats]:
        """The gradients after it; `rest` is the sum of squares of all others."""
        c = self.constant
        if self.kind == "value":
            return [np.clip(g, -c, c) for g in gradients]
        if self.kind == "norm":
            return [g * min(1.0, c / max(_norm(g), TINY)) for g in gradients]
        if self.kind == "global norm":
            return [g * min(1.0, c / max(_whole(gradients, rest), TINY)) for g in gradients]
        return [g * c for g in gradients]


@dataclass(frozen=True)
class Flow:
    """One side's gradients in one step: out of the tape and into the weights, A's variables in order."""

    tape: list[Floats]
    handed: list[Floats]
    noise: float
    """Relative rounding of what was handed on."""
    rest: float = 0.0
    """Sum of squares of the gradients of all other variables: they count for the global norm."""


def treated(scene: Scene, *, scaled: bool) -> Proposal | None:
    """Both sides' treatments are identified; `scaled`: only where they differ by a factor, else only clipping."""
    flows = [_flow(scene, side, scene.step) for side in scene.sides]
    if flows[0] is None or flows[1] is None:
        return None
    a, b = (_identify(scene, side, flow) for side, flow in zip(scene.sides, flows, strict=True) if flow is not None)
    if a is None or b is None or (a.kind == b.kind and same(a.constant, b.constant, 1e-3)):
        return None
    if scaled != ({a.kind, b.kind} <= {"none", "scale"}):
        return None
    wanted, found = joined(flows[0].handed), joined(flows[1].handed)
    predicted = joined(a.apply(flows[1].tape, flows[1].rest))
    constants = {"a": _constant(a), "b": _constant(b)}
    return Proposal(
        relative_error(wanted, found),
        relative_error(wanted, predicted),
        f"B {_said(b)}, A {_said(a)}",
        f"{_fix(scene, a)}{at(scene.finding.divergence.b)}",
        constants,
        fitted=(a.kind != "none") + (b.kind != "none"),
        noise=max(FIT, 4.0 * flows[0].noise, 4.0 * flows[1].noise),
    )


def _whole(gradients: list[Floats], rest: float) -> float:
    return float(np.sqrt(_norm(joined(gradients)) ** 2 + rest))


def _norm(values: Floats) -> float:
    return float(np.linalg.norm(values))


def _constant(found: Treatment) -> float | None:
    return None if found.kind == "none" else float(f"{found.constant:.4g}")


def _said(found: Treatment) -> str:
    if found.kind == "scale":
        return f"multiplies the gradients by {number(found.constant)}"
    return SAID[found.kind] + ("" if found.kind == "none" else f" {number(found.constant)}")


def _fix(scene: Scene, wanted: Treatment) -> str:
    if wanted.kind == "none":
        return "hand the gradients on as the tape returns them"
    if wanted.kind == "scale":
        return f"multiply the gradients by {number(wanted.constant)}"
    c = number(wanted.constant)
    keras = f", or {KERAS[wanted.kind]}={c} of the optimizer" if scene.b.optimizer() else ""
    return CALLS[wanted.kind].format(c=c) + keras


def _flow(scene: Scene, side: Side, step: int) -> Flow | None:
    if ("flow", step) not in side.memo:
        side.memo["flow", step] = _read_flow(scene, side, step)
    found: Flow | None = side.memo["flow", step]
    return found


def _read_flow(scene: Scene, side: Side, step: int) -> Flow | None:
    """From what the optimizer was handed where that differs from the tape's, else from the updates of plain SGD."""
    pairs = scene.concerned
    block = side.trace.step(step)
    found: dict[str, dict[int | None, Floats]] = {"weight gradient": {}, "applied gradient": {}}
    for seen in block.observations:
        if seen.site.role in found and seen.stored:
            found[seen.site.role][seen.site.variable] = np.asarray(block.array(seen.index)).astype(np.float64)
    variables = [pair.a if side is scene.a else pair.b for pair in pairs]
    tape, applied = (_all(side is scene.a, pairs, variables, found[role]) for role in found)
    given = None
    if scene.lockstep and side is scene.b:  # what its optimizer was handed was made of A's
        given = _flow(scene, scene.a, step)
        tape = [] if given is None else given.tape
    if not tape:
        return None
    rest = _rest(block, tape) if given is None else given.rest
    if applied and relative_error(joined(tape), joined(applied)) > 1e-4:
        return Flow(tape, applied, 1e-6, rest)
    by_rule = None if side.optimizer() else _followed(scene, side, tape, rest)
    if by_rule is not None:
        return by_rule
    shown = None if _settings(side).get("momentum") else _of_updates(scene, side, step, tape, variables)
    return replace(shown, rest=rest) if shown else _declared(side, tape, rest)


def _rest(block: Block, tape: list[Floats]) -> float:
    """Sum of squares of the gradients of which `tape` has none."""
    whole = sum(seen.stats.norm**2 for seen in block.observations if seen.site.role == "weight gradient")
    rest = float(whole) - _norm(joined(tape)) ** 2
    return rest if rest > 1e-6 * whole else 0.0


def _settings(side: Side) -> dict[str, Any]:
    return dict(side.optimizer().get("config") or {})


def _declared(side: Side, tape: list[Floats], rest: float) -> Flow | None:
    """What an adaptive optimizer says it does with the gradients it is handed: its updates do not show it."""
    config = _settings(side)
    if not config:
        return None
    kind, constant = next(((k, config[name]) for k, name in KERAS.items() if config.get(name)), ("none", 1.0))
    if not isinstance(constant, (int, float)):
        return None
    return Flow(tape, Treatment(kind, float(constant)).apply(tape, rest), 1e-6, rest)


def _followed(scene: Scene, side: Side, tape: list[Floats], rest: float) -> Flow | None:
    """What a rule that is written by hand does with the tape's gradients, where both sides' rules are alike but for
    clipping.
    """
    found = clipping_of(scene)
    if found is None:
        return None
    rule = (found.a if side is scene.a else found.b).rule
    kind = {"": "none", "global": "global norm"}.get(rule.clip_kind, rule.clip_kind)
    treatment = Treatment(kind, rule.clip if rule.clip_kind else 1.0)
    return Flow(tape, treatment.apply(tape, rest), 1e-6, rest)


def _all(
    of_a: bool,  # noqa: FBT001 - which layout the values are in
    pairs: tuple[VariablePair, ...],
    variables: list[int],
    values: dict[int | None, Floats],
) -> list[Floats]:
    """The variables' values in A's layout; empty where one is missing."""
    if not pairs or not all(variable in values for variable in variables):
        return []
    if of_a:
        return [taken(values[variable], pair.a_part) for variable, pair in zip(variables, pairs, strict=True)]
    return [convert_back(values[variable], pair) for variable, pair in zip(variables, pairs, strict=True)]


def _of_updates(scene: Scene, side: Side, step: int, tape: list[Floats], variables: list[int]) -> Flow | None:
    """What the updates were made of: -update / learning rate, if that rate is known and the optimizer is plain SGD."""
    rate = _rate(scene, side, step) if side.optimizer().get("class", PLAIN[0]) in PLAIN else None
    handed, noise = [], 0.0
    for variable, pair in zip(variables, scene.concerned, strict=True):
        before, after = side.trace.value_after(variable, step - 1), side.trace.value_after(variable, step)
        if before is None or after is None or rate is None:
            return None
        change = np.asarray(after).astype(np.float64) - np.asarray(before).astype(np.float64)
        noise = max(noise, EPS32 * _norm(np.asarray(before, np.float64)) / max(_norm(change), TINY))
        handed.append((taken(change, pair.a_part) if side is scene.a else convert_back(change, pair)) / -rate)
    return Flow(tape, handed, noise)


def _rate(scene: Scene, side: Side, step: int) -> float | None:
    """The rate that the side's optimizer tells of a step or that its updates show, else the other's."""
    for each in (side, *scene.sides):
        told = [optimizer.get("learning_rate") for optimizer in each.trace.step(step).info.optimizers]
        if told and isinstance(told[0], (int, float)) and told[0] > 0 and all(rate == told[0] for rate in told):
            return float(told[0])
        variables = [pair.a if each is scene.a else pair.b for pair in scene.concerned]
        shown = None if told else _shown_rate(each.trace.step(step), variables)
        if shown is not None:
            return shown
    return None


def _shown_rate(block: Block, variables: list[int]) -> float | None:
    """The number that all variables' gradients are multiplied by just before they are taken off."""
    rates: dict[int | None, float] = {}
    for seen in block.observations:
        if seen.site.role != "assign" or seen.site.phase != "update" or not seen.inputs:
            continue
        change = _subtracted(block, seen.inputs[-1], of_assign=seen.site.op.startswith("AssignSub"))
        operands = () if change is None else block.observations[change].inputs
        scalars = [block.observations[i] for i in operands if i >= 0 and block.observations[i].size == 1]
        if len(scalars) == 1 and len(operands) <= 2:
            rates[seen.site.variable] = scalars[0].stats.mean
    found = {rates.get(variable) for variable in variables}
    rate = found.pop() if len(found) == 1 else None
    return rate if rate is not None and rate > 0.0 else None


def _subtracted(block: Block, index: int, *, of_assign: bool) -> int | None:
    """The product that is taken off a variable: by the assignment itself, or in front of it."""
    if index < 0:
        return None
    seen = block.observations[index]
    if not of_assign and seen.site.op == "Sub":
        index = seen.inputs[1]
    elif not of_assign:
        return None
    return index if index >= 0 and block.observations[index].site.op == "Mul" else None


def _identify(scene: Scene, side: Side, flow: Flow) -> Treatment | None:
    """The treatment that turns the tape's gradients into what was handed on, in other steps too, best."""
    limit = max(FIT, 4.0 * flow.noise)
    handed = joined(flow.handed)
    if not np.any(handed) or not np.any(joined(flow.tape)):
        return None
    constants = {
        "none": 1.0,
        "scale": proportion(joined(flow.tape), handed)[0],
        "value": float(np.abs(handed).max()),
        "norm": max(_norm(g) for g in flow.handed),
        "global norm": _norm(handed) / _norm(joined(flow.tape)) * _whole(flow.tape, flow.rest),
    }
    best: tuple[float, Treatment] | None = None
    for kind in KINDS:
        found = Treatment(kind, constants[kind])
        if found.constant <= 0.0 or relative_error(joined(found.apply(flow.tape, flow.rest)), handed) > limit:
            continue
        if kind == "none":
            return found
        error = _elsewhere(scene, side, found)
        if error <= limit and (best is None or error < 0.1 * best[0]):
            best = (error, found)
    return None if best is None else best[1]


def _elsewhere(scene: Scene, side: Side, found: Treatment) -> float:
    """The largest error of the same treatment in other steps; infinite where there are none."""
    steps = [step for step in range(min(side.trace.steps, MAX_STEPS)) if step != scene.step]
    others = [flow for flow in (_flow(scene, side, step) for step in steps) if flow is not None]
    errors = [relative_error(joined(found.apply(flow.tape, flow.rest)), joined(flow.handed)) for flow in others]
    return max(errors, default=float("inf"))
