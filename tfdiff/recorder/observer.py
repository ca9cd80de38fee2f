"""The script once more without a recorder in it: does it compute what was recorded?

Nothing is tapped, fetched, fed or asked for besides; ops are only counted. The recorded run counted in the same way
(`beats`), so that both are looked at in the same moment: right after its last recorded step.
"""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tfdiff.recorder import assumed
from tfdiff.recorder.assuming import Assuming
from tfdiff.recorder.beats import Beats
from tfdiff.recorder.imports import PostImport
from tfdiff.recorder.patching import Patches
from tfdiff.recorder.script import StopRecording, run_script
from tfdiff.recorder.seeds import seed_draws, seed_libraries
from tfdiff.recorder.session.variables import SessionVariables
from tfdiff.recorder.variables import Variables

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tfdiff.orders import RecordOptions
    from tfdiff.recorder.session.variables import RawRun

    Array = np.ndarray[Any, Any]


def observe(options: RecordOptions, seed: int, beats: int) -> int:
    """Run the script for so many `beats`; leave the values of its variables (by the order of their creation) and the
    last loss that an eager tape was asked about in `options.output`.
    """
    seed_libraries(seed)
    watch = _Watch(beats, seed, options)
    try:
        code = run_script(options.script, options.arguments, module=options.module)
    except StopRecording:
        code = 0
    finally:
        watch.close()
    if watch.values:
        loss = {} if watch.loss is None else {"loss": np.asarray(watch.loss)}
        np.savez(options.output, allow_pickle=False, **{str(k): v for k, v in watch.values.items()}, **loss)
    return code


@dataclass
class Seen:
    """What `observe` has left."""

    values: dict[int, Array] = field(default_factory=dict)
    loss: float | None = None


def seen(path: Path) -> Seen:
    """What `observe` has left; empty where it did not come that far."""
    with contextlib.suppress(OSError, ValueError), np.load(path, allow_pickle=False) as found:
        loss = float(found["loss"]) if "loss" in found else None
        return Seen({int(name): found[name] for name in found.files if name != "loss"}, loss)
    return Seen()


class _Watch:
    """The few hooks of this run."""

    def __init__(self, beats: int, seed: int, options: RecordOptions) -> None:
        self.values: dict[int, Array] = {}
        self.loss: float | None = None
        self._until = beats
        self._beats = Beats()
        self._seed = seed
        self._variables = Variables()
        self._busy = False
        self._thread = threading.get_ident()
        self._patches = Patches()
        folder = Path.cwd() if options.module else Path(options.script).resolve().parent
        self._assuming = Assuming(options.assume, folder)
        self._imports = PostImport({"tensorflow": self._on_tensorflow, **self._steps()})
        self._imports.install()

    def close(self) -> None:
        """Take the hooks back."""
        self._imports.remove()
        self._patches.undo()

    @property
    def _in_thread(self) -> bool:
        return threading.get_ident() == self._thread

    @property
    def _counts(self) -> bool:
        return not self._busy and self._in_thread

    @contextlib.contextmanager
    def _quiet(self) -> Iterator[None]:
        before, self._busy = self._busy, True
        try:
            yield
        finally:
            self._busy = before

    def _steps(self) -> dict[str, Callable[[Any], None]]:
        """What decides how many steps one execution makes is as it was while recording."""
        from tfdiff.recorder import keras_hooks, tf_keras_hooks

        def on_keras(_: Any) -> None:
            keras_hooks.one_step_each(self._patches, self._quiet)
            assumed.on_keras(self._assuming, self._patches)

        def on_tf_keras(_: Any) -> None:
            tf_keras_hooks.one_step_each(self._patches, self._quiet)
            assumed.on_tf_keras(self._assuming, self._patches)

        return {"keras": on_keras, "tf_keras": on_tf_keras}

    def _on_tensorflow(self, _module: Any) -> None:
        seed_draws(self._seed, self._patches)
        self._hook_variables()
        self._hook_ops()
        self._hook_functions()
        self._hook_sessions()
        self._hook_losses()
        assumed.on_tensorflow(self._assuming, self._patches)

    def _hook_variables(self) -> None:
        from tensorflow.python.ops import ref_variable, resource_variable_ops

        def make_init(original: Callable[..., Any]) -> Callable[..., Any]:
            def init(variable: Any, *args: Any, **kwargs: Any) -> None:
                original(variable, *args, **kwargs)
                self._variables.register(variable, None, None)

            return init

        self._patches.wrap(resource_variable_ops.BaseResourceVariable, "__init__", make_init)
        self._patches.wrap(ref_variable.RefVariable, "__init__", make_init)

    def _hook_ops(self) -> None:
        from tensorflow.python.framework import op_callbacks

        def callback(op_type: Any, inputs: Any, *_: Any, graph: Any = None, **_named: Any) -> None:
            kind = op_type.decode() if isinstance(op_type, bytes) else op_type
            if graph is None and self._in_thread and self._beats.op(kind, inputs, counts=not self._busy):
                self._look(self._eager_values)

        op_callbacks.add_op_callback(callback)
        self._patches.on_undo(lambda: op_callbacks.remove_op_callback(callback))

    def _hook_functions(self) -> None:
        from tensorflow.python.eager import context
        from tensorflow.python.eager.polymorphic_function import atomic_function

        def make_call(original: Callable[..., Any]) -> Callable[..., Any]:
            def call_flat(function: Any, *args: Any) -> Any:
                results = original(function, *args)
                if context.executing_eagerly() and self._counts:
                    self._beats.run()
                    self._look(self._eager_values)
                return results

            return call_flat

        self._patches.wrap(atomic_function.AtomicFunction, "call_flat", make_call)

    def _hook_sessions(self) -> None:
        from tensorflow.python.client import session

        def make_run(original: Callable[..., Any]) -> Callable[..., Any]:
            def _do_run(running: Any, handle: Any, targets: Any, fetches: Any, feeds: Any, *more: Any) -> Any:
                results = original(running, handle, targets, fetches, feeds, *more)
                if self._counts:
                    self._beats.run()
                    self._look(lambda: self._session_values(running.graph, _raw(running, self._quiet)))
                return results

            return _do_run

        def make_maker(original: Callable[..., Any]) -> Callable[..., Any]:
            def maker(running: Any, *args: Any, **kwargs: Any) -> Any:
                made = original(running, *args, **kwargs)

                def call(*arguments: Any, **options: Any) -> Any:
                    results = made(*arguments, **options)
                    if self._counts:
                        self._beats.run()
                        self._look(lambda: self._session_values(running.graph, _raw(running, self._quiet)))
                    return results

                return call

            return maker

        self._patches.wrap(session.BaseSession, "_do_run", make_run)
        for name in ("make_callable", "_make_callable_from_options"):  # they go past `_do_run`
            self._patches.wrap(session.BaseSession, name, make_maker)

    def _hook_losses(self) -> None:
        """The target of an eager tape, where it is one number."""
        from tensorflow.python.eager import backprop

        def make_gradient(original: Callable[..., Any]) -> Callable[..., Any]:
            def gradient(tape: Any, target: Any, *args: Any, **kwargs: Any) -> Any:
                if hasattr(target, "numpy") and np.size(target.numpy()) == 1:
                    self.loss = float(target.numpy())
                return original(tape, target, *args, **kwargs)

            return gradient

        self._patches.wrap(backprop.GradientTape, "gradient", make_gradient)

    def _look(self, values: Callable[[], dict[int, Array]]) -> None:
        """Where the time has come, note the values and end the script."""
        if self._beats.count == self._until:
            self._busy = True
            self.values = values()
            raise StopRecording

    def _eager_values(self) -> dict[int, Array]:
        found = {}
        for entry, variable in self._variables.alive():
            with contextlib.suppress(Exception):  # one without a value yet
                found[entry.index] = np.array(variable.numpy())
        return found

    def _session_values(self, graph: Any, raw: Any) -> dict[int, Array]:
        reader = SessionVariables(self._variables, graph, raw)
        values = reader.values(entry.token for entry, _ in reader.entries())
        return {entry.index: values[entry.token] for entry, _ in reader.entries() if entry.token in values}


def _raw(running: Any, quiet: Callable[[], contextlib.AbstractContextManager[None]]) -> RawRun:
    """A run of a session that is nobody's business."""

    def raw(targets: list[Any], fetches: list[Any], feeds: dict[Any, Any]) -> Any:
        with quiet():
            return running._do_run(None, targets, fetches, feeds, None, None)

    return raw
