"""One recording: the state that all hooks share, when it starts and when it stops.

The hooks (`tf_hooks`, `keras_hooks`) only translate; `eager`, `tracing`, `calls` and `passes` turn what they report
into events for the `StepBuilder`.
"""

from __future__ import annotations

import contextlib
import functools
import sys
import threading
from typing import TYPE_CHECKING, Any, TypeVar

from tfdiff.recorder.beats import Beats
from tfdiff.recorder.configurations import Configurations
from tfdiff.recorder.context import Context
from tfdiff.recorder.graphs import Programs
from tfdiff.recorder.numerics import numerics, switches
from tfdiff.recorder.script import StopRecording
from tfdiff.recorder.steps import StepBuilder
from tfdiff.recorder.taps import Taps
from tfdiff.recorder.variables import Variables

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tfdiff.recorder.frames import Call, Frames
    from tfdiff.recorder.graphs import Program
    from tfdiff.recorder.isolation import Isolating
    from tfdiff.recorder.output import Output
    from tfdiff.recorder.rowsource import RowSources
    from tfdiff.recorder.share import Share

T = TypeVar("T")


def safe(method: Callable[..., T]) -> Callable[..., T | None]:
    """A mistake in the recorder ends the recording with a message; the user's training goes on."""

    @functools.wraps(method)
    def wrapper(self: Any, *args: Any, **kwargs: Any) -> T | None:
        try:
            return method(self, *args, **kwargs)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is ours and not the script's
            self.recording.fail(error)
            return None

    return wrapper


class Recording:
    """The one recording that is going on in this process."""

    def __init__(self, frames: Frames, output: Output, share: Share, rows: RowSources) -> None:
        self.frames = frames
        self.context = Context(frames)
        self.configurations = Configurations()
        self.variables = Variables()
        self.programs = Programs()
        self.taps = Taps()
        self.output = output
        self.share = share
        self.rows = rows
        self.builder = StepBuilder(self.variables, self._emit, self._emit_eval)
        self.builder.evals.most_forwards = output.limit
        self.busy = False
        """True while tfdiff itself runs TensorFlow ops, which are nobody's business."""
        self.tapes: list[Any] = []
        self.started = False
        self.beats = Beats()
        self.at_forwards: list[Callable[[], object]] = []
        """What is to be noted besides when nothing trained and forward passes become the steps."""
        self.training_call = False
        """Whether the function that is running asks for gradients: only then batches and noise are written over."""
        self.call = 0
        """Number of the compiled function's execution that is running."""
        self.in_gradient = False
        """Whether a gradient call is running: what it asks for itself (recomputation) is part of it."""
        self.passes = 0
        """How many gradient calls the running function (or session run) makes."""
        self.outermost: Program | None = None
        """The program of the running function itself."""
        self.isolating: Isolating | None = None
        """What an isolated pass writes over; None in every other."""
        self.failed: str | None = None
        self._thread = threading.get_ident()
        self.elsewhere_seen: list[str] = []
        """Training runs that other threads made; said in the end, for the trace is written by this one."""
        self._last_call: tuple[Any, Any] = (None, None)

    @contextlib.contextmanager
    def quiet(self) -> Iterator[None]:
        """Ops of our own: neither recorded nor on the user's tapes."""
        before, self.busy = self.busy, True
        try:
            yield
        finally:
            self.busy = before

    @contextlib.contextmanager
    def differentiating(self) -> Iterator[None]:
        """A gradient call of the user's."""
        before, self.in_gradient = self.in_gradient, True
        try:
            yield
        finally:
            self.in_gradient = before

    @property
    def active(self) -> bool:
        """Whether what happens now is to be recorded."""
        return not self.busy and self.watching

    @property
    def watching(self) -> bool:
        """Whether a recording goes on in this thread, also while ops are nobody's business."""
        return not self.output.done and threading.get_ident() == self._thread

    @property
    def elsewhere(self) -> bool:
        """Whether a recording goes on, but in another thread than this one."""
        return not self.output.done and threading.get_ident() != self._thread

    @property
    def evaluating(self) -> bool:
        """Whether `evaluate` or its like is running: its batches and draws are never those of a training step."""
        return self.builder.evals.inside

    def _emit(self, step: Any) -> None:
        if not self.output.done:
            self.share.check(self.output.steps, step.records)
            self.output.beats = self.beats.count
            if self.isolating is not None:
                self.isolating.check(self.output.steps, step.records)
        self.output.step(step, self.variables, self.rows)

    def _emit_eval(self, records: Any) -> None:
        self.output.evaluation(records, self.variables)

    def begin_isolated(self) -> None:
        """A training step begins outside of sessions: in an isolated pass with the reference's variables."""
        if self.isolating is not None and not self.output.done:
            self.isolating.begin_eagerly(self.builder.begun, self)

    def end_isolation(self, what: str, why: str) -> None:
        """What comes now cannot be isolated: the pass ends here."""
        if self.isolating is not None:
            self.isolating.leave(what, why)
            self.output.done = self.output.stops = True
            self.check_stop()

    def check_stop(self) -> None:
        """End the script once its steps are recorded."""
        if self.output.done:
            self.finish()
            if self.output.stops:
                raise StopRecording

    def finish(self, *, complete: bool = True) -> None:
        """Close what is pending; of a run that failed, only a step whose update had begun."""
        for what in dict.fromkeys(self.elsewhere_seen):
            self.output.not_recorded(what, "another thread than the one that builds the graph makes them")
        if not complete and not self.builder.updated:
            self.builder.drop()
        if self.builder.waiting and not self.output.done:
            self.builder.finish()
        if not self.output.done:
            self.builder.close()
            self._forwards_as_steps()
        self._note_configurations()

    def saw(self, kind: str, path: str | None, thing: Any) -> None:
        """A layer or loss has run."""
        # in quiet, and whatever a strange object does is no reason to end a recording
        if self.active:
            with self.quiet(), contextlib.suppress(Exception):
                self.configurations.saw(kind, path or "", thing, self.context.source_of(thing))

    def _note_configurations(self) -> None:
        """Behind the last step, while what ran is still there; once."""
        if not self.output.configured:
            with self.quiet():
                self.output.configured = self.configurations.finish()

    def _forwards_as_steps(self) -> None:
        """Nothing trained: the forward passes are the steps."""
        forwards, self.builder.evals.forwards = self.builder.evals.forwards, None
        if forwards:
            self.start()
            for note in self.at_forwards:
                note()
        for step in forwards or ():
            self._emit(step)

    def fail(self, error: Exception) -> None:
        """Stop recording because of a mistake of ours."""
        self.failed = f"tfdiff failed: {type(error).__name__}: {error}"
        self.output.done = True
        self.output.stops = False
        print(
            f"tfdiff: recording stopped after {self.output.steps} steps, the script goes on; {self.failed}",
            file=sys.stderr,
        )

    def start(self) -> None:
        """The first training step is about to begin: note the initial values, or write the reference's over them."""
        if self.started:
            return
        self.started = True
        self.note_switches()
        with self.quiet():
            self.share.start(self.variables, self.output)

    def note_switches(self) -> None:
        """What rounding depends on, and how the program is run: known once TensorFlow is in use."""
        with self.quiet():
            self.output.update(numerics=numerics(), switches=switches())

    def late_variable(self, entry: Any, variable: Any) -> None:
        """A variable created after training began."""
        if self.started:
            with self.quiet():
                self.share.one(entry, variable, self.output)

    def mark_boundary(self, event: Any, call: Call) -> None:
        """The last op of an API call outside layers is worth keeping in full: known when the next call begins."""
        key = (call.key, event.code)
        last, last_key = self._last_call
        if last is not None and last_key != key:
            last.boundary = last.boundary or last.code.layer is None
        self._last_call = (event, key)

    def close_call(self) -> None:
        """A gradient call or the end of a function also ends the last API call."""
        last, _ = self._last_call
        if last is not None:
            last.boundary = last.boundary or last.code.layer is None
        self._last_call = (None, None)

    def layer_output(self, tensors: Sequence[Any]) -> None:
        """These tensors are what a layer returned; outside all layers, what a model returned."""
        outermost = not self.context.within("layer")
        for tensor in tensors:
            token = getattr(tensor, "_id", None)
            if token is None:
                continue
            graph = getattr(tensor, "graph", None) if not hasattr(tensor, "numpy") else None
            maker: Any = self.builder.known.maker(token) if graph is None else self.programs.of(graph).makers.get(token)
            if maker is not None:
                maker.boundary = True
                maker.result = maker.result or outermost
