"""Where something is, in words of the user's program."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfdiff.model import Place

if TYPE_CHECKING:
    from tfdiff.comparison.graph import StepGraph
    from tfdiff.model import Observation, Variable
    from tfdiff.trace.reader import Trace


def layer_name(path: str | None) -> str | None:
    """A layer's name, without the model that contains everything (`sequential/dense` is `dense`)."""
    if path is None:
        return None
    head, _, rest = path.partition("/")
    return rest or head


def place_of(seen: Observation) -> Place:
    """The place of an observation."""
    site = seen.site
    return Place(layer_name(site.layer), site.name, site.source or site.called, site.called, site.op or None)


def place_of_variable(variable: Variable, like: Observation | None = None) -> Place:
    """The place of a variable; `like` is an op that uses it or stands for the run.

    A layer that makes its variables when it is first called knows the line of that call only: an op of the same layer
    knows the one that creates the layer. Lines that are not known are taken from `like` too.
    """
    source = variable.source
    if like is not None and (source is None or (variable.layer is not None and like.site.layer == variable.layer)):
        source = like.site.source or source or like.site.called
    return Place(layer_name(variable.layer), variable.name, source, like.site.called if like else None)


def optimizer_lines(trace: Trace, step: int) -> tuple[str | None, str | None]:
    """Lines that create and that call the optimizer of a step."""
    for optimizer in trace.step(step).info.optimizers:
        return optimizer.get("source"), optimizer.get("called")
    return None, None


def describe(graph: StepGraph, index: int) -> str:
    """An op with its operands: `Mul(., 1.4286)`; a dot stands for tensors that depend on the batch."""
    seen = graph.observations[index]
    if seen.site.role != "activation":
        return seen.site.name
    words = [_operand(graph, operand) for operand in seen.inputs]
    return f"{seen.site.op}({', '.join(words)})"


def _operand(graph: StepGraph, index: int) -> str:
    if index < 0:
        return "?"
    seen = graph.observations[index]
    if seen.dtype == "bool":
        return "mask"
    if index in graph.labels:
        return "label"
    if index in graph.data:
        return "."
    if seen.size == 1:
        return f"{seen.stats.mean:.5g}"
    fixed = seen.site.role if seen.site.role in ("noise", "weight", "state") else f"constant{list(seen.shape)}"
    return "." if index in graph.noise and fixed != "noise" else fixed
