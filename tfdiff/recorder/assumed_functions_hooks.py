"""Assumptions about arguments of TensorFlow's functions: only in calls that the user's own lines make."""

from __future__ import annotations

import functools
import inspect
import sys
from typing import TYPE_CHECKING, Any

from tfdiff.recorder.frames import kind_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType, ModuleType

    from tfdiff.recorder.assuming import Assuming
    from tfdiff.recorder.patching import Patches

    Arguments = dict[str, Any]
    Put = Callable[[Arguments, Any], None]


def _named(name: str) -> Put:
    def put(arguments: Arguments, value: Any) -> None:
        arguments[name] = value

    return put


def _rate(arguments: Arguments, value: Any) -> None:
    """`keep_prob` of TensorFlow 1 gives way to `rate`."""
    arguments.pop("keep_prob", None)
    arguments["rate"] = value


def _both_ends(arguments: Arguments, value: Any) -> None:
    arguments.update(clip_value_min=-value, clip_value_max=value)


ARGUMENTS: dict[str, tuple[tuple[str, Put], ...]] = {
    "dropout": (("dropout-rate", _rate),),
    "stateless_dropout": (("dropout-rate", _rate),),
    "batch_normalization": (("norm-epsilon", _named("variance_epsilon")),),
    "batch_norm_with_global_normalization": (("norm-epsilon", _named("variance_epsilon")),),
    "fused_batch_norm": (("norm-epsilon", _named("epsilon")), ("training-flag", _named("is_training"))),
    "clip_by_norm": (("grad-clipping", _named("clip_norm")),),
    "clip_by_global_norm": (("grad-clipping", _named("clip_norm")),),
    "clip_by_value": (("grad-clipping", _both_ends),),
}
"""Functions by name: which code sets which of their arguments."""
_REDUCTIONS = {"reduce_sum": ("sum", "mean", "reduce_mean"), "reduce_mean": ("mean", "sum", "reduce_sum")}
"""What each does, and what it becomes for which word."""


def install(assuming: Assuming, patches: Patches) -> None:
    """Wrap them in the modules in which users find them."""
    names = [name for name, puts in ARGUMENTS.items() if assuming.wants(*(code for code, _ in puts))]
    reductions = list(_REDUCTIONS) if assuming.wants("loss-reduction") else []
    for module in _public_modules() if names or reductions else ():
        found = vars(module)
        wrapped = {name: _with_arguments(assuming, name, found[name]) for name in names if _is_op(found.get(name))}
        for name in reductions:
            other = found.get(_REDUCTIONS[name][2])
            if other is not None and _is_op(found.get(name)) and _is_op(other):
                wrapped[name] = _reduced(assuming, name, found[name], other)
        for name, function in wrapped.items():
            _replace(module, name, function, patches)


def _public_modules() -> list[ModuleType]:
    """Modules of the public interface; those of `compat.v1` stand behind wrappers, which keep what they were asked."""
    found = [m for name, m in list(sys.modules.items()) if name == "tensorflow" or name.startswith("tensorflow._api.")]
    wrapped = [vars(module).get("_tfmw_wrapped_module") for module in found]
    return list({id(module): module for module in (*found, *wrapped) if module is not None}.values())


def _is_op(function: Any) -> bool:
    ours = hasattr(function, "tfdiff_assumed")
    return callable(function) and not ours and str(getattr(function, "__module__", "")).startswith("tensorflow.python.")


def _replace(module: ModuleType, name: str, function: Any, patches: Patches) -> None:
    before = vars(module)[name]
    setattr(module, name, function)
    patches.on_undo(lambda: setattr(module, name, before))


def _with_arguments(assuming: Assuming, name: str, original: Callable[..., Any]) -> Callable[..., Any]:
    signature = inspect.signature(original)

    @functools.wraps(original)
    def call(*args: Any, **kwargs: Any) -> Any:
        if not _by_user(sys._getframe(1)):
            return original(*args, **kwargs)
        bound = signature.bind(*args, **kwargs)
        line = assuming.here().called
        for code, put in ARGUMENTS[name]:
            # Values are clipped for many reasons (in front of a logarithm): which call is meant has to be said.
            placed = code == "grad-clipping"
            value = assuming.value(code, f"tf's {name}", line, placed=placed) if assuming.wants(code) else None
            if value is not None:
                put(bound.arguments, value)
        return original(*bound.args, **bound.kwargs)

    return _marked(call)


def _reduced(
    assuming: Assuming, name: str, original: Callable[..., Any], other: Callable[..., Any]
) -> Callable[..., Any]:
    _, wanted, _ = _REDUCTIONS[name]

    @functools.wraps(original)
    def call(*args: Any, **kwargs: Any) -> Any:
        if not _by_user(sys._getframe(1)):
            return original(*args, **kwargs)
        taken = assuming.value("loss-reduction", f"tf.{name}", assuming.here().called, only=wanted, placed=True)
        return (other if taken else original)(*args, **kwargs)

    return _marked(call)


def _marked(function: Any) -> Callable[..., Any]:
    """Ours: a module and what it stands behind both have it."""
    function.tfdiff_assumed = True
    marked: Callable[..., Any] = function
    return marked


def _by_user(frame: FrameType | None) -> bool:
    """Whether the user's code makes this call, by itself or through autograph."""
    while frame is not None:
        kind = kind_of(frame.f_code.co_filename)
        if kind in ("user", "autograph"):
            return True
        if kind != "ours" and "/autograph/" not in frame.f_code.co_filename:
            return False
        frame = frame.f_back
    return False
