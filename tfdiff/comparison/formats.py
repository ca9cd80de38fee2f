"""Tensors that one side turns into another data format and back: they stand for what they were made of."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tfdiff.comparison.findings import Match
from tfdiff.pairing.layouts import inverse

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tfdiff.comparison.graph import StepGraph
    from tfdiff.comparison.runs import StepView

FORMATS = {(0, 3, 1, 2), (0, 2, 3, 1), (0, 4, 1, 2, 3), (0, 2, 3, 4, 1)}
"""Channels last to channels first and back, for images and volumes."""


def in_other_format(view: StepView, found: Sequence[Match]) -> Iterator[Match]:
    """Matches of transposed tensors that have none: with what equals the tensor before it was transposed.

    Only where the channels come back to their place further on: where they do not, that may be the very difference.
    """
    for of_a, graph in ((True, view.a), (False, view.b)):
        matches: dict[int, Match] = {}
        for match in found:
            matches.setdefault(match.a if of_a else match.b, match)
        for index in graph.order:
            order = _order(graph, index)
            source = None if order is None or index in matches else matches.get(graph.operands(index)[0])
            if order is None or source is None or source.evidence != "value" or not _comes_back(graph, index, order):
                continue
            known = source.permutation or tuple(range(len(order)))
            if len(known) != len(order):
                continue
            if of_a:
                turned = tuple(known[axis] for axis in order)
                yield Match(index, source.b, source.error, source.tolerance, source.evidence, turned)
            else:
                back = inverse(order)
                turned = tuple(back[axis] for axis in known)
                yield Match(source.a, index, source.error, source.tolerance, source.evidence, turned)


def _order(graph: StepGraph, index: int) -> tuple[int, ...] | None:
    """The order of the axes of a transpose that changes the data format, None for any other op."""
    seen = graph.observations[index]
    if seen.site.op != "Transpose" or index not in graph.data or len(seen.inputs) != 2 or min(seen.inputs) < 0:
        return None
    if not graph.observations[seen.inputs[1]].stored:
        return None
    order = tuple(int(axis) for axis in np.ravel(graph.block.array(seen.inputs[1])))
    return order if order in FORMATS else None


def _comes_back(graph: StepGraph, index: int, order: tuple[int, ...]) -> bool:
    """Whether a tensor made of this one is transposed back."""
    reached, todo = {index}, [index]
    while todo:
        for user in graph.consumers.get(todo.pop(), ()):
            if _order(graph, user) == inverse(order):
                return True
            if user not in reached:
                reached.add(user)
                todo.append(user)
    return False
