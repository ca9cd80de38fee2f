"""What the program is inside of while an op runs: the stack of layers, losses and optimizers."""

from __future__ import annotations

import contextlib
import weakref
from typing import TYPE_CHECKING, Any, NamedTuple

from tfdiff.recorder.stream import Code

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tfdiff.recorder.frames import Call, Frames


class Scope(NamedTuple):
    """One entry of the stack."""

    kind: str
    """layer, loss or optimizer."""
    name: str
    class_name: str
    source: str | None


class Context:
    """The stack of one recording, and where its objects were created."""

    def __init__(self, frames: Frames) -> None:
        self._frames = frames
        self._stack: list[Scope] = []
        self._created: weakref.WeakKeyDictionary[Any, str | None] = weakref.WeakKeyDictionary()

    def created(self, thing: Any) -> None:
        """Remember the user's line that is creating `thing` (called from its constructor, first call wins)."""
        with contextlib.suppress(TypeError):
            if thing not in self._created:
                # Keras makes the losses of `compile(loss="mse")` when `fit` first needs them
                maker = next((scope.source for scope in reversed(self._stack) if scope.kind == "loss"), None)
                self._created[thing] = maker or self._frames.here(skip_self=thing).called

    def source_of(self, thing: Any) -> str | None:
        """The line that created `thing`, as far as it was seen."""
        try:
            return self._created.get(thing)
        except TypeError:
            return None

    @contextlib.contextmanager
    def inside(self, kind: str, thing: Any) -> Iterator[None]:
        """Ops that run in this block belong to `thing`."""
        name = str(getattr(thing, "name", "") or type(thing).__name__)
        self._stack.append(Scope(kind, name, type(thing).__name__, self.source_of(thing)))
        try:
            yield
        finally:
            self._stack.pop()

    def within(self, kind: str) -> bool:
        """Whether something of that kind is on the stack."""
        return any(scope.kind == kind for scope in self._stack)

    @property
    def layer(self) -> str | None:
        """Path of the innermost layer, None outside layers."""
        names = [scope.name for scope in self._stack if scope.kind == "layer"]
        return "/".join(names) or None

    def code(self, call: Call) -> Code:
        """Where an op stands that runs now; `call` is the user's line."""
        layer = next((s for s in reversed(self._stack) if s.kind == "layer"), None)
        top = self._stack[-1] if self._stack else None
        if top is not None and top.kind != "layer":
            layer = None if top.kind == "optimizer" else layer
        source = (top.source if top is not None else None) or call.called
        return Code(
            self.layer if layer is not None else None,
            layer.class_name if layer is not None else None,
            source,
            call.called,
            call.api,
        )
