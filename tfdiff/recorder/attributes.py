"""What is worth knowing of an op, an optimizer or a graph besides its tensors."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType

_WANTED = frozenset(
    {
        "transpose_a", "transpose_b", "adj_x", "adj_y", "padding", "strides", "dilations", "explicit_paddings",
        "data_format", "ksize", "epsilon", "is_training", "exponential_avg_factor", "alpha", "keep_dims", "axis",
        "batch_dims", "equation", "half_pixel_centers", "align_corners", "SrcT", "DstT", "begin_mask", "end_mask",
        "shrink_axis_mask", "ellipsis_mask", "new_axis_mask", "rate", "U", "V", "use_nesterov", "use_locking",
    }
)  # fmt: skip
_SHAPE_OPS = frozenset(
    {"Shape", "ShapeN", "Size", "Rank", "BroadcastGradientArgs", "BroadcastArgs", "ConcatOffset", "InvertPermutation"}
)
_FROM_SHAPES = frozenset(
    {
        "StridedSlice", "Pack", "ConcatV2", "Prod", "Mul", "AddV2", "Sub", "FloorDiv", "FloorMod", "Maximum",
        "Minimum", "Range", "Reshape", "Cast", "GatherV2", "Fill", "ExpandDims", "Squeeze", "Slice", "Unpack",
        "Equal", "Greater", "Less", "GreaterEqual", "LessEqual", "NotEqual", "LogicalAnd", "LogicalOr", "LogicalNot",
        "RealDiv", "Neg", "Split", "DynamicStitch",
    }
)  # fmt: skip


_WITH_SETTINGS = frozenset(
    {
        "Sum", "Mean", "Max", "Min", "Prod", "All", "Any", "ArgMax", "ArgMin", "Reshape", "Transpose", "Tile", "Pad",
        "PadV2", "MirrorPad", "StridedSlice", "Slice", "ExpandDims", "BroadcastTo", "Cumsum", "ReverseV2", "Roll",
        "Range", "Fill", "TopKV2",
    }
)  # fmt: skip


def is_setting(op_type: str, position: int) -> bool:
    """Whether this argument of the op is an axis, a shape or the like, and no data."""
    return op_type in _WITH_SETTINGS and (position > 0 or op_type in ("Range", "Fill"))


def useful(attrs: Any) -> dict[str, Any]:
    """The attributes of an op that shape its result, as JSON values."""
    if not attrs:
        return {}
    found = {}
    for name, value in zip(attrs[::2], attrs[1::2], strict=False):
        if name in _WANTED:
            plain = _plain(value)
            if plain is not None:
                found[str(name)] = plain
    return found


def fixed_rows(attrs: Any, output: int) -> bool:
    """Whether the dataset behind an iterator promises a number of rows (`drop_remainder=True`)."""
    shapes = dict(zip(attrs[::2], attrs[1::2], strict=False)).get("output_shapes") if attrs else None
    if not shapes or output >= len(shapes):
        return False
    shape = shapes[output]
    extents = shape.as_list() if getattr(shape, "rank", None) else []
    return bool(extents) and extents[0] is not None


def _plain(value: Any) -> Any:  # noqa: PLR0911 - one line per kind of value
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    name = getattr(value, "name", None)  # a dtype
    if isinstance(name, str):
        return name
    if hasattr(value, "WhichOneof"):  # an AttrValue of a traced op
        kind = value.WhichOneof("value")
        if kind in ("i", "f", "b", "s"):
            return _plain(getattr(value, kind))
        if kind == "list":
            return [int(item) for item in value.list.i] or None
    return None


def is_shape_arithmetic(op_type: str, inputs: Sequence[Any], shapes: set[int]) -> bool:
    """Whether an op of a graph only computes with shapes and constants (integers that no person wants to see)."""
    if op_type in _SHAPE_OPS:
        return True
    if op_type == "Const" or op_type not in _FROM_SHAPES or not inputs:
        return False
    return all(t._id in shapes or t.op.type == "Const" for t in inputs) and any(t._id in shapes for t in inputs)


def under_dataset() -> bool:
    """Whether a tf.data function is being traced right now."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_filename.endswith("structured_function.py"):
            return True
        frame = frame.f_back
    return False


def plain_config(thing: Any) -> dict[str, Any]:
    """`get_config()` of a Keras object, as far as it is made of JSON values."""
    try:
        config = thing.get_config()
    except Exception:  # noqa: BLE001 - a user's subclass may not support it, and nothing hangs on it
        return {}
    return {str(k): v for k, v in config.items() if isinstance(v, (bool, int, float, str)) or v is None}
