"""The gradients on their way into the update: one factor on all of them."""

from __future__ import annotations

from math import frexp
from typing import TYPE_CHECKING

import numpy as np

from tfdiff.causes.hypothesis import Proposal
from tfdiff.causes.optimizer import others_agree, rounding
from tfdiff.causes.scene import RESHAPES, joined, proportion, same
from tfdiff.causes.treatment import treated
from tfdiff.causes.words import at, creator, number, plain
from tfdiff.pairing.distance import relative_error
from tfdiff.pairing.pairs import convert_back, taken

if TYPE_CHECKING:
    from tfdiff.causes.scene import Floats, Scene, Side, Update
    from tfdiff.pairing.variables import VariablePair

MAX_ACCUMULATED = 64
MAX_CHAIN = 8
"""Ops between the loss that both have and what is differentiated."""
TAPE = 1e-4
"""What a factor may leave of a difference between gradients out of the tape."""


def gradient_scale(scene: Scene) -> Proposal | None:
    """All gradients are k times A's: those out of the tape, those of several steps together, or those handed on."""
    if scene.phase == "loss":
        return _of_loss(scene)
    found = _of_tape(scene) if scene.phase == "backward" else _of_update(scene)
    if found is None and not others_agree(scene):  # a factor on some weights only is another fault
        found = treated(scene, scaled=True)
    return _of_handed(scene) if found is None and scene.phase == "backward" else found


def gradient_clipping(scene: Scene) -> Proposal | None:
    """One side clips by value, norm or global norm; the threshold is fitted."""
    return treated(scene, scaled=False)


def _of_tape(scene: Scene) -> Proposal | None:
    # In an isolated pass a factor goes no further than the part of the network it stands in.
    pairs = scene.concerned if scene.lockstep else scene.finding.variables
    found = [g for pair in pairs if (g := both_gradients(scene, pair, "weight gradient")) is not None]
    g_a, g_b = joined(a for a, _ in found), joined(b for _, b in found)
    if not found or not np.any(g_a) or not np.any(g_b):
        return None
    k, left = proportion(g_a, g_b)
    if left > max(TAPE, scene.finding.divergence.tolerance) or k <= 0.0 or same(k, 1.0, 1e-4) or not _each(found, k):
        return None
    return Proposal(
        relative_error(g_a, g_b),
        relative_error(g_a, g_b / k),
        f"all {len(found)} gradients are {_times(k)} A's in B, although the forward pass and the loss agree",
        f"multiply the gradients by {number(1 / k)}{at(scene.finding.divergence.b)}",
        {"a": 1.0, "b": float(f"{k:.6g}")},
        noise=TAPE,
    )


def _of_handed(scene: Scene) -> Proposal | None:
    """The tapes agree, and the optimizers are handed k times A's, all of them: adaptive ones hardly show it."""
    found = [both for pair in scene.finding.variables if (both := both_gradients(scene, pair, "applied gradient"))]
    tapes = [both for pair in scene.finding.variables if (both := both_gradients(scene, pair, "weight gradient"))]
    g_a, g_b = joined(a for a, _ in found), joined(b for _, b in found)
    if not found or len(found) != len(tapes) or not np.any(g_a) or not np.any(g_b):
        return None
    k, left = proportion(g_a, g_b)
    if left > TAPE or k <= 0.0 or same(k, 1.0, 1e-4) or not _each(found, k):
        return None
    tape = joined(a for a, _ in tapes)
    factors = [proportion(tape, handed)[0] for handed in (g_a, g_b)]
    return Proposal(
        relative_error(g_a, g_b),
        relative_error(g_a, g_b / k),
        f"all {len(found)} gradients are multiplied by {number(factors[1])} in B and by {number(factors[0])} in A on "
        "their way to the optimizer",
        f"multiply the gradients by {number(factors[0])}, as A does{at(scene.finding.divergence.b)}",
        {"a": float(f"{factors[0]:.6g}"), "b": float(f"{factors[1]:.6g}")},
        noise=TAPE,
    )


def _of_loss(scene: Scene) -> Proposal | None:
    """Behind equal losses stand products with numbers alone: the loss that is differentiated is k times A's."""
    losses = [next((seen.index for seen in side.with_role("loss")), None) for side in scene.sides]
    if losses[0] is None or losses[1] is None:
        return None
    for cut in scene.cuts:
        if cut.x_a.size != 1 or cut.x_b.size != 1:
            continue
        a, b = _factor(scene.a, losses[0], cut.a), _factor(scene.b, losses[1], cut.b)
        if a is None or b is None or same(a, b, 1e-6) or a <= 0.0 or b <= 0.0:
            continue
        wanted, found = scene.a.scalar(losses[0]), scene.b.scalar(losses[1])
        if not wanted or not found:
            continue
        name, k, one = ("B", b, a) if not same(b, 1.0, 1e-6) else ("A", a, b)
        also = "" if same(one, 1.0, 1e-6) else f", A by {number(one)}"
        return Proposal(
            abs(wanted - found) / max(abs(wanted), abs(found)),
            abs(wanted - found * a / b) / abs(wanted),
            f"{name} multiplies the loss that it differentiates by {number(k)}{also}, and with it all gradients",
            _loss_fix(scene, a, b),
            {"a": float(f"{a:.6g}"), "b": float(f"{b:.6g}")},
            fitted=0,
            code="grad-scale" if _binary(a) and _binary(b) else "loss-weights",
        )
    return None


def _binary(factor: float) -> bool:
    """Whether a factor is a power of two, as loss scales and numbers of replicas are."""
    return frexp(factor)[0] == 0.5


def _loss_fix(scene: Scene, a: float, b: float) -> str:
    where = at(scene.finding.divergence.b, called=True)
    if same(a, 1.0, 1e-6) and not _binary(b):
        return f"no weight on the loss, or the same in A: {number(b)} * loss, loss_weights={number(b)}{where}"
    if same(a, 1.0, 1e-6):
        return f"take the gradient of the loss itself, or divide the gradients by {number(b)} again{where}"
    return f"multiply the loss by {number(a)} as A does, instead of by {number(b)}{where}"


def _factor(side: Side, index: int, root: int) -> float | None:
    """By which numbers a scalar is multiplied on its way to another; None where something else is done to it."""
    factor = 1.0
    for _ in range(MAX_CHAIN):
        if index == root:
            return factor
        seen = side.observations[index]
        operands = [i for i in seen.inputs if i >= 0]
        if seen.site.role == "loss" or seen.site.op in RESHAPES:
            if len(operands) != 1:
                return None
            index = operands[0]
            continue
        ahead = [i for i in operands if i == root or root in side.ancestors((i,))]
        if len(operands) != 2 or len(ahead) != 1 or seen.site.op not in ("Mul", "RealDiv"):
            return None
        other = next((i for i in operands if i not in ahead), ahead[0])
        number_ = side.scalar(other)
        if not number_ or not _is_number(side, other) or (seen.site.op == "RealDiv" and operands[0] != ahead[0]):
            return None
        factor = factor * number_ if seen.site.op == "Mul" else factor / number_
        index = ahead[0]
    return None


def _is_number(side: Side, index: int) -> bool:
    """Whether a scalar comes of no weight and no batch."""
    roles = {side.observations[i].site.role for i in side.ancestors((index,))}
    return roles.isdisjoint({"weight", "input", "own input", "noise"})


def _each(found: list[tuple[Floats, Floats]], k: float) -> bool:
    """Whether the factor holds for every gradient by itself, not only for the largest."""
    return all(relative_error(k * a, b) <= 1e-2 for a, b in found if np.linalg.norm(a) > 1e-6)


def both_gradients(scene: Scene, pair: VariablePair, role: str) -> tuple[Floats, Floats] | None:
    """A variable's gradients of that role on both sides, in A's layout."""
    values = []
    for side, variable in ((scene.a, pair.a), (scene.b, pair.b)):
        index = next((s.index for s in side.with_role(role) if s.site.variable == variable), None)
        value = None if index is None else side.array(index)
        if value is None:
            return None
        values.append(value)
    try:
        own = taken(values[0], pair.a_part)
        return own, convert_back(values[1], pair).reshape(own.shape)
    except ValueError:
        return None


def _of_update(scene: Scene) -> Proposal | None:
    """Both updates are -lr * c * (sum of the last n steps' gradients): n and both c are fitted."""
    updates = scene.updates(scene.concerned)
    u_a, u_b = joined(u.u_a for u in updates), joined(u.u_b for u in updates)
    if not u_a.size or not np.any(u_a) or not np.any(u_b):
        return None
    noise = rounding(updates)
    k, left = proportion(u_a, u_b)
    if left > max(1e-3, noise) or k <= 0.0 or same(k, 1.0, 1e-4):
        return None
    n = _accumulated(scene, updates, max(1e-3, noise))
    rates = [side.optimizer().get("learning_rate") for side in scene.sides]
    told = [float(rate) for rate in rates if isinstance(rate, (int, float))]
    both = len(told) == 2
    if (both and not same(*told)) or n < 2 or not any(same(k, factor, 1e-3) for factor in (float(n), 1.0 / n)):
        return None
    mean_in_b = k < 1.0
    constants = {"a": float(n) if mean_in_b else 1.0, "b": 1.0 if mean_in_b else float(n)}
    how = ("sums", "averages") if mean_in_b else ("averages", "sums")
    summary = f"A {how[0]} the gradients of {n} micro batches, B {how[1]} them: B's update is {_times(k)} A's"
    change = f"do not divide the gradients by {n}" if mean_in_b else f"divide the accumulated gradients by {n}"
    fix = f"{change}{_accumulator_line(scene) or at(scene.finding.divergence.b) or creator(scene, scene.b)}"
    return Proposal(
        relative_error(u_a, u_b), relative_error(u_a, u_b / k), summary, fix, constants, noise=max(1e-3, noise)
    )


def _accumulator_line(scene: Scene) -> str:
    """Where B adds to something that is no weight: its accumulators."""
    weights = {pair.b for pair in scene.finding.variables}
    for seen in scene.b.with_role("assign"):
        adds = seen.site.op.startswith("AssignAdd") and seen.site.phase == "update" and seen.size > 1
        if adds and seen.site.variable not in weights and seen.site.called:
            return f" at {plain(seen.site.called)}"
    return ""


def _accumulated(scene: Scene, updates: list[Update], limit: float) -> int:
    """Number of steps, this one last, whose gradients A's update is made of; 0 where they do not give it.

    The weights did not move in the steps before, and the summed gradients are proportional to the update.
    """
    variables = list(dict.fromkeys(u.pair.a for u in updates))
    total = _of_step(scene.a, scene.step, variables)
    n = 1
    while total is not None and n <= min(scene.step, MAX_ACCUMULATED) and _still(scene.a, variables, scene.step - n):
        found = _of_step(scene.a, scene.step - n, variables)
        total = None if found is None else [x + y for x, y in zip(total, found, strict=True)]
        n += 1
    if total is None:
        return 0
    of_variable = dict(zip(variables, total, strict=True))
    own = joined(taken(of_variable[u.pair.a], u.pair.a_part) for u in updates)
    fits = proportion(own, joined(u.u_a for u in updates))[1] <= limit
    return n if fits else 0


def _still(side: Side, variables: list[int], step: int) -> bool:
    """Whether none of the variables was moved by that step."""
    for variable in variables:
        before, after = side.trace.value_after(variable, step - 1), side.trace.value_after(variable, step)
        if before is None or after is None or not np.array_equal(before, after):
            return False
    return True


def _of_step(side: Side, step: int, variables: list[int]) -> list[Floats] | None:
    block = side.trace.step(step)
    known = {s.site.variable: s.index for s in block.observations if s.site.role == "weight gradient" and s.stored}
    if not all(variable in known for variable in variables):
        return None
    return [np.asarray(block.array(known[variable])).astype(np.float64) for variable in variables]


def _times(k: float) -> str:
    return f"{number(k)} times" if k > 0 else f"{number(k)}"
