"""Brings two programs to a common grain: variables that only one side keeps in one piece are paired piece by piece."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import linear_sum_assignment  # type: ignore[import-untyped, unused-ignore]

from tfdiff.pairing.layouts import fit
from tfdiff.pairing.pairs import Part, VariablePair, convert, indices

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tfdiff.pairing.pieces import Meeting, Piece
    from tfdiff.pairing.uses import VariableUse

_MEETING = 4.0  # another gate: other nonlinearities, multiplied with something else
_ONE_FOLLOWED = 0.3  # of that, where only one side meets anything
_RECURRENT = 3.0  # multiplied with the state on one side, with the batch on the other
_DIRECTION = 3.0  # fed from the end of the sequence on one side only
_SIDE = 1.5  # queries against keys
_PLACE = 3.0  # joined to others at another place
_CLEAR = 0.5  # by how much another order of the pieces must be better than the one they stand in
_PIECES = 1 << 32  # indices of pieces lie above those of variables


def cut(
    a: Sequence[VariableUse], b: Sequence[VariableUse], wanted: Callable[[VariableUse], bool]
) -> tuple[list[VariableUse], list[VariableUse]]:
    """The variables of both sides, those in pieces of which the two have different numbers of one size."""
    counts = [Counter(prod(use.shape) for use in side if wanted(use)) for side in (a, b)]
    uneven = {size for size in counts[0].keys() | counts[1].keys() if counts[0][size] != counts[1][size]}
    joined_a, joined_b = _as_joined(a, b, uneven), _as_joined(b, a, uneven)
    return _cut(joined_a, uneven, wanted), _cut(joined_b, uneven, wanted)


def _as_joined(uses: Sequence[VariableUse], others: Sequence[VariableUse], uneven: set[int]) -> list[VariableUse]:
    """Variables in one piece that the other side has in several ones and joins what it makes of them: with pieces.

    Only where one way of joining gives the width and every piece has a counterpart of its size.
    """
    joins = {use.piece.join[1] for use in others if use.piece is not None and use.piece.join is not None}
    found = []
    for use in uses:
        axis = use.layout[-1] if use.layout else len(use.shape) - 1
        size = prod(use.shape)
        rest = size // use.shape[axis] if use.shape and size else 0
        fitting = [
            widths
            for widths in joins
            if use.piece is not None
            and use.shape
            and size in uneven
            and sum(widths) == use.shape[axis]
            and all(rest * width in uneven for width in widths)
        ]
        found.append(_joined(use, axis, fitting[0]) if len(fitting) == 1 else use)
    return found


def _joined(use: VariableUse, axis: int, widths: tuple[int, ...]) -> VariableUse:
    whole, pieces, start = use.pieces[0], [], 0
    for place, width in enumerate(widths):
        part = tuple(((start, start + width),) if n == axis else ((0, extent),) for n, extent in enumerate(use.shape))
        shape = tuple(width if n == axis else extent for n, extent in enumerate(use.shape))
        pieces.append(replace(whole, part=part, shape=shape, join=(place, widths)))
        start += width
    return replace(use, pieces=tuple(pieces))


def _cut(uses: Sequence[VariableUse], uneven: set[int], wanted: Callable[[VariableUse], bool]) -> list[VariableUse]:
    chosen = {use.index: len(use.pieces) for use in uses if wanted(use) and prod(use.shape) in uneven}
    chosen = {index: count for index, count in chosen.items() if count > 1}
    found: list[VariableUse] = []
    for use in uses:
        if use.index not in chosen:
            found.append(replace(use, upstream=_pieces_in(use.upstream, chosen), after=_pieces_in(use.after, chosen)))
            continue
        for number, piece in enumerate(use.pieces):
            before = frozenset(
                _index(variable, n) if variable in chosen else variable for variable, n in piece.upstream
            )
            found.append(
                replace(
                    use,
                    index=_index(use.index, number),
                    shape=piece.shape,
                    upstream=before,
                    after=before,
                    activations=piece.activations,
                    side=piece.side,
                    initial_mean=None,
                    initial_std=None,
                    pieces=(piece,),
                    whole=use.index,
                    part=piece.part,
                )
            )
    return found


def _index(variable: int, number: int) -> int:
    return _PIECES * (number + 1) + variable


def _pieces_in(variables: frozenset[int], cut_up: dict[int, int]) -> frozenset[int]:
    """Variables, those that are cut up by all of their pieces."""
    if variables.isdisjoint(cut_up):
        return variables
    pieces = (_index(v, n) for v in variables & cut_up.keys() for n in range(cut_up[v]))
    return frozenset(variables - cut_up.keys()) | frozenset(pieces)


def piece_cost(a: Piece | None, b: Piece | None) -> float:
    """How differently two pieces are used, as gates."""
    if a is None or b is None:
        return 0.0
    cost = _RECURRENT * (None not in (a.recurrent, b.recurrent) and a.recurrent != b.recurrent)
    cost += _SIDE * (None not in (a.side, b.side) and a.side != b.side)
    if a.join is not None and b.join is not None and a.join[1] == b.join[1]:
        cost += _PLACE * (a.join[0] != b.join[0])
    cost += _DIRECTION * (None not in (a.backwards, b.backwards) and a.backwards != b.backwards)
    if a.meetings is None or b.meetings is None:
        return cost
    return cost + _MEETING * _unlike(a.meetings, b.meetings)


def use_cost(a: VariableUse, b: VariableUse) -> float:
    """The same for uses: of one in several pieces counts what is common to them all."""
    if a.piece is not None and b.piece is not None:
        return piece_cost(a.piece, b.piece)
    told_a, told_b = _common(a, "backwards"), _common(b, "backwards")
    cost = _DIRECTION * (None not in (told_a, told_b) and told_a != told_b)
    told_a, told_b = _common(a, "recurrent"), _common(b, "recurrent")
    return cost + _RECURRENT * (None not in (told_a, told_b) and told_a != told_b)


def _common(use: VariableUse, what: str) -> bool | None:
    told = {getattr(piece, what) for piece in use.pieces}
    return told.pop() if len(told) == 1 else None


def _unlike(a: frozenset[Meeting], b: frozenset[Meeting]) -> float:
    """0 for the same meetings, 1 for ones that have nothing in common."""
    if not a or not b:
        return _ONE_FOLLOWED * (bool(a) != bool(b))
    likeness = np.array([[_alike(one, other) for other in sorted(b, key=_key)] for one in sorted(a, key=_key)])
    rows, columns = linear_sum_assignment(-likeness)
    return 1.0 - 2.0 * float(likeness[rows, columns].sum()) / (len(a) + len(b))


def _key(meeting: Meeting) -> tuple[list[str], str, list[str]]:
    return sorted(meeting[0]), meeting[1], sorted(meeting[2])


def _alike(a: Meeting, b: Meeting) -> float:
    return 0.5 * (a[1] == b[1]) + 0.25 * (a[0] == b[0]) + 0.25 * (a[2] == b[2])


def in_order(a: VariableUse, b: VariableUse, pair: VariablePair) -> list[VariablePair]:
    """A pair of whole variables, piece by piece where their pieces stand in another order."""
    if len(a.pieces) != len(b.pieces) or len(a.pieces) < 2:
        return [pair]
    count = len(a.pieces)
    cost = np.full((count, count), np.inf)
    for i, j in np.ndindex(cost.shape):
        if fit(a.pieces[i].shape, b.pieces[j].shape, a.layout, b.layout) is not None:
            cost[i, j] = piece_cost(a.pieces[i], b.pieces[j])
    if not np.isfinite(cost).any(axis=1).all():
        return [pair]
    as_is = _as_they_stand(a, b, pair)
    rows, columns = linear_sum_assignment(np.minimum(cost, 1e6))
    best = float(cost[rows, columns].sum())
    shifted = any(offset(a, a.pieces[i], b.pieces[j]) for i, j in zip(rows, columns, strict=True))
    standing = float(sum(cost[i, j] for i, j in as_is.items())) if len(as_is) == count else np.inf
    limit = standing - _CLEAR if np.isfinite(standing) else _CLEAR
    if best > limit and not (shifted and best <= standing):
        return [pair]
    found = []
    for i, j in zip(rows, columns, strict=True):
        x, y = a.pieces[i], b.pieces[j]
        turned = fit(x.shape, y.shape, a.layout, b.layout)
        if turned is None:
            return [pair]
        words = f"{pair.evidence}, {gate(x)}"
        layout = turned.permutation, words, turned.reshape, turned.restore
        found.append(VariablePair(pair.a, pair.b, *layout, x.part, y.part, offset(a, x, y)))
    return found


def offset(use: VariableUse, a: Piece | None, b: Piece | None) -> float:
    """What b's bias must have more than a's because a's program adds a constant to the sum that b's does not."""
    known = use.operand in ("shift", "other") and a is not None and b is not None
    return a.added - b.added if known and a is not None and b is not None else 0.0


def _as_they_stand(a: VariableUse, b: VariableUse, pair: VariablePair) -> dict[int, int]:
    """Which piece of b stands where each of a's does."""
    places = np.full(b.shape, -1)
    for number, piece in enumerate(b.pieces):
        if piece.part is not None:
            places[indices(piece.part)] = number
    found = {}
    for number, piece in enumerate(a.pieces):
        marked = np.zeros(a.shape, bool)
        if piece.part is not None:
            marked[indices(piece.part)] = True
        under = places[convert(marked, pair)]
        if under.size and (under == under[0]).all():
            found[number] = int(under[0])
    return found


def gate(piece: Piece | None) -> str:
    """What tells a piece, in words."""
    if piece is None or not piece.meetings:
        return "by its place"
    words = []
    for passed, kind, other in sorted(piece.meetings, key=_key):
        own = " and ".join(sorted(passed)) or "nothing"
        what = {"before": "a state", "gate": "what stands beside it", "beyond": "what was made of gates"}[kind]
        words.append(f"passes {own}, then multiplied with {what}" + (f" ({', '.join(sorted(other))})" if other else ""))
    return "; ".join(words)


def merged(pairs: Sequence[VariablePair], shapes: dict[tuple[str, int], tuple[int, ...]]) -> list[VariablePair]:
    """The pairs, neighbouring parts that stand side by side on both sides put together; whole ones as whole ones."""
    found = list(pairs)
    changed = True
    while changed:
        changed = False
        for i, first in enumerate(found):
            for j, second in enumerate(found):
                joint = _joint(first, second) if i != j else None
                if joint is not None:
                    found[min(i, j)] = joint
                    del found[max(i, j)]
                    changed = True
                    break
            if changed:
                break
    return [_whole(pair, shapes["a", pair.a], shapes["b", pair.b]) for pair in found]


def _joint(first: VariablePair, second: VariablePair) -> VariablePair | None:
    same = (first.a, first.b, first.permutation, first.offset) == (
        second.a,
        second.b,
        second.permutation,
        second.offset,
    )
    if not same or first.reshape is not None or second.reshape is not None:
        return None
    if first.a_part is None or first.b_part is None or second.a_part is None or second.b_part is None:
        return None
    rank = len(first.a_part)
    order = first.permutation or tuple(range(rank))
    differing = [axis for axis in range(rank) if first.a_part[axis] != second.a_part[axis]]
    behind = [axis for axis in range(rank) if first.b_part[axis] != second.b_part[axis]]
    if len(differing) != 1 or len(behind) != 1 or order[behind[0]] != differing[0]:
        return None
    a, b = _append(first.a_part, second.a_part, differing[0]), _append(first.b_part, second.b_part, behind[0])
    if a is None or b is None:
        return None
    known = first.evidence.split(", ")
    more = [words for words in second.evidence.split(", ") if words not in known]
    evidence = f"{first.evidence} / {', '.join(more)}" if more else first.evidence
    return replace(first, a_part=a, b_part=b, evidence=evidence)


def _append(first: Part, second: Part, axis: int) -> Part | None:
    one, other = first[axis], second[axis]
    if len(one) != 1 or len(other) != 1 or one[0][1] != other[0][0]:
        return None
    return (*first[:axis], ((one[0][0], other[0][1]),), *first[axis + 1 :])


def _whole(pair: VariablePair, a: tuple[int, ...], b: tuple[int, ...]) -> VariablePair:
    def everything(part: Part | None, shape: tuple[int, ...]) -> bool:
        return part is None or part == tuple(((0, extent),) for extent in shape)

    complete = everything(pair.a_part, a), everything(pair.b_part, b)
    return replace(pair, a_part=None if complete[0] else pair.a_part, b_part=None if complete[1] else pair.b_part)
