"""Where and how the forward pass of a step uses each variable, read off the dataflow.

What counts as the use of a variable is the first op in which it meets the data (directly, or after ops on variables and
constants alone, as `gamma * rsqrt(var + eps)`): reads themselves may run in any order.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from tfdiff.pairing.flow import PASS_THROUGH, Flow, Use
from tfdiff.pairing.parts import Constant, layout_of, operand_of
from tfdiff.pairing.pieces import Piece, pieces_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import numpy.typing as npt

    from tfdiff.model import Site, Variable
    from tfdiff.pairing.pairs import Part
    from tfdiff.trace.reader import Trace


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
    activations: frozenset[str] | None = None
    """Nonlinearities (relu, softmax, sigmoid ...) between it and the next matrices; None behind the last of them."""
    side: str | None = None
    """`row` or `column` by the axis it becomes in the next product of data with data (queries, keys)."""
    next_sizes: frozenset[int] = field(default_factory=frozenset)
    """Sizes of the matrices that what it makes meets next."""
    pools: tuple[frozenset[str], frozenset[str]] | None = None
    """Kinds of pooling (max, average) between the matrices before it and it, and behind it."""
    inputs: frozenset[int] = field(default_factory=frozenset)
    """Tensors of the batch (positions in the step) that the data it meets was computed from."""
    assigned: bool = False
    """Whether the step writes it by other means than gradients."""
    initial_mean: float | None = None
    initial_std: float | None = None
    pieces: tuple[Piece, ...] = ()
    """The parts that the program treats by themselves; the whole where there is only one, () where it is not known."""
    whole: int | None = None
    """The variable that this is a part of (then `index` is none of a variable), None for a whole one."""
    part: Part | None = None

    @property
    def variable(self) -> int:
        """`Variable.index` of the variable, or of the one that this is a part of."""
        return self.index if self.whole is None else self.whole

    @property
    def piece(self) -> Piece | None:
        """What is known of it as one piece."""
        return self.pieces[0] if len(self.pieces) == 1 else None


def _created_before(variable: Variable, used: Mapping[int, Use], variables: Sequence[Variable]) -> int | None:
    """The used variable created last before `variable`, in its own layer where there is one."""
    earlier = [v for v in variables if v.index < variable.index and v.index in used]
    same = [v for v in earlier if v.layer is not None and v.layer == variable.layer]
    return max((v.index for v in same or earlier), default=None)


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
    shapes: Sequence[tuple[int, ...]] | None = None,
) -> list[VariableUse]:
    """How one step uses each variable, sorted by `Variable.index`.

    `sites[i]` and `inputs[i]` (positions, -1 unknown) describe the i-th record of the step; `initial` has mean and
    standard deviation of initial values; `constant` gives the value of a record where it is at hand (the axes of a
    transpose), else None; with `shapes`, those of the records, the pieces of the variables are found as well.
    """
    step = _Step(sorted(variables, key=lambda variable: variable.index), Flow(sites, inputs))
    if shapes is not None:
        step.pieces = pieces_of(step.variables, step.flow, shapes, constant)
    return [step.describe(variable, (initial or {}).get(variable.index), constant) for variable in step.variables]


class _Step:
    """The variables of a step with what its dataflow says of them."""

    def __init__(self, variables: Sequence[Variable], flow: Flow) -> None:
        self.variables, self.flow = variables, flow
        self.found = {v.index: use for v in variables if (use := flow.use(v.index)) is not None}
        weights = {v.index: self.found[v.index] for v in variables if v.kind == "weight" and v.index in self.found}
        self.met, self.last = flow.upstream(weights)
        self.operands = {v.index: self._operand(v) for v in variables}
        matrices = (use for index, use in self.found.items() if self.operands[index] in ("matrix", "table"))
        self.products = frozenset(use.position for use in matrices)
        self.sizes = {self.found[v.index].position: prod(v.shape) for v in variables if v.index in self.found}
        self.pieces: dict[int, list[Piece]] = {}

    def _operand(self, variable: Variable) -> str:
        use, reads = self.found.get(variable.index), self.flow.reads.get(variable.index, [])
        statistic = self.flow.statistic(variable.index) if variable.kind != "weight" else None
        if statistic or use is None:
            return statistic or "other"
        return operand_of(self.flow, use, reads, variable.kind, len(variable.shape))

    def _surroundings(self, variable: Variable) -> tuple[float, frozenset[int], frozenset[int]]:
        """`order`, `upstream` and `after`."""
        use, assigns = self.found.get(variable.index), self.flow.assigns.get(variable.index)
        if use is not None or assigns:
            where = use.position if use is not None else assigns[0] if assigns else 0
            before, near = self.flow.behind(where, self.met, self.last)
            own = {variable.index}
            return float(where), _members(before) - own, _members(near) - own
        anchor = _created_before(variable, self.found, self.variables)
        if anchor is None:
            return -0.5, frozenset(), frozenset()
        position = self.found[anchor].position
        return position + 0.5, _members(self.met[position]) | {anchor}, frozenset({anchor})

    def describe(self, variable: Variable, initial: tuple[float, float] | None, constant: Constant) -> VariableUse:
        """What pairing wants to know of a variable."""
        flow, use, operand = self.flow, self.found.get(variable.index), self.operands[variable.index]
        reads = flow.reads.get(variable.index, [])
        order, upstream, after = self._surroundings(variable)
        forward = use if use is not None and flow.sites[use.position].phase != "state" else None
        working = [flow.sites[n].op for n in use.path if flow.sites[n].op not in PASS_THROUGH] if use else []
        rank = len(variable.shape)
        others = self.products - {use.position} if use else frozenset()
        return VariableUse(
            variable.index,
            variable.name,
            variable.shape,
            variable.dtype,
            variable.kind,
            variable.trainable,
            first_use=forward.position if forward else None,
            consumer=working[0] if working else "",
            operand=operand,
            layer=variable.layer,
            layout=layout_of(flow, forward, reads, rank, operand, constant) if forward else None,
            order=order,
            upstream=upstream,
            after=after,
            activations=flow.activations(forward.position, others) if forward else None,
            side=flow.side(forward.position, others, constant) if forward else None,
            next_sizes=self._next_sizes(forward.position, others) if forward else frozenset(),
            pools=flow.pools(forward.position, others) if forward else None,
            inputs=flow.inputs_behind(forward.position) if forward else frozenset(),
            assigned=variable.index in flow.assigns,
            initial_mean=initial[0] if initial else None,
            initial_std=initial[1] if initial else None,
            pieces=tuple(self._placed(piece, others, constant) for piece in self.pieces.get(variable.index, ())),
        )

    def _next_sizes(self, start: int, products: frozenset[int]) -> frozenset[int]:
        return frozenset(self.sizes[position] for position in self.flow.next_products(start, products))

    def _placed(self, piece: Piece, products: frozenset[int], constant: Constant) -> Piece:
        """A piece with what lies behind it."""
        if piece.part is None or piece.position is None:
            return piece
        activations = self.flow.activations(piece.position, products)
        return replace(piece, activations=activations, side=self.flow.side(piece.position, products, constant))


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

    sites = [observation.site for observation in seen_all]
    return uses_of(trace.variables.values(), sites, inputs, initial, constant, [seen.shape for seen in seen_all])
