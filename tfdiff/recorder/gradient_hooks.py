"""Ways of asking for gradients besides `GradientTape.gradient`: Jacobians, and `tf.gradients` inside a function."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from tfdiff.recorder.parts import Parts
    from tfdiff.recorder.patching import Patches


def install(parts: Parts, patches: Patches) -> None:
    """Hook into both."""
    _hook_jacobian(parts, patches)
    _hook_gradients(parts, patches)


def _hook_jacobian(parts: Parts, patches: Patches) -> None:
    """One backward pass, made of many gradient calls that are nobody's steps."""
    import tensorflow as tf
    from tensorflow.python.eager import backprop, context
    from tensorflow.python.framework import ops

    recording = parts.recording

    def make_jacobian(original: Callable[..., Any]) -> Callable[..., Any]:
        def jacobian(self: Any, target: Any, sources: Any, *args: Any, **kwargs: Any) -> Any:
            flat = tf.nest.flatten(sources)
            graph = None if context.executing_eagerly() else ops.get_default_graph()
            if not parts.passes.is_step(self, flat) or parts.passes.out_of_sight(graph):
                return original(self, target, sources, *args, **kwargs)
            parts.passes.gradient_begin([target], flat, graph, loss=False)
            with recording.differentiating():
                result = original(self, target, sources, *args, **kwargs)
            parts.passes.gradient_end(flat, tf.nest.flatten(result), [], [], graph)
            return result

        return jacobian

    patches.wrap(backprop.GradientTape, "jacobian", make_jacobian)


def _hook_gradients(parts: Parts, patches: Patches) -> None:
    """`tf.gradients` ends in `_GradientsHelper`, as do the backward passes of TensorFlow's own functions and loops."""
    from tensorflow.python.framework import ops
    from tensorflow.python.ops import gradients_util

    recording = parts.recording

    def make_helper(original: Callable[..., Any]) -> Callable[..., Any]:
        def _GradientsHelper(ys: Any, xs: Any, grad_ys: Any = None, *args: Any, **kwargs: Any) -> Any:  # noqa: N802
            graph, flat = ops.get_default_graph(), _list(xs)
            if (
                not hasattr(graph, "captures")
                or not _is_public_call()
                or not parts.passes.is_step(None, flat)
                or parts.passes.out_of_sight(graph)
            ):
                return original(ys, xs, grad_ys, *args, **kwargs)
            activations = parts.passes.gradient_begin(_list(ys), flat, graph, given=_list(grad_ys)) or []
            with recording.differentiating():
                results = original(ys, [*flat, *activations], grad_ys, *args, **kwargs)
            wanted, extra = results[: len(flat)], results[len(flat) :]
            parts.passes.gradient_end(flat, wanted, activations, extra, graph)
            return parts.handing.on(flat, wanted, graph) or wanted

        return _GradientsHelper

    patches.wrap(gradients_util, "_GradientsHelper", make_helper)


def _is_public_call() -> bool:
    """Whether `tf.gradients` called the helper, directly behind wrappers of ours."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and frame.f_code.co_name == "_GradientsHelper":
        frame = frame.f_back
    return frame is not None and frame.f_code.co_filename.endswith("gradients_impl.py")


def _list(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]
