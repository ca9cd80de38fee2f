"""An isolated pass: the reference's tensors over this run's own, so that every layer is judged by itself.

Here is decided what goes where; `joints.py` puts it there. What is this run's own is recorded first.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tfdiff.orders import GRADIENTS, Isolated
from tfdiff.pairing.pairs import pair_from_json
from tfdiff.pairing.variables import convert
from tfdiff.recorder.lockstep import Lockstep
from tfdiff.recorder.scaling import scaled_otherwise
from tfdiff.recorder.share import Wanted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tfdiff.model import Observation, Site
    from tfdiff.orders import Isolation, Joint, JointKey
    from tfdiff.pairing.pairs import VariablePair
    from tfdiff.recorder.recording import Recording
    from tfdiff.recorder.stream import Code
    from tfdiff.trace.reader import Block, Trace
    from tfdiff.trace.records import Record

    Array = np.ndarray[Any, Any]

Place = tuple[str, int, str | None, str | None, str | None]
"""A joint's key without its occurrence: op, output, layer, called, api."""

_LOOKED_AT = frozenset({"Softmax", "Sigmoid", "LogSoftmax"})
"""Ops behind which a loss of Keras' looks for the logits they were made of: nothing may come in between."""


def place_of(op_type: str, output: int, code: Code) -> Place:
    """Where a tensor of the forward pass stands."""
    return (op_type, output, code.layer, code.called, code.api)


def key_of(site: Site) -> JointKey:
    """What tells a joint."""
    return (site.op, site.output, site.layer, site.called, site.api, site.occurrence)


@dataclass(frozen=True)
class Handed:
    """Parts of the gradient of one of this run's variables: the reference's variable, and the way to this one."""

    shape: tuple[int, ...]
    pairs: tuple[Any, ...]


class Isolating:
    """Carries out an isolated pass of this run; `free` is its trace from before, from an equal start and then alone."""

    def __init__(self, reference: Trace, free: Trace, isolation: Isolation) -> None:
        self._reference = reference
        self.joints = isolation.joints
        self._places: dict[Place, dict[int, int]] = defaultdict(dict)
        self._left: dict[str, str] = {}
        for number, joint in enumerate(isolation.joints):
            if joint.b[0] in _LOOKED_AT:
                self.leave(f"the output of {joint.b[0]} ({joint.b[3]})", "the loss looks at the op in front of it")
                continue
            self._places[joint.b[:5]][joint.b[5]] = number
        pairs = [pair_from_json(entry) for entry in free.header.variable_pairs]
        pairs = [pair for pair in pairs if pair.a in reference.variables and pair.b in free.variables]
        self._lockstep = Lockstep(reference, free, pairs)
        self._gradients = {
            index: Handed(variable.shape, tuple(pair for pair in pairs if pair.b == index))
            for index, variable in free.variables.items()
            if any(pair.b == index for pair in pairs)
        }
        self._others = _Others(reference, free, pairs)
        self.hands_gradients = True
        """Whether the reference's gradients go on in the place of this run's."""
        reason = scaled_otherwise(reference, free)
        if reason is not None:
            self.hands_gradients = False
            self.leave(GRADIENTS, reason)
        for what, why in self._lockstep.left:
            self.leave(what, why)
        self._begun = -1
        self._began: set[int] = set()
        self._ran: Counter[Any] = Counter()
        self._seen: list[set[int]] = []
        """Per step the joints at which the reference's tensor went on."""
        self._unset: set[int] = set()

    def leave(self, what: str, why: str) -> None:
        """Name something that stays this run's own, once."""
        self._left.setdefault(what, why)

    # -- the start of a step ---------------------------------------------------------------------------------------

    def begin(self, step: int) -> dict[int, Wanted]:
        """A step begins: what to write over its variables, once."""
        if step <= self._begun or step >= self._reference.steps:
            return {}
        self._begun = step
        self._began.add(step)
        self._ran.clear()
        return self._lockstep.wanted(step)

    def begin_eagerly(self, step: int, recording: Recording) -> None:
        """The same for variables that live outside of sessions, which are written."""
        wanted = self.begin(step)
        if not wanted:
            return
        with recording.quiet():
            for entry, variable in recording.variables.alive():
                if entry.index in wanted and entry.graph is None:
                    own = variable.numpy()
                    if own.shape == wanted[entry.index].shape:
                        variable.assign(wanted[entry.index].over(own))

    # -- the forward pass ------------------------------------------------------------------------------------------

    def wants(self, place: Place) -> bool:
        """Whether any tensor of that place is a joint."""
        return place in self._places

    def next(self, place: Place) -> int:
        """How often the place came up before in this step."""
        self._ran[place] += 1
        return self._ran[place] - 1

    def joint(self, place: Place, occurrence: int) -> int | None:
        """The number of the joint there."""
        return self._places.get(place, {}).get(occurrence)

    def tensor(self, number: int, step: int, own: Array) -> Array | None:
        """The reference's tensor of a joint at that step, in the layout and dtype of this run's; None to leave it."""
        block, seen = self._find(number, step)
        if block is None or seen is None or not seen.stored:
            return None
        return _turned(block.array(seen.index), self.joints[number], own)

    def gradient(self, number: int, step: int, own: Array) -> Array | None:
        """The gradient of the reference's tensor of a joint at that step; None to leave this run's."""
        block, seen = self._find(number, step)
        if block is None or seen is None or not self.hands_gradients:
            return None
        found = [
            o for o in block.observations if o.site.role == "activation gradient" and o.of == seen.index and o.stored
        ]
        return _turned(block.array(found[0].index), self.joints[number], own) if len(found) == 1 else None

    def _find(self, number: int, step: int) -> tuple[Block | None, Observation | None]:
        if not 0 <= step < self._reference.steps:
            return None, None
        block = self._reference.step(step)
        wanted = self.joints[number].a
        return block, next((seen for seen in block.observations if seen.site.id == wanted), None)

    # -- gradients of weights --------------------------------------------------------------------------------------

    def hands(self, index: int | None, *, rows: bool = False) -> bool:
        """Whether something goes on in the place of the gradient of a variable (where it is `rows` of one)."""
        return self.hands_gradients and (index in self._gradients or (not rows and index in self._others.shapes))

    def weight_gradient(self, index: int, step: int, dtype: Any) -> Array | None:
        """What goes on for a variable of this run, dense: the reference's gradient, of one without a counterpart
        something as large; None to leave this run's.
        """
        handed = self._gradients.get(index)
        if not self.hands_gradients or not 0 <= step < self._reference.steps:
            return None
        if handed is None:
            return self._others.gradient(index, step, dtype)
        block = self._reference.step(step)
        whole = Wanted(handed.shape)
        for pair in handed.pairs:
            found = [
                seen
                for seen in block.observations
                if seen.site.role == "weight gradient" and seen.site.variable == pair.a and seen.stored
            ]
            if len(found) != 1:
                return None
            whole.parts.append((pair.b_part, convert(block.array(found[0].index), pair)))
        if not whole.complete:
            return None
        return np.asarray(whole.over(np.zeros(handed.shape, np.float64)), dtype)

    # -- afterwards ------------------------------------------------------------------------------------------------

    def check(self, step: int, records: Sequence[Record]) -> None:
        """A step was recorded: what it began with, and at which joints the reference's tensor really went on."""
        if step not in self._began and not self._began_alike(step, records):
            self._unset.add(step)
        numbers = {joint.b: number for number, joint in enumerate(self.joints)}
        seen: set[int] = set()
        for record in records:
            if record.site.role == "forced" and record.inputs and record.inputs[0] >= 0:
                own = records[record.inputs[0]]
                number = numbers.get(key_of(own.site))
                wanted = None if number is None else self.tensor(number, step, own.value)
                if number is not None and wanted is not None and _equal(wanted, record.value):
                    seen.add(number)
        self._seen.append(seen)

    def _began_alike(self, step: int, records: Sequence[Record]) -> bool:
        """Whether a step that could not be set (the second one in a call) read what it would have been given."""
        wanted = self._lockstep.wanted(step)
        read = {
            record.site.variable: record.value
            for record in reversed(records)  # of several reads the first
            if record.site.variable in wanted
            and record.site.role in ("weight", "state")
            and record.site.op
            and record.site.phase == "forward"
        }
        return bool(read) and all(
            index is None or _equal(np.asarray(wanted[index].over(value), value.dtype), value)
            for index, value in read.items()
        )

    def described(self) -> Isolated:
        """What the pass did."""
        steps = len(self._seen)
        missed = ((n, sum(n not in seen for seen in self._seen)) for n in range(len(self.joints)))
        unset = tuple(sorted(self._unset & set(range(steps))))
        left = tuple({"what": what, "why": why} for what, why in self._left.items())
        return Isolated(steps, self.joints, tuple((n, count) for n, count in missed if count), not unset, unset, left)


class _Others:
    """Gradients of variables without a counterpart: of what norm they are together in the reference.

    Clipping by the norm of all gradients would pass on to every weight how much larger or smaller this run's are.
    """

    def __init__(self, reference: Trace, free: Trace, pairs: Sequence[VariablePair]) -> None:
        self._reference = reference
        self._paired = {pair.a for pair in pairs}
        paired = {pair.b for pair in pairs}
        self.shapes = {index: free.variables[index].shape for index in _trained(free) if index not in paired}
        """Of this run's variables."""

    def gradient(self, index: int, step: int, dtype: Any) -> Array | None:
        """The same number throughout, so that all of these gradients have the reference's norm."""
        shape = self.shapes.get(index)
        if shape is None:
            return None
        norms = (norm for variable, norm in _norms(self._reference, step) if variable not in self._paired)
        total = sum(norm * norm for norm in norms)
        size = int(np.prod(shape)) * len(self.shapes)
        return np.full(shape, (total / max(size, 1)) ** 0.5, dtype)


def _trained(trace: Trace) -> set[int]:
    return {index for index, _ in _norms(trace, 0)} if trace.steps else set()


def _norms(trace: Trace, step: int) -> list[tuple[int, float]]:
    """Variables with a gradient in a step, and its norm."""
    seen = (o for o in trace.step(step).observations if o.site.role == "weight gradient")
    return [(o.site.variable, o.stats.norm) for o in seen if o.site.variable is not None]


def _turned(value: Array, joint: Joint, own: Array) -> Array | None:
    """A tensor of the reference's as this run has it; None where they are of another size."""
    if value.size != own.size or (joint.permutation is not None and len(joint.permutation) != value.ndim):
        return None
    turned = value if joint.permutation is None else np.transpose(value, joint.permutation)
    return np.ascontiguousarray(turned.reshape(own.shape)).astype(own.dtype)


def _equal(first: Array, second: Array) -> bool:
    return first.shape == second.shape and first.tobytes() == np.asarray(second, first.dtype).tobytes()
