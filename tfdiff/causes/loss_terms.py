"""The loss as a sum of numbers, each with its factor."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfdiff.causes.scene import same

if TYPE_CHECKING:
    from tfdiff.causes.scene import Side

SUMS = frozenset({"Add", "AddV2", "AddN", "Sum", "Pack"})
SAME = frozenset({"Identity", "Cast", "Reshape", "Squeeze", "ExpandDims"})
PRODUCTS = frozenset({"Mul", "RealDiv", "DivNoNan"})
ONE_OPERAND = SAME | {"Neg", "Mean", "StopGradient"}
MAX_TERMS = 64


def added_up(side: Side) -> set[int]:
    """Tensors that are only added up, or multiplied by what is not learned, on their way to the loss."""
    if ("added up",) not in side.memo:
        side.memo["added up",] = _added_up(side)
    found: set[int] = side.memo["added up",]
    return found


def _added_up(side: Side) -> set[int]:
    members: set[int] = set()
    todo = [seen.index for seen in side.with_role("loss")][:1]
    while todo:
        index = todo.pop()
        if index < 0 or index in members:
            continue
        members.add(index)
        seen = side.observations[index]
        moving = [operand for operand in seen.inputs if operand >= 0 and learned(side, operand)]
        linear = seen.site.op in SUMS | ONE_OPERAND or seen.site.role == "loss"
        product = (
            seen.site.op in PRODUCTS and len(moving) == 1 and (seen.site.op == "Mul" or moving == [seen.inputs[0]])
        )
        if linear or product or seen.site.op == "Sub":
            todo += moving
    return members


def learned(side: Side, index: int) -> bool:
    """Whether a tensor depends on variables."""
    return any(side.observations[i].site.role in ("weight", "state") for i in side.ancestors((index,)))


def weighted_sum(side: Side, loss: int, leaves: set[int]) -> dict[int, float] | None:
    """Factor of each leaf in the loss, None where it is no such sum or its value is another one."""
    found: dict[int, float] = {}
    todo = [(loss, 1.0)]
    while todo:
        index, factor = todo.pop()
        if index in leaves:
            found[index] = found.get(index, 0.0) + factor
            continue
        more = _operands(side, index, factor)
        if more is None or len(todo) + len(found) > MAX_TERMS:
            return None
        todo += more
    total = sum(factor * (side.scalar(index) or 0.0) for index, factor in found.items())
    value = side.scalar(loss)
    return found if value is not None and found and same(total, value, 1e-5) else None


def _operands(side: Side, index: int, factor: float) -> list[tuple[int, float]] | None:
    """What a number is made of, with factors; None where it is no sum or product with a constant."""
    if index < 0:
        return None
    seen = side.observations[index]
    inputs = [operand for operand in seen.inputs if operand >= 0]
    numbers = [operand for operand in inputs if "int" not in side.observations[operand].dtype]
    if seen.site.op in SUMS or seen.site.op in SAME or seen.site.role == "loss":
        if seen.size > 1 and seen.site.op != "Pack":
            return None
        return [(operand, factor) for operand in numbers] or None
    fixed = [operand for operand in numbers if side.observations[operand].site.role == "constant"]
    rest = [operand for operand in numbers if operand not in fixed]
    value = side.scalar(fixed[0]) if len(fixed) == 1 else None
    product = seen.site.op == "Mul" or (seen.site.op == "RealDiv" and rest[:1] == inputs[:1])
    if len(rest) != 1 or not value or not product:
        return None
    return [(rest[0], factor * value if seen.site.op == "Mul" else factor / value)]
