"""One cell in full: both arrays, B's in A's layout, and their difference."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tfdiff.comparison.metrics import best_permutation, into_layout

if TYPE_CHECKING:
    import numpy.typing as npt

    from tfdiff.model import Cell
    from tfdiff.trace.block import Block

    Array = npt.NDArray[Any]


def detail(a_block: Block, b_block: Block, cell: Cell) -> tuple[Array | None, Array | None, Array | None]:
    """Return A's array, B's in A's layout (permuted or reshaped where that is what fits), and a - b in float64.

    An array is None where the side has none or where only statistics were kept; the difference is None where an array
    is missing or the sizes differ. Raises TraceError where the trace is damaged.
    """
    a = _array(a_block, cell.a_index)
    b = _array(b_block, cell.b_index)
    if a is None or b is None:
        return a, b, None
    turned = into_layout(b, a.shape, best_permutation(a, b))
    if turned is None:
        return a, b, None
    return a, turned, np.asarray(a, np.float64) - np.asarray(turned, np.float64)


def _array(block: Block, index: int | None) -> Array | None:
    if index is None or not block.observations[index].stored:
        return None
    return block.array(index)
