"""Forward passes that no gradient call used, found by dataflow among the ops that belong to no step.

A pass is a connected piece of computation on weights and on a batch (or on noise, for a generator). Pieces hang
together by tensors of more than one element: a mean taken over the accuracies of several batches does not make one pass
of them. What goes on from the forward pass of a training step (its accuracy, say) is no pass of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tfdiff.recorder.stream import LEAF, NEXT_OPS, RANDOM_OPS, READ_OP, OpEvent, Token, is_update, to_array

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_SOURCES = frozenset({LEAF, *NEXT_OPS, *RANDOM_OPS})
VALUELESS = frozenset({"Shape", "ShapeN", "Size", "Rank", "ZerosLike", "OnesLike"})
DECISIONS = frozenset({"Greater", "GreaterEqual", "Less", "LessEqual", "ArgMax", "ArgMin", "Round", "Rint"})
FIRST_ROWS = 256
_LARGE = 16 << 20
"""Bytes of an output outside every tape beyond which only its first rows are kept."""
_FEW = 16
"""Elements of a tensor that may be a setting rather than a batch."""


@dataclass
class ForwardPass:
    """One execution of a network."""

    ops: list[OpEvent]
    """In order of execution, with what feeds them."""
    outputs: list[Token] = field(default_factory=list)
    """What it computed, one row per example where it has rows."""
    inputs: list[Token] = field(default_factory=list)
    """The tensors of its batch, labels included."""
    scalars: list[Token] = field(default_factory=list)
    """Single numbers in which it ended: a loss, an accuracy."""
    rows: int = 0
    stack: tuple[str, ...] = ()
    """The user's lines that led to it."""

    @property
    def last(self) -> OpEvent:
        """Its last op."""
        return self.ops[-1]


class Finder:
    """Looks for passes among `ops`; `makers`, and what depends on weights and on data, are the builder's."""

    def __init__(
        self, ops: Sequence[OpEvent], makers: dict[Token, OpEvent], dependent: set[Token], data: set[Token]
    ) -> None:
        self._ops = ops
        self._makers = makers
        self._dependent = dependent
        self._data = data
        self._inside = {id(op): place for place, op in enumerate(ops)}

    def passes(self) -> list[ForwardPass]:
        """Every pass, in the order in which they began."""
        moving = [op for op in self._ops if self._is_moving(op)]
        groups = _Groups(len(self._ops))
        tainted: set[int] = set()
        chosen = {id(op) for op in moving}
        for op in moving:
            place = self._inside[id(op)]
            for token in op.inputs:
                maker = self._makers.get(token)
                if maker is None or token not in self._dependent:
                    continue
                if id(maker) not in self._inside:
                    if maker.type != READ_OP:
                        tainted.add(place)  # it goes on from a step's own forward or backward pass
                elif id(maker) in chosen and size_of(maker, token) != 1:
                    groups.join(place, self._inside[id(maker)])
        bad = {groups.root(place) for place in tainted}
        pieces: dict[int, list[OpEvent]] = {}
        for op in moving:
            root = groups.root(self._inside[id(op)])
            if root not in bad:
                pieces.setdefault(root, []).append(op)
        # what goes on from single numbers (sums over batches) meets no weights itself
        return [self.whole(piece) for piece in pieces.values() if any(self.weighted(op) for op in piece)]

    def _is_moving(self, op: OpEvent) -> bool:
        if (op.after or is_update(op.type)) or op.type == READ_OP or op.idle:
            return False
        return any(token in self._dependent for token in op.outputs) and any(self.fed(t) for t in op.inputs)

    def fed(self, token: Token) -> bool:
        """Whether a tensor was computed from a batch or from noise."""
        return token in self._data

    def whole(self, piece: Iterable[OpEvent]) -> ForwardPass:
        """The pass that these ops are, with everything that feeds them."""
        ops = self.ancestors(piece)
        found = ForwardPass(ops)
        found.stack = next((op.stack for op in ops if op.stack), ())
        _describe(found, self)
        return found

    def ancestors(self, ops: Iterable[OpEvent]) -> list[OpEvent]:
        """The ops and all that they were computed from, in order of execution."""
        seen: dict[int, OpEvent] = {}
        todo = list(ops)
        while todo:
            op = todo.pop()
            if id(op) in seen or (op.after or is_update(op.type)):
                continue
            seen[id(op)] = op
            todo += [maker for token in op.inputs if (maker := self._makers.get(token)) is not None]
        before = [op for key, op in seen.items() if key not in self._inside]  # made earlier: a dataset kept in a tensor
        return before[::-1] + sorted(
            (op for key, op in seen.items() if key in self._inside), key=lambda op: self._inside[id(op)]
        )

    def parameter(self, token: Token) -> bool:
        """Whether a tensor depends on weights alone."""
        return token in self._dependent and not self.fed(token)

    def weighted(self, op: OpEvent) -> bool:
        """Whether the op brings weights and data together."""
        return any(self.parameter(t) for t in op.inputs) and any(self.fed(t) for t in op.inputs)

    def dependent(self, token: Token) -> bool:
        """Whether a tensor depends on weights."""
        return token in self._dependent


def _describe(found: ForwardPass, finder: Finder) -> None:
    """Fill in inputs, labels apart, outputs and scalars."""
    ops = found.ops
    before = {id(op) for op in finder.ancestors([op for op in ops if finder.weighted(op)])}
    sources = [(op, t) for op in ops if op.type in _SOURCES for t in op.outputs if is_source(op, t)]
    data = [(op, t) for op, t in sources if op.type not in RANDOM_OPS]
    lengths = [shape[0] for op, t in data if id(op) in before and (shape := shape_of(op, t))]
    found.rows = max(set(lengths), key=lambda n: (lengths.count(n), n)) if lengths else 0
    found.inputs = [t for op, t in data if (shape_of(op, t) or (0,))[0] == found.rows]
    labelled: set[Token] = {t for op, t in data if id(op) not in before}
    for op in ops:
        if any(t in labelled for t in op.inputs):
            labelled.update(op.outputs)
    found.outputs = _last(found, finder, labelled)
    consumed = {t for op in ops for t in op.inputs}
    found.scalars = [
        t
        for op in ops
        if op.type not in _SOURCES and op.type != READ_OP
        for t in op.outputs
        if t not in consumed and finder.dependent(t) and finder.fed(t) and size_of(op, t) == 1 and is_float(op, t)
    ]


def _last(found: ForwardPass, finder: Finder, labelled: set[Token]) -> list[Token]:
    """The last tensors with a row per example: what a model returned, else those with no further one behind them."""
    candidates = {
        t
        for op in found.ops
        for t in op.outputs
        if t not in labelled
        and finder.dependent(t)
        and finder.fed(t)
        and is_float(op, t)
        and (found.rows == 0 or (shape_of(op, t) or (0,))[0] == found.rows)
    }
    returned = {t for op in found.ops if op.result for t in op.outputs if t in candidates}
    # what a loss computes of the logits before it looks at the labels is no output
    losses = {_call(op) for op in found.ops if op.code.api and any(t in labelled for t in op.outputs) and op.inputs}
    before = {t for op in found.ops if _call(op) not in losses for t in op.outputs if t in candidates}
    decided = _decided(found, finder)
    candidates = returned or before - decided or before or candidates - decided or candidates
    covered: set[Token] = set()
    for op in reversed(found.ops):
        if any(t in covered or t in candidates for t in op.outputs):
            covered.update(op.inputs)
    last = [t for op in found.ops for t in op.outputs if t in candidates and t not in covered]
    wanted = _wanted(found, labelled)
    return [t for t in last if t in wanted] or last


def _wanted(found: ForwardPass, labelled: set[Token]) -> set[Token]:
    """What leads to a row per example, to a number or to labels: not the statistics of a batch that nobody takes."""
    consumed = {t for op in found.ops for t in op.inputs}
    wanted: set[Token] = set()
    for op in reversed(found.ops):
        for token in op.outputs:
            shape = shape_of(op, token) or ()
            if token in consumed:
                continue
            if token in labelled or size_of(op, token) == 1 or (shape and shape[0] == found.rows):
                wanted.add(token)
        if any(t in wanted for t in op.outputs):
            wanted.update(op.inputs)
    return wanted


def _decided(found: ForwardPass, finder: Finder) -> set[Token]:
    """What follows from decisions alone (`p > 0.5`, `argmax`): predicted classes, not what they are decided by."""
    decided: set[Token] = set()
    for op in found.ops:
        computed = [t for t in op.inputs if finder.dependent(t) and finder.fed(t)]
        if computed and (op.type in DECISIONS or all(t in decided for t in computed)):
            decided.update(op.outputs)
    return decided


def _call(op: OpEvent) -> tuple[str | None, ...]:
    """The API call an op belongs to."""
    return (op.code.layer, op.code.called, op.code.api)


class _Groups:
    """Union-find."""

    def __init__(self, count: int) -> None:
        self._parents = list(range(count))

    def root(self, place: int) -> int:
        """The member that stands for the group."""
        while self._parents[place] != place:
            self._parents[place] = self._parents[self._parents[place]]
            place = self._parents[place]
        return place

    def join(self, one: int, other: int) -> None:
        """Make one group of two."""
        one, other = self.root(one), self.root(other)
        self._parents[max(one, other)] = min(one, other)


def carries_data(op: OpEvent, token: Token, known: set[Token]) -> bool:
    """Whether an output of the op comes from a batch or from noise; `known` are the tensors that do."""
    if op.type in _SOURCES:
        return is_source(op, token)
    return op.type not in VALUELESS and op.type != READ_OP and any(t in known for t in op.inputs)


def is_source(op: OpEvent, token: Token) -> bool:
    """Whether the op hands out data: a batch, an array of the user's, a draw; settings and scalars are none."""
    if op.type in RANDOM_OPS:
        return True
    shape = shape_of(op, token)
    if not shape or op.type not in _SOURCES:
        return False
    return op.type in NEXT_OPS or "feed" in op.attrs or _count(shape) > _FEW or (len(shape) > 1 and is_float(op, token))


def keep_first_rows(op: OpEvent) -> None:
    """Keep of large outputs only the first rows: evaluations run over whole data sets at once."""
    for place, token in enumerate(op.outputs):
        shape = shape_of(op, token)
        if shape and shape[0] > FIRST_ROWS and 4 * _count(shape) > _LARGE:
            array = to_array(op.values[place])
            if array is not None:
                op.full[token], op.values[place] = shape, array[:FIRST_ROWS].copy()


def value_of(op: OpEvent, token: Token) -> Any:
    """The value of one of the op's outputs."""
    return op.values[op.outputs.index(token)] if token in op.outputs else None


def shape_of(op: OpEvent, token: Token) -> tuple[int, ...] | None:
    """Its shape; None where the value was not read."""
    shape = op.full.get(token, getattr(value_of(op, token), "shape", None))
    try:
        return None if shape is None else tuple(int(n) for n in shape)
    except (TypeError, ValueError):
        return None


def size_of(op: OpEvent, token: Token) -> int | None:
    """Its number of elements."""
    shape = shape_of(op, token)
    return None if shape is None else _count(shape)


def is_float(op: OpEvent, token: Token) -> bool:
    """Whether it holds floating point numbers."""
    dtype = getattr(value_of(op, token), "dtype", None)
    return str(getattr(dtype, "name", dtype)).startswith(("float", "bfloat"))


def _count(shape: tuple[int, ...]) -> int:
    product = 1
    for extent in shape:
        product *= extent
    return product
