"""Where the elements of variables stand in the tensors made from them.

A *label array* says for every element of a tensor which element of a variable it is (or, behind a product, which column
of it), -1 for none. It has an extent of 1 along axes on which nothing depends (the rows of a batch). Ops that only
rearrange are run on labels as they ran on the values.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Labels = npt.NDArray[np.int32]
Shape = tuple[int, ...]

MAX_ELEMENTS = 1 << 22
"""Largest label array: what would need more is not followed."""


@dataclass(frozen=True)
class Operands:
    """What an op that rearranges was given, by argument; `constant` is the value of one, if known."""

    labels: Sequence[Labels | None]
    shapes: Sequence[Shape]
    constant: Callable[[int], npt.NDArray[Any] | None]
    output: int
    attrs: dict[str, Any]
    shape: Shape
    """Of the output."""

    def axes(self, argument: int) -> tuple[int, ...] | None:
        """A constant argument as integers."""
        value = self.constant(argument) if argument < len(self.shapes) else None
        return None if value is None else tuple(int(number) for number in np.asarray(value).reshape(-1))


def rearrange(op: str, given: Operands) -> Labels | None:
    """The labels of an op's output; None for an op that does more than to rearrange, or in a way that is not known."""
    rule = _RULES.get(op)
    return rule(given) if rule is not None else None


def reshaped(labels: Labels, shape: Shape, target: Shape) -> Labels | None:
    """The labels of a tensor of `shape` after a reshape to `target`."""
    found: list[int] = []
    full = list(labels.shape)
    i = j = 0
    while i < len(shape) or j < len(target):
        first, second = (i, j)
        left, right = 1, 1
        if i < len(shape):
            left, i = shape[i], i + 1
        if j < len(target):
            right, j = target[j], j + 1
        while left != right:
            if left < right and i < len(shape):
                left, i = left * shape[i], i + 1
            elif right < left and j < len(target):
                right, j = right * target[j], j + 1
            else:
                return None
        group = range(first, i)
        if all(labels.shape[axis] == 1 for axis in group):
            found += [1] * (j - second)
        else:
            for axis in group:
                full[axis] = shape[axis]
            found += target[second:j]
    if int(np.prod(full)) > MAX_ELEMENTS:
        return None
    result: Labels = np.broadcast_to(labels, full).reshape(found)
    return result


def spread(labels: Labels, shape: Shape, axis: int = -1) -> Labels | None:
    """The labels of an operand that is broadcast to `shape`, its last axis standing at `axis`."""
    if axis not in (-1, len(shape) - 1):
        return labels.reshape((labels.size, *(1,) * (len(shape) - 1 - axis))) if labels.ndim == 1 else None
    return labels.reshape((1,) * (len(shape) - labels.ndim) + labels.shape) if labels.ndim <= len(shape) else None


def _cut(labels: Labels, axis: int, start: int, stop: int) -> Labels:
    if labels.shape[axis] == 1:
        return labels
    return labels[(slice(None),) * (axis % labels.ndim) + (slice(start, stop),)]


def _same(given: Operands) -> Labels | None:
    return given.labels[0]


def _reshape(given: Operands) -> Labels | None:
    labels = given.labels[0]
    return None if labels is None else reshaped(labels, given.shapes[0], given.shape)


def _transpose(given: Operands) -> Labels | None:
    labels, axes = given.labels[0], given.axes(1)
    if labels is None or axes is None or sorted(axes) != list(range(labels.ndim)):
        return None
    return np.transpose(labels, axes)


def _split(given: Operands) -> Labels | None:
    value = 1 if len(given.labels) > 1 and given.labels[0] is None else 0
    labels = given.labels[value]
    if labels is None:
        return None
    shape, out = given.shapes[value], given.shape
    differing = [axis for axis in range(len(shape)) if shape[axis] != out[axis]]
    if len(differing) != 1:
        return labels
    axis, sizes = differing[0], None
    if value == 0 and len(given.shapes) > 1 and given.shapes[1] not in ((), (1,)):
        sizes = given.axes(1)
        if sizes is None or len(sizes) <= given.output or min(sizes) < 0:
            return None
    start = given.output * out[axis] if sizes is None else sum(sizes[: given.output])
    return _cut(labels, axis, start, start + out[axis])


def _unpack(given: Operands) -> Labels | None:
    labels = given.labels[0]
    if labels is None:
        return None
    axis = int(given.attrs.get("axis", 0)) % labels.ndim
    return _cut(labels, axis, given.output, given.output + 1).squeeze(axis)


def _pack(given: Operands) -> Labels | None:
    axis = int(given.attrs.get("axis", 0)) % len(given.shape)
    return _joined(
        [None if a is None else np.expand_dims(a, axis) for a in given.labels], [1] * len(given.labels), axis
    )


def _concat(given: Operands) -> Labels | None:
    parts = given.labels[:-1]
    axes = given.axes(len(given.labels) - 1)
    if axes is None or len(axes) != 1:
        return None
    axis = axes[0] % len(given.shape)
    return _joined(parts, [shape[axis] for shape in given.shapes[:-1]], axis)


def _joined(parts: Sequence[Labels | None], sizes: Sequence[int], axis: int) -> Labels | None:
    known = [part for part in parts if part is not None]
    if not known:
        return None
    extents = list(np.broadcast_shapes(*[(*p.shape[:axis], 1, *p.shape[axis + 1 :]) for p in known]))
    pieces = []
    for part, size in zip(parts, sizes, strict=True):
        extents[axis] = size
        pieces.append(np.broadcast_to(np.int32(-1) if part is None else part, extents))
    if sum(piece.size for piece in pieces) > MAX_ELEMENTS:
        return None
    return np.concatenate(pieces, axis)


def _strided(given: Operands) -> Labels | None:
    labels, begin, end, strides = given.labels[0], given.axes(1), given.axes(2), given.axes(3)
    if labels is None or begin is None or end is None or strides is None:
        return None
    masks = {name: int(given.attrs.get(f"{name}_mask", 0)) for name in ("begin", "end", "shrink_axis", "ellipsis")}
    if masks["ellipsis"] or int(given.attrs.get("new_axis_mask", 0)):
        return _ellipsis(given, labels)
    shape, chosen, squeezed = given.shapes[0], [], []
    for axis, extent in enumerate(shape):
        whole = slice(None)
        if axis < len(begin):
            bit = 1 << axis
            start, stop = (None if masks["begin"] & bit else begin[axis]), (None if masks["end"] & bit else end[axis])
            whole = slice(start, stop, strides[axis])
            if masks["shrink_axis"] & bit:
                at = begin[axis] % extent
                whole = slice(at, at + 1)
                squeezed.append(axis)
        chosen.append(slice(None) if labels.shape[axis] == 1 else whole)
    return labels[tuple(chosen)].squeeze(tuple(squeezed))


def _ellipsis(given: Operands, labels: Labels) -> Labels | None:
    """`x[..., i:j]`, `x[:, None]`: replayed by NumPy on the index that the masks spell out."""
    begin, end, strides = (given.axes(n) or () for n in (1, 2, 3))
    masks = {
        name: int(given.attrs.get(f"{name}_mask", 0))
        for name in ("begin", "end", "shrink_axis", "ellipsis", "new_axis")
    }
    index: list[Any] = []
    for axis in range(len(begin)):
        bit = 1 << axis
        if masks["ellipsis"] & bit:
            index.append(Ellipsis)
        elif masks["new_axis"] & bit:
            index.append(None)
        elif masks["shrink_axis"] & bit:
            index.append(begin[axis])
        else:
            start, stop = (None if masks["begin"] & bit else begin[axis]), (None if masks["end"] & bit else end[axis])
            index.append(slice(start, stop, strides[axis]))
    if int(np.prod(given.shapes[0])) > MAX_ELEMENTS:
        return None
    found: Labels = np.broadcast_to(labels, given.shapes[0])[tuple(index)]
    return found


def _slice(given: Operands) -> Labels | None:
    labels, begin = given.labels[0], given.axes(1)
    if labels is None or begin is None:
        return None
    for axis, start in enumerate(begin):
        labels = _cut(labels, axis, start, start + given.shape[axis])
    return labels


def _gather(given: Operands) -> Labels | None:
    """`tf.gather` with constant indices."""
    labels, axes = given.labels[0], given.axes(2) if len(given.shapes) > 2 else (0,)
    chosen = given.constant(1) if len(given.shapes) > 1 else None
    if labels is None or chosen is None or axes is None or len(axes) != 1 or np.asarray(chosen).ndim > 1:
        return None
    axis = axes[0] % labels.ndim
    if labels.shape[axis] == 1:
        return labels if np.asarray(chosen).ndim else labels.squeeze(axis)
    found: Labels = np.take(labels, np.asarray(chosen), axis)
    return found


def _list_item(given: Operands) -> Labels | None:
    """A tensor out of a list that was made from a stacked one (the time steps of a loop)."""
    for labels, shape in zip(given.labels, given.shapes, strict=True):
        if labels is not None and shape[1:] == given.shape and labels.shape[:1] == (1,):
            first: Labels = labels[0]
            return first
        if labels is not None and shape == given.shape:
            return labels
    return None


def _list_stack(given: Operands) -> Labels | None:
    for labels, shape in zip(given.labels, given.shapes, strict=True):
        if labels is not None and given.shape[1:] == shape:
            return labels[None]
    return None


_RULES: dict[str, Callable[[Operands], Labels | None]] = {
    **dict.fromkeys(("Identity", "Cast", "StopGradient", "ReadVariableOp", "PreventGradient"), _same),
    **dict.fromkeys(("Reshape", "ExpandDims", "Squeeze"), _reshape),
    "Transpose": _transpose,
    **dict.fromkeys(("Split", "SplitV"), _split),
    "Unpack": _unpack,
    "Pack": _pack,
    "ConcatV2": _concat,
    "StridedSlice": _strided,
    "Slice": _slice,
    **dict.fromkeys(("GatherV2", "Gather"), _gather),
    "TensorListGetItem": _list_item,
    "TensorListStack": _list_stack,
}
REARRANGING = frozenset(_RULES)
"""Ops that `rearrange` knows."""
