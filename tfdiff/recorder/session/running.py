"""What happens around one `Session.run`: which tensors are asked for besides, and what is fed in the place of what."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from tfdiff.recorder.recording import safe
from tfdiff.recorder.session.closure import ancestors, depends_on_variables, is_pure
from tfdiff.recorder.session.feeding import Feeding
from tfdiff.recorder.session.planning import Planner, RunPlan, interesting
from tfdiff.recorder.session.replay import Ran, Replay
from tfdiff.recorder.session.variables import SessionVariables
from tfdiff.recorder.stream import RANDOM_OPS, EvalBegin, EvalEnd

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tfdiff.recorder.recording import Recording
    from tfdiff.recorder.session.building import Building
    from tfdiff.recorder.session.joints import SessionJoints
    from tfdiff.recorder.session.variables import RawRun
    from tfdiff.recorder.stream import Token
    from tfdiff.recorder.variables import Entry


_MOST_BYTES = 256 << 20
"""Bytes of the tensors inside an evaluation beyond which only its results are asked for."""


@dataclass(slots=True)
class Prepared:
    """One run, ready to go."""

    plan: RunPlan
    ran: Ran
    extra: list[Any]
    """Tensors to fetch besides."""
    feeds: dict[Any, Any]
    """Everything to feed, by `tensor.ref()`."""
    fetched: list[Any]
    """What the script itself fetches."""


class Sessions:
    """The runs of the sessions of one recording."""

    def __init__(self, recording: Recording, building: Building, joints: SessionJoints) -> None:
        self.recording = recording
        self._building = building
        self._joints = joints
        self._planner = Planner(recording, building)
        self._feeding = Feeding(recording, building)
        self._elsewhere: set[Any] = set()
        self._refused: tuple[RunPlan, str] | None = None

    def run(
        self, graph: Any, raw: RawRun, main: RawRun, targets: list[Any], fetches: list[Any], feeds: Any
    ) -> list[Any]:
        """Do a run of the script's (`main`) with what is read and fed besides; returns what the script fetches."""
        prepared = self.prepare(graph, raw, targets, fetches, feeds)
        if prepared is None:
            results = main(targets, fetches, feeds)
            self._say_refused()
            return results
        self.recording.training_call = bool(prepared.plan.gradients)
        self._joints.begin(prepared.plan)
        given = {key.deref()._id: value for key, value in prepared.feeds.items()}
        asked = [t for t in fetches if t._id not in given]  # what is fed cannot be fetched as well
        try:
            results = main([*targets, *prepared.plan.calls], [*asked, *prepared.extra], prepared.feeds)
        finally:
            self.recording.training_call = False
        self.record(graph, raw, prepared, results[len(asked) :])
        if prepared.plan.kind == "train":
            made = [value for t, value in zip(asked, results, strict=False) if depends_on_variables(t)]
            self._feeding.handed_out(made)
        found = {t._id: value for t, value in zip(asked, results, strict=False)} | given
        return [found[t._id] for t in fetches]

    def elsewhere(self, graph: Any, targets: list[Any]) -> None:
        """Another thread runs the session: it is not recorded, which is worth a word where it trains."""
        key = (id(graph), *(op.name for op in targets))
        if key not in self._elsewhere:
            self._elsewhere.add(key)
            if any("Apply" in op.type for op in ancestors(targets, frozenset())):
                self.recording.elsewhere_seen.append(f"training runs at {self.recording.frames.here().called}")

    @safe
    def prepare(self, graph: Any, raw: RawRun, targets: list[Any], fetches: list[Any], feeds: Any) -> Prepared | None:
        """Get ready for a run that trains or writes variables; None for one that is left alone."""
        import tensorflow as tf

        self._refused = None
        plan = self._planner.plan(graph, targets, fetches, feeds)
        if not plan.gradients:
            self._say_built_before(plan, graph)
        if plan.kind == "fill":
            self.recording.rows.add("dataset", self.recording.frames.here().called, list(feeds.values()))
        if plan.kind in ("other", "fill") or (plan.kind == "update" and not self.recording.started):
            return None
        variables = SessionVariables(self.recording.variables, graph, raw)
        if plan.kind == "train":
            self._begin(variables)
        elif plan.kind == "evaluate":
            self._begin_pass(variables)
        try:
            return self._ready(plan, raw, variables, fetches, feeds)
        except tf.errors.OpError as error:  # mostly the script's own, and its own run will raise it as well
            self._refused = (plan, type(error).__name__)
            return None

    def _say_refused(self) -> None:
        """The script's run went well, what recording asked for before it did not."""
        if self._refused is not None:
            (plan, error), self._refused = self._refused, None
            place = self.recording.frames.here().called
            what = "training run" if plan.kind == "train" else "run"
            self.recording.output.not_recorded(f"a {what} at {place}", f"asking for its values raised {error}")

    def _say_built_before(self, plan: RunPlan, graph: Any) -> None:
        if not self._building.of(graph).gradients and any("Apply" in op.type for op in plan.execution.ops):
            place = self.recording.frames.here().called
            why = "its gradients were asked for before recording began; build the graph inside"
            self.recording.output.not_recorded(f"the training graph that runs at {place}", why)

    def _begin(self, variables: SessionVariables) -> None:
        if self.recording.builder.updated:
            self.recording.builder.finish()
            self.recording.check_stop()
        if not self.recording.started:
            self.recording.note_switches()
        self.recording.started = True
        self.recording.call += 1
        self.recording.share.begin_call()
        self._start(variables)
        if self.recording.isolating is not None and not self.recording.output.done:
            wanted = self.recording.isolating.begin(self.recording.builder.begun)
            found = [(entry, v) for entry, v in variables.entries() if entry.index in wanted]
            values = variables.values(entry.token for entry, _ in found)
            for entry, variable in found:
                if entry.token in values and values[entry.token].shape == wanted[entry.index].shape:
                    variables.write(variable, wanted[entry.index].over(values[entry.token]))

    def _begin_pass(self, variables: SessionVariables) -> None:
        if self.recording.builder.updated:
            self.recording.builder.finish()
            self.recording.check_stop()
        if self.recording.share.forward_only:
            self._start(variables)
        elif not self.recording.started and not self.recording.at_forwards:
            # should nothing train, the values of now are the initial ones
            known = _present(variables)
            self.recording.at_forwards.append(lambda: self.recording.share.note(known, self.recording.output))

    def _start(self, variables: SessionVariables) -> None:
        known = _present(variables)
        for variable, value in self.recording.share.note(known, self.recording.output) if known else ():
            variables.write(variable, value)

    def _ready(
        self, plan: RunPlan, raw: RawRun, variables: SessionVariables, fetches: Sequence[Any], feeds: Any
    ) -> Prepared:
        ran = plan.execution
        values, dead = self._known_before(plan, raw, feeds)
        before = variables.values(plan.read)
        self._say_unseen(plan, values, dead)
        code = self.recording.context.code(self.recording.frames.here())
        fed = self._feeding.feed(plan, dead, raw, feeds)
        # Python marks what stands in branches as not fetchable; the runtime hands out whatever comes to life
        extra = [t for t in interesting(plan, dead) if t._id not in fed.tokens]
        if plan.kind == "evaluate" and _bytes(extra, feeds) > _MOST_BYTES:
            extra = [t for t in extra if any(t is fetched for fetched in fetches)]
            why = f"its tensors would take more than {_MOST_BYTES >> 20} MB; what the run returns is recorded"
            self.recording.output.not_recorded(f"the inside of the evaluation at {code.called}", why)
        extra += [t for t in plan.settings if t._id not in values]
        done = Ran(
            ran,
            dead,
            fed.script,
            code,
            values,
            before,
            {},
            fed.numbers,
            fed.draws,
            fed.own,
            plan.gradients,
            plan.applies,
        )
        return Prepared(plan, done, extra, fed.feeds, list(fetches))

    def _known_before(self, plan: RunPlan, raw: RawRun, feeds: Any) -> tuple[dict[Token, Any], set[Token]]:
        """Conditions and settings that can be asked for before the run, and the tensors that it leaves dead.

        A condition inside another one's branch has a value only where that branch is taken: one level after the other.
        """
        ran = plan.execution
        values = {key.deref()._id: value for key, value in feeds.items()}
        dead = ran.dead({})
        while True:
            taken = {t._id: bool(values[t._id]) for t in ran.conditions if np.size(values.get(t._id, ())) == 1}
            dead = ran.dead(taken)
            wanted = (*ran.conditions, *plan.settings)
            asked = {t._id: t for t in wanted if t._id not in dead and t._id not in values and is_pure(t, ran.fed)}
            if not asked:
                return values, dead
            values.update(zip(asked, raw([], list(asked.values()), feeds), strict=True))

    def _say_unseen(self, plan: RunPlan, values: dict[Token, Any], dead: set[Token]) -> None:
        loops = [op for op in plan.execution.ops if op.name in plan.execution.looping and op.type == "NextIteration"]
        if loops:
            self.recording.output.not_recorded(
                "ops inside a while loop of control flow v1",
                "a session cannot hand out tensors of single iterations; what enters and leaves the loop is recorded "
                "(tf.compat.v1.enable_control_flow_v2() makes loops that can be seen)",
            )
        if any(op.type in RANDOM_OPS and op.name in plan.execution.looping for op in plan.execution.ops):
            self.recording.output.not_shared("noise inside a while loop of control flow v1", "it cannot be fed")
        if any(t._id not in values and t._id not in dead for t in plan.execution.conditions):
            self.recording.output.not_recorded(
                "branches of a condition of control flow v1 that hangs on a draw or on the next batch",
                "which one is taken is not known before the run; what leaves the condition is recorded",
            )

    @safe
    def record(self, graph: Any, raw: RawRun, prepared: Prepared, fetched: Sequence[Any]) -> None:
        """The run is over: hand its events on, and stop where its steps were the last ones wanted."""
        ran, plan = prepared.ran, prepared.plan
        ran.values.update((t._id, value) for t, value in zip(prepared.extra, fetched, strict=True))
        ran.values.update((key.deref()._id, value) for key, value in prepared.feeds.items())
        ran.after = SessionVariables(self.recording.variables, graph, raw).values(plan.written)
        self.recording.close_call()
        replay = Replay(self.recording, self._building, ran)
        if plan.kind == "evaluate":
            self.recording.builder.add(EvalBegin("run", ran.code, self.recording.frames.stack()))
            replay.send(self.recording.builder.add)
            self.recording.builder.add(EvalEnd([replay.token(t._id) for t in prepared.fetched]))
            return
        replay.send(self.recording.builder.add)
        if plan.kind == "train":
            self.recording.builder.reset_occurrences()
        if self.recording.builder.applied:
            self.recording.builder.finish()
        self.recording.check_stop()


def _present(variables: SessionVariables) -> list[tuple[Entry, Any, np.ndarray[Any, Any]]]:
    """The variables of a session whose initial value has not been noted, with their value now."""
    entries = [(entry, variable) for entry, variable in variables.entries() if not entry.noted]
    values = variables.values(entry.token for entry, _ in entries)
    return [(entry, variable, values[entry.token]) for entry, variable in entries if entry.token in values]


def _bytes(tensors: Sequence[Any], feeds: Any) -> int:
    """About how much these tensors take: an unknown extent is taken for the number of rows that are fed."""
    rows = max((len(value) for value in feeds.values() if getattr(value, "ndim", 0)), default=1)
    total = 0
    for tensor in tensors:
        extents = tensor.shape.as_list() if tensor.shape.rank is not None else [None]
        total += prod(rows if extent is None else extent for extent in extents) * tensor.dtype.size
    return total
