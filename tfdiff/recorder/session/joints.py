"""An isolated pass in graphs of TensorFlow 1: here, and only here, something is added to the graph.

A tensor that is fed fetches as what was fed, so its own value would not be seen. The graph is split where it is built:
behind a tensor that may be a joint stands a host function, which hands the tensor on, or the reference's instead of it;
so it is with the gradients that a gradient call gives back.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tfdiff.orders import FORCED
from tfdiff.recorder.isolation import Place, place_of
from tfdiff.recorder.items import GraphOp
from tfdiff.recorder.recording import safe
from tfdiff.recorder.session.closure import ancestors
from tfdiff.recorder.tensors import is_numeric

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from tfdiff.recorder.handing import Handing
    from tfdiff.recorder.joints import Joints
    from tfdiff.recorder.recording import Recording
    from tfdiff.recorder.session.building import GradientCall
    from tfdiff.recorder.session.planning import RunPlan
    from tfdiff.recorder.stream import Code

    Array = np.ndarray[Any, Any]


@dataclass(eq=False)
class _Exchange:
    """A tensor of a graph that may be a joint."""

    place: Place
    maker: str
    """Name of the op that makes it."""
    joint: tuple[int, int] | None = None
    """Number of the joint that it is in the present run, and the step."""
    taken: deque[bool] = field(default_factory=deque)


class SessionJoints:
    """Puts the reference's tensors and gradients into graphs of TensorFlow 1."""

    def __init__(self, recording: Recording, joints: Joints, handing: Handing) -> None:
        self.recording = recording
        self._joints = joints
        self._handing = handing
        self._exchanges: list[_Exchange] = []
        self._gradients: list[GradientCall] = []
        """The gradient calls of the present run."""
        self._numbers: dict[int, dict[_Exchange, int]] = {}
        """By plan of a run: the number of the joint that each exchange is in it."""
        self._items: dict[int, dict[str, Any]] = {}
        joints.in_session = self._note

    @safe
    def built(self, item: GraphOp, outputs: Sequence[Any], items: dict[str, Any]) -> list[Any] | None:
        """An op was added to a graph; the tensors that go on, None for its own. `items`: what is known of the graph."""
        isolating = self.recording.isolating
        if isolating is None or not outputs:
            return None
        self._items[id(outputs[0].graph)] = items
        found = list(outputs)
        for index, own in enumerate(outputs):
            place = place_of(item.type, index, item.code)
            if not isolating.wants(place) or not is_numeric(own) or own.dtype._is_ref_dtype:
                continue
            if own.op._get_control_flow_context() is not None:
                isolating.leave(f"{item.type} ({item.code.called})", "it stands in a loop or a condition")
                continue
            found[index] = self._split(item, own, place, items)
        return found if any(a is not b for a, b in zip(found, outputs, strict=True)) else None

    def _split(self, item: GraphOp, own: Any, place: Place, items: dict[str, Any]) -> Any:
        exchange = _Exchange(place, own.op.name)
        self._exchanges.append(exchange)

        def host(value: Array) -> Array:
            isolating = self.recording.isolating
            found = isolating.tensor(*exchange.joint, value) if isolating is not None and exchange.joint else None
            exchange.taken.append(found is not None)
            return value if found is None else found

        def host_back(value: Array, _: Array) -> Array:
            isolating = self.recording.isolating
            found = isolating.gradient(*exchange.joint, value) if isolating is not None and exchange.joint else None
            return value if found is None or len(self._gradients) != 1 else found

        with self.recording.quiet():
            inner, other = self._joints.exchange(own, host, host_back, item.code)
        item.boundary = item.joint = True
        forced = GraphOp(FORCED, item.code, [own._id], [inner._id], [], [None], boundary=True, taken=exchange.taken)
        items[inner.op.name] = forced
        makers = self.recording.programs.of(own.graph).makers
        makers[inner._id] = makers[other._id] = forced
        return other

    def _note(self, own: Any, other: Any, code: Code) -> None:
        """A gradient goes on in the place of the own one."""
        items = self._items.get(id(other.graph))
        if items is not None:
            items[other.op.name] = GraphOp(FORCED, code, [own._id], [other._id], [], [None])

    def begin(self, plan: RunPlan) -> None:
        """A run begins that trains, or that does not."""
        if self.recording.isolating is None:
            return
        self._joints.forget()
        self._gradients = plan.gradients
        numbers = self._number(plan) if plan.gradients else {}
        for exchange in self._exchanges:
            number = numbers.get(exchange)
            exchange.joint = None if number is None else (number, self.recording.builder.begun)
            exchange.taken.clear()

    def _number(self, plan: RunPlan) -> dict[_Exchange, int]:
        """Which joint each exchange is: the occurrence counts in what the first loss is computed from."""
        isolating = self.recording.isolating
        if id(plan) not in self._numbers and isolating is not None:
            targets = [t.op for t in plan.gradients[0].targets if hasattr(t, "op")]
            forward = {op.name for op in ancestors(targets, plan.execution.fed)}
            known = {(exchange.maker, exchange.place[1]): exchange for exchange in self._exchanges}
            counts: Counter[Place] = Counter()
            found: dict[_Exchange, int] = {}
            for op in plan.execution.ops:
                for index in range(len(op.outputs)) if op.name in forward else ():
                    exchange = known.get((op.name, index))
                    if exchange is None:
                        continue
                    number = isolating.joint(exchange.place, counts[exchange.place])
                    counts[exchange.place] += 1
                    if number is not None:
                        found[exchange] = number
            self._numbers[id(plan)] = found
        return self._numbers[id(plan)]

    @safe
    def hand_on(self, call: GradientCall, indices: Sequence[int | None], gradients: Sequence[Any]) -> list[Any] | None:
        """What a gradient call gives back for variables of these indices; None for all of its own."""
        import tensorflow as tf

        isolating = self.recording.isolating
        if isolating is None:
            return None
        found = list(gradients)
        for number, (index, gradient) in enumerate(zip(indices, gradients, strict=True)):
            if index is None or gradient is None or not isolating.hands(index, rows=hasattr(gradient, "indices")):
                continue

            def dense(dtype: Any, index: int = index) -> Array | None:
                place = next((n for n, running in enumerate(self._gradients) if running is call), None)
                if self.recording.isolating is None or place is None:
                    return None
                return self.recording.isolating.weight_gradient(index, self.recording.builder.begun + place, dtype)

            with self.recording.quiet():
                found[number] = self._handing.replaced(index, gradient, dense, call.code, tf)
        return found
