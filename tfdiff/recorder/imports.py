"""Run a function right after a module has been imported, without importing it ourselves.

A script sets switches (`TF_USE_LEGACY_KERAS`, `KERAS_BACKEND`) before it imports TensorFlow: the recorder follows.
"""

from __future__ import annotations

import importlib.abc
import importlib.util
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType


class PostImport(importlib.abc.MetaPathFinder):
    """A finder in front of all others that lets them find the module and calls a hook when it has been executed."""

    def __init__(self, hooks: dict[str, Callable[[ModuleType], None]]) -> None:
        self._hooks = dict(hooks)
        self._searching: set[str] = set()

    def install(self) -> None:
        """Start watching; modules that are there already get their hook now."""
        for name in list(self._hooks):
            module = sys.modules.get(name)
            if module is not None:
                self._hooks.pop(name)(module)
        sys.meta_path.insert(0, self)

    def remove(self) -> None:
        """Stop watching."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find the module through the others and wrap its loader."""
        if fullname not in self._hooks or fullname in self._searching:
            return None
        self._searching.add(fullname)
        try:
            spec = importlib.util.find_spec(fullname)
        finally:
            self._searching.discard(fullname)
        if spec is not None and spec.loader is not None:
            self._call_after(spec.loader, fullname)
        return spec

    def _call_after(self, loader: Any, fullname: str) -> None:
        """Somebody may only have asked where the module is: the hook is used up when the module really runs."""
        execute = loader.exec_module

        def exec_module(module: ModuleType) -> None:
            del loader.exec_module
            execute(module)
            if fullname in self._hooks:
                self._hooks.pop(fullname)(module)

        loader.exec_module = exec_module
