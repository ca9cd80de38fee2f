"""tfdiff: run two TensorFlow scripts from an equal start and name the first place where they part.

`tfdiff.record` and `tfdiff.diff` are loaded when they are first used, so that `import tfdiff` costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tfdiff._version import __version__

if TYPE_CHECKING:
    from tfdiff.api import diff, record

__all__ = ["__version__", "diff", "record"]


def __getattr__(name: str) -> Any:
    """Load the public functions on first use (PEP 562)."""
    if name not in ("diff", "record"):
        message = f"module 'tfdiff' has no attribute {name!r}"
        raise AttributeError(message)
    import importlib

    value = getattr(importlib.import_module("tfdiff.api"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
