"""The events of a run, in order of execution: what eager ops and executed graphs are both translated into.

A token names a tensor of the run: TensorFlow's own id in eager code, a fresh number for each tensor of each execution
of a graph. Values are kept as they come (EagerTensor or array) and turned into arrays only for what a step records.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

Token = int
UNKNOWN: Token = -1

_fresh = itertools.count(1 << 60)


def fresh() -> Token:
    """A token no tensor of TensorFlow's own numbering has."""
    return next(_fresh)


class Code(NamedTuple):
    """Where in the program an op stands."""

    layer: str | None = None
    layer_class: str | None = None
    source: str | None = None
    called: str | None = None
    api: str | None = None


@dataclass(slots=True)
class OpEvent:
    """One executed op."""

    type: str
    code: Code
    inputs: list[Token]
    outputs: list[Token]
    values: list[Any]
    """One per output; None where it was not (or cannot be) read."""
    attrs: dict[str, Any] = field(default_factory=dict)
    boundary: bool = False
    taped: bool = True
    """Whether a gradient tape was open, or a graph ran: such values are never dropped to save memory."""
    own: list[Any] | None = None
    """Outputs before the reference's values were written over them."""
    after: dict[Token, Any] = field(default_factory=dict)
    """For an update: the handle of each variable it writes (a fused one writes slots too) and that variable's value
    right after, None where it was not read. Empty for every other op."""
    joint: bool = False
    """Whether the reference's tensor goes on in the place of an output, which only the op itself hands on."""
    fixed: bool = False
    """Whether it cuts at places that stand in a session's graph: the same ones in every run."""
    result: bool = False
    """Whether this is what an outermost layer (a model) returned."""
    idle: bool = False
    """Whether its function throws away what it computes: only our tap made it run."""
    full: dict[Token, tuple[int, ...]] = field(default_factory=dict)
    """Shapes of outputs of which only the first rows are kept: large ones outside every tape."""
    stack: tuple[str, ...] = ()
    """For reads of variables outside every tape: the user's lines that lead here, outermost first."""

    @property
    def operands(self) -> list[Token]:
        """What the op computes from besides the variables it writes."""
        return [token for token in self.inputs if token not in self.after]


@dataclass(slots=True)
class GradientBegin:
    """A gradient call starts: `targets` are what is differentiated."""

    targets: list[Token]
    code: Code
    handles: list[Token] = field(default_factory=list)
    """Variables whose gradients are asked for."""
    given: list[Token] = field(default_factory=list)
    """Gradients of the targets that the program computed itself and handed over."""
    loss: bool = True
    """Whether the sum of the targets is what is minimized; otherwise (a Jacobian) the loss is not known."""

    def continues(self, last: GradientBegin) -> bool:
        """Whether the same loss is asked for one variable after the other: one backward pass in several calls."""
        return self.targets == last.targets and set(self.handles).isdisjoint(last.handles)


class Slices(NamedTuple):
    """A sparse gradient: rows `values` at `indices`."""

    values: Token
    indices: Token


def tokens_of(gradient: Token | Slices | None) -> list[Token]:
    """The tensors of a gradient."""
    if isinstance(gradient, Slices):
        return [gradient.values, gradient.indices]
    return [] if gradient is None else [gradient]


@dataclass(slots=True)
class GradientEnd:
    """A gradient call returned: per variable handle its gradient, per activation its gradient; in a graph's program,
    too, all of them tapped.
    """

    gradients: list[tuple[Token, Token | Slices | None]]
    activations: list[tuple[Token, Token]]


@dataclass(slots=True)
class Backpropagated:
    """Inside a compiled function's backward pass: the gradient of one activation of its forward pass."""

    activation: Token
    gradient: Token


@dataclass(slots=True)
class ApplyEvent:
    """An optimizer was handed gradients."""

    optimizer: dict[str, Any]
    pairs: list[tuple[Token | Slices | None, Token]]
    """Gradient and variable handle."""
    learning_rate: Any = None
    iterations: Any = None


@dataclass(slots=True)
class EvalBegin:
    """An evaluation or prediction pass starts: nothing trains until `EvalEnd`."""

    kind: str
    """evaluate, predict, run: what the program called."""
    code: Code
    stack: tuple[str, ...] = ()
    """The user's lines that lead here: where given, calls from the same lines one after the other are the batches of
    one pass (`test_on_batch` or `Session.run` in a loop). Empty: a pass of its own."""


@dataclass(slots=True)
class EvalEnd:
    """The pass is over."""

    targets: list[Token] = field(default_factory=list)
    """Its results (of its last batch, where it had several); empty: found by dataflow."""
    metrics: dict[str, Any] = field(default_factory=dict)
    """Numbers it returned, by name."""


Event = OpEvent | GradientBegin | GradientEnd | Backpropagated | ApplyEvent | EvalBegin | EvalEnd

LEAF = "Leaf"
"""Type of the event that stands for a tensor no recorded op made."""
RANDOM_OPS = frozenset(
    {
        "RandomUniform",
        "RandomUniformInt",
        "RandomStandardNormal",
        "TruncatedNormal",
        "ParameterizedTruncatedNormal",
        "Multinomial",
        "RandomGamma",
        "RandomPoissonV2",
        "StatelessRandomUniform",
        "StatelessRandomUniformV2",
        "StatelessRandomUniformInt",
        "StatelessRandomUniformIntV2",
        "StatelessRandomNormal",
        "StatelessRandomNormalV2",
        "StatelessTruncatedNormal",
        "StatelessTruncatedNormalV2",
        "StatelessMultinomial",
    }
)
ASSIGN_OPS = frozenset({"AssignVariableOp", "AssignAddVariableOp", "AssignSubVariableOp"})
_UPDATES = ("ResourceApply", "ResourceSparseApply", "ResourceScatter", "ResourceStridedSliceAssign")
NEXT_OPS = frozenset(
    {
        "IteratorGetNext",
        "IteratorGetNextSync",
        "OptionalGetValue",
        "QueueDequeueV2",
        "QueueDequeueManyV2",
        "QueueDequeueUpToV2",
    }
)
"""Ops that hand out the next batch of an input pipeline."""
ALIAS_OPS = frozenset({"Identity", "IdentityN", "PreventGradient", "EnsureShape", "Snapshot", "CheckNumerics"})
READ_OP = "ReadVariableOp"
CONTROL_OPS = frozenset(
    {
        "If",
        "StatelessIf",
        "Case",
        "StatelessCase",
        "While",
        "StatelessWhile",
        "PartitionedCall",
        "StatefulPartitionedCall",
    }
)
SKIPPED_OPS = frozenset({"Placeholder", "PlaceholderWithDefault", "NoOp", "VarHandleOp", "Assert", "_Arg", "_Retval"})
"""Ops without a value of their own to record."""


def is_update(op_type: str) -> bool:
    """Whether the op writes its resource arguments: a variable, and the slots of a fused optimizer step."""
    return op_type in ASSIGN_OPS or op_type.startswith(_UPDATES)


def to_array(value: Any) -> np.ndarray[Any, Any] | None:
    """The value as a NumPy array (a copy where it is a tensor), None for what is not numeric."""
    if value is None:
        return None
    if getattr(getattr(value, "dtype", None), "name", "") in ("resource", "variant", "string"):
        return None
    array = value if isinstance(value, np.ndarray) else np.asarray(value.numpy() if hasattr(value, "numpy") else value)
    return array if array.dtype.kind in "biufcV" else None
