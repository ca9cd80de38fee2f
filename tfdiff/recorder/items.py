"""What stands in the program of a traced graph; tensors go by their ids."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tfdiff.recorder.stream import GradientBegin, GradientEnd

if TYPE_CHECKING:
    from collections import deque

    from tfdiff.recorder.stream import Code, Slices, Token


@dataclass(slots=True)
class GraphOp:
    """One op of a graph; tensors go by their ids."""

    type: str
    code: Code
    inputs: list[Token]
    outputs: list[Token]
    tags: list[int | None]
    """Tap of each output."""
    statics: list[Any]
    """Value of each output where it is known from tracing (constants)."""
    attrs: dict[str, Any] = field(default_factory=dict)
    boundary: bool = False
    own_tags: list[int | None] | None = None
    result: bool = False
    after_tags: dict[Token, int | None] = field(default_factory=dict)
    """Tap of the value right after, of each variable that the op writes."""
    joint: bool = False
    """Whether the reference's tensor goes on in the place of an output."""
    taken: deque[bool] | None = None
    """For that tensor, per execution: whether the reference's really went on; otherwise it is the input."""
    idle: bool = False
    """Whether nothing that leaves its function needs it."""

    @property
    def taps(self) -> list[int]:
        """All of its taps: without a value from any of them it did not run."""
        return [tag for tag in (*self.tags, *self.after_tags.values()) if tag is not None]


@dataclass(slots=True)
class GraphAlias:
    """An op that hands its input on unchanged."""

    output: Token
    input: Token


@dataclass(slots=True)
class GraphCall:
    """A call of an inner function or a control flow op; `op` is asked late because gradients rewrite it."""

    function: str | None
    inputs: list[Token]
    outputs: list[Token]
    op: Any = None


@dataclass(slots=True)
class GraphBackpropagated:
    """In a backward graph: the gradient of an activation of the forward graph."""

    forward: Any
    activation: Token
    gradient: Token


@dataclass(slots=True)
class GraphApply:
    """An optimizer call in a graph."""

    optimizer: dict[str, Any]
    pairs: list[tuple[Token | Slices | None, Token]]
    rate_tag: int | None
    iterations_tag: int | None


Item = GraphOp | GraphAlias | GraphCall | GradientBegin | GradientEnd | GraphBackpropagated | GraphApply
