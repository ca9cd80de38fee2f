"""Patches that can be taken back: on the very object that was patched, in reverse order, also after a crash."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

_MISSING = object()


class Patches:
    """A stack of attribute replacements."""

    def __init__(self) -> None:
        self._undo: list[Callable[[], None]] = []

    def wrap(self, owner: Any, name: str, make: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
        """Replace `owner.name` by `make(original)`; a name the owner only inherits is deleted again on undo."""
        own = vars(owner).get(name, _MISSING) if hasattr(owner, "__dict__") else _MISSING
        original = getattr(owner, name)
        replacement = make(original)
        for attribute in ("__name__", "__qualname__", "__doc__", "__module__"):
            if hasattr(original, attribute):
                setattr(replacement, attribute, getattr(original, attribute))
        # inspect.signature follows this: Keras looks at the signatures of `call` and `fit`
        replacement.__wrapped__ = original  # type: ignore[attr-defined]
        setattr(owner, name, staticmethod(replacement) if isinstance(own, staticmethod) else replacement)

        def undo() -> None:
            if own is _MISSING:
                delattr(owner, name)
            else:
                setattr(owner, name, own)

        self._undo.append(undo)

    def on_undo(self, action: Callable[[], None]) -> None:
        """Run `action` when the patches are taken back."""
        self._undo.append(action)

    def undo(self) -> None:
        """Take everything back, last patch first."""
        while self._undo:
            self._undo.pop()()
