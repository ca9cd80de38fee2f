"""How layers, losses and optimizers of a script were set up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Configuration:
    """How a layer, loss or optimizer of the script was set up, as its `get_config` says."""

    kind: str
    """layer, loss or optimizer."""
    path: str
    """Layer path as sites have it (`sequential/dropout`); the name of a loss or optimizer."""
    class_name: str
    settings: dict[str, Any]
    """JSON values: functions by their names, objects as their class's name or {"class": name, ...}."""
    source: str | None = None
    """Line that creates it."""
    base: str = ""
    """Of a class that the user wrote: the library's class it derives from."""
    cut: tuple[str, ...] = ()
    """Settings that were too large to keep."""
