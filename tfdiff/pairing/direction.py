"""Whether a recurrence goes through its sequence from the front or from the back, read off its first step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tfdiff.pairing.products import MATRIX

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tfdiff.pairing.flow import Flow
    from tfdiff.pairing.parts import Constant

_REVERSE = frozenset({"ReverseV2", "ReverseSequence", "Reverse"})
_REACH = 256


def backwards(flow: Flow, shapes: Sequence[tuple[int, ...]], constant: Constant, data: int) -> bool | None:
    """Whether the data that a recurrence first consumes is the last item of a sequence; None if it is no item.

    Every reversal on the way turns the answer round.
    """
    seen, queue, item, turned = {data}, [data], None, False
    while queue and len(seen) < _REACH:
        position = queue.pop()
        site = flow.sites[position]
        if MATRIX.search(site.op):
            continue
        if site.op in _REVERSE:
            turned = not turned
        if item is None:
            item = _item(flow, shapes, constant, position)
        if site.op == "StridedSlice" and _falls(flow, constant, position):
            turned = not turned
        for source in flow.inputs[position]:
            if 0 <= source < position and source not in seen:
                seen.add(source)
                queue.append(source)
    return None if item is None else item != turned


def _item(flow: Flow, shapes: Sequence[tuple[int, ...]], constant: Constant, position: int) -> bool | None:
    """Whether an op takes the last item of a sequence (False: the first one); None for another op or item."""
    site, inputs = flow.sites[position], flow.inputs[position]
    if not inputs or not 0 <= inputs[0] < position:
        return None
    shape = shapes[inputs[0]]
    if site.op == "Unpack":
        return _which(site.output, shape[int(site.attrs.get("axis", 0)) % len(shape)])
    if site.op == "StridedSlice":
        begin, shrunk = _numbers(constant, inputs, 1), int(site.attrs.get("shrink_axis_mask", 0))
        axes = [axis for axis in range(len(begin)) if shrunk >> axis & 1 and axis < len(shape)]
        return _which(begin[axes[0]] % shape[axes[0]], shape[axes[0]]) if len(axes) == 1 and shape[axes[0]] else None
    if site.op in ("TensorListGetItem", "GatherV2", "TensorArrayReadV3"):
        at = next((n for n in range(len(inputs) - 1, 0, -1) if inputs[n] >= 0 and shapes[inputs[n]] == ()), None)
        stacked = shape[1:] == shapes[position]
        number = _numbers(constant, inputs, at) if at is not None and stacked else []
        if site.op == "GatherV2":
            number = _numbers(constant, inputs, 1) if shapes[inputs[1]] == () and stacked else []
        return _which(number[0], shape[0]) if number else None
    return None


def _which(number: int, count: int) -> bool | None:
    if count < 2 or number not in (0, count - 1):
        return None
    return number == count - 1


def _numbers(constant: Constant, inputs: Sequence[int], argument: int) -> list[int]:
    value = constant(inputs[argument]) if argument < len(inputs) and inputs[argument] >= 0 else None
    return [] if value is None else [int(number) for number in np.asarray(value).reshape(-1)]


def _falls(flow: Flow, constant: Constant, position: int) -> bool:
    """`x[:, ::-1]`."""
    return any(stride < 0 for stride in _numbers(constant, flow.inputs[position], 3))
