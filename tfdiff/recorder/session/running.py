"""What happens around one `Session.run`: which tensors are asked for besides, and what is fed in the place of what."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from tfdiff.pairing.noise import convert_draw, draw_target
from tfdiff.recorder import attributes
from tfdiff.recorder.graphs import GraphCall
from tfdiff.recorder.recording import safe
from tfdiff.recorder.session.closure import (
    Execution,
    acts,
    ancestors,
    execution,
    is_pure,
    is_ref_update,
    stands_for_variable,
    variable_of,
)
from tfdiff.recorder.session.replay import Feed, Ran, Replay
from tfdiff.recorder.session.variables import SessionVariables
from tfdiff.recorder.stream import ALIAS_OPS, CONTROL_OPS, LEAF, NEXT_OPS, RANDOM_OPS, SKIPPED_OPS, is_update
from tfdiff.recorder.tensors import is_numeric, tensors_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tfdiff.recorder.recording import Recording
    from tfdiff.recorder.session.building import ApplyCall, Building, GradientCall
    from tfdiff.recorder.session.variables import RawRun
    from tfdiff.recorder.stream import Token


@dataclass(slots=True)
class RunPlan:
    """What runs of the same fetches and feeds have in common."""

    execution: Execution
    gradients: list[GradientCall]
    """The gradient calls that are steps."""
    applies: list[ApplyCall]
    written: list[Token]
    """Handles of the variables it writes."""
    read: list[Token]
    """Handles of variables that are read without an op of their own."""
    settings: list[Any]
    """Learning rates and iteration counts that are tensors."""


@dataclass(slots=True)
class Prepared:
    """One run, ready to go."""

    plan: RunPlan
    ran: Ran
    extra: list[Any]
    """Tensors to fetch besides."""
    feeds: dict[Any, Any]
    """Everything to feed, by `tensor.ref()`."""


@dataclass(slots=True)
class _Shared:
    feeds: dict[Any, Any] = field(default_factory=dict)
    own: dict[Token, Any] = field(default_factory=dict)


class Sessions:
    """The runs of the sessions of one recording."""

    def __init__(self, recording: Recording, building: Building) -> None:
        self.recording = recording
        self._building = building
        self._plans: dict[Any, RunPlan] = {}

    def run(
        self, graph: Any, raw: RawRun, main: RawRun, targets: list[Any], fetches: list[Any], feeds: Any
    ) -> list[Any]:
        """Do a run of the script's (`main`) with what is read and fed besides; returns what the script fetches."""
        prepared = self.prepare(graph, raw, targets, fetches, feeds)
        if prepared is None:
            return main(targets, fetches, feeds)
        self.recording.training_call = bool(prepared.plan.gradients)
        try:
            results = main(targets, [*fetches, *prepared.extra], prepared.feeds)
        finally:
            self.recording.training_call = False
        self.record(graph, raw, prepared, results[len(fetches) :])
        return results[: len(fetches)]

    @safe
    def prepare(self, graph: Any, raw: RawRun, targets: list[Any], fetches: list[Any], feeds: Any) -> Prepared | None:
        """Get ready for a run that trains or writes variables; None for one that is left alone."""
        import tensorflow as tf

        plan = self._plan(graph, targets, fetches, feeds)
        if not plan.gradients and not (self.recording.started and plan.written):
            return None
        variables = SessionVariables(self.recording.variables, graph, raw)
        if plan.gradients:
            self._begin(variables)
        try:
            return self._ready(plan, raw, variables, feeds)
        except tf.errors.OpError:
            return None  # the script's own run will say what is wrong

    def _begin(self, variables: SessionVariables) -> None:
        if self.recording.builder.updated:
            self.recording.builder.finish()
            self.recording.check_stop()
        self.recording.started = True
        entries = [(entry, variable) for entry, variable in variables.entries() if not entry.noted]
        if not entries:
            return
        values = variables.values(entry.token for entry, _ in entries)
        known = [(entry, variable, values[entry.token]) for entry, variable in entries if entry.token in values]
        for variable, value in self.recording.share.note(known, self.recording.output):
            variables.write(variable, value)

    # -- what a run is ---------------------------------------------------------------------------------------------

    def _plan(self, graph: Any, targets: Sequence[Any], fetches: Sequence[Any], feeds: Any) -> RunPlan:
        fed = frozenset(key.deref()._id for key in feeds)
        names = (tuple(op.name for op in targets), tuple(t.name for t in fetches))
        key = (id(graph), self._building.of(graph).count(), *names, fed)
        if key not in self._plans:
            self._plans[key] = self._make_plan(graph, targets, fetches, fed)
        return self._plans[key]

    def _make_plan(self, graph: Any, targets: Sequence[Any], fetches: Sequence[Any], fed: frozenset[Token]) -> RunPlan:
        notes = self._building.of(graph)
        ran = execution(fetches, targets, fed, notes.numbered())
        executed = {op.name for op in ran.ops}
        updates = [op for op in ran.ops if self._writes(op)]
        written = {variable_of(t) for op in updates for t in op.inputs if stands_for_variable(t)}
        steps = [call for call in notes.gradients if self._is_step(call, notes.gradients, executed, updates, graph)]
        losses = [t for call in steps for t in call.targets if hasattr(t, "op") and t._id not in fed]
        executed_too = [t for t in losses if all(op.name in executed or not acts(op) for op in ancestors([t.op], fed))]
        # a backward pass does not need the loss itself: ask for it
        ran = execution([*fetches, *executed_too], targets, fed, notes.order)
        applies = [
            call for call in notes.applies if any(call.begin <= notes.order[op.name] < call.end for op in updates)
        ]
        settings = [v for call in applies for v in (call.rate, call.iterations) if hasattr(v, "_id")]
        return RunPlan(ran, steps, applies, sorted(written), _read_handles(ran, written), settings)

    def _writes(self, op: Any) -> bool:
        """Whether the op, or a function it runs, writes a variable."""
        if op.type in CONTROL_OPS:
            return self.recording.programs.writes(GraphCall(None, [], [], op))
        return is_update(op.type) or is_ref_update(op)

    def _is_step(
        self, call: GradientCall, calls: Sequence[GradientCall], executed: set[str], updates: Sequence[Any], graph: Any
    ) -> bool:
        """Whether the run executes this backward pass as a step: its gradients reach an update or nothing ever updates.

        An inner pass whose gradients feed the loss of another one is forward.
        """
        results = _results(call)
        if not results & executed:
            return False
        later = [other for other in calls if other.begin >= call.end and _results(other) & executed]
        others = [t.op for other in later for t in other.targets if hasattr(t, "op")]
        if others and results & {op.name for op in ancestors(others, frozenset())}:
            return False
        if results & {op.name for op in ancestors(list(updates), frozenset())}:
            return True
        everything = [op for op in graph.get_operations() if self._writes(op)]
        return not results & {op.name for op in ancestors(everything, frozenset())}

    # -- before ----------------------------------------------------------------------------------------------------

    def _ready(self, plan: RunPlan, raw: RawRun, variables: SessionVariables, feeds: Any) -> Prepared:
        ran = plan.execution
        asked = [t for t in (*ran.conditions, *plan.settings) if is_pure(t, ran.fed)]
        asked = list({t._id: t for t in asked if t._id not in ran.fed}.values())
        values = {t._id: v for t, v in zip(asked, raw([], asked, feeds) if asked else [], strict=True)}
        values |= {key.deref()._id: value for key, value in feeds.items()}
        before = variables.values(plan.read)
        dead = ran.dead({t._id: bool(values[t._id]) for t in ran.conditions if t._id in values})
        self._say_unseen(plan, values)
        code = self.recording.context.code(self.recording.frames.here())
        shared = _Shared(dict(feeds))
        fed = [
            self._feed(key.deref(), value, number, plan, shared) for number, (key, value) in enumerate(feeds.items())
        ]
        if plan.gradients and self.recording.share.active:
            self._share_sources(plan, dead, raw, feeds, shared)
            self._share_noise(plan, dead, shared)
        # Python marks what stands in branches as not fetchable; the runtime hands out whatever comes to life
        fed_ids = {key.deref()._id for key in shared.feeds}
        extra = [t for t in _interesting(plan, dead) if t._id not in fed_ids]
        extra += [t for t in plan.settings if t._id not in values]
        done = Ran(ran, dead, fed, code, values, before, {}, shared.own, plan.gradients, plan.applies)
        return Prepared(plan, done, extra, shared.feeds)

    def _say_unseen(self, plan: RunPlan, values: dict[Token, Any]) -> None:
        loops = [op for op in plan.execution.ops if op.name in plan.execution.looping and op.type == "NextIteration"]
        if loops:
            self.recording.output.not_recorded(
                "ops inside a while loop of control flow v1",
                "a session cannot hand out tensors of single iterations; what enters and leaves the loop is recorded "
                "(tf.compat.v1.enable_control_flow_v2() makes loops that can be seen)",
            )
        if any(op.type in RANDOM_OPS and op.name in plan.execution.looping for op in plan.execution.ops):
            self.recording.output.not_shared("noise inside a while loop of control flow v1", "it cannot be fed")
        if any(t._id not in values for t in plan.execution.conditions):
            self.recording.output.not_recorded(
                "branches of a condition of control flow v1 that hangs on a draw or on the next batch",
                "which one is taken is not known before the run; what leaves the condition is recorded",
            )

    def _feed(self, tensor: Any, value: Any, number: int, plan: RunPlan, shared: _Shared) -> Feed:
        """A tensor the script feeds, with the reference's rows in it where they are shared."""
        attrs: dict[str, Any] = {}
        own = None
        if isinstance(value, np.ndarray) and value.ndim and is_numeric(tensor):
            place, taped = self.recording.frames.here().called, bool(plan.gradients)
            attrs = {"feed": number, "taped": taped, "made": place}
            if taped:
                self.recording.rows.slice(value, place)
                fixed = bool(tensor.shape.rank) and tensor.shape[0] is not None
                key, step = (LEAF, place, number, taped, 0), self.recording.builder.begun
                found = self.recording.share.feed(key, value, step, fixed=fixed)
                if found is not None:
                    shared.feeds[tensor.ref()] = found
                    value, own = found, value
        return Feed(tensor._id, value, attrs, own)

    def _share_sources(self, plan: RunPlan, dead: set[Token], raw: RawRun, feeds: Any, shared: _Shared) -> None:
        """Take the next batch of a dataset in a run before, and feed the reference's in its place."""
        for number, op in enumerate(op for op in plan.execution.ops if op.type in NEXT_OPS):
            code = self._building.code(op)
            if op.outputs[0]._id in dead or not self.recording.share.wants_feed(op.type, code.called):
                continue
            if not all(is_numeric(t) or t.dtype.name == "string" for t in op.outputs):
                continue
            values = raw([], list(op.outputs), feeds)
            for index, (tensor, own) in enumerate(zip(op.outputs, values, strict=True)):
                key, step = (op.type, code.called, number, True, index), self.recording.builder.begun
                fixed = bool(tensor.shape.rank) and tensor.shape[0] is not None
                found = self.recording.share.feed(key, own, step, fixed=fixed) if is_numeric(tensor) else None
                shared.feeds[tensor.ref()] = own if found is None else found
                if found is not None:
                    shared.own[tensor._id] = own

    def _share_noise(self, plan: RunPlan, dead: set[Token], shared: _Shared) -> None:
        for op in plan.execution.ops:
            if op.type not in RANDOM_OPS or op.name in plan.execution.looping or op.outputs[0]._id in dead:
                continue
            code = self._building.code(op)
            draw = self.recording.share.next_draw((op.type, code.layer, code.called, code.api))
            if draw is None or op.outputs[0]._id in plan.execution.fed:
                continue
            static = op.outputs[0].shape.as_list() if op.outputs[0].shape.rank is not None else None
            shape = draw_target(*draw, static)
            if shape is not None:
                dtype = op.outputs[0].dtype.as_numpy_dtype
                shared.feeds[op.outputs[0].ref()] = convert_draw(*draw, shape).astype(dtype)

    # -- after -----------------------------------------------------------------------------------------------------

    @safe
    def record(self, graph: Any, raw: RawRun, prepared: Prepared, fetched: Sequence[Any]) -> None:
        """The run is over: hand its events on, and stop where its steps were the last ones wanted."""
        ran, plan = prepared.ran, prepared.plan
        ran.values.update((t._id, value) for t, value in zip(prepared.extra, fetched, strict=True))
        ran.values.update((key.deref()._id, value) for key, value in prepared.feeds.items())
        ran.after = SessionVariables(self.recording.variables, graph, raw).values(plan.written)
        self.recording.close_call()
        replay = Replay(self.recording, self._building, ran)
        replay.send(self.recording.builder.add)
        self.recording.builder.reset_occurrences()
        if self.recording.builder.applied:
            self.recording.builder.finish()
        self.recording.check_stop()


def _results(call: GradientCall) -> set[str]:
    """Names of the ops that give the gradients."""
    return {t.op.name for _, gradient in call.gradients for t in tensors_of(gradient)}


def _read_handles(ran: Execution, written: set[Token]) -> list[Token]:
    """Variables of the old kind, and tables that are gathered from: read outside the run that may write them."""
    found = set(written)
    for op in ran.ops:
        if op.type == "ResourceGather":
            found.add(variable_of(op.inputs[0]))
        found.update(variable_of(t) for t in op.inputs if t.dtype._is_ref_dtype)
    return sorted(found)


def _interesting(plan: RunPlan, dead: set[Token]) -> list[Any]:
    """The tensors of a run whose values are recorded."""
    shapes: set[Token] = set()
    found = []
    for op in plan.execution.ops:
        if op.name in plan.execution.looping or op.type in SKIPPED_OPS or op.type in ALIAS_OPS:
            continue
        if op.type == "Const" or op.type in ("Switch", "Merge", "RefSwitch", "RefMerge"):
            continue
        arithmetic = attributes.is_shape_arithmetic(op.type, op.inputs, shapes)
        for tensor in op.outputs:
            if arithmetic and not tensor.dtype.is_floating:
                shapes.add(tensor._id)
            elif is_numeric(tensor) and not tensor.dtype._is_ref_dtype and tensor._id not in dead:
                found.append(tensor)
    return found
