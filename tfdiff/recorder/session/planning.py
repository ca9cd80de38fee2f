"""What runs of the same fetches and feeds have in common: which ops they execute, which steps they make."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from tfdiff.recorder import attributes
from tfdiff.recorder.items import GraphCall
from tfdiff.recorder.session.closure import (
    Execution,
    acts,
    ancestors,
    execution,
    is_ref_update,
    stands_for_variable,
    variable_of,
)
from tfdiff.recorder.stream import ALIAS_OPS, CONTROL_OPS, NEXT_OPS, RANDOM_OPS, SKIPPED_OPS, is_update
from tfdiff.recorder.tensors import is_numeric, tensors_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tfdiff.recorder.recording import Recording
    from tfdiff.recorder.session.building import ApplyCall, Building, GradientCall
    from tfdiff.recorder.stream import Token

Kind = Literal["train", "update", "evaluate", "fill", "other"]
"""A run trains; only writes variables; brings weights and a batch together; fills a dataset; or none of these."""


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
    kind: Kind
    """What it is for."""
    calls: list[Any]
    """Conditions, loops and functions: asked for as a whole, since only then the host functions inside them run."""


class Planner:
    """Plans of all runs so far."""

    def __init__(self, recording: Recording, building: Building) -> None:
        self.recording = recording
        self._building = building
        self._plans: dict[Any, RunPlan] = {}

    def plan(self, graph: Any, targets: Sequence[Any], fetches: Sequence[Any], feeds: Any) -> RunPlan:
        """What a run of these fetches and feeds does."""
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
        ran = execution([*fetches, *executed_too], targets, fed, _forward_first(steps, notes.order, fed))
        applies = [
            call for call in notes.applies if any(call.begin <= notes.order[op.name] < call.end for op in updates)
        ]
        settings = [v for call in applies for v in (call.rate, call.iterations) if hasattr(v, "_id")]
        calls = [op for op in ran.ops if op.type in CONTROL_OPS and op.name not in ran.looping]
        kind: Kind = "train" if steps else "update" if updates else "other"
        if kind == "other" and self._is_pass(ran):
            kind = "evaluate"
        elif fed and any(op.type == "MakeIterator" for op in ran.ops):
            kind = "fill"
        return RunPlan(ran, steps, applies, sorted(written), _read_handles(ran, written), settings, kind, calls)

    def _is_pass(self, ran: Execution) -> bool:
        """Whether a run brings weights and a batch (or noise) together."""
        held = {variable_of(t) for op in ran.ops for t in op.outputs if stands_for_variable(t)}
        fed = ran.fed or any(op.type in NEXT_OPS or op.type in RANDOM_OPS for op in ran.ops)
        return bool(fed) and any(self.recording.variables.is_float(token) for token in held)

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


def _forward_first(steps: Sequence[GradientCall], order: Mapping[str, int], fed: frozenset[Token]) -> Mapping[str, int]:
    """The order of creation, but with all that a loss is computed from in front of its gradient call.

    Building the gradient of a loop gives the loop further inputs, which are made only then.
    """
    late = {
        op.name: call.begin - 1
        for call in reversed(steps)
        for op in ancestors([t.op for t in call.targets if hasattr(t, "op")], fed)
        if order[op.name] >= call.begin
    }
    return {**order, **late} if late else order


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


def interesting(plan: RunPlan, dead: set[Token]) -> list[Any]:
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
