"""Small questions about TensorFlow's tensors, variables and gradients."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from tfdiff.recorder.stream import NEXT_OPS, RANDOM_OPS, Slices, Token

if TYPE_CHECKING:
    from collections.abc import Sequence


def is_numeric(tensor: Any) -> bool:
    """Whether the tensor holds numbers or booleans."""
    dtype = getattr(tensor, "dtype", None)
    return dtype is not None and (
        getattr(dtype, "is_floating", False) or getattr(dtype, "is_integer", False) or getattr(dtype, "is_bool", False)
    )


def is_handle(tensor: Any) -> bool:
    """Whether the tensor stands for a variable (or another resource)."""
    return bool(tensor.dtype.name == "resource")


def static_value(op_type: str, tensor: Any) -> Any:
    """The array of a traced constant, None for anything else."""
    if op_type != "Const" or not is_numeric(tensor):
        return None
    from tensorflow.python.framework import tensor_util

    # not `constant_value`: from then on a session would refuse to be fed something in the constant's place
    return tensor_util.MakeNdarray(tensor.op.get_attr("value"))


def depends_on_variable(op_type: str, inputs: Sequence[Any], program: Any) -> bool:
    """Whether a traced op computes from a variable, directly or not; batches and draws do not."""
    if op_type in NEXT_OPS or op_type in RANDOM_OPS:
        return False
    return any(t.dtype.name == "resource" or t._id in program.dependent for t in inputs)


def handle_of(variable: Any) -> Any:
    """The tensor that stands for a variable: its resource handle, or the reference of one of the old kind."""
    handle = getattr(variable, "handle", None)
    if handle is None and hasattr(variable, "_as_graph_element") and hasattr(variable, "_ref"):
        return variable._ref()
    return handle


def handle_token(variable: Any) -> Token:
    """The token of a variable's handle, 0 for what has none."""
    return int(getattr(handle_of(variable), "_id", 0))


def gradient_tokens(gradient: Any) -> Token | Slices | None:
    """The token of a gradient, or those of the two parts of a sparse one."""
    if gradient is None:
        return None
    if hasattr(gradient, "indices") and hasattr(gradient, "values"):
        return Slices(gradient.values._id, gradient.indices._id)
    return getattr(gradient, "_id", None)


def tensors_of(gradient: Any) -> list[Any]:
    """The tensors a gradient is made of."""
    if gradient is None:
        return []
    return [gradient.values, gradient.indices] if hasattr(gradient, "indices") else [gradient]


def captured(gradient: Any, graph: Any) -> Any:
    """The gradient as `graph` sees it: the branch of a condition takes what was computed outside it as an argument."""
    if hasattr(gradient, "indices"):
        indices = captured(gradient.indices, graph)
        return Rows(captured(gradient.values, graph), indices)
    return graph.capture(gradient) if getattr(gradient, "graph", graph) is not graph else gradient


class Rows(NamedTuple):
    """The two tensors of a sparse gradient."""

    values: Any
    indices: Any
