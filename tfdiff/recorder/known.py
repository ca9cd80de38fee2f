"""The tensors of the recent past: which op made each, which carry the same value, what they depend on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfdiff.recorder.strays import VALUELESS, carries_data
from tfdiff.recorder.stream import NEXT_OPS, UNKNOWN, OpEvent, Token

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tfdiff.recorder.variables import Variables

_MANY = 200_000
"""Aliases beyond which those of forgotten tensors are dropped."""


class Known:
    """What is known of tensors by their tokens."""

    def __init__(self, variables: Variables) -> None:
        self._variables = variables
        self._aliases: dict[Token, Token] = {}
        self.makers: dict[Token, OpEvent] = {}
        self.dependent: set[Token] = set()
        """Tensors computed from a trainable variable."""
        self.data: set[Token] = set()
        """Tensors computed from a batch or from noise."""

    def add(self, event: OpEvent) -> bool:
        """Note what an op made (its inputs are resolved); returns whether that depends on a trainable variable."""
        event.inputs = [self.resolve(token) for token in event.inputs]
        event.after = {self.resolve(handle): value for handle, value in event.after.items()}
        dependent = (
            event.type not in NEXT_OPS
            and event.type not in VALUELESS
            and any(token in self.dependent or self._variables.is_trainable(token) for token in event.inputs)
        )
        for token in event.outputs:
            self.makers[token] = event
            if dependent:
                self.dependent.add(token)
            if carries_data(event, token, self.data):
                self.data.add(token)
        return dependent

    def alias(self, token: Token, of: Token) -> None:
        """`token` carries the same value as `of`."""
        if of not in (token, UNKNOWN):
            self._aliases[token] = of

    def resolve(self, token: Token) -> Token:
        """The token that first carried this value."""
        while token in self._aliases:
            token = self._aliases[token]
        return token

    def has(self, token: Token) -> bool:
        """Whether an op of the recent past made this tensor, or it is a variable's handle."""
        token = self.resolve(token)
        return token in self.makers or self._variables.by_handle(token) is not None

    def maker(self, token: Token) -> OpEvent | None:
        """The op that made the tensor."""
        return self.makers.get(self.resolve(token))

    def has_value(self, token: Token) -> bool:
        """Whether the tensor's value was read (or it belongs to an op that is still known)."""
        maker = self.maker(token)
        if maker is None:
            return False
        return maker.values[maker.outputs.index(self.resolve(token))] is not None

    def ancestors(self, targets: Iterable[Token], ops: list[OpEvent]) -> list[OpEvent]:
        """The ops among `ops` that the target tensors were computed from, in order of execution."""
        allowed = {id(op) for op in ops}
        seen: set[int] = set()
        stack = list(targets)
        while stack:
            maker = self.maker(stack.pop())
            if maker is None or id(maker) not in allowed or id(maker) in seen:
                continue
            seen.add(id(maker))
            stack.extend(maker.inputs)
        return [op for op in ops if id(op) in seen]

    def forget(self, kept: Iterable[OpEvent]) -> None:
        """Drop tensors of all other ops, so that memory stays that of about one step."""
        recent = {id(op) for op in kept}
        for token in [token for token, op in self.makers.items() if id(op) not in recent]:
            del self.makers[token]
        self.dependent &= set(self.makers)
        self.data &= set(self.makers)
        if len(self._aliases) > _MANY:
            self._aliases = {t: o for t, o in self._aliases.items() if self.resolve(o) in self.makers}
