"""Why an op gives NaN or infinity: for which of its operands, and whether these operands explain what came out."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tfdiff.comparison.tolerance import BFLOAT16_EPS
from tfdiff.pairing.sites import is_float

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from tfdiff.model import Observation, Stats
    from tfdiff.trace.block import Block

    Floats = npt.NDArray[np.float64]
    Mask = npt.NDArray[np.bool_]

ROOTS = frozenset({"Sqrt", "Rsqrt"})
PRODUCTS: dict[str, Callable[..., Floats]] = {
    "Cast": lambda x: x,
    "Square": np.square,
    "Mul": np.multiply,
    "AddV2": np.add,
    "Sub": np.subtract,
}
"""Ops of single elements whose result can be too large for its type."""
GROWING = re.compile(r"MatMul|Einsum|Conv|Sum|Mean|Prod|Pow|SquaredDifference|AddN|BiasAdd|L2Loss")
"""Others."""


@dataclass(frozen=True)
class Domain:
    """Where ops of some types have no finite result."""

    kind: str
    ops: frozenset[str]
    words: str
    left: Callable[[Stats, float], bool]
    """Whether an operand with these statistics leaves the domain; the number is the largest of the output's type."""
    outside: Callable[[Floats, float], Mask]
    """Which elements of it do."""
    operand: int = 0


DOMAINS = (
    Domain(
        "log-negative",
        frozenset({"Log"}),
        "logarithm of a negative number",
        lambda x, _: x.minimum < 0.0,
        lambda x, _: x <= 0.0,
    ),
    Domain("log-0", frozenset({"Log"}), "logarithm of 0", lambda x, _: x.minimum == 0.0, lambda x, _: x <= 0.0),
    Domain("log-0", frozenset({"Log1p"}), "logarithm of 0", lambda x, _: x.minimum <= -1.0, lambda x, _: x <= -1.0),
    Domain(
        "division-by-0",
        frozenset({"RealDiv", "Div", "Xdivy"}),
        "division by 0",
        lambda y, _: y.zeros > 0,
        lambda y, _: y == 0.0,
        operand=1,
    ),
    Domain("root-negative", ROOTS, "root of a negative number", lambda x, _: x.minimum < 0.0, lambda x, _: x < 0.0),
    Domain(
        "division-by-0",
        frozenset({"Reciprocal", "Inv", "Rsqrt"}),
        "division by 0",
        lambda x, _: x.zeros > 0,
        lambda x, _: x == 0.0,
    ),
    Domain(
        "root-slope",
        frozenset({"SqrtGrad"}),
        "slope of the square root at 0",
        lambda y, _: y.zeros > 0,
        lambda y, _: y == 0.0,
    ),
    Domain("root-slope", frozenset({"Pow"}), "0 to a negative power", lambda x, _: x.zeros > 0, lambda x, _: x == 0.0),
    Domain(
        "exp-overflow",
        frozenset({"Exp", "Expm1"}),
        "exp of a number that is too large",
        lambda x, top: x.maximum > np.log(top),
        lambda x, top: x > np.log(top),
    ),
)
"""Tried in order."""


@dataclass(frozen=True)
class Reason:
    """Why an op gives NaN or infinity."""

    kind: str
    """log-0, log-negative, division-by-0, root-negative, root-slope, exp-overflow, overflow, or "" (not known)."""
    words: str
    explains: bool | None = None
    """Whether the operands are out of the op's domain exactly where its output is not finite; None where the arrays are
    not in the trace."""


def is_finite(seen: Observation) -> bool:
    """Whether a tensor holds neither NaN nor infinity."""
    return not (seen.stats.nans or seen.stats.infs)


def largest(dtype: str) -> float:
    """The largest number of a floating point type given by name."""
    if "bfloat16" in dtype:
        return float(np.finfo(np.float32).max) * (1.0 - BFLOAT16_EPS / 2)
    try:
        return float(np.finfo(np.dtype(dtype)).max)
    except (TypeError, ValueError):
        return float(np.finfo(np.float32).max)


def reason_of(block: Block, index: int) -> Reason:
    """Why observation `index` is not finite, told from its operands."""
    seen = block.observations[index]
    top = largest(seen.dtype)
    for domain in DOMAINS:
        at = seen.inputs[domain.operand] if len(seen.inputs) > domain.operand else -1
        if seen.site.op not in domain.ops or at < 0 or not domain.left(block.observations[at].stats, top):
            continue
        explains = _explains(block, index, (at,), lambda x, domain=domain: domain.outside(x, top))
        if explains is not False:
            return Reason(domain.kind, domain.words, explains)
    operands = [block.observations[i] for i in seen.inputs if i >= 0]
    grows = seen.site.op in PRODUCTS or GROWING.search(seen.site.op)
    if grows and seen.stats.infs and not seen.stats.nans and all(map(is_finite, operands)):
        return Reason("overflow", f"beyond the largest {seen.dtype} ({top:.6g})", _too_large(block, index, top))
    return Reason("", "")


def _too_large(block: Block, index: int, top: float) -> bool | None:
    """Whether the result is beyond `top` exactly where it is infinite; None for ops that are not computed here."""
    seen = block.observations[index]
    product = PRODUCTS.get(seen.site.op)
    if product is None:
        return None
    operands = tuple(i for i in seen.inputs if i < 0 or is_float(block.observations[i]))
    return _explains(block, index, operands, lambda *x: np.abs(product(*x)) > top)


def _explains(block: Block, index: int, operands: tuple[int, ...], outside: Callable[..., Mask]) -> bool | None:
    seen = block.observations[index]
    if not seen.stored or any(i < 0 or not block.observations[i].stored for i in operands):
        return None
    odd = ~np.isfinite(_numbers(block, index))
    try:
        with np.errstate(all="ignore"):
            predicted = outside(*(_numbers(block, i) for i in operands))
        return bool(np.array_equal(np.broadcast_to(predicted, odd.shape), odd))
    except (TypeError, ValueError):
        return None


def _numbers(block: Block, index: int) -> Any:
    return np.asarray(block.array(index)).astype(np.float64)


def kind_of_values(block: Block, index: int) -> str:
    """`NaN`, `inf`, `-inf` or a list of these, as far as it is known."""
    seen = block.observations[index]
    found = ["NaN"] if seen.stats.nans else []
    if seen.stats.infs and seen.stored:
        values = _numbers(block, index)
        found += [word for word, sign in (("inf", np.inf), ("-inf", -np.inf)) if bool((values == sign).any())]
    elif seen.stats.infs:
        found.append("infinity")
    return " and ".join(found)


def describe_operands(block: Block, index: int) -> str:
    """`Log([0, 0.98])`: the op with the range of each of its floating point operands."""
    seen = block.observations[index]
    words = []
    for i in seen.inputs:
        operand = block.observations[i] if i >= 0 else None
        if operand is None or not is_float(operand):
            continue
        low, high = operand.stats.minimum, operand.stats.maximum
        odd = "" if is_finite(operand) else ", not all finite"
        words.append(f"{low:.4g}{odd}" if low == high else f"[{low:.4g}, {high:.4g}{odd}]")
    return f"{seen.site.op or seen.site.name}({', '.join(words)})"
