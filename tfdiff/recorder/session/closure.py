"""Which ops one `Session.run` executes, in order of creation, and which of their outputs come to life."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tfdiff.recorder.selections import SELECTIONS
from tfdiff.recorder.stream import NEXT_OPS, RANDOM_OPS, is_update
from tfdiff.recorder.tensors import is_handle

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from tfdiff.recorder.stream import Token

SWITCHES = frozenset({"Switch", "RefSwitch"})
MERGES = frozenset({"Merge", "RefMerge"})
ENTRIES = frozenset({"Enter", "RefEnter"})
EXITS = frozenset({"Exit", "RefExit"})
LOOP_OPS = frozenset({*ENTRIES, *EXITS, "NextIteration", "RefNextIteration", "LoopCond"})
_BACK_EDGES = ("NextIteration", "RefNextIteration")
_HARMLESS = frozenset(
    {"VarHandleOp", "VariableV2", "ReadVariableOp", "VarIsInitializedOp", "IsVariableInitialized", "Assert"}
)
"""Ops that TensorFlow calls stateful and that change nothing when they run once more."""


@dataclass(slots=True)
class Execution:
    """What a run of certain fetches under certain feeds executes."""

    ops: list[Any]
    """Producers before consumers (but for the back edges of loops), otherwise in order of creation."""
    fed: frozenset[Token]
    order: Mapping[str, int]
    """Place in the program by the op's name."""
    looping: set[str] = field(default_factory=set)
    """Names of ops inside a while loop of control flow v1: their tensors exist once per iteration."""
    conditions: list[Any] = field(default_factory=list)
    """Tensors on which a `Switch` outside loops depends."""

    def dead(self, conditions: Mapping[Token, bool]) -> set[Token]:
        """Tensors that get no value because the branch they belong to is not taken.

        `conditions` has the value of each of `self.conditions` that is known; branches behind others count as dead on
        both sides, since their tensors cannot be asked for.
        """
        dead: set[Token] = set()
        dead_ops: set[str] = set()
        for op in self.ops:
            if op.name in self.looping:
                continue
            inputs = [t._id in dead for t in op.inputs]
            outputs = [t._id for t in op.outputs]
            controls = any(c.name in dead_ops for c in op.control_inputs)
            gone = bool(inputs) and all(inputs) if op.type in MERGES else controls or any(inputs)
            if gone:
                dead_ops.add(op.name)
                dead.update(t for t in outputs if t not in self.fed)
            elif op.type in SWITCHES:
                taken = conditions.get(op.inputs[1]._id)
                dead.update(t for port, t in enumerate(outputs) if taken is None or port != int(taken))
        return dead

    def runs(self, op: Any, dead: set[Token]) -> bool:
        """Whether the op's outputs come to life (an op without outputs always counts)."""
        outputs = [t._id for t in op.outputs]
        return not outputs or any(t not in dead for t in outputs)


def execution(
    fetches: Iterable[Any], targets: Iterable[Any], fed: frozenset[Token], order: Mapping[str, int]
) -> Execution:
    """Follow fetched tensors and targets back to what is fed; `order` is the order of creation of the graph's ops."""
    ops = ancestors([t.op for t in fetches if t._id not in fed] + list(targets), fed)
    found = Execution(_sorted(ops, fed, order), fed, order)
    found.looping = {op.name for op in found.ops if _in_loop(op)}
    seen: set[Token] = set()
    for op in found.ops:
        if op.type in SWITCHES and op.name not in found.looping and op.inputs[1]._id not in seen:
            seen.add(op.inputs[1]._id)
            found.conditions.append(op.inputs[1])
    return found


def _sorted(ops: Sequence[Any], fed: frozenset[Token], order: Mapping[str, int]) -> list[Any]:
    """Topologically: the `Switch` that brings a tensor into a branch is made after the op that takes it."""
    inside = {op.name: op for op in ops}
    before: dict[str, set[str]] = {}
    consumers: dict[str, list[str]] = {}
    entries: dict[int, set[str]] = {}
    for op in ops:
        if op.type in ENTRIES:
            entries.setdefault(id(op._get_control_flow_context()), set()).add(op.name)
    for op in ops:
        producers = {t.op.name for t in op.inputs if t._id not in fed} | {c.name for c in op.control_inputs}
        if op.type in EXITS:  # over the back edges, which are cut here, anything that enters may come out
            entered = entries.get(id(op._get_control_flow_context()), set())
            # what a gradient adds to the loop (counters, stacks) enters later, and is for the gradient alone
            producers |= {name for name in entered if order.get(name, 0) < order.get(op.name, 0)}
        before[op.name] = {name for name in producers if inside[name].type not in _BACK_EDGES}
        for name in before[op.name]:
            consumers.setdefault(name, []).append(op.name)
    ready = [(order.get(name, len(order)), name) for name, needed in before.items() if not needed]
    heapq.heapify(ready)
    found = []
    while ready:
        _, name = heapq.heappop(ready)
        found.append(inside[name])
        for consumer in consumers.get(name, ()):
            before[consumer].discard(name)
            if not before[consumer]:
                heapq.heappush(ready, (order.get(consumer, len(order)), consumer))
    return found


def ancestors(roots: Sequence[Any], fed: frozenset[Token], stop: Callable[[Any], bool] | None = None) -> list[Any]:
    """The ops that run for `roots`, over data and control edges; fed tensors are not followed."""
    seen: dict[str, Any] = {}
    stack = list(roots)
    while stack:
        op = stack.pop()
        if op.name in seen or (stop is not None and stop(op)):
            continue
        seen[op.name] = op
        stack.extend(t.op for t in op.inputs if t._id not in fed)
        stack.extend(op.control_inputs)
    return list(seen.values())


def is_pure(tensor: Any, fed: frozenset[Token]) -> bool:
    """Whether asking for the tensor once more changes nothing: no draw, no batch taken, no variable written."""
    return tensor._id in fed or not any(acts(op) for op in ancestors([tensor.op], fed))


def depends_on_variables(tensor: Any) -> bool:
    """Whether a variable's value goes into the tensor."""
    return any(op.type in ("VarHandleOp", "VariableV2") for op in ancestors([tensor.op], frozenset()))


def is_fixed(op: Any) -> bool:
    """Whether the op cuts at places that are constants of the graph."""
    made = ancestors([t.op for t in list(op.inputs)[1:]], frozenset()) if op.type in SELECTIONS else []
    return bool(made) and all(other.type in ("Const", "Pack", "Identity") for other in made)


def acts(op: Any) -> bool:
    """Whether running the op once more changes something: it draws, takes a batch, writes a variable or the like."""
    if is_update(op.type) or is_ref_update(op) or op.type in RANDOM_OPS or op.type in NEXT_OPS:
        return True
    return bool(op.op_def.is_stateful) and op.type not in _HARMLESS


def is_ref_update(op: Any) -> bool:
    """Whether the op writes a variable of the old kind (`Assign`, `ApplyAdam`, `ScatterSub` ...)."""
    return (
        bool(op.inputs)
        and op.inputs[0].dtype._is_ref_dtype
        and op.type.startswith(("Assign", "Apply", "SparseApply", "Scatter"))
    )


def variable_of(tensor: Any) -> Token:
    """The handle of the variable that a resource or reference tensor stands for, on its way into branches and loops."""
    while tensor.op.type in _HANDS_ON and tensor.op.inputs:
        tensor = tensor.op.inputs[0]
    return int(tensor._id)


_HANDS_ON = (*SWITCHES, "Identity", "RefIdentity", "Enter", "RefEnter")


def stands_for_variable(tensor: Any) -> bool:
    """Whether the tensor is a resource or a reference."""
    return bool(tensor.dtype._is_ref_dtype) or is_handle(tensor)


def _in_loop(op: Any) -> bool:
    context = op._get_control_flow_context()
    if context is not None and op.type in EXITS:
        context = context.outer_context
    while context is not None:
        if context.IsWhileContext():
            return True
        context = context.outer_context
    return False
