"""Which part a variable plays in the op it meets the data in (matrix, scale, shift ...), and how its axes lie there."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tfdiff.pairing.flow import PASS_THROUGH, Flow, Use

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tfdiff.model import Site

Constant = Callable[[int], "npt.NDArray[Any] | None"]
"""The value of an observation where it is at hand."""

_MATRIX = re.compile(r"^(Sparse|Batch)?MatMul|^BatchMatMul|^Conv|^DepthwiseConv|^Einsum$|^_Fused(MatMul|Conv)")
_GATHER = frozenset({"ResourceGather", "Gather", "GatherV2", "GatherNd", "ResourceGatherNd"})
_ADD = frozenset({"AddV2", "Add", "AddN", "BiasAdd", "Sub"})
_MULTIPLY = frozenset({"Mul", "RealDiv", "Div", "MulNoNan", "DivNoNan", "Xdivy"})
_ROOT = frozenset({"Rsqrt", "Sqrt", "Pow"})
_FUSED_NORM_OPERANDS = {1: "scale", 2: "shift", 3: "mean", 4: "variance"}


def _operand_position(flow: Flow, use: Use, reads: Sequence[int], step: int) -> int:
    """Which argument of the `step`-th op of the path the variable comes in as, -1 if not known."""
    sources = reads if step == 0 else (use.path[step - 1],)
    return next((n for n, source in enumerate(flow.inputs[use.path[step]]) if source in sources), -1)


def operand_of(flow: Flow, use: Use, reads: Sequence[int], kind: str, rank: int) -> str:
    """The part the variable plays, see `VariableUse.operand`."""
    ops = [flow.sites[position].op for position in use.path]
    first = next((n for n, op in enumerate(ops) if op not in PASS_THROUGH), None)
    if first is None:
        return "other"
    argument = _operand_position(flow, use, reads, first)
    if ops[first].startswith("FusedBatchNorm"):
        return _FUSED_NORM_OPERANDS.get(argument, "other")
    if any(_MATRIX.search(op) for op in ops):
        return "matrix"
    if ops[first] in _GATHER:
        return "table"
    statistic = _moving_statistic(ops, first, argument) if kind != "weight" and rank <= 1 else None
    plain = "shift" if ops[first] in _ADD else "scale" if ops[first] in _MULTIPLY else "other"
    return statistic or plain


def _moving_statistic(ops: Sequence[str], first: int, argument: int) -> str | None:
    """`mean` or `variance` for an untrained vector that a normalization in inference mode would use like this."""
    if any(op in _ROOT for op in ops):
        return "variance"
    subtracted = ops[first] == "Sub" and argument == 1
    scaled_then_subtracted = ops[first] in _MULTIPLY and ops[-1] in _ADD
    return "mean" if subtracted or scaled_then_subtracted else None


def _einsum_layout(equation: str, argument: int) -> tuple[int, ...] | None:
    """Contracted axes first, then those of the output in its order; None for equations of another form."""
    left, arrow, output = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if not arrow or len(terms) != 2 or not 0 <= argument < 2 or "." in equation:
        return None
    own, data = terms[argument], terms[1 - argument]
    summed = [label for label in data if label in own and label not in output]
    kept = [label for label in output if label in own]
    labels = summed + kept
    return tuple(own.index(label) for label in labels) if sorted(labels) == sorted(own) else None


def layout_of(
    flow: Flow, use: Use, reads: Sequence[int], rank: int, operand: str, constant: Constant
) -> tuple[int, ...] | None:
    """Permutation into the canonical order of axes as far as ops on the way and the flags of the product tell it."""
    layout = tuple(range(rank))
    reshaped = False
    for step, position in enumerate(use.path):
        site = flow.sites[position]
        turn: tuple[int, ...] | None = None
        if site.op == "Transpose":
            axes = constant(flow.inputs[position][1]) if len(flow.inputs[position]) > 1 else None
            turn = None if axes is None else tuple(int(axis) for axis in np.asarray(axes).ravel())
            if turn is None:
                return None
        elif _MATRIX.search(site.op):
            turn = _product_turn(site, _operand_position(flow, use, reads, step), rank)
            if turn is None:
                return None
        elif site.op in ("Reshape", "ExpandDims", "Squeeze"):
            reshaped = True
            continue
        elif site.op not in PASS_THROUGH and operand == "matrix":
            continue
        else:
            turn = tuple(range(rank))
        if turn == tuple(range(len(turn))):
            continue
        if reshaped or sorted(turn) != list(range(rank)):
            return None
        layout = tuple(layout[axis] for axis in turn)
    return layout


def _product_turn(site: Site, argument: int, rank: int) -> tuple[int, ...] | None:
    """The permutation that a product applies to its matrix; None if not known."""
    if site.op == "Einsum":
        return _einsum_layout(str(site.attrs.get("equation", "")), argument)
    if "MatMul" not in site.op or rank < 2:
        return tuple(range(rank))
    if argument not in (0, 1):
        return None
    flags = ("transpose_a", "adj_x") if argument == 0 else ("transpose_b", "adj_y")
    flipped = any(bool(site.attrs.get(flag, False)) for flag in flags)
    # As right factor the first axis is contracted, as left factor the last one.
    plain = flipped == (argument == 0)
    axes = tuple(range(rank))
    return axes if plain else (*axes[:-2], rank - 1, rank - 2)
