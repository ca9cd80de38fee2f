"""Values of variables between the steps of a trace."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tfdiff.pairing.sites import PARAMETERS

if TYPE_CHECKING:
    from tfdiff.trace.reader import Trace


class Values:
    """The values of a trace's variables; it remembers where each step reads them."""

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self._reads: dict[int, dict[int, int]] = {}

    def after(self, variable: int, step: int) -> npt.NDArray[Any] | None:
        """A variable's value after `step` (-1: before step 0), None where there is none.

        What the next forward pass reads goes before the snapshot: a write inside a `tf.cond` may leave none.
        """
        if step + 1 < self.trace.steps:
            index = self._reads_of(step + 1).get(variable)
            if index is not None:
                found: npt.NDArray[Any] = np.asarray(self.trace.step(step + 1).array(index))
                return found
        return self.trace.value_after(variable, step)

    def _reads_of(self, step: int) -> dict[int, int]:
        if step not in self._reads:
            found: dict[int, int] = {}
            for seen in self.trace.step(step).observations:
                site = seen.site
                if site.role in PARAMETERS and site.phase == "forward" and site.variable is not None and seen.stored:
                    found.setdefault(site.variable, seen.index)
            self._reads[step] = found
        return self._reads[step]
