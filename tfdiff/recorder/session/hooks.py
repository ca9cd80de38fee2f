"""Touches of TensorFlow's private parts that sessions need; `tests/recorder/test_session_relied_on.py` says which."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from tfdiff.recorder.parts import Parts
    from tfdiff.recorder.patching import Patches


def install(parts: Parts, patches: Patches) -> None:
    """Hook into sessions, `tf.gradients` and the optimizers of TensorFlow 1."""
    _hook_runs(parts, patches)
    _hook_callables(parts, patches)
    _hook_gradients(parts, patches)


def _hook_runs(parts: Parts, patches: Patches) -> None:
    """Every `Session.run`, `Tensor.eval` and monitored session ends in `BaseSession._do_run`."""
    from tensorflow.python.client import session

    recording = parts.recording

    def make_run(original: Callable[..., Any]) -> Callable[..., Any]:
        def _do_run(
            self: Any, handle: Any, target_list: Any, fetch_list: Any, feed_dict: Any, options: Any, run_metadata: Any
        ) -> Any:
            def raw(targets: list[Any], fetches: list[Any], feeds: dict[Any, Any]) -> Any:
                return original(self, None, targets, fetches, feeds, None, None)

            def main(targets: list[Any], fetches: list[Any], feeds: dict[Any, Any]) -> Any:
                results = original(self, handle, targets, fetches, feeds, options, run_metadata)
                if recording.active:
                    recording.beats.run()
                return results

            if not recording.active:
                if recording.elsewhere:
                    parts.sessions.elsewhere(self.graph, [*target_list, *(t.op for t in fetch_list)])
                return main(target_list, fetch_list, feed_dict)
            if handle is not None:
                why = "a run in parts cannot be asked for more than it was set up for"
                recording.output.not_recorded(f"Session.partial_run ({recording.frames.here().called})", why)
                return main(target_list, fetch_list, feed_dict)
            return parts.sessions.run(self.graph, raw, main, list(target_list), list(fetch_list), feed_dict)

        return _do_run

    patches.wrap(session.BaseSession, "_do_run", make_run)


def _hook_callables(parts: Parts, patches: Patches) -> None:
    """Callables made ahead of time go past `_do_run`: let them go through it."""
    from tensorflow.python.client import session

    recording = parts.recording

    def make_callable_maker(original: Callable[..., Any]) -> Callable[..., Any]:
        def make_callable(self: Any, fetches: Any, feed_list: Any = None, *more: Any, **named: Any) -> Any:
            made = original(self, fetches, feed_list, *more, **named)

            def call(*arguments: Any, **options: Any) -> Any:
                if not recording.active:
                    return made(*arguments, **options)
                return self.run(fetches, dict(zip(feed_list or (), arguments, strict=False)) or None, **options)

            return call

        return make_callable

    def make_from_options(original: Callable[..., Any]) -> Callable[..., Any]:
        def _make_callable_from_options(self: Any, callable_options: Any) -> Any:
            made = original(self, callable_options)
            feeds, fetches, targets = (list(getattr(callable_options, n)) for n in ("feed", "fetch", "target"))
            whole = not callable_options.tensor_connection

            def call(*arguments: Any, **options: Any) -> Any:
                if not recording.active or not whole:
                    return made(*arguments, **options)
                tensors = [self.graph.as_graph_element(name) for name in feeds]
                fed = {t.ref(): value for t, value in zip(tensors, arguments, strict=True)}
                wanted = [self.graph.as_graph_element(name) for name in fetches]
                done = [self.graph.as_graph_element(name) for name in targets]
                return self._do_run(None, done, wanted, fed, None, None)

            return call

        return _make_callable_from_options

    patches.wrap(session.BaseSession, "make_callable", make_callable_maker)
    patches.wrap(session.BaseSession, "_make_callable_from_options", make_from_options)


def _hook_gradients(parts: Parts, patches: Patches) -> None:
    """`tf.gradients` and `compute_gradients` end in `gradients_util._GradientsHelper`."""
    from tensorflow.python.framework import ops
    from tensorflow.python.ops import gradients_util

    recording = parts.recording

    def make_helper(original: Callable[..., Any]) -> Callable[..., Any]:
        def _GradientsHelper(ys: Any, xs: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N802 - its name
            graph = ops.get_default_graph()
            if not recording.active or hasattr(graph, "captures"):
                return original(ys, xs, *args, **kwargs)
            call = parts.building.gradient_begin(_list(ys), graph)
            if call is None:
                return original(ys, xs, *args, **kwargs)
            try:
                gradients = original(ys, xs, *args, **kwargs)
            except BaseException:
                parts.building.gradient_failed(call)
                raise
            parts.building.gradient_end(call, _list(xs), gradients, graph)
            return gradients if recording.isolating is None else parts.building.hand_on(call, _list(xs), gradients)

        return _GradientsHelper

    patches.wrap(gradients_util, "_GradientsHelper", make_helper)


def _list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]
