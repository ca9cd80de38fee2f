"""Turns the tensors of a NumPy program into records, as the real recorder would."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from tfdiff.model import Site
from tfdiff.trace.records import Record

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[Any]

LINES = {"first": 10, "act": 11, "bn": 12, "drop": 13, "second": 14, "loss": 20, "optimizer": 21, "fit": 30}


class Recorder:
    """Collects the records of one step and keeps sites the same from step to step."""

    def __init__(self, script: str, style: str) -> None:
        self.script, self.style = script, style
        self.sites: dict[tuple[Any, ...], Site] = {}
        self.begin()

    def begin(self) -> None:
        """Start a step."""
        self.records: list[Record] = []
        self.values: list[Array] = []
        self.counts: Counter[tuple[Any, ...]] = Counter()

    def put(self, role: str, phase: str, op: str, value: Array, inputs: tuple[int, ...] = (), **about: Any) -> int:
        """Record one tensor and return its index."""
        of = about.pop("of", None)
        key: tuple[Any, ...] = (role, phase, op, *sorted(about.items()))
        key = (*key, self.counts[key])
        self.counts[key[:-1]] += 1
        if key not in self.sites:
            self.sites[key] = Site(len(self.sites), role, phase, op, occurrence=key[-1], **about)
        value = np.asarray(value, np.float32) if np.asarray(value).dtype.kind == "f" else np.asarray(value)
        self.records.append(Record(self.sites[key], value, inputs, of))
        self.values.append(value)
        return len(self.records) - 1

    def op(self, part: str, op: str, value: Array, *inputs: int, last: bool = False) -> int:
        """Record a forward op of a part of the network."""
        line = f"{self.script}:{LINES[part]}"
        if self.style == "keras":
            layered = part not in ("loss", "fit")
            about: dict[str, Any] = {
                "layer": f"net/{part}" if layered else None,
                "source": line,
                "called": f"{self.script}:30",
            }
        else:
            about = {"layer": None, "source": line, "called": line, "api": f"tf.{op.lower()}"}
            last = True
        return self.put("activation", "forward", op, value, inputs, boundary=last, **about)
