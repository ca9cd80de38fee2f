"""An isolated pass at work on tensors: at a joint this run's own tensor is seen, and the reference's goes on.

In eager code and at a tape's side the exchange is an operation of its own on the tape, from the own tensor to the
other; in a graph it is a host function whose gradient is another one. What the reference hands back goes on to the
op's own gradient, which is given the tensor that went on in eager code and its own one in a graph.
"""

from __future__ import annotations

import hashlib
from collections import Counter, deque
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from tfdiff.orders import FORCED
from tfdiff.recorder.isolation import Place, place_of
from tfdiff.recorder.items import GraphOp
from tfdiff.recorder.recording import safe
from tfdiff.recorder.stream import GradientBegin, OpEvent
from tfdiff.recorder.taps import replace_beside, replace_in_graph
from tfdiff.recorder.tensors import is_numeric

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tfdiff.recorder.graphs import Program
    from tfdiff.recorder.recording import Recording
    from tfdiff.recorder.stream import Code

    Array = np.ndarray[Any, Any]
    Host = Callable[[Array], Array]
    HostBack = Callable[[Array, Array], Array]
    """Own gradient and own tensor to the gradient that goes on."""

_LOOPS = frozenset({"WhileBodyFuncGraph", "WhileCondFuncGraph", "_WhileBodyGradFuncGraph"})


@dataclass
class _Exchange:
    """One op of a graph whose output may be a joint."""

    program: Program
    at: int
    """Number of items in the program before it."""
    group: tuple[int, int, Place]
    """What is counted together: program, gradient calls before it, place."""
    ordinal: int
    code: Code
    taken: deque[bool] = field(default_factory=deque)
    """Per execution that was not replayed yet: whether the reference's tensor went on."""
    forced: dict[bytes, tuple[int, int]] = field(default_factory=dict)
    """Joint and step of the executions in this step in which the reference's tensor went on, by the own one."""


class Joints:
    """Puts the reference's tensors in their places."""

    def __init__(self, recording: Recording) -> None:
        self.recording = recording
        self._unrecorded: dict[int, tuple[Any, Callable[..., Any]]] = {}
        """By the id of a tensor that went on: the own one, and the way back, until the op is on the tape."""
        self._counts: Counter[tuple[int, int, Place]] = Counter()
        self._ran: Counter[Any] = Counter()
        self._claims: dict[Place, int] = {}
        self._made: list[_Exchange] = []
        self._step = -1
        self.in_session: Callable[[Any, Any, Code], None] | None = None
        """Whom to tell of a tensor that goes on in a graph of TensorFlow 1."""

    # -- eager code ------------------------------------------------------------------------------------------------

    def eager(self, event: OpEvent, outputs: list[Any]) -> None:
        """An op has run and its event is noted; its outputs are exchanged in place."""
        self._unrecorded.clear()
        isolating = self.recording.isolating
        if isolating is None or not self.recording.tapes or self.recording.in_gradient or self.recording.evaluating:
            return
        for index, own in enumerate(outputs):
            place = place_of(event.type, index, event.code)
            if not isolating.wants(place):
                continue
            number, step = isolating.joint(place, isolating.next(place)), self.recording.builder.begun
            value = None if number is None or not is_numeric(own) else isolating.tensor(number, step, own.numpy())
            if number is not None and value is not None:
                outputs[index] = self._exchange_eagerly(event, own, value, (number, step))

    def _exchange_eagerly(self, event: OpEvent, own: Any, value: Array, joint: tuple[int, int]) -> Any:
        import tensorflow as tf
        from tensorflow.python import pywrap_tfe
        from tensorflow.python.eager import record

        with self.recording.quiet():
            other = tf.constant(value, own.dtype)

        def back(gradient: Any) -> list[Any]:
            return [self._hand_back_eagerly(gradient, joint, event.code)]

        if pywrap_tfe.TFE_Py_TapeSetShouldRecordBackprop([own]):
            record.record_operation(FORCED, [other], [own], back)
        else:  # ops that Python executes come onto the tape only behind the callback
            self._unrecorded[other._id] = (own, back)
        event.boundary = event.joint = True
        self.recording.builder.add(
            OpEvent(FORCED, event.code, [own._id], [other._id], [other], boundary=True, result=event.result)
        )
        return other

    def _hand_back_eagerly(self, gradient: Any, joint: tuple[int, int], code: Code) -> Any:
        import tensorflow as tf

        isolating = self.recording.isolating
        with self.recording.quiet():
            own = tf.convert_to_tensor(gradient)
            value = None if isolating is None else isolating.gradient(*joint, own.numpy())
            if value is None:
                return gradient
            other = tf.constant(value, own.dtype)
        if self.recording.active:
            self.recording.builder.add(OpEvent(FORCED, code, [own._id], [other._id], [other]))
        return other

    def recorded(self, outputs: Sequence[Any]) -> list[tuple[Any, Any, Callable[..., Any]]]:
        """Of the outputs of an op that comes onto a tape now: those that went on, the own ones, and the ways back."""
        if not self._unrecorded:
            return []
        return [(t, *self._unrecorded.pop(t._id)) for t in outputs if getattr(t, "_id", None) in self._unrecorded]

    # -- graphs ----------------------------------------------------------------------------------------------------

    @safe
    def traced(self, item: GraphOp, tensors: Sequence[Any], program: Program, graph: Any) -> list[Any] | None:
        """An op was added to a function's graph and its item to the program; the outputs that go on, None for all."""
        isolating = self.recording.isolating
        if isolating is None:
            return None
        found = list(tensors)
        for index, own in enumerate(tensors):
            place = place_of(item.type, index, item.code)
            if not isolating.wants(place) or not is_numeric(own):
                continue
            if _in_loop(graph):
                isolating.leave(f"{item.type} ({item.code.called})", "it stands in a loop")
                continue
            exchange = self._exchange_of(program, place, item.code)
            with self.recording.quiet():
                host = partial(self._host, exchange=exchange)
                _, other = self.exchange(own, host, partial(self._host_back, exchange=exchange), item.code)
                tag = self.recording.taps.emit(other)
            item.boundary = item.joint = True
            forced = GraphOp(
                FORCED, item.code, [own._id], [other._id], [tag], [None], boundary=True, taken=exchange.taken
            )
            program.items.append(forced)
            program.makers[other._id] = forced
            program.tensors[other._id] = other
            program.dependent.add(other._id)
            found[index] = other
        return found if any(a is not b for a, b in zip(found, tensors, strict=True)) else None

    def _exchange_of(self, program: Program, place: Place, code: Code) -> _Exchange:
        group = (id(program), sum(isinstance(item, GradientBegin) for item in program.items), place)
        self._counts[group] += 1
        made = _Exchange(program, len(program.items), group, self._counts[group] - 1, code)
        self._made.append(made)
        return made

    def forget(self) -> None:
        """What host functions have done so far belongs to runs that are not recorded."""
        for exchange in self._made:
            exchange.taken.clear()

    def exchange(self, own: Any, host: Host, host_back: HostBack, code: Code) -> tuple[Any, Any]:
        """Behind a tensor of a graph: that of the host function, and the one that goes on, which has a way back."""
        import tensorflow as tf
        from tensorflow.python.eager import execute

        inner: list[Any] = []

        def back(gradient: Any) -> Any:
            return self._hand_back(gradient, own, host_back, code)

        @tf.custom_gradient  # type: ignore[untyped-decorator, unused-ignore]
        def forced(tensor: Any) -> tuple[Any, Callable[[Any], Any]]:
            inner.append(replace_in_graph(tensor, host))
            return inner[0], back

        if not own.dtype.is_floating:
            replaced = replace_in_graph(own, host)
            return replaced, replaced
        other = forced(own)
        if execute.must_record_gradient():
            self._unrecorded[other._id] = (own, lambda gradient: [back(gradient)])
        return inner[0], other

    def _host(self, own: Array, exchange: _Exchange) -> Array:
        recording = self.recording
        step = self._step_of(exchange) if recording.training_call else None
        found = None if step is None else self._next(exchange, step, own)
        exchange.taken.append(found is not None)
        return own if found is None else found

    def _next(self, exchange: _Exchange, step: int, own: Array) -> Array | None:
        isolating, place = self.recording.isolating, exchange.group[2]
        if isolating is None:
            return None
        self._turn(step)
        if self._claims.setdefault(place, exchange.group[0]) != exchange.group[0]:
            return None  # two functions run the same lines in one step: which of them comes first is not known
        ran = self._ran[exchange.group, exchange.ordinal]
        self._ran[exchange.group, exchange.ordinal] += 1
        number = isolating.joint(place, ran * self._counts[exchange.group] + exchange.ordinal)
        value = None if number is None else isolating.tensor(number, step, own)
        if not ran:
            exchange.forced.clear()
        if number is not None and value is not None:
            exchange.forced[_digest(own)] = (number, step)
        return value

    def _turn(self, step: int) -> None:
        if step != self._step:
            self._step = step
            self._ran.clear()
            self._claims.clear()

    def _step_of(self, exchange: _Exchange) -> int | None:
        """The step that an execution belongs to, None where the call makes several and it is not seen which."""
        recording = self.recording
        if recording.passes <= 1:
            return recording.builder.begun
        if recording.outermost is not exchange.program:
            return None
        return recording.builder.begun + recording.programs.passes(exchange.program, exchange.at)

    def _hand_back(self, gradient: Any, tensor: Any, host_back: HostBack, code: Code) -> Any:
        """In a graph: the reference's gradient in the place of the own one, which is recorded where it arrives."""
        import tensorflow as tf

        isolating = self.recording.isolating
        if isolating is None or not isolating.hands_gradients:
            return gradient
        with self.recording.quiet():
            own = tf.convert_to_tensor(gradient)
            other = replace_beside(own, tensor, host_back)
        self.note(own, other, code)
        return other

    def _host_back(self, own: Array, tensor: Array, exchange: _Exchange) -> Array:
        isolating = self.recording.isolating
        if isolating is None or not (self.recording.training_call or self.recording.in_gradient):
            return own
        joint = exchange.forced.get(_digest(tensor))
        found = None if joint is None else isolating.gradient(*joint, own)
        return own if found is None else found

    def note(self, own: Any, other: Any, code: Code) -> None:
        """A tensor of the backward pass or a gradient goes on in the place of the own one: for the dataflow."""
        graph = other.graph
        if not hasattr(graph, "captures"):
            if self.in_session is not None:
                self.in_session(own, other, code)
            return
        program = self.recording.programs.of(graph)
        with self.recording.quiet():
            tag = self.recording.taps.emit(other)
        item = GraphOp(FORCED, code, [own._id], [other._id], [tag], [None])
        program.items.append(item)
        program.makers[other._id] = item


def _digest(tensor: Array) -> bytes:
    return hashlib.blake2b(np.ascontiguousarray(tensor).tobytes(), digest_size=16).digest()


def _in_loop(graph: Any) -> bool:
    while graph is not None:
        if type(graph).__name__ in _LOOPS:
            return True
        graph = getattr(graph, "outer_graph", None)
    return False
