"""Batches that are cut out of a whole data set inside the step: `x[i : i + 8]`, `tf.gather(x, rows)`, `for row in x`.

The rows are the step's batch then, the data set itself is not.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from tfdiff.recorder.stream import LEAF

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from tfdiff.recorder.stream import OpEvent, Token

SELECTIONS = frozenset({"StridedSlice", "Slice", "GatherV2", "TensorListGetItem"})
_PREPARING = frozenset(
    {"TensorListFromTensor", "Reshape", "Cast", "ExpandDims", "Squeeze", "RealDiv", "Mul", "Sub", "AddV2"}
)
"""Ops that change a data set as a whole before rows are cut out; a Transpose may be of a batch of sequences."""
_DATA = (LEAF, "Const")
"""A small tensor of eager code is written into the graph that uses it."""
_CONSTANT = 16
"""Elements up to which what is cut is a constant (a shape, a list of settings)."""


def find_selections(ops: Collection[OpEvent], makers: Mapping[Token, OpEvent]) -> tuple[set[int], set[int]]:
    """The ops (by `id`) that cut rows out of data no op made, and that data's own, where nothing else uses it."""
    chains = {id(event): chain for event in ops if (chain := _chain(event, makers))}
    # what is cut into pieces at one place in one step is a sequence, not a data set
    cuts = Counter((event.type, event.code.called, id(chains[id(event)][-1])) for event in ops if id(event) in chains)
    for event in ops:
        if id(event) in chains and cuts[event.type, event.code.called, id(chains[id(event)][-1])] > 1:
            del chains[id(event)]
    wholes = {id(source) for chain in chains.values() for source in chain}
    return set(chains), wholes - _used_otherwise(ops, makers, set(chains), wholes)


def _used_otherwise(
    ops: Collection[OpEvent], makers: Mapping[Token, OpEvent], selections: set[int], wholes: set[int]
) -> set[int]:
    """What else needs, directly or through others of `wholes`."""
    used: set[int] = set()
    for event in reversed(list(ops)):
        if id(event) in selections or (id(event) in wholes and id(event) not in used):
            continue
        used.update(id(maker) for token in event.inputs if (maker := makers.get(token)) is not None)
    return used


def _chain(event: OpEvent, makers: Mapping[Token, OpEvent]) -> list[OpEvent]:
    """From what is cut back to the data no op made; empty where the op does something else."""
    if event.type not in SELECTIONS or event.fixed:  # a fixed part of each batch: the share of one device
        return []
    chain: list[OpEvent] = []
    source = makers.get(event.inputs[0]) if event.inputs else None
    while source is not None and source.type in _PREPARING and source.inputs:
        chain.append(source)
        source = max((makers.get(token) for token in source.inputs), key=_elements)
    if source is None or source.type not in _DATA or _elements(source) <= _CONSTANT:
        return []
    chain.append(source)
    whole, part = next((shape for each in chain if (shape := _shape(each))), ()), _shape(event)
    if not whole or not part or (event.type == "GatherV2" and len(part) > len(whole)):
        return []  # a table that is looked up by a batch of indices
    return chain if len(part) != len(whole) or part[0] != whole[0] else []


def _shape(event: OpEvent | None) -> tuple[int, ...]:
    """Shape of its first output, () where that is no tensor of numbers."""
    shape: Any = getattr(event.values[0], "shape", None) if event is not None and event.values else None
    return () if shape is None else tuple(int(n) for n in shape)


def _elements(event: OpEvent | None) -> int:
    size = 1 if event is not None else 0
    for extent in _shape(event):
        size *= extent
    return size
