"""A block of which only the first rows of the batch are looked at: where B evaluates in larger batches than A."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from tfdiff.trace.block import Block
from tfdiff.trace.sketch import sketch
from tfdiff.trace.stats import stats

if TYPE_CHECKING:
    import numpy.typing as npt

    from tfdiff.model import Observation


class CutBlock(Block):
    """`block` with every stored tensor of `rows` rows (or a multiple) cut to those of the first `kept` rows.

    Indices stay the same. Tensors of which only a sketch is kept stay as they are: they have no counterpart then.
    """

    def __init__(self, block: Block, rows: int, kept: int) -> None:
        self.whole = block
        self.info, self.evaluation = block.info, block.evaluation
        self._rows, self._kept = rows, kept
        self._cut: dict[int, npt.NDArray[Any]] = {}
        self.observations = tuple(self._observation(seen) for seen in block.observations)

    def _observation(self, seen: Observation) -> Observation:
        if not (
            seen.stored
            and seen.shape
            and seen.shape[0] >= self._rows
            and seen.shape[0] % self._rows == 0
            and seen.site.role in ("activation", "input", "noise")
            and seen.site.phase == "forward"
        ):
            return seen
        array = self.whole.array(seen.index)[: seen.shape[0] // self._rows * self._kept]
        self._cut[seen.index] = array
        return replace(seen, shape=array.shape, stats=stats(array))

    def array(self, index: int) -> npt.NDArray[Any]:
        """The tensor's first rows."""
        found = self._cut.get(index)
        return self.whole.array(index) if found is None else found

    def sketch(self, index: int) -> npt.NDArray[np.float32]:
        """Of the first rows."""
        found: npt.NDArray[np.float32] = self._sums[index]
        return found

    def sketches(self) -> npt.NDArray[np.float32]:
        """Of the first rows."""
        return self._sums

    @cached_property
    def _sums(self) -> npt.NDArray[np.float32]:
        found = np.array(self.whole.sketches())
        for index, array in self._cut.items():
            found[index] = sketch(array)
        return found
