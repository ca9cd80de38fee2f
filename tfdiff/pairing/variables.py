"""Which variable of one run is which of the other.

An assignment problem: the cost of a pair grows with everything in which the two are used differently (the part they
play, the weights before and behind them in the dataflow, their order in the forward pass, initial constants). Shapes
must fit; names only break ties; what fits nowhere stays unpaired.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment  # type: ignore[import-untyped, unused-ignore]

from tfdiff.pairing.alignment import align
from tfdiff.pairing.cutting import cut, gate, in_order, merged, offset, use_cost
from tfdiff.pairing.given import Given
from tfdiff.pairing.layouts import Fit, fit
from tfdiff.pairing.pairs import VariablePair, convert, convert_back, pair_from_json
from tfdiff.pairing.uses import VariableUse, uses_of, variable_uses

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from collections.abc import Set as AbstractSet

__all__ = [
    "VariablePair",
    "VariableUse",
    "convert",
    "convert_back",
    "pair_from_json",
    "pair_variables",
    "uses_of",
    "variable_uses",
]

# Costs. First what speaks against a pair by itself: from _LIMIT on it is none, however well it would fit around.
_LIMIT = 4.0
_OPERAND = 4.0  # a scale against a shift, a mean against a variance
_INITIAL = 2.0  # constant on both sides, with other constants (gamma's ones against beta's zeros)
_KIND = 1.0  # trained on one side only
_MATRIX_AS_TABLE = 1.0  # one-hot times matrix against a lookup
_UNKNOWN_OPERAND = 0.5
_LAYOUT = 0.5
_DTYPE = 0.2
_CONSUMER = 0.1
_NAME = 0.02
# Then what speaks for another partner.
_UPSTREAM = 2.0  # other weights before it: more than _DOWNSTREAM, so that repeated layers pair from the front
_DOWNSTREAM = 1.0
_ACTIVATION = 2.5  # another nonlinearity behind it: enough to tell the values of an attention from its queries
_NEXT = 2.5  # matrices of other sizes behind it: parallel branches in another order
_POOLS = 2.5  # behind another kind of pooling, or in front of one: a branch of its own
_INPUTS = 2.5  # fed from other tensors of the batch
_SIDE = 1.5  # another side of the next product: queries against keys
_NEIGHBOURS = 3.0  # the weights before it are paired with others
_OFF_ORDER = 1.0  # not on the best alignment of the two forward orders
# What aligning a pair is worth before its cost: low enough that two good pairs beat three bad ones, never nothing.
_WORTH = 4.0
_LEAST_WORTH = 0.5
_CREATION = 0.005  # created in another order, where the order of use does not tell them apart
# Fused and written-out layers have one or two variables more or less in front: to count less than a share of few does.
_SMOOTH = 1.0
_UNPAIRED = 20.0  # above every sum of the others
# Rounds of pairing again with the neighbours of the round before: from a kernel over its bias and scale to its shift.
_ROUNDS = 6
# What is no more than this (names, order of creation) tells nothing.
_ALIKE = 0.05

Matrix = npt.NDArray[np.float64]
Inputs = Mapping[int, frozenset[int]]
"""By tensor of b's batch: those of a's that it is made of."""


def pair_variables(
    a: Sequence[VariableUse], b: Sequence[VariableUse], given: Given | None = None, inputs: Inputs | None = None
) -> list[VariablePair]:
    """Pairs weights with weights and states with states, in the order of a's forward pass; the rest stays unpaired.

    A weight may pair with a variable that the other side uses alike without training it (frozen, or behind a stopped
    gradient). Slots, hyperparameters, seeds and metrics never pair. Where only one side keeps in one variable what the
    other has in several (the gates of a cell), and where the parts stand in another order, parts pair with parts.
    What the user has given holds, and tells the rest its neighbours. `inputs` are indices of observations.
    """
    given = given or Given()
    shapes = {(name, use.index): use.shape for name, side in (("a", a), ("b", b)) for use in side}
    order = {use.index: (_is_state(use), use.order, use.index) for use in a}
    free_a = [use for use in a if not given.settles(use.index, None)]
    free_b = [use for use in b if not given.settles(None, use.index)]
    settled = [use for use in a if given.settles(use.index, None)], [use for use in b if given.settles(None, use.index)]
    free_a, free_b = cut(free_a, free_b, _is_parameter)
    sides = _Side([*free_a, *settled[0]]), _Side([*free_b, *settled[1]])
    known = {pair.a: pair.b for pair in given.variables if pair.whole}
    parameters = _solve(*sides, *_chosen(_is_parameter, free_a, free_b), known, given, inputs or {})
    known |= {found.a.index: found.b.index for found in parameters}
    states = _solve(*sides, *_chosen(_is_state, free_a, free_b), known, given, inputs or {})
    found = [pair for one in parameters for pair in in_order(one.a, one.b, _pair(one, sides))]
    pairs = [*merged(found, shapes), *(_pair(one, sides) for one in states)]
    return sorted([*given.variables, *pairs], key=lambda pair: order[pair.a]) if given.variables else pairs


def _chosen(
    wanted: Callable[[VariableUse], bool], *sides: Sequence[VariableUse]
) -> tuple[list[VariableUse], list[VariableUse]]:
    a, b = ([use for use in side if wanted(use)] for side in sides)
    return a, b


def _is_parameter(use: VariableUse) -> bool:
    if use.kind == "weight":
        return True
    used_like_one = use.first_use is not None and use.operand in ("matrix", "table", "scale", "shift")
    return use.kind in ("state", "other") and used_like_one and not use.assigned and "int" not in use.dtype


def _is_state(use: VariableUse) -> bool:
    return use.kind == "state" and not _is_parameter(use)


class _Side:
    """The variables of one run by index, and what lies behind each in the dataflow."""

    def __init__(self, uses: Sequence[VariableUse]) -> None:
        self.uses = {use.index: use for use in uses}
        self.column = {use.index: n for n, use in enumerate(uses)}
        self.sizes = [prod(use.shape) for use in uses]
        self.downstream: dict[int, set[int]] = {use.index: set() for use in uses}
        for use in uses:
            for before in use.upstream & self.uses.keys():
                if use.kind == "weight":
                    self.downstream[before].add(use.index)

    def members(self, sets: Sequence[AbstractSet[int]]) -> Matrix:
        """One row per set, one column per variable: 1 where the variable is in the set."""
        table = np.zeros((len(sets), len(self.column)))
        for row, indices in enumerate(sets):
            table[row, [self.column[index] for index in indices if index in self.column]] = 1.0
        return table

    def size_counts(self, sets: Sequence[AbstractSet[int]], sizes: Sequence[int]) -> Matrix:
        """One row per set: how many of its variables have each of `sizes`, which unlike shapes know no layout."""
        of_size = np.array([[own == size for size in sizes] for own in self.sizes], dtype=float)
        counts: Matrix = self.members(sets) @ of_size
        return counts


def _operand_cost(a: VariableUse, b: VariableUse) -> float:
    if a.operand == b.operand:
        return 0.0 if a.consumer == b.consumer else _CONSUMER
    if "other" in (a.operand, b.operand):
        return _UNKNOWN_OPERAND
    return _MATRIX_AS_TABLE if {a.operand, b.operand} == {"matrix", "table"} else _OPERAND


def _initial_cost(a: VariableUse, b: VariableUse) -> float:
    if a.initial_mean is None or b.initial_mean is None or a.initial_std != 0.0 or b.initial_std != 0.0:
        return 0.0
    if prod(a.shape) < 2:
        return 0.0  # a single number is always constant
    return 0.0 if a.initial_mean == b.initial_mean else _INITIAL


def _name_cost(a: str, b: str) -> float:
    if a == b:
        return 0.0
    leaf_a, leaf_b = (name.rpartition("/")[2].partition(":")[0] for name in (a, b))
    return _NAME / 2 if leaf_a == leaf_b else _NAME


def _own_cost(a: VariableUse, b: VariableUse, found: Fit) -> float:
    """What speaks against a pair by itself."""
    cost = _operand_cost(a, b) + _initial_cost(a, b) + _name_cost(a.name, b.name)
    cost += _KIND * (a.kind != b.kind) + _DTYPE * (a.dtype != b.dtype) + _DTYPE * (a.trainable != b.trainable)
    certain_layout = a.layout is not None and b.layout is not None
    return cost + (0.0 if certain_layout or a.shape == b.shape else _LAYOUT * (1 + (not found.certain)))


def _distance(common: Matrix, count_a: Matrix, count_b: Matrix) -> Matrix:
    """1 - Jaccard index, smoothed, of every set of a with every one of b, from the sizes of the intersections."""
    union = count_a[:, None] + count_b[None, :] - common
    distance: Matrix = 1 - (common + _SMOOTH) / (union + _SMOOTH)
    return distance


def _parallel(uses: Sequence[VariableUse]) -> set[int]:
    """Variables beside which others of their shape are used that have the same weights before them."""
    counts = Counter((use.shape, use.upstream) for use in uses)
    return {use.index for use in uses if counts[use.shape, use.upstream] > 1}


def _fed_cost(a: VariableUse, b: VariableUse, inputs: Inputs) -> float:
    """Share of the tensors of the batch before them that are not the same, of those of which this is known."""
    known: set[int] = set().union(*inputs.values())
    ours = a.inputs & known
    theirs: set[int] = set().union(*(inputs[index] for index in b.inputs if index in inputs))
    return len(ours ^ theirs) / len(ours | theirs) if ours and theirs else 0.0


def _context_cost(
    side_a: _Side, side_b: _Side, a: Sequence[VariableUse], b: Sequence[VariableUse], inputs: Inputs
) -> Matrix:
    """How differently every two lie in their networks."""
    cost = np.zeros((len(a), len(b)))
    parallel = _parallel(a), _parallel(b)
    for i, j in np.ndindex(cost.shape):
        x, y = a[i], b[j]
        # Gates are told by what they meet; behind them a loop leads everywhere.
        gates = x.piece is not None and y.piece is not None and bool(x.piece.meetings) and bool(y.piece.meetings)
        both = x.activations is not None and y.activations is not None and not gates
        cost[i, j] += _ACTIVATION * (both and x.activations != y.activations)
        cost[i, j] += _SIDE * (None not in (x.side, y.side) and x.side != y.side)
        cost[i, j] += use_cost(x, y)
        if x.index in parallel[0] and y.index in parallel[1] and x.next_sizes and y.next_sizes:
            cost[i, j] += _NEXT * (1 - len(x.next_sizes & y.next_sizes) / len(x.next_sizes | y.next_sizes))
        if x.pools is not None and y.pools is not None:
            cost[i, j] += _POOLS * sum(one != other for one, other in zip(x.pools, y.pools, strict=True))
        cost[i, j] += _INPUTS * _fed_cost(x, y, inputs)
    sizes = sorted({*side_a.sizes, *side_b.sizes})
    before = [use.upstream for use in a], [use.upstream for use in b]
    behind = [side_a.downstream[use.index] for use in a], [side_b.downstream[use.index] for use in b]
    for weight, (sets_a, sets_b) in ((_UPSTREAM, before), (_DOWNSTREAM, behind)):
        counts_a, counts_b = side_a.size_counts(sets_a, sizes), side_b.size_counts(sets_b, sizes)
        common = np.array([np.minimum(row, counts_b).sum(axis=1) for row in counts_a])
        cost += weight * _distance(common, counts_a.sum(axis=1), counts_b.sum(axis=1))
    return cost


def _neighbour_cost(
    side: _Side, a: Sequence[VariableUse], b: Sequence[VariableUse], known: Mapping[int, int]
) -> Matrix:
    """Share of the weights before every two that are not `known` as pairs; the nearest count as much as all."""
    cost = np.zeros((len(a), len(b)))
    everything = [use.upstream for use in a], [use.upstream for use in b]
    nearest = [use.after for use in a], [use.after for use in b]
    for sets_a, sets_b in (everything, nearest):
        members = side.members(sets_b)
        mapped = side.members([{known[index] for index in indices if index in known} for indices in sets_a])
        counts = np.array([len(indices) for indices in sets_a], dtype=float)
        cost += _distance(mapped @ members.T, counts, members.sum(axis=1)) / 2
    return cost


@dataclass(frozen=True)
class _Found:
    """A pair of uses."""

    a: VariableUse
    b: VariableUse
    fit: Fit
    rivals: tuple[int, ...] = ()
    ordered: bool = False


def _solve(
    side_a: _Side,
    side_b: _Side,
    a: Sequence[VariableUse],
    b: Sequence[VariableUse],
    known: Mapping[int, int],
    given: Given,
    inputs: Inputs,
) -> list[_Found]:
    """Pairs of some variables, in the order of a's forward pass; `known` pairs of others serve as neighbours."""
    rows, columns = (sorted(uses, key=lambda use: (use.order, use.index)) for uses in (a, b))
    if not rows or not columns:
        return []
    fits: dict[tuple[int, int], Fit] = {}
    own = np.full((len(rows), len(columns)), np.inf)
    for i, j in np.ndindex(own.shape):
        found = fit(rows[i].shape, columns[j].shape, rows[i].layout, columns[j].layout)
        if given.bars(rows[i].variable, columns[j].variable):
            continue
        if found is not None and (cost_alone := _own_cost(rows[i], columns[j], found)) < _LIMIT:
            fits[i, j] = found
            own[i, j] = cost_alone
    own += _context_cost(side_a, side_b, rows, columns, inputs)
    chosen: list[tuple[int, int]] = []
    cost = own
    for round_number in range(_ROUNDS):
        if round_number or known:
            pairs = {**known, **{rows[i].index: columns[j].index for i, j in chosen}}
            cost = own + _NEIGHBOURS * _neighbour_cost(side_b, rows, columns, pairs)
        previous, chosen = chosen, _assign(cost + _order_cost(cost, _ranks(rows), _ranks(columns)))
        if previous == chosen:
            break
    rivals = _rivals(cost, chosen)
    found_pairs = []
    for i, j in chosen:
        others = [k for k in rivals[i] if columns[k].variable != columns[j].variable]
        names = tuple(dict.fromkeys(columns[k].variable for k in others))
        ordered = bool(others) and all(_tells(i, j, k, chosen, rows, columns) for k in others)
        found_pairs.append(_Found(rows[i], columns[j], fits[i, j], names, ordered))
    return found_pairs


def _rivals(cost: Matrix, chosen: Sequence[tuple[int, int]]) -> dict[int, list[int]]:
    """By row: columns that would cost no more, with their own rows changed over or without one."""
    row_of = {j: i for i, j in chosen}
    found: dict[int, list[int]] = {}
    for i, j in chosen:
        found[i] = []
        for k in range(cost.shape[1]):
            if k == j or not np.isfinite(cost[i, k]):
                continue
            other = row_of.get(k)
            change = cost[i, k] - cost[i, j]
            if other is not None:
                change += cost[other, j] - cost[other, k]
            if change <= _ALIKE:
                found[i].append(k)
    return found


def _tells(
    i: int,
    j: int,
    k: int,
    chosen: Sequence[tuple[int, int]],
    rows: Sequence[VariableUse],
    columns: Sequence[VariableUse],
) -> bool:
    """Whether the order of use decided between the columns j and k of row i."""
    other = next((row for row, column in chosen if column == k), None)
    apart = columns[j].order != columns[k].order
    return apart and (other is None or rows[i].order != rows[other].order)


def _ranks(uses: Sequence[VariableUse]) -> list[int]:
    """Places in the order of use, equal for those that it does not tell apart."""
    places = sorted({use.order for use in uses})
    return [places.index(use.order) for use in uses]


def _order_cost(cost: Matrix, row_ranks: Sequence[int], column_ranks: Sequence[int]) -> Matrix:
    """0 on the best alignment of the two orders, elsewhere the more the farther the two places are apart."""
    rows, columns = cost.shape
    places = np.abs(np.arange(rows)[:, None] / rows - np.arange(columns)[None, :] / columns)
    order: Matrix = _OFF_ORDER * (1 + places)
    path = align(np.where(np.isfinite(cost), np.maximum(_WORTH - cost, _LEAST_WORTH), 0.0))
    aligned = {(row_ranks[i], column_ranks[j]) for i, j in path}
    for i, j in np.ndindex(rows, columns):
        if (row_ranks[i], column_ranks[j]) in aligned:
            order[i, j] = _CREATION
    for i, j in path:
        order[i, j] = 0.0
    return order


def _assign(cost: Matrix) -> list[tuple[int, int]]:
    rows, columns = linear_sum_assignment(np.minimum(cost, _UNPAIRED))
    return [(int(i), int(j)) for i, j in zip(rows, columns, strict=True) if np.isfinite(cost[i, j])]


def _ordinal(number: int) -> str:
    suffix = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{suffix}"


def _place(use: VariableUse, side: _Side) -> tuple[str, int]:
    """Which of its size and group it is in the order of use, and how many there are."""
    group = _is_parameter if _is_parameter(use) else _is_state
    size = prod(use.shape)
    alike = sorted((u.order, u.index) for u in side.uses.values() if group(u) and prod(u.shape) == size)
    return _ordinal(alike.index((use.order, use.index)) + 1), len(alike)


def _pair(one: _Found, sides: tuple[_Side, _Side]) -> VariablePair:
    a, b, found = one.a, one.b, one.fit
    (place_a, count_a), (place_b, count_b) = _place(a, sides[0]), _place(b, sides[1])
    words = [f"shape {a.shape}" if a.shape == b.shape else f"shapes {a.shape} and {b.shape}"]
    words.append(f"{place_a} used" if place_a == place_b else f"{place_a} used in a, {place_b} in b")
    if count_a != count_b:
        words[-1] += f" (a has {count_a} of this size, b has {count_b})"
    words.append(_consumed(a.consumer, b.consumer))
    if a.operand == b.operand in ("mean", "variance"):
        words.append(f"follows the batch {a.operand}")
    if a.initial_std == b.initial_std == 0.0 and a.initial_mean == b.initial_mean:
        words.append(f"starts as {a.initial_mean:g}")
    if a.kind != b.kind:
        words.append(f"trained in {'a' if a.kind == 'weight' else 'b'} only")
    if found.permutation is not None:
        words.append(f"axes {found.permutation}" + ("" if found.certain else " (one of several ways)"))
    if found.reshape is not None:
        words.append(f"reshaped to {found.reshape}")
    if a.part is not None or b.part is not None:
        words.append(gate(a.piece))
    layout = found.permutation, ", ".join(words), found.reshape, found.restore
    shift = offset(a, a.piece, b.piece)
    return VariablePair(a.variable, b.variable, *layout, a.part, b.part, shift, one.rivals, one.ordered)


def _consumed(a: str, b: str) -> str:
    if a == b:
        return f"consumed by {a} on both sides" if a else "not consumed in the forward pass"
    return f"consumed by {a or 'nothing'} in a, by {b or 'nothing'} in b"
