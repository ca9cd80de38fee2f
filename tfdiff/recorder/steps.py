"""From a stream of events to steps: which ops belong to the forward pass of which gradient call, which to its update.

A step is one gradient call on variables and the update that follows it. Membership is decided by dataflow: the forward
pass is what the target was computed from, the update is what the new values were computed from.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tfdiff.recorder.collect import SiteTable, StepRecords, collect
from tfdiff.recorder.evals import EvalBuilder, EvalRecords
from tfdiff.recorder.known import Known
from tfdiff.recorder.strays import keep_first_rows
from tfdiff.recorder.stream import (
    LEAF,
    NEXT_OPS,
    RANDOM_OPS,
    READ_OP,
    ApplyEvent,
    Backpropagated,
    EvalBegin,
    EvalEnd,
    Event,
    GradientBegin,
    GradientEnd,
    OpEvent,
    Slices,
    Token,
    tokens_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tfdiff.recorder.variables import Variables

_UNTAPED_LIMIT = 64 << 20
"""Bytes of values of ops outside every tape after which finished evaluation passes are written and dropped."""
_HELD_LIMIT = 256 << 20
"""Bytes of such values beyond which all are dropped."""
_SETTING = 128
"""Bytes up to which what is handed to an update is a setting of it."""


@dataclass(slots=True)
class Pending:
    """A step whose gradients are known and whose update may still come."""

    begin: GradientBegin
    forward: list[OpEvent]
    side: list[OpEvent]
    """Assigns of states (moving statistics) before the gradient call, with what feeds them."""
    idle: frozenset[int] = frozenset()
    """Ids of ops in `forward` that ran under the tape and that nothing came of."""
    backward: list[OpEvent] = field(default_factory=list)
    end: GradientEnd | None = None
    between: list[OpEvent] = field(default_factory=list)
    """What ran between several gradient calls on the same loss."""
    after: list[OpEvent] = field(default_factory=list)
    applies: list[ApplyEvent] = field(default_factory=list)


class StepBuilder:
    """Consumes events, hands out steps."""

    def __init__(
        self,
        variables: Variables,
        emit: Callable[[StepRecords], None],
        emit_eval: Callable[[EvalRecords], None] = lambda _: None,
    ) -> None:
        self._variables = variables
        self._sites = SiteTable()
        self._emit = emit
        self.known = Known(variables)
        self.evals = EvalBuilder(variables, self.known, emit_eval)
        self.segment: list[OpEvent] = []
        self._previous: list[OpEvent] = []
        self._pending: list[Pending] = []
        self._open: Pending | None = None
        self._backpropagated: list[tuple[Token, Token]] = []
        self._untaped = 0
        self._used: set[int] = set()
        """Ops of the last step's update."""
        self._counts: Counter[Any] = Counter()
        self.begun = 0
        """Gradient calls seen so far, i.e. the index of the step whose forward pass is running."""

    # -- what the hooks tell ---------------------------------------------------------------------------------------

    def add(self, event: Event) -> None:
        """Take the next event of the run."""
        if isinstance(event, OpEvent):
            self._add_op(event)
        elif isinstance(event, GradientBegin):
            self.gradient_begin(event)
        elif isinstance(event, GradientEnd):
            self.gradient_end(event)
        elif isinstance(event, Backpropagated):
            self._backpropagated.append((event.activation, event.gradient))
        elif isinstance(event, EvalBegin):
            self._eval_begin(event)
        elif isinstance(event, EvalEnd):
            event.targets = [self.known.resolve(token) for token in event.targets]
            self.evals.end(event)
        else:
            for pending in self._pending:
                if pending is self._pending[-1] or self._is_of(event, pending):
                    pending.applies.append(event)
                    break

    def _is_of(self, event: ApplyEvent, pending: Pending) -> bool:
        wanted = {handle for handle, _ in pending.end.gradients} if pending.end else set()
        return any(handle in wanted for _, handle in event.pairs)

    def occurrence(self, key: Any) -> int:
        """How often `key` has come up since the last gradient call."""
        self._counts[key] += 1
        return self._counts[key] - 1

    def reset_occurrences(self) -> None:
        """A new step's forward pass begins."""
        self._counts.clear()

    def _add_op(self, event: OpEvent) -> None:
        dependent = self.known.add(event)
        (self.evals.ops if self.evals.inside else self.segment).append(event)
        if not event.taped:
            if dependent:
                keep_first_rows(event)
            self._bound_untaped(event)

    def _bound_untaped(self, event: OpEvent) -> None:
        self._untaped += sum(_nbytes(value) for value in event.values)
        if self._untaped > _UNTAPED_LIMIT:
            self._untaped = 0
            if self.evals.inside:
                self.flush_eval()
                return
            done = {id(op) for op in self.evals.strays(self.segment, self.begun, all_but_last=True)}
            held = [op for op in self.segment if not op.taped]
            enough = sum(_nbytes(value) for op in held for value in op.values) > _HELD_LIMIT
            for old in held:
                if enough or (id(old) in done and old.inputs):
                    old.values = [None] * len(old.values)
            self.segment = [op for op in self.segment if id(op) not in done or not op.inputs]

    # -- evaluation ------------------------------------------------------------------------------------------------

    def _eval_begin(self, event: EvalBegin) -> None:
        """What ran before the pass is looked through first, so that passes come in order."""
        if self.updated:
            self.finish()
        self._strays()
        self.evals.begin(event, self.begun)

    def flush_eval(self) -> None:
        """A batch of the open pass is complete."""
        if self.evals.inside:
            self.evals.flush()
            self._forget()

    def _strays(self) -> None:
        """Evaluation passes among what ran outside every tape since the last step; they are no part of the next one."""
        done = {id(op) for op in self.evals.strays([op for op in self.segment if not op.taped], self.begun)}
        self.segment = [op for op in self.segment if id(op) not in done or op.type in NEXT_OPS or not op.inputs]

    def close(self) -> None:
        """The run is over: what is left may be evaluation passes."""
        if self.evals.inside:
            self.evals.end(EvalEnd())
        self.evals.strays(self.segment, self.begun)
        self.evals.close()

    def activations(self, targets: Iterable[Token]) -> list[tuple[Token, Any]]:
        """Tensors of this forward pass whose gradients are worth asking for: boundaries that depend on a weight."""
        found = []
        for event in self.known.ancestors(targets, self._previous + self.segment):
            if not (event.boundary and event.taped) or event.joint or event.type in (READ_OP, *RANDOM_OPS):
                continue
            for token, value in zip(event.outputs, event.values, strict=True):
                # values of compiled functions are arrays: their gradients come from the function's backward graph
                if token in self.known.dependent and hasattr(value, "_id") and _is_float(value):
                    found.append((token, value))
        return found

    def gradient_begin(self, event: GradientBegin) -> None:
        """The forward pass of the next step is complete."""
        event.targets = [self.known.resolve(token) for token in event.targets]
        if self._continues(event):
            return
        event.given = [self.known.resolve(token) for token in event.given]
        forward = self.known.ancestors(event.targets + event.given, self._previous + self.segment)
        update = self._split(forward)
        same_iteration = self._is_further_pass(event, forward)
        if not same_iteration or any(op.after for op in update):
            self.finish(update)
        if not same_iteration:  # a state that is handed on is where this step begins
            forward = self.known.ancestors(event.targets + event.given, self._without_weights() + self.segment)
        states = self._state_assigns(forward)
        side = self.known.ancestors([t for op in states for t in op.operands], self.segment)
        inside = {id(op) for op in forward}
        taken = {id(op) for op in states} | {id(op) for op in side}
        side_ops = [op for op in self.segment if id(op) in taken and id(op) not in inside]
        idle: frozenset[int] = frozenset()
        if not same_iteration:  # a data set made (and prepared) once goes into every step
            rest = [op for op in self.segment if id(op) not in inside | taken | self._used]
            self.evals.strays(rest, self.begun, beside={(op.code.layer, op.code.called) for op in forward})
            idle = frozenset(id(op) for op in rest if op.taped)
            forward = [op for op in self._previous + self.segment if id(op) in inside | idle] if idle else forward
            self._previous = [op for op in self._without_weights() if id(op) in inside]
        self._previous += self.segment
        self.segment = []
        self._open = Pending(event, forward, side_ops, idle)

    def _without_weights(self) -> list[OpEvent]:
        """The ops of before this pass that depend on no weight: those go into every step."""
        return [op for op in self._previous if self.known.dependent.isdisjoint(op.outputs)]

    def _continues(self, event: GradientBegin) -> bool:
        """The same loss asked for one variable after the other is one backward pass in several calls."""
        last = self._pending[-1] if self._pending else None
        if last is None or last.end is None or last.begin.targets != event.targets:
            return False
        known = {handle for handle, _ in last.end.gradients}
        if not known.isdisjoint(self.known.resolve(handle) for handle in event.handles):
            return False
        last.between += self.segment
        self._previous += self.segment
        self.segment = []
        self._open = self._pending.pop()
        return True

    def _is_further_pass(self, event: GradientBegin, forward: list[OpEvent]) -> bool:
        """Whether this pass may stand beside the pending ones, their updates still to come.

        Over the same forward pass, or for other variables (two networks, both updated at the end).
        """
        fresh_ops = {id(op) for op in self.segment}
        known = {handle for pending in self._pending if pending.end for handle, _ in pending.end.gradients}
        apart = bool(event.handles) and known.isdisjoint(self.known.resolve(handle) for handle in event.handles)
        return bool(self._pending) and (apart or not any(id(op) in fresh_ops for op in forward))

    def gradient_end(self, event: GradientEnd) -> None:
        """The gradients are known; what follows is the update."""
        pending = self._open
        if pending is None:
            return
        event.gradients = [(self.known.resolve(v), self._resolve_gradient(g)) for v, g in event.gradients]
        known = [*event.activations, *self._backpropagated]
        event.activations = [(self.known.resolve(a), self.known.resolve(g)) for a, g in known]
        self._backpropagated = []
        first = pending.end is None
        if pending.end is None:
            pending.end = event
        else:
            told = {activation for activation, _ in pending.end.activations}
            pending.end.gradients += event.gradients
            pending.end.activations += [pair for pair in event.activations if pair[0] not in told]
        pending.backward += self.segment
        self._previous += self.segment
        self.segment = []
        self._open = None
        self._pending.append(pending)
        if first:
            self.evals.trained()
            self.begun += 1
            self.reset_occurrences()

    def _resolve_gradient(self, gradient: Token | Slices | None) -> Token | Slices | None:
        if isinstance(gradient, Slices):
            return Slices(self.known.resolve(gradient.values), self.known.resolve(gradient.indices))
        return None if gradient is None else self.known.resolve(gradient)

    # -- finishing -------------------------------------------------------------------------------------------------

    @property
    def updated(self) -> bool:
        """Whether something was assigned since the last gradient call (its update has at least begun)."""
        return bool(self._pending) and any(op.after for op in self.segment)

    @property
    def applied(self) -> bool:
        """Whether a variable whose gradient was asked for was assigned since: nothing more will come."""
        handles = {handle for pending in self._pending if pending.end for handle, _ in pending.end.gradients}
        return any(not handles.isdisjoint(op.after) for op in self.segment)

    @property
    def waiting(self) -> bool:
        """Whether a step's gradients are known but its update is not closed."""
        return bool(self._pending)

    def drop(self) -> None:
        """Forget a step whose update never came (the script failed in between)."""
        self._pending = []

    def finish(self, after: list[OpEvent] | None = None) -> None:
        """Close the pending steps; `after`: what ran since the last gradient call and is not the next forward pass."""
        if not self._pending:
            return
        self.evals.close()
        ops = list(self.segment) if after is None else after
        pendings, self._pending = self._pending, []
        for pending in pendings:
            pending.after = self._update_ops(pending, pending.between + ops, alone=len(pendings) == 1)
        for pending in pendings:
            self._emit(collect(pending, self.known.makers, self._variables, self._sites, self.known.resolve))
        used = {id(op) for pending in pendings for op in pending.after}
        if after is None:  # what is no update may be the beginning of the next forward pass, before its tape opens
            self._previous += [op for op in self.segment if id(op) in used]
            self.segment = [op for op in self.segment if id(op) not in used]
        self._used = used
        self._forget()

    def _split(self, forward: list[OpEvent]) -> list[OpEvent]:
        """Cut the segment between the pending steps' update and the new forward pass; the update part is returned."""
        ahead = {id(op) for op in forward}
        states = {id(op) for op in self._state_assigns(forward)}
        update = [op for op in self.segment if id(op) not in ahead and id(op) not in states]
        return update if self._pending else []

    def _state_assigns(self, forward: list[OpEvent]) -> list[OpEvent]:
        """Assigns in the segment whose value comes from this forward pass: moving statistics."""
        made = {token for op in forward for token in op.outputs}
        found = []
        for op in self.segment:
            if not op.operands or not any(self._variables.is_state(handle) for handle in op.after):
                continue
            feeding = self.known.ancestors(op.operands, self.segment)
            if any(id_ in made for source in feeding for id_ in source.outputs) or any(t in made for t in op.operands):
                found.append(op)
        return found

    def _update_ops(self, pending: Pending, ops: list[OpEvent], *, alone: bool) -> list[OpEvent]:
        """The assigns of this step and everything their values were computed from since the gradient call."""
        handles = {handle for handle, _ in pending.end.gradients} if pending.end else set()
        results = {t for _, g in (pending.end.gradients if pending.end else []) for t in tokens_of(g)}
        derived = set(results)
        assigns = []
        for op in ops:
            from_gradient = any(token in derived for token in op.inputs)
            if from_gradient:
                derived.update(op.outputs)
            written = [handle for handle in op.after if self._variables.is_float(handle)]
            if not written or any(self._variables.is_metric(handle) for handle in written):
                continue  # an evaluation after the update would come along with it
            if not from_gradient and self._of_own_pass(op, ops):
                continue
            if alone or from_gradient or not handles.isdisjoint(written):
                assigns.append(op)
            if from_gradient:
                for handle in written:
                    self._variables.mark(handle, "slot")
        ops = self._handed_in(pending, ops) + ops
        wanted = {id(op) for op in self.known.ancestors([t for op in assigns for t in op.operands], ops)}
        wanted |= {id(op) for op in assigns}
        return [op for op in ops if id(op) in wanted]

    def _handed_in(self, pending: Pending, ops: list[OpEvent]) -> list[OpEvent]:
        """Small tensors from outside that the update takes and the forward pass does not: a rate that a function is
        given, or that a session is fed.
        """
        taken = {token for op in ops for token in op.inputs}
        known = {id(op) for op in pending.forward}
        leaves = [op for op in self._previous if op.type == LEAF and id(op) not in known]
        return [op for op in leaves if not taken.isdisjoint(op.outputs) and sum(map(_nbytes, op.values)) <= _SETTING]

    def _of_own_pass(self, op: OpEvent, ops: list[OpEvent]) -> bool:
        """Whether what is assigned comes from a forward pass of its own: an evaluation's counter behind the step."""
        if not any(t in self.known.data and t in self.known.dependent for t in op.operands):
            return False
        feeding = self.known.ancestors(op.operands, ops)
        known = {token for source in feeding for token in source.outputs}
        reads = any(source.type == READ_OP and self._variables.is_trainable(source.inputs[0]) for source in feeding)
        used = {token for source in feeding for token in source.inputs if token in self.known.dependent}
        return reads and used <= known

    def _forget(self) -> None:
        self.known.forget((*self._previous, *self.segment, *self.evals.ops))
        self._untaped = 0


def _nbytes(value: Any) -> int:
    if value is None:
        return 0
    size = getattr(value, "nbytes", None)
    if size is not None:
        return int(size)
    shape = getattr(value, "shape", None)
    return 4 * int(shape.num_elements() or 0) if shape is not None and hasattr(shape, "num_elements") else 0


def _is_float(value: Any) -> bool:
    name = getattr(value.dtype, "name", str(value.dtype))
    return str(name).startswith(("float", "bfloat", "double", "half"))
