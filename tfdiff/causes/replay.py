"""The few ops that can be computed again in NumPy.

To get at inner tensors of which only a sketch was kept, and to ask what an op would have given with other operands.
"""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import erf

from tfdiff.causes.functions import ACTIVATIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

MAX_WORK = 1 << 28
"""Multiplications up to which a convolution is computed again."""


def apply(
    op: str, attrs: Mapping[str, Any], operands: Sequence[Floats], shape: tuple[int, ...] | None
) -> Floats | None:
    """The first output of an op, float64; None for an unknown op or attribute, or operands that do not fit.

    Without a `shape` the result has the one it gets.
    """
    compute = OPS.get(op)
    if compute is None:
        return None
    try:
        with np.errstate(all="ignore"):
            result = compute(attrs, operands)
        if result is None:
            return None
        result = np.asarray(result, np.float64)
        return result if shape is None else result.reshape(shape)
    except (ValueError, IndexError, TypeError, KeyError):
        return None


def _matmul(attrs: Mapping[str, Any], operands: Sequence[Floats]) -> Floats:
    x, y = operands
    return np.asarray((x.T if attrs.get("transpose_a") else x) @ (y.T if attrs.get("transpose_b") else y))


def _batch_matmul(attrs: Mapping[str, Any], operands: Sequence[Floats]) -> Floats:
    x, y = operands
    x = np.swapaxes(x, -1, -2) if attrs.get("adj_x") else x
    return np.asarray(np.matmul(x, np.swapaxes(y, -1, -2) if attrs.get("adj_y") else y))


def _bias_add(attrs: Mapping[str, Any], operands: Sequence[Floats]) -> Floats:
    x, bias = operands
    if attrs.get("data_format") == "NCHW":
        bias = bias.reshape(-1, *[1] * (x.ndim - 2))
    return x + bias


def _conv2d(attrs: Mapping[str, Any], operands: Sequence[Floats]) -> Floats | None:
    x, kernel = operands
    strides = list(attrs.get("strides", ()))
    padding = attrs.get("padding")
    plain = attrs.get("data_format", "NHWC") == "NHWC" and set(attrs.get("dilations") or [1]) == {1}
    if not plain or len(strides) != 4 or padding not in ("SAME", "VALID") or kernel.shape[2] != x.shape[3]:
        return None
    size, stride = kernel.shape[:2], strides[1:3]
    if padding == "SAME":
        x = np.pad(x, [(0, 0), *(_same(x.shape[1 + i], size[i], stride[i]) for i in range(2)), (0, 0)])
    windows = np.lib.stride_tricks.sliding_window_view(x, size, axis=(1, 2))[:, :: stride[0], :: stride[1]]
    if windows.size * kernel.shape[3] > MAX_WORK:
        return None
    return np.tensordot(windows, kernel, axes=([3, 4, 5], [2, 0, 1]))


def _depthwise(attrs: Mapping[str, Any], operands: Sequence[Floats]) -> Floats | None:
    """Each channel with kernels [height, width, channel, multiplier] of its own."""
    x, kernel = operands
    channels = kernel.shape[2]
    if channels != x.shape[-1]:
        return None
    each = [_conv2d(attrs, [x[..., c : c + 1], kernel[:, :, c : c + 1]]) for c in range(channels)]
    known = [one for one in each if one is not None]
    return np.concatenate(known, axis=-1) if len(known) == channels else None


def _pool(largest: bool) -> Callable[[Mapping[str, Any], Sequence[Floats]], Floats | None]:  # noqa: FBT001
    """Pooling over NHWC, one shifted view per element of the window."""

    def compute(attrs: Mapping[str, Any], operands: Sequence[Floats]) -> Floats | None:
        (x,) = operands
        size, stride, padding = attrs.get("ksize", ()), attrs.get("strides", ()), attrs.get("padding")
        if attrs.get("data_format", "NHWC") != "NHWC" or len(size) != 4 or len(stride) != 4 or x.ndim != 4:
            return None
        if (size[0], size[3], stride[0], stride[3]) != (1, 1, 1, 1) or padding not in ("SAME", "VALID"):
            return None
        (height, width), (down, right) = size[1:3], stride[1:3]
        count = np.ones_like(x[:1, :, :, :1])
        if padding == "SAME":
            around = [(0, 0), _same(x.shape[1], height, down), _same(x.shape[2], width, right), (0, 0)]
            x = np.pad(x, around, constant_values=-np.inf if largest else 0.0)
            count = np.pad(count, around)
        rows, columns = x.shape[1] - height + 1, x.shape[2] - width + 1
        places = [(i, j) for i in range(height) for j in range(width)]
        views = (x[:, i : i + rows : down, j : j + columns : right] for i, j in places)
        if largest:
            return np.asarray(reduce(np.maximum, views))
        counted = (count[:, i : i + rows : down, j : j + columns : right] for i, j in places)
        return np.asarray(sum(views) / sum(counted))

    return compute


def _same(length: int, size: int, stride: int) -> tuple[int, int]:
    """Zeros before and behind, as TensorFlow's SAME has them: the odd one behind."""
    total = max((-(-length // stride) - 1) * stride + size - length, 0)
    return total // 2, total - total // 2


def _reduce(function: Callable[..., Any]) -> Callable[[Mapping[str, Any], Sequence[Floats]], Floats]:
    def compute(attrs: Mapping[str, Any], operands: Sequence[Floats]) -> Floats:
        x, axes = operands
        keep = bool(attrs.get("keep_dims", attrs.get("keepdims", False)))
        return np.asarray(function(x, axis=tuple(int(axis) for axis in np.ravel(axes)), keepdims=keep))

    return compute


def _batch_norm(attrs: Mapping[str, Any], operands: Sequence[Floats]) -> Floats:
    """The normalized tensor of a fused batch normalization, over all axes but the channels."""
    x, gamma, beta, mean, variance = operands
    first = attrs.get("data_format") == "NCHW"
    x = np.moveaxis(x, 1, -1) if first else x
    if attrs.get("is_training", True):
        axes = tuple(range(x.ndim - 1))
        mean, variance = x.mean(axis=axes), x.var(axis=axes)
    y = (x - mean) / np.sqrt(variance + float(attrs["epsilon"])) * gamma + beta
    return np.moveaxis(y, -1, 1) if first else y


def _strided_slice(attrs: Mapping[str, Any], operands: Sequence[Floats]) -> Floats | None:
    x, *numbers = operands
    begin, end, strides = (np.ravel(n).astype(int).tolist() for n in numbers)
    masks = {name: int(attrs.get(f"{name}_mask") or 0) for name in ("begin", "end", "shrink_axis")}
    if attrs.get("ellipsis_mask") or attrs.get("new_axis_mask"):
        return None
    where: list[int | slice] = []
    for axis, stride in enumerate(strides):
        low = None if masks["begin"] >> axis & 1 else begin[axis]
        high = None if masks["end"] >> axis & 1 else end[axis]
        where.append(begin[axis] if masks["shrink_axis"] >> axis & 1 else slice(low, high, stride))
    return x[tuple(where)]


def _concat(_: Mapping[str, Any], operands: Sequence[Floats]) -> Floats:
    return np.concatenate(operands[:-1], axis=int(np.ravel(operands[-1])[0]))


def _einsum(attrs: Mapping[str, Any], operands: Sequence[Floats]) -> Floats:
    return np.asarray(np.einsum(str(attrs["equation"]), *operands, optimize=True))


def _softmax(_: Mapping[str, Any], operands: Sequence[Floats]) -> Floats:
    (x,) = operands
    raised: Floats = np.exp(x - x.max(axis=-1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=-1, keepdims=True))


def _elementwise(function: Callable[..., Any]) -> Callable[[Mapping[str, Any], Sequence[Floats]], Floats]:
    return lambda _, operands: np.asarray(function(*operands))


def _first(_: Mapping[str, Any], operands: Sequence[Floats]) -> Floats:
    return operands[0]


OPS: dict[str, Callable[[Mapping[str, Any], Sequence[Floats]], Floats | None]] = {
    "MatMul": _matmul,
    "BatchMatMulV2": _batch_matmul,
    "MaxPool": _pool(True),
    "AvgPool": _pool(False),
    "BiasAdd": _bias_add,
    "Conv2D": _conv2d,
    "DepthwiseConv2dNative": _depthwise,
    "Einsum": _einsum,
    "ConcatV2": _concat,
    "StridedSlice": _strided_slice,
    "FusedBatchNormV3": _batch_norm,
    "AddN": lambda _, operands: np.asarray(sum(operands)),
    "Add": _elementwise(np.add),
    "AddV2": _elementwise(np.add),
    "Sub": _elementwise(np.subtract),
    "Mul": _elementwise(np.multiply),
    "RealDiv": _elementwise(np.divide),
    "Maximum": _elementwise(np.maximum),
    "Minimum": _elementwise(np.minimum),
    "Erf": _elementwise(erf),
    "Elu": _elementwise(ACTIVATIONS["elu"]),
    "Selu": _elementwise(ACTIVATIONS["selu"]),
    "Softplus": _elementwise(ACTIVATIONS["softplus"]),
    "Softsign": _elementwise(ACTIVATIONS["softsign"]),
    "Relu6": _elementwise(ACTIVATIONS["relu6"]),
    "LeakyRelu": lambda attrs, operands: np.where(operands[0] > 0.0, 1.0, float(attrs["alpha"])) * operands[0],
    "Square": _elementwise(np.square),
    "SquaredDifference": _elementwise(lambda x, y: np.square(x - y)),
    "Sqrt": _elementwise(np.sqrt),
    "Rsqrt": _elementwise(lambda x: 1.0 / np.sqrt(x)),
    "Neg": _elementwise(np.negative),
    "Exp": _elementwise(np.exp),
    "Log": _elementwise(np.log),
    "Tanh": _elementwise(np.tanh),
    "Relu": _elementwise(lambda x: np.maximum(x, 0.0)),
    "Sigmoid": _elementwise(lambda x: 1.0 / (1.0 + np.exp(-x))),
    "Softmax": _softmax,
    "SelectV2": _elementwise(lambda c, x, y: np.where(c != 0.0, x, y)),
    "GreaterEqual": _elementwise(np.greater_equal),
    "Mean": _reduce(np.mean),
    "Sum": _reduce(np.sum),
    "Max": _reduce(np.max),
    "Transpose": lambda _, operands: np.transpose(operands[0], [int(axis) for axis in np.ravel(operands[1])]),
    "Reshape": _first,
    "ExpandDims": _first,
    "Squeeze": _first,
    "Cast": _first,
    "Identity": _first,
    "StopGradient": _first,
}
