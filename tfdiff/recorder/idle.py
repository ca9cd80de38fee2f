"""Ops of a traced function that TensorFlow leaves out when it runs: nothing that leaves the function needs them.

Keras traces a recurrent cell once only to see the shape of its output. Our taps keep such ops running; an evaluation of
the program's own they are not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfdiff.recorder.items import GraphAlias, GraphApply, GraphBackpropagated, GraphCall, GraphOp
from tfdiff.recorder.stream import GradientBegin, GradientEnd, Slices, Token

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from tfdiff.recorder.graphs import Program
    from tfdiff.recorder.items import Item

_HOST = frozenset({"PyFunc", "EagerPyFunc", "PyFuncStateless"})


def mark_idle(program: Program, outputs: Sequence[Token]) -> None:
    """Mark the ops that neither an output of the function, a write, a call of another function or of the host, nor a
    gradient is computed from.
    """
    needed = set(outputs)
    for item in reversed(program.items):
        if isinstance(item, GraphOp):
            for_itself = not item.outputs or bool(item.after_tags) or item.type in _HOST
            item.idle = not for_itself and needed.isdisjoint(item.outputs)
            if not item.idle:
                needed.update(item.inputs)
        elif isinstance(item, GraphAlias):
            if item.output in needed:
                needed.add(item.input)
        else:
            needed.update(_asked_for(item))


def _asked_for(item: Item) -> Iterator[Token]:
    if isinstance(item, GraphCall):
        yield from item.inputs if item.op is None else [tensor._id for tensor in item.op.inputs]
    elif isinstance(item, GradientBegin):
        yield from (*item.targets, *item.given)
    elif isinstance(item, GradientEnd):
        yield from _tokens(gradient for _, gradient in item.gradients)
        yield from (token for pair in item.activations for token in pair)
    elif isinstance(item, GraphBackpropagated):
        yield item.gradient
    elif isinstance(item, GraphApply):
        yield from _tokens(gradient for gradient, _ in item.pairs)


def _tokens(gradients: Iterable[Token | Slices | None]) -> Iterator[Token]:
    for gradient in gradients:
        if isinstance(gradient, Slices):
            yield from gradient
        elif gradient is not None:
            yield gradient
