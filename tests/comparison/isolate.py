"""An isolated pass of a program of `build.py`, as the recorder makes one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tfdiff.comparison.isolation import plan_isolation
from tfdiff.orders import Isolated
from tfdiff.trace.pack import pack
from tfdiff.trace.reader import open_trace
from tfdiff.trace.writer import TraceWriter

from . import build
from .recorder import Recorder

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from tfdiff.model import Observation
    from tfdiff.orders import Isolation, Joint
    from tfdiff.trace.reader import Trace

    Array = npt.NDArray[Any]


class Isolating(Recorder):
    """Puts a's tensors in the places of joints."""

    def __init__(self, inner: Recorder, a: Trace, isolation: Isolation, *, misplaced: bool) -> None:
        self.__dict__.update(inner.__dict__)
        self.a, self.number, self.misplaced = a, 0, misplaced
        self.joints = {joint.b: joint for joint in isolation.joints}
        self.forced: dict[int, Joint] = {}

    def op(self, part: str, op: str, value: Array, *inputs: int, last: bool = False) -> int:
        """Record b's own tensor, and where it is a joint a's behind it, which is what goes on."""
        at = super().op(part, op, value, *inputs, last=last)
        site = self.records[at].site
        joint = self.joints.get((site.op, site.output, site.layer, site.called, site.api, site.occurrence))
        if joint is None:
            return at
        given = value_of(self.a, self.number, lambda seen: seen.site.id == joint.a)
        given = given[::-1] if self.misplaced else given
        turned = given if joint.permutation is None else np.transpose(given, joint.permutation)
        about = {"layer": site.layer, "source": site.source, "called": site.called, "api": site.api}
        onward = self.put("forced", "forward", "Forced", turned.reshape(self.values[at].shape), (at,), **about)
        self.forced[onward] = joint
        return onward


class IsolatedNetwork(build.Network):
    """Runs the steps of a program on what the reference's trace has."""

    def isolate(self, a: Trace, isolation: Isolation, pairs: dict[int, int], *, misplaced: bool) -> None:
        """Take everything from `a` from now on; `pairs` leads from a variable of this program to a's."""
        self.a, self.pairs = a, pairs
        self.recorder = Isolating(self.recorder, a, isolation, misplaced=misplaced)

    def step(self, number: int) -> Any:
        """A step that begins with a's values."""
        self.recorder.number, self.recorder.forced = number, {}
        for name in self.values.keys() & {name for name, index in self.index.items() if index in self.pairs}:
            self.values[name] = self.a.value_after(self.pairs[self.index[name]], number - 1)
        return super().step(number)

    def onward(self, at: int, of: int) -> int:
        """A's gradient of a tensor that a's was written over."""
        joint = self.recorder.forced.get(of)
        if joint is None:
            return at
        block = self.a.step(self.recorder.number)
        own = next(seen.index for seen in block.observations if seen.site.id == joint.a)
        found = [seen for seen in block.observations if seen.of == own]
        if not found:
            return at
        value = block.array(found[0].index).reshape(self.recorder.values[at].shape)
        return self.recorder.put("operation", "backward", "Forced", value, (at,))

    def update(self, gradients: dict[str, Array]) -> None:
        """The update, made of a's gradients."""
        given = {}
        for name, own in gradients.items():
            variable = self.pairs[self.index[name]]
            wanted = [
                seen
                for seen in self.a.step(self.recorder.number).observations
                if seen.site.role == "weight gradient" and seen.site.variable == variable
            ]
            given[name] = self.a.step(self.recorder.number).array(wanted[0].index) if wanted else own
        super().update(given)


def value_of(trace: Trace, step: int, wanted: Any) -> Array:
    """The value of the only observation of a step that is wanted."""
    block = trace.step(step)
    found: list[Observation] = [seen for seen in block.observations if wanted(seen)]
    assert len(found) == 1
    return block.array(found[0].index)


def record_isolated(
    a: Path, b: Path, plan: build.Plan, reference: build.Plan, *, always: bool = False, misplaced: bool = False
) -> bool:
    """Plan an isolated pass and add it to b's trace; whether one was made.

    `misplaced`: with the rows of what is written over b's tensors the wrong way round.
    """
    with open_trace(a) as first, open_trace(b) as second:
        isolation = plan_isolation(first, second, always=always)
        if isolation is None:
            return False
        rows = [build.batch_rows(reference, step, 1) for step in range(plan.steps)]
        network = IsolatedNetwork(plan, "b.py", 2, rows)
        pairs = {pair["b"]: pair["a"] for pair in second.header.variable_pairs}
        # the places of the free run keep their numbers
        free = build.Network(plan, "b.py", 2, rows)
        free.snapshot(free.values)
        for step in range(plan.steps):
            free.step(step)
        network.recorder.sites = dict(free.recorder.sites)
        network.isolate(first, isolation, pairs, misplaced=misplaced)
        packed = [network.step(step) for step in range(plan.steps)]
    with TraceWriter.reopen(b) as writer:
        sites = {}
        for info, records in packed:
            writer.isolated(info, pack(records))
            sites |= {record.site.id: record.site for record in records}
        writer.isolation(Isolated(plan.steps, isolation.joints), sites.values())
    return True
