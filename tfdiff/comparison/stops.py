"""Where a gradient is stopped on its way back to a weight."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tfdiff.comparison.graph import StepGraph
    from tfdiff.comparison.matching import Matching
    from tfdiff.comparison.runs import StepView

STOP = "StopGradient"


def stopping_ops(
    view: StepView, matching: Matching, users: list[int], *, stopped_in_a: bool
) -> tuple[int | None, int | None]:
    """The forward op of either side behind which the gradient is lost, None where it is not seen.

    `users` are the ops of the side without a gradient that take the weight. On the way from them to the loss, the op is
    the first one that stops gradients by its name, else the first one that a gradient reached; on the other side it is
    the one with the same value, or else with the same operand.
    """
    graph = view.a if stopped_in_a else view.b
    at = _stop(graph, users)
    if at is None:
        return None, None
    equal = matching.from_a if stopped_in_a else matching.from_b
    known = (match for index in (at, *graph.operands(at)) if index in graph.data for match in equal.get(index, ()))
    match = next(known, None)
    other = None if match is None else match.b if stopped_in_a else match.a
    return (at, other) if stopped_in_a else (other, at)


def all_stopped(graph: StepGraph, users: list[int]) -> bool:
    """Whether no way leads from these ops to the loss but through one that stops gradients by its name."""
    passed: set[int] = set()
    todo, stopped = list(users), False
    while todo:
        index = todo.pop()
        if graph.observations[index].site.op == STOP:
            stopped = True
        elif index == graph.loss:
            return False
        elif index not in passed:
            passed.add(index)
            todo.extend(graph.consumers.get(index, ()))
    return stopped


def _stop(graph: StepGraph, users: list[int]) -> int | None:
    reached = {seen.of for seen in graph.observations if seen.site.role == "activation gradient"}
    passed: set[int] = set()
    todo, ends = list(users), set[int]()
    while todo:
        index = todo.pop()
        if index in passed:
            continue
        passed.add(index)
        if index in reached or graph.observations[index].site.op == STOP:
            ends.add(index)
        else:
            todo.extend(graph.consumers.get(index, ()))
    named = [index for index in ends if graph.observations[index].site.op == STOP]
    return min(named or ends, default=None)
