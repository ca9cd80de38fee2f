"""Counts what may change a variable, so that two runs of a script can be looked at in the same moment.

Eager updates, executions of compiled functions and session runs are one beat each. A variable's first value is none:
when it gets it depends on who asks for the variable first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tfdiff.recorder.stream import is_update

if TYPE_CHECKING:
    from collections.abc import Sequence


class Beats:
    """The count of one run."""

    def __init__(self) -> None:
        self.count = 0
        self._known: set[int] = set()

    def op(self, kind: str, inputs: Sequence[Any], *, counts: bool) -> bool:
        """An eager op has run: whether it is a beat. Tell also of those that do not count, they may be first values."""
        if not is_update(kind):
            return False
        first = False
        if kind == "AssignVariableOp":
            first = inputs[0]._id not in self._known
            self._known.add(inputs[0]._id)
        self.count += counts and not first
        return counts and not first

    def run(self) -> None:
        """A compiled function or a session has run."""
        self.count += 1
