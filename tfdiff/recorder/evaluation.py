"""Evaluation and prediction through a trainer (Keras 3 or tf_keras): each call is one pass."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tfdiff.recorder.recording import safe
from tfdiff.recorder.stream import EvalBegin, EvalEnd

if TYPE_CHECKING:
    from collections.abc import Callable

    from tfdiff.recorder.patching import Patches
    from tfdiff.recorder.recording import Recording

METHODS = ("evaluate", "predict", "test_on_batch", "predict_on_batch")


def hook_evaluation(recording: Recording, patches: Patches, trainer: Any) -> None:
    """Hook into the class that has `evaluate` and `predict`; both Kerases go through the same four methods.

    `fit` validates through `evaluate`.
    """
    scopes = Scopes(recording)
    if hasattr(trainer, "_flatten_metrics_in_order"):
        patches.wrap(trainer, "_flatten_metrics_in_order", scopes.noting)
    for name in METHODS:
        if hasattr(trainer, name):
            patches.wrap(trainer, name, _maker(scopes, name))


def _maker(scopes: Scopes, name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        def method(self: Any, *args: Any, **kwargs: Any) -> Any:
            if not scopes.begin(name):
                return original(self, *args, **kwargs)
            result = None
            try:
                result = original(self, *args, **kwargs)
            finally:
                scopes.end(self, result, name)
            return result

        return method

    return make


class Scopes:
    """Tells the builder where a pass begins and ends."""

    def __init__(self, recording: Recording) -> None:
        self.recording = recording
        self._logs: dict[str, Any] = {}

    def noting(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """Keras 3 knows the names until it makes a list of the numbers."""

        def _flatten_metrics_in_order(trainer: Any, logs: Any) -> Any:
            if isinstance(logs, dict):
                self._logs = dict(logs)
            return original(trainer, logs)

        return _flatten_metrics_in_order

    def begin(self, name: str) -> bool:
        """Begin a pass; False inside another one, inside a tape, or where nothing is recorded."""
        recording = self.recording
        if not recording.active or recording.tapes or recording.builder.evals.inside:
            return False
        self._begin(name)
        recording.check_stop()
        return recording.builder.evals.inside

    @safe
    def _begin(self, name: str) -> None:
        self.recording.close_call()
        self._logs = {}
        code = self.recording.context.code(self.recording.frames.here())
        stack = self.recording.frames.stack() if name.endswith("on_batch") else ()
        self.recording.builder.add(EvalBegin(name, code, stack))

    @safe
    def end(self, trainer: Any, result: Any, name: str) -> None:
        """The pass is over and returned `result`."""
        if self.recording.output.done:
            return
        metrics = {} if name.startswith("predict") else self._named(trainer, result)
        self.recording.close_call()
        self.recording.builder.add(EvalEnd(metrics=metrics))

    def _named(self, trainer: Any, result: Any) -> dict[str, Any]:
        """What `evaluate` returned, by name."""
        if isinstance(result, dict):
            return dict(result)
        if self._logs:
            return self._logs
        values = list(result) if isinstance(result, (list, tuple)) else [] if result is None else [result]
        names = list(getattr(trainer, "metrics_names", ()))
        if len(names) != len(values):
            names = [f"metric {number}" for number in range(len(values))]
        return dict(zip(names, values, strict=True))
