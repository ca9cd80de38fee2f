"""How strongly each weight is penalized in the loss: lambda * sum(w^2) or lambda * sum(|w|), weight by weight.

What a side adds to its loss that comes from weights alone is taken apart into the sums over single weights. Each must
be seen: somewhere in front of it stands a tensor proportional to w^2 or |w|, and from there on everything is linear.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tfdiff.causes.scene import TINY, same

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tfdiff.causes.scene import Floats, Side

LINEAR = frozenset(
    {"Add", "AddV2", "AddN", "Sum", "Mean", "Pack", "ConcatV2", "Identity", "Reshape", "Squeeze", "ExpandDims", "Cast"}
    | {"Mul", "RealDiv", "Neg", "StopGradient"}
)
"""Ops that may stand between the squares and the loss; a product is one only with a number."""
FIT = 1e-4


@dataclass(frozen=True)
class Penalty:
    """What the loss holds of one or several weights, with one factor for all of them."""

    index: int
    value: float
    kind: str
    """L1 or L2."""
    strength: float
    """Factor of the sum of absolute values (L1) or of squares (L2)."""
    variables: tuple[int, ...]


def penalties(side: Side) -> list[Penalty] | None:
    """The penalties in a side's loss; None where some of it comes from weights alone and is no such sum."""
    found: list[Penalty] = []
    for total in totals(side):
        terms = list(_terms(side, total, 1.0))
        value = side.scalar(total) or 0.0
        if not all(terms) or not same(sum(term.value for term in terms if term), value, FIT):
            return None
        found += [term for term in terms if term is not None]
    return found


def totals(side: Side) -> list[int]:
    """Numbers made of weights alone, where they meet the data path in the loss."""
    loss = next((seen.index for seen in side.with_role("loss")), None)
    if loss is None:
        return []
    members = side.ancestors((loss,))
    moving: set[int] = set()
    for index in sorted(members):
        seen = side.observations[index]
        if seen.site.role in ("input", "noise") or any(operand in moving for operand in seen.inputs):
            moving.add(index)
    found = []
    for index in sorted(members - moving):
        seen = side.observations[index]
        joins = any(user in moving and user in members for user in side.consumers.get(index, []))
        scalar = seen.size == 1 and seen.site.role == "activation" and "float" in seen.dtype
        if joins and scalar and _weights(side, index):
            found.append(index)
    return found


def strengths(found: list[Penalty]) -> dict[tuple[int, str], float]:
    """Lambda of each variable and kind; penalties on the same weight add up."""
    table: dict[tuple[int, str], float] = {}
    for penalty in found:
        for variable in penalty.variables:
            key = variable, penalty.kind
            table[key] = table.get(key, 0.0) + penalty.strength
    return table


def power(w: Floats, kind: str) -> Floats:
    """What is summed."""
    return np.asarray(np.abs(w) if kind == "L1" else w**2)


def _weights(side: Side, index: int) -> tuple[int, ...]:
    """Weights an observation was computed from."""
    reads = (side.observations[i] for i in side.ancestors((index,)))
    return tuple(
        sorted({seen.site.variable for seen in reads if seen.site.role == "weight" and seen.site.variable is not None})
    )


def _terms(side: Side, index: int, factor: float) -> Iterator[Penalty | None]:
    """The sums over single weights that a scalar is made of, each with its share of it; None for what is none."""
    seen = side.observations[index]
    penalty = _read(side, index, factor)
    made = [operand for operand in seen.inputs if operand >= 0 and _weights(side, operand)]
    if penalty is not None:
        yield penalty
    elif seen.site.op not in LINEAR or not made:
        yield None
    elif seen.site.op == "Pack" or len(made) > 1:
        for operand in made:
            yield from _terms(side, operand, factor)
    else:
        yield from _terms(side, made[0], factor * _passed(side, index, made[0]))


def _passed(side: Side, index: int, operand: int) -> float:
    """By how much an op with one operand that counts multiplies it; 1 where it only adds up what was packed."""
    value, whole = side.scalar(operand), side.scalar(index)
    if value is None and whole is not None:
        value = side.observations[operand].stats.mean * side.observations[operand].size
    return 1.0 if not value or whole is None else whole / value


def _read(side: Side, index: int, factor: float) -> Penalty | None:
    """A number as the sum of one kind over its weights; over several only where they were joined first."""
    value, variables = side.scalar(index), _weights(side, index)
    weights = [side.before(variable) for variable in variables]
    known = [w for w in weights if w is not None]
    if value is None or not variables or len(known) < len(weights):
        return None
    if value == 0.0 and not any(np.any(w) for w in known):
        return Penalty(index, 0.0, "L2", 0.0, ())  # of zeros nothing can be told, nor do they add anything
    behind = side.ancestors((index,))
    for kind in ("L2", "L1"):
        total = float(sum(power(w, kind).sum() for w in known))
        begins = [i for i in sorted(behind) if _begins(side, i, [power(w, kind) for w in known])]
        if total > 0.0 and begins and _linear(side, index, set(begins)):
            return Penalty(index, factor * value, kind, factor * value / total, variables)
    return None


def _begins(side: Side, index: int, powers: list[Floats]) -> bool:
    """Whether an observation is proportional to the weights' powers, or to their sum where that is one op."""
    seen = side.observations[index]
    size = sum(each.size for each in powers)
    if seen.site.role != "activation" or "float" not in seen.dtype:
        return False
    if seen.site.op == "L2Loss":
        return len(powers) == 1 and same(seen.stats.mean, 0.5 * float(powers[0].sum()), FIT)
    if seen.size != size or size == 1:
        return seen.size == size and same(abs(seen.stats.mean), float(powers[0].reshape(-1)[0]), FIT)
    whole = np.concatenate([each.reshape(-1) for each in powers])
    k = seen.stats.norm / max(float(np.linalg.norm(whole)), TINY)
    if len(powers) > 1:  # joined in an order that is not known
        return same(seen.stats.mean * size, k * float(whole.sum()), FIT)
    return side.error(index, k * whole) <= FIT


def _linear(side: Side, index: int, begins: set[int]) -> bool:
    """Whether everything between the beginnings and the number is linear in them."""
    todo = [index]
    while todo:
        at = todo.pop()
        if at in begins or not _weights(side, at):
            continue
        seen = side.observations[at]
        made = [operand for operand in seen.inputs if operand >= 0 and _weights(side, operand)]
        if seen.site.op not in LINEAR or (seen.site.op in ("Mul", "RealDiv") and len(made) > 1):
            return False
        if seen.site.op == "RealDiv" and seen.inputs[0] not in made:
            return False
        todo += made
    return True
