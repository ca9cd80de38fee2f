"""Executions of compiled functions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tfdiff.recorder.recording import safe
from tfdiff.recorder.stream import Event, OpEvent, Token
from tfdiff.recorder.tensors import is_numeric

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tfdiff.recorder.eager import Eager
    from tfdiff.recorder.recording import Recording


class Calls:
    """What happens before and after a compiled function runs."""

    def __init__(self, recording: Recording, eager: Eager) -> None:
        self.recording = recording
        self._eager = eager

    @safe
    def before(self, name: str) -> None:
        """A compiled function is about to run."""
        trains = self.recording.programs.trains(name)
        forward = self.recording.share.forward_only
        self.recording.training_call = trains or bool(self.recording.tapes) or forward
        if forward and self.recording.programs.reads(name):
            self.recording.start()
        self.recording.call += 1
        self.recording.share.begin_call()
        if trains:
            self.recording.start()
            if self.recording.builder.updated:
                self.recording.builder.finish()
                self.recording.check_stop()
        self._isolate(name, trains=trains)
        if self.recording.programs.get(name) is None:
            self.recording.output.not_recorded(
                name, "it was traced before recording began; call it for the first time inside"
            )

    def _isolate(self, name: str, *, trains: bool) -> None:
        """In an isolated pass: where each step of the call stands, and what the first one starts from."""
        recording = self.recording
        function = recording.programs.get(name)
        if recording.isolating is None or function is None:
            return
        recording.outermost, recording.passes = function.program, recording.programs.passes(function.program)
        if not trains:
            return
        if recording.programs.loops(name):
            what = f"the training loop inside the function called at {recording.frames.here().called}"
            recording.end_isolation(what, "its steps follow one another without coming back to Python")
        recording.begin_isolated()

    @safe
    def after(self, name: str, arguments: Sequence[Any], results: Sequence[Any]) -> None:
        """A compiled function has run: replay it."""
        with self.recording.quiet():
            values = self.recording.taps.drain()
        function = self.recording.programs.get(name)
        if function is None:
            return
        trains, self.recording.training_call = self.recording.programs.trains(name), False
        self.recording.close_call()
        self._eager.leaves(arguments, self.recording.context.code(self.recording.frames.here()))
        sink = self.recording.builder.add if trains or self.recording.tapes else self._outside()
        given = [self.recording.builder.known.resolve(t._id) for t in arguments]
        outputs = self.recording.programs.replay(function, given, values, sink)
        for tensor, token in zip(results, outputs, strict=False):
            self._result(tensor, token)
        if trains:
            self.recording.builder.reset_occurrences()
            if self.recording.builder.applied:
                self.recording.builder.finish()
            self.recording.check_stop()
        else:
            self.recording.builder.flush_eval()

    def _outside(self) -> Callable[[Event], None]:
        """Take events of a function that trains nothing, called outside every tape: perhaps an evaluation."""
        stack = self.recording.frames.stack()

        def add(event: Event) -> None:
            if isinstance(event, OpEvent):
                event.taped, event.stack = False, stack
            self.recording.builder.add(event)

        return add

    def _result(self, tensor: Any, token: Token) -> None:
        """What a function returned is what an op in it made; where no tap saw that one, its value is seen here."""
        if self.recording.builder.known.has_value(token):
            self.recording.builder.known.alias(tensor._id, token)
        elif is_numeric(tensor):
            code = self.recording.context.code(self.recording.frames.here())
            self.recording.builder.add(OpEvent("Result", code, [token], [tensor._id], [tensor]))
