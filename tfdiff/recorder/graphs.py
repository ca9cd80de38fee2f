"""Traced graphs as programs, and their executions as events.

While TensorFlow traces a function, every op is noted in the program of its graph and its outputs are tapped. When the
function has run, the program is replayed with the values that left through the taps: calls of inner functions, taken
branches and loop iterations are written out, so that an executed graph reads like eager code.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tfdiff.recorder.items import GraphAlias, GraphApply, GraphBackpropagated, GraphCall, GraphOp, Item
from tfdiff.recorder.stream import (
    READ_OP,
    UNKNOWN,
    ApplyEvent,
    Backpropagated,
    Event,
    GradientBegin,
    GradientEnd,
    OpEvent,
    Slices,
    Token,
    fresh,
)

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable, Sequence

    import numpy as np

    Values = dict[int, deque[np.ndarray[Any, Any]]]

_EXECUTIONS = 8
"""Executions of a graph that are remembered for their backward passes."""

Names = dict[Token, Token]
"""Ids of a graph's tensors and their tokens in one execution; an id without one is an eager tensor's own token."""


@dataclass(slots=True)
class Program:
    """What one graph does, in the order it was built."""

    graph: Any
    items: list[Item] = field(default_factory=list)
    makers: dict[Token, GraphOp] = field(default_factory=dict)
    tensors: dict[Token, Any] = field(default_factory=dict)
    dependent: set[Token] = field(default_factory=set)
    """Tensors that depend on a variable."""
    shapes: set[Token] = field(default_factory=set)
    """Integers computed from shapes and constants only: of no interest to anybody."""

    draws: Counter[Any] = field(default_factory=Counter)
    """Per place how many of its ops draw random numbers there."""

    executions: list[Names] = field(default_factory=list)
    """Tokens of the last executions."""
    _places: Counter[Any] = field(default_factory=Counter)

    def begin(self, event: GradientBegin) -> None:
        """A gradient call: what comes behind it belongs to the next step."""
        self.items.append(event)
        self._places.clear()

    def occurrence(self, key: Any) -> int:
        """How often `key` has come up since the last gradient call."""
        self._places[key] += 1
        return self._places[key] - 1

    def activations(self, targets: Sequence[Token]) -> list[Any]:
        """Tensors the targets were computed from whose gradients are worth asking for."""
        needed, found = set(targets), []
        for item in reversed(self.items):
            if isinstance(item, GraphAlias) and item.output in needed:
                needed.add(item.input)
            elif isinstance(item, GraphOp | GraphCall) and needed.intersection(item.outputs):
                needed.update(item.inputs)
                if isinstance(item, GraphOp) and item.boundary and item.type != READ_OP and not item.joint:
                    found += [self.tensors[t] for t in item.outputs if t in self.dependent and t in self.tensors]
        return [tensor for tensor in reversed(found) if tensor.dtype.is_floating]

    def executed(self, tokens: Sequence[Token]) -> Names:
        """The tokens of that execution which made most of some tensors: these are what its backward pass is given."""
        if len(self.executions) < 2:
            return self.executions[-1] if self.executions else {}
        wanted = set(tokens)
        return max(reversed(self.executions), key=lambda names: len(wanted.intersection(names.values())))

    def is_tapped(self, token: Token) -> bool:
        """Whether the tensor, or what it hands on, leaves the graph."""
        for item in reversed(self.items):
            if isinstance(item, GraphAlias) and item.output == token:
                token = item.input
        maker = self.makers.get(token)
        return maker is not None and maker.tags[maker.outputs.index(token)] is not None


@dataclass(slots=True)
class Function:
    """A compiled function: its graph's program and the ids of the tensors that go in and out."""

    program: Program
    inputs: list[Token]
    outputs: list[Token]


class Programs:
    """All graphs traced while recording."""

    def __init__(self) -> None:
        self._programs: dict[int, Program] = {}
        self._functions: dict[str, Function] = {}

    def of(self, graph: Any) -> Program:
        """The program of a graph (made on first use; the graph is kept alive so that its id stays its own)."""
        program = self._programs.get(id(graph))
        if program is None:
            program = self._programs[id(graph)] = Program(graph)
        return program

    def name(self, function: str, graph: Any) -> None:
        """Note that the compiled function `function` runs `graph` with its present inputs and outputs."""
        self._functions[function] = Function(
            self.of(graph), [t._id for t in graph.inputs], [t._id for t in graph.outputs]
        )

    def get(self, function: str) -> Function | None:
        """The compiled function of that name, None if it was traced before recording began."""
        return self._functions.get(function)

    def trains(self, function: str, _seen: frozenset[str] = frozenset()) -> bool:
        """Whether the function, or one it calls, asks for gradients."""
        known = self._functions.get(function)
        if known is None or function in _seen:
            return False
        for item in known.program.items:
            if isinstance(item, GradientBegin):
                return True
            if isinstance(item, GraphCall) and any(self.trains(n, _seen | {function}) for n in callees(item)):
                return True
        return False

    def writes(self, call: GraphCall, _seen: frozenset[str] = frozenset()) -> bool:
        """Whether a condition, loop or function writes a variable."""
        for name in callees(call):
            function = self._functions.get(name)
            if function is None or name in _seen:
                continue
            for item in function.program.items:
                if isinstance(item, GraphOp) and item.after_tags:
                    return True
                if isinstance(item, GraphCall) and self.writes(item, _seen | {name}):
                    return True
        return False

    def loops(self, function: str, _seen: frozenset[str] = frozenset()) -> bool:
        """Whether the function, or one it calls, asks for gradients inside a loop."""
        known = self._functions.get(function)
        if known is None or function in _seen:
            return False
        for item in known.program.items:
            if isinstance(item, GraphCall):
                loop = item.op is not None and item.op.type in ("While", "StatelessWhile")
                inside = self.trains if loop else self.loops
                if any(inside(name, _seen | {function}) for name in callees(item)):
                    return True
        return False

    def reads(self, function: str, _seen: frozenset[str] = frozenset()) -> bool:
        """Whether the function, or one it calls, reads a variable."""
        known = self._functions.get(function)
        if known is None or function in _seen:
            return False
        return any(
            (isinstance(item, GraphOp) and item.type == READ_OP)
            or (isinstance(item, GraphCall) and any(self.reads(n, _seen | {function}) for n in callees(item)))
            for item in known.program.items
        )

    def passes(self, program: Program, until: int | None = None) -> int:
        """How many gradient calls one execution of the program (up to an item) makes; one iteration of its loops."""
        count, last = 0, None
        for item in program.items[:until]:
            if isinstance(item, GradientBegin):
                count += last is None or not item.continues(last)
                last = item
            elif isinstance(item, GraphCall):
                inner = [f.program for n in callees(item) if (f := self._functions.get(n)) is not None]
                count += max((self.passes(each) for each in inner), default=0)
        return count

    def replay(
        self, function: Function, arguments: Sequence[Token], values: Values, sink: Callable[[Event], None]
    ) -> list[Token]:
        """Write one execution out as events; returns the tokens of the outputs."""
        names: Names = dict(zip(function.inputs, arguments, strict=False))
        for item in function.program.items:
            if isinstance(item, GraphBackpropagated):
                activation = self.of(item.forward).executed(arguments).get(item.activation)
                if activation is not None and item.gradient in names:
                    sink(Backpropagated(activation, names[item.gradient]))
            else:
                self._replay_item(item, names, values, sink)
        function.program.executions = [*function.program.executions[1 - _EXECUTIONS :], names]
        return [names.get(token, token) for token in function.outputs]

    def _replay_item(self, item: Item, names: Names, values: Values, sink: Callable[[Event], None]) -> None:
        if isinstance(item, GraphOp):
            _replay_op(item, names, values, sink)
        elif isinstance(item, GraphAlias):
            names[item.output] = names.get(item.input, item.input)
        elif isinstance(item, GraphCall):
            self._replay_call(item, names, values, sink)
        elif isinstance(item, GradientBegin):
            handles = [names.get(handle, handle) for handle in item.handles]
            targets, given = ([names.get(t, UNKNOWN) for t in each] for each in (item.targets, item.given))
            sink(GradientBegin(targets, item.code, handles, given, item.loss))
        elif isinstance(item, GradientEnd):
            sink(
                GradientEnd(
                    [(names.get(v, v), rename(g, names)) for v, g in item.gradients],
                    [(names.get(a, UNKNOWN), names.get(g, UNKNOWN)) for a, g in item.activations],
                )
            )
        elif isinstance(item, GraphApply):
            pairs = [(rename(g, names), names.get(v, v)) for g, v in item.pairs]
            rate, iterations = _take(values, item.rate_tag), _take(values, item.iterations_tag)
            if rate is not None or not item.rate_tag:  # an apply inside a branch that was not taken has no values
                sink(ApplyEvent(item.optimizer, pairs, rate, iterations))

    def call(
        self, call: GraphCall, names: Names, values: Values, sink: Callable[[Event], None], taken: int | None = None
    ) -> None:
        """Replay what a condition, loop or function called from a graph of TensorFlow 1 has done.

        `taken`: number of the branch that a condition took, where it is known.
        """
        self._replay_call(call, names, values, sink, taken)

    def _replay_call(
        self, call: GraphCall, names: Names, values: Values, sink: Callable[[Event], None], taken: int | None = None
    ) -> None:
        inputs = [t._id for t in call.op.inputs] if call.op is not None else call.inputs
        arguments = [names.get(token, token) for token in inputs]
        outputs = [t._id for t in call.op.outputs] if call.op is not None else call.outputs
        if call.op is not None and call.op.type in ("While", "StatelessWhile"):
            results = self._replay_loop(call, arguments, values, sink)
        else:
            conditional = call.op is not None and call.op.type in ("If", "StatelessIf", "Case", "StatelessCase")
            function = self._ran(call, values, taken)
            inner = arguments[1:] if conditional else arguments
            results = [] if function is None else self.replay(function, inner, values, sink)
        names.update(zip(outputs, results, strict=False))

    def _ran(self, call: GraphCall, values: Values, taken: int | None) -> Function | None:
        """The function that a call ran: of a condition's branches the one that left values.

        A branch that only hands on what it is given leaves none: it ran if the other one, which leaves some, did not.
        """
        functions = [self._functions.get(name) for name in callees(call)]
        if taken is not None and taken < len(functions):
            return functions[taken]
        known = [function for function in functions if function is not None]
        ran = [f for f in known if len(functions) == 1 or self._any_tap(f, values.get)]
        silent = [f for f in known if not self._any_tap(f, bool)]
        return ran[-1] if ran else silent[0] if len(silent) == 1 and len(known) == len(functions) else None

    def _replay_loop(
        self, call: GraphCall, arguments: list[Token], values: Values, sink: Callable[[Event], None]
    ) -> list[Token]:
        bodies = [f for name in callees(call) if (f := self._functions.get(name)) is not None]
        results = list(arguments)
        for function in bodies:  # the condition first, then the body; a condition's values end with the loop
            state = list(arguments)
            while self._any_tap(function, values.get):
                outcome = self.replay(function, state, values, sink)
                if len(outcome) == len(state):
                    state = outcome
            if len(function.outputs) == len(arguments):
                results = state
        return results

    def _any_tap(self, function: Function, chosen: Callable[[int], Any]) -> bool:
        """Whether any tap in the function, or in one it calls, is chosen."""
        for item in function.program.items:
            if isinstance(item, GraphOp) and any(chosen(tag) for tag in item.taps):
                return True
            if isinstance(item, GraphCall) and any(
                self._any_tap(f, chosen) for n in callees(item) if (f := self._functions.get(n)) is not None
            ):
                return True
        return False


def rename(gradient: Token | Slices | None, names: Names) -> Token | Slices | None:
    """The gradient under its name in this execution."""
    if isinstance(gradient, Slices):
        return Slices(names.get(gradient.values, UNKNOWN), names.get(gradient.indices, UNKNOWN))
    return None if gradient is None else names.get(gradient, UNKNOWN)


def callees(call: GraphCall) -> list[str]:
    """Names of the functions a call or control flow op runs, as they stand after gradients rewrote the op."""
    if call.op is None:
        return [call.function] if call.function else []
    kind = call.op.type
    if kind in ("If", "StatelessIf"):
        return [call.op.get_attr("then_branch").name, call.op.get_attr("else_branch").name]
    if kind in ("Case", "StatelessCase"):
        return [branch.name for branch in call.op.get_attr("branches")]
    if kind in ("While", "StatelessWhile"):
        return [call.op.get_attr("cond").name, call.op.get_attr("body").name]
    return [call.op.get_attr("f").name]


def _take(values: Values, tag: int | None) -> Any:
    queue = values.get(tag) if tag is not None else None
    return queue.popleft() if queue else None


def _replay_op(item: GraphOp, names: Names, values: Values, sink: Callable[[Event], None]) -> None:
    if item.taps and not any(values.get(tag) for tag in item.taps):
        return  # in a branch that was not taken
    if item.taken is not None and not (item.taken and item.taken.popleft()):
        _take(values, item.tags[0])
        names[item.outputs[0]] = names.get(item.inputs[0], item.inputs[0])
        return
    taken = [
        _take(values, tag) if tag is not None else static for tag, static in zip(item.tags, item.statics, strict=True)
    ]
    after = {names.get(handle, handle): _take(values, tag) for handle, tag in item.after_tags.items()}
    own = [_take(values, tag) for tag in item.own_tags] if item.own_tags else None
    outputs = [fresh() for _ in item.outputs]
    event = OpEvent(
        item.type,
        item.code,
        [names.get(t, t) for t in item.inputs],
        outputs,
        taken,
        attrs=item.attrs,
        boundary=item.boundary,
        taped=True,
        own=own,
        after=after,
        result=item.result,
        idle=item.idle,
    )
    names.update(zip(item.outputs, outputs, strict=True))
    sink(event)
