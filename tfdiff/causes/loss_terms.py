"""The loss as a sum of numbers, each with its factor."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfdiff.causes.scene import same

if TYPE_CHECKING:
    from tfdiff.causes.scene import Side

SUMS = frozenset({"Add", "AddV2", "AddN", "Sum", "Pack"})
SAME = frozenset({"Identity", "Cast", "Reshape", "Squeeze", "ExpandDims"})
MAX_TERMS = 64


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
