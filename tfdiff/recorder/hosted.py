"""Values that the host decides while a compiled function runs: the reference's batches and draws.

One call of a function may hold many steps, in a loop or written out. Which one an execution belongs to follows from
how often its op ran in this call and how many gradient calls the graph has before it; ops without a dependence on
each other run in any order.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

from tfdiff.recorder.stream import RANDOM_OPS
from tfdiff.recorder.taps import replace_in_graph
from tfdiff.recorder.tensors import is_numeric

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

    from tfdiff.recorder.graphs import Program
    from tfdiff.recorder.recording import Recording
    from tfdiff.recorder.stream import Code

    Host = Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]]


class Hosted:
    """Puts host functions behind the ops of a graph whose outputs the reference decides."""

    def __init__(self, recording: Recording) -> None:
        self.recording = recording
        self._drawing: defaultdict[Any, set[int]] = defaultdict(set)
        """Per place that draws the graphs that have it."""

    def override(
        self, op_type: str, code: Code, outputs: list[Any], program: Program, feed: int
    ) -> tuple[list[int | None] | None, list[Any] | None]:
        """The taps of the own values, and the tensors that go on; None where nothing is replaced."""
        if not self.recording.share.active:
            return None, None
        tags: list[int | None] = []
        replaced = list(outputs)
        for index, tensor in enumerate(outputs):
            tags.append(None)
            host = self._host(op_type, code, index, tensor, program, feed) if is_numeric(tensor) else None
            if host is None:
                continue
            if op_type not in RANDOM_OPS:
                tags[index] = self.recording.taps.emit(tensor)
            replaced[index] = replace_in_graph(tensor, host)
        changed = any(a is not b for a, b in zip(replaced, outputs, strict=True))
        return (tags, replaced) if changed else (None, None)

    def _host(self, op_type: str, code: Code, index: int, tensor: Any, program: Program, feed: int) -> Host | None:
        share = self.recording.share
        if op_type in RANDOM_OPS:
            key = (op_type, code.layer, code.called, code.api)
            return self._draws(key, program) if share.wants_noise(key) else None
        feed_key = (op_type, code.called, feed, bool(self.recording.tapes), index)
        if not share.has_rule(feed_key):
            return None
        return self._batches(feed_key, program, fixed=bool(tensor.shape.rank) and tensor.shape[0] is not None)

    def _batches(self, key: tuple[Any, ...], program: Program, *, fixed: bool) -> Host:
        recording, place = self.recording, len(program.items)
        executions = _Executions()

        def value(own: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
            if not recording.training_call:
                return own
            before, passes = recording.programs.passes(program, place), recording.programs.passes(program)
            step = recording.builder.begun + executions.next(recording.call) * max(passes, 1) + before
            found = recording.share.feed(key, own, step, fixed=fixed)
            return own if found is None else found

        return value

    def _draws(self, key: tuple[Any, ...], program: Program) -> Host:
        recording, ordinal = self.recording, program.draws[key]
        program.draws[key] += 1
        graphs = self._drawing[key]
        graphs.add(id(program))
        executions = _Executions()

        def value(own: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
            if not recording.training_call:
                return own
            ran = executions.next(recording.call)
            # in several graphs (a function traced for two sizes of batches) only the order of execution is known
            place = ran * program.draws[key] + ordinal if len(graphs) == 1 else None
            found = recording.share.noise(key, own, place)
            return own if found is None else found

        return value


class _Executions:
    """Counts within one call of the outermost function."""

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()

    def next(self, call: int) -> int:
        """How often it ran before in this call."""
        if call not in self._counts:
            self._counts.clear()
        self._counts[call] += 1
        return self._counts[call] - 1
