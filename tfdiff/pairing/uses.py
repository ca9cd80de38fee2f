"""Where and how the forward pass of a step uses each variable, read off the dataflow.

What counts as the use of a variable is the first op in which it meets the data (directly, or after ops on variables and
constants alone, as `gamma * rsqrt(var + eps)`): reads themselves may run in any order.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from tfdiff.model import Site, Variable
    from tfdiff.trace.reader import Trace

Constant = Callable[[int], npt.NDArray[Any] | None]

_PASS_THROUGH = frozenset(
    {"Cast", "Identity", "Reshape", "Squeeze", "ExpandDims", "StopGradient", "Transpose", "ReadVariableOp"}
)
_MATRIX = re.compile(r"^(Sparse|Batch)?MatMul|^BatchMatMul|Conv\d?D|^Conv|DepthwiseConv|^Einsum$|^_Fused(MatMul|Conv)")
_GATHER = frozenset({"ResourceGather", "Gather", "GatherV2", "GatherNd", "ResourceGatherNd"})
_ADD = frozenset({"AddV2", "Add", "AddN", "BiasAdd", "Sub"})
_MULTIPLY = frozenset({"Mul", "RealDiv", "Div", "MulNoNan", "DivNoNan", "Xdivy"})
_ROOT = frozenset({"Rsqrt", "Sqrt", "Pow"})
_SQUARE = frozenset({"Square", "SquaredDifference", "Pow"})
_REDUCE = frozenset({"Mean", "Sum"})
_FUSED_NORM_OPERANDS = {1: "scale", 2: "shift", 3: "mean", 4: "variance"}
# A moving statistic is a few ops away from the batch statistic it follows.
_STATISTIC_REACH = 64


@dataclass(frozen=True)
class VariableUse:
    """A variable and how step 0 uses it."""

    index: int
    """`Variable.index`."""
    name: str
    shape: tuple[int, ...]
    dtype: str
    kind: str
    trainable: bool
    first_use: int | None
    """Position of the op of the forward pass in which it first meets the data; None if unused there."""
    consumer: str
    """Type of the first op that works with it (`MatMul`, `BiasAdd`, `ResourceGather` ...), "" if there is none."""
    operand: str
    """matrix, table, scale, shift; mean or variance (moving statistics); other."""
    layer: str | None = None
    layout: tuple[int, ...] | None = None
    """Permutation into the order contracted axes, output axes (see `layouts`); None if not known."""
    order: float = 0.0
    """Place in the sequence of variables: `first_use`, or next to its neighbours when it has none."""
    upstream: frozenset[int] = field(default_factory=frozenset)
    """Weights (their indices) the data has met before."""
    after: frozenset[int] = field(default_factory=frozenset)
    """Those of them it has met last; variables created just before for one that the dataflow does not show."""
    assigned: bool = False
    """Whether the step writes it by other means than gradients."""
    initial_mean: float | None = None
    initial_std: float | None = None


@dataclass(frozen=True)
class _Use:
    position: int
    path: tuple[int, ...]
    """Observations from the read (exclusive) to the op at `position` (inclusive)."""


class _Flow:
    """The forward dataflow of one step: who consumes whom, what depends on the batch, which weights lie upstream."""

    def __init__(self, sites: Sequence[Site], inputs: Sequence[Sequence[int]], kinds: Mapping[int, str]) -> None:
        self.sites, self.inputs, self.kinds = sites, inputs, kinds
        self.live = [site.phase in ("forward", "loss", "state", "data") for site in sites]
        self.reads: dict[int, list[int]] = {}
        self.assigns: dict[int, list[int]] = {}
        self.consumers: list[list[int]] = [[] for _ in sites]
        self.data = [False] * len(sites)
        for position, site in enumerate(sites):
            if self.live[position]:
                self._enter(position, site)

    def _enter(self, position: int, site: Site) -> None:
        for source in self.inputs[position]:
            if 0 <= source < position:
                self.consumers[source].append(position)
        self.data[position] = site.role in ("input", "own input", "noise") or any(
            0 <= source < position and self.data[source] for source in self.inputs[position]
        )
        if site.variable is None:
            return
        if site.role == "assign":
            self.assigns.setdefault(site.variable, []).append(position)
        elif site.role in ("weight", "state") and (site.phase == "forward" or site.op == "ReadVariableOp"):
            self.reads.setdefault(site.variable, []).append(position)

    def use(self, variable: int) -> _Use | None:
        """The first op in which `variable` meets the data; its first consumer or read where it never does."""
        reads = self.reads.get(variable, [])
        if not reads:
            return None
        paths: dict[int, tuple[int, ...]] = dict.fromkeys(reads, ())
        queue = deque(reads)
        merges = []
        while queue:
            position = queue.popleft()
            for consumer in self.consumers[position]:
                if consumer not in paths:
                    paths[consumer] = (*paths[position], consumer)
                    if self.data[consumer] or self.sites[consumer].role == "assign":
                        merges.append(consumer)
                    else:
                        queue.append(consumer)
        found = min(merges, key=lambda merge: (self.sites[merge].phase == "state", merge), default=None)
        if found is None:
            found = min((position for position in paths if paths[position]), default=reads[0])
        return _Use(found, paths[found])

    def upstream(self, uses: Mapping[int, _Use]) -> tuple[list[int], list[int]]:
        """Per observation two bit sets over the weights: all met so far, and those met last."""
        meets: dict[int, int] = {}
        for variable, use in uses.items():
            if self.kinds[variable] == "weight":
                meets[use.position] = meets.get(use.position, 0) | 1 << variable
        met, last = [0] * len(self.sites), [0] * len(self.sites)
        for position in range(len(self.sites)):
            if self.data[position]:
                before, near = self.behind(position, met, last)
                met[position] = before | meets.get(position, 0)
                last[position] = meets.get(position, 0) or near
        return met, last

    def behind(self, position: int, met: Sequence[int], last: Sequence[int]) -> tuple[int, int]:
        """What the data operands of an observation have met."""
        before = near = 0
        for source in self.inputs[position]:
            if 0 <= source < position:
                before |= met[source]
                near |= last[source]
        return before, near

    def statistic(self, variable: int) -> str | None:
        """`mean` or `variance` by the batch statistic that is written into a moving one; None if neither is seen."""
        queue = deque(self.assigns.get(variable, []))
        seen: set[int] = set()
        found = None
        while queue and len(seen) < _STATISTIC_REACH:
            position = queue.popleft()
            if position in seen or not (self.data[position] or self.sites[position].role == "assign"):
                continue
            seen.add(position)
            site = self.sites[position]
            if site.op.startswith("FusedBatchNorm"):
                kind = {1: "mean", 2: "variance"}.get(site.output)
            elif site.op in _REDUCE:
                kind = "variance" if self._squares(position) else "mean"
            else:
                queue.extend(source for source in self.inputs[position] if 0 <= source < position)
                continue
            if kind == "variance":
                return kind
            found = found or kind
        return found

    def _squares(self, reduction: int) -> bool:
        source = self.inputs[reduction][0] if self.inputs[reduction] else -1
        while source >= 0 and self.sites[source].op in _PASS_THROUGH and self.inputs[source]:
            source = self.inputs[source][0]
        if source < 0:
            return False
        operands = self.inputs[source]
        product_with_itself = self.sites[source].op == "Mul" and len(operands) == 2 and operands[0] == operands[1]
        return self.sites[source].op in _SQUARE or product_with_itself


def _created_before(variable: Variable, used: Mapping[int, _Use], variables: Sequence[Variable]) -> int | None:
    """The used variable created last before `variable`, in its own layer where there is one."""
    earlier = [v for v in variables if v.index < variable.index and v.index in used]
    same = [v for v in earlier if v.layer is not None and v.layer == variable.layer]
    return max((v.index for v in same or earlier), default=None)


def _operand_position(flow: _Flow, use: _Use, reads: Sequence[int], step: int) -> int:
    """Which argument of the `step`-th op of the path the variable comes in as, -1 if not known."""
    sources = reads if step == 0 else (use.path[step - 1],)
    return next((n for n, source in enumerate(flow.inputs[use.path[step]]) if source in sources), -1)


def _operand(flow: _Flow, use: _Use, reads: Sequence[int], kind: str, rank: int) -> str:
    """The part the variable plays, see `VariableUse.operand`."""
    ops = [flow.sites[position].op for position in use.path]
    first = next((n for n, op in enumerate(ops) if op not in _PASS_THROUGH), None)
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


def _layout(
    flow: _Flow, use: _Use, reads: Sequence[int], variable: Variable, operand: str, constant: Constant
) -> tuple[int, ...] | None:
    """Permutation into the canonical order of axes as far as ops on the way and the flags of the product tell it."""
    rank = len(variable.shape)
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
        elif site.op not in _PASS_THROUGH and operand == "matrix":
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


def _no_constant(_: int) -> npt.NDArray[Any] | None:
    return None


def _members(bits: int) -> frozenset[int]:
    return frozenset(n for n in range(bits.bit_length()) if bits >> n & 1)


def uses_of(
    variables: Iterable[Variable],
    sites: Sequence[Site],
    inputs: Sequence[Sequence[int]],
    initial: Mapping[int, tuple[float, float]] | None = None,
    constant: Constant = _no_constant,
) -> list[VariableUse]:
    """How one step uses each variable, sorted by `Variable.index`.

    `sites[i]` and `inputs[i]` (positions, -1 unknown) describe the i-th record of the step; `initial` has mean and
    standard deviation of initial values; `constant` gives the value of a record where it is at hand (the axes of a
    transpose), else None.
    """
    ordered = sorted(variables, key=lambda variable: variable.index)
    flow = _Flow(sites, inputs, {variable.index: variable.kind for variable in ordered})
    found = {v.index: use for v in ordered if (use := flow.use(v.index)) is not None}
    met, last = flow.upstream(found)
    return [_describe(v, flow, found, (met, last), (initial or {}).get(v.index), constant, ordered) for v in ordered]


def _describe(
    variable: Variable,
    flow: _Flow,
    found: Mapping[int, _Use],
    sets: tuple[Sequence[int], Sequence[int]],
    initial: tuple[float, float] | None,
    constant: Constant,
    variables: Sequence[Variable],
) -> VariableUse:
    use, reads = found.get(variable.index), flow.reads.get(variable.index, [])
    assigns = flow.assigns.get(variable.index, [])
    where = use.position if use else assigns[0] if assigns else None
    upstream, after = map(_members, flow.behind(where, *sets) if where is not None else (0, 0))
    forward = use is not None and flow.sites[use.position].phase != "state"
    operand = _operand(flow, use, reads, variable.kind, len(variable.shape)) if use else "other"
    if variable.kind != "weight":
        operand = flow.statistic(variable.index) or operand
    order = float(where) if where is not None else -0.5
    if where is None and (anchor := _created_before(variable, found, variables)) is not None:
        after, order = frozenset({anchor}), found[anchor].position + 0.5
        upstream = _members(sets[0][found[anchor].position]) | after
    working = [flow.sites[n].op for n in use.path if flow.sites[n].op not in _PASS_THROUGH] if use else []
    return VariableUse(
        variable.index, variable.name, variable.shape, variable.dtype, variable.kind, variable.trainable,
        first_use=use.position if use and forward else None,
        consumer=working[0] if working else "",
        operand=operand,
        layer=variable.layer,
        layout=_layout(flow, use, reads, variable, operand, constant) if use and forward else None,
        order=order,
        upstream=upstream - {variable.index},
        after=after - {variable.index},
        assigned=bool(assigns),
        initial_mean=initial[0] if initial else None,
        initial_std=initial[1] if initial else None,
    )  # fmt: skip


def variable_uses(trace: Trace) -> list[VariableUse]:
    """How step 0 of a trace uses its variables; initial statistics are from before sharing where kept."""
    initial: dict[int, tuple[float, float]] = {}
    for block in (trace.initial(), trace.own_initial()):
        for seen in block.observations:
            if seen.site.variable is not None and seen.size:
                square = seen.stats.norm**2 / seen.size - seen.stats.mean**2
                # Rounding of float64 sums leaves about 1e-16 of the square.
                spread = float(np.sqrt(square)) if square > 1e-12 * seen.stats.mean**2 else 0.0
                initial[seen.site.variable] = (seen.stats.mean, spread)
    if not trace.steps:
        return uses_of(trace.variables.values(), [], [], initial)
    block = trace.step(0)
    seen_all = block.observations
    place = {observation.index: position for position, observation in enumerate(seen_all)}
    inputs = [tuple(place.get(source, -1) for source in observation.inputs) for observation in seen_all]

    def constant(position: int) -> npt.NDArray[Any] | None:
        if not 0 <= position < len(seen_all) or not seen_all[position].stored:
            return None
        return block.array(seen_all[position].index)

    return uses_of(trace.variables.values(), [observation.site for observation in seen_all], inputs, initial, constant)
