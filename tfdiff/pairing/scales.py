"""A scale that a step applies to its batch before anything else: `Rescaling`, `x / 255`, a cast.

Where one run scales its data beforehand and the other inside the step, the data differ and what the network sees does
not. So what counts is the tensor at the end of such a chain, told from sketches: they are linear.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from tfdiff.trace.sketch import sketch

if TYPE_CHECKING:
    import numpy.typing as npt

    from tfdiff.model import Observation
    from tfdiff.pairing.batches import PartRule
    from tfdiff.trace.block import Block

    Array = npt.NDArray[Any]
    Floats = npt.NDArray[np.float64]

AFFINE = frozenset({"Mul", "Sub", "AddV2", "Add", "RealDiv", "Div", "DivNoNan", "Cast", "Identity"})
PLAIN = frozenset({"constant", "input"})
"""Roles of what a chain may be made of besides its own ops: the batch and numbers of the program."""
EXACT = 1e-5
SAME = 1e-4
LONGEST = 12
FEWEST = 16
MIN_COLUMNS = 2
"""Single numbers per row are labels, ids and the like."""
CLEARLY = 0.2
"""Spreads of the same features in two runs differ by less, whichever rows they are of."""


@dataclass(frozen=True)
class InputScale:
    """What the network sees is `scale * x + offset`."""

    scale: float = 1.0
    offset: float = 0.0

    def of(self, x: Floats) -> Floats:
        """The features as the network sees them."""
        return np.asarray(self.scale * x + self.offset)

    def same(self, other: InputScale) -> bool:
        """Whether two chains do the same."""
        largest = max(abs(self.scale), abs(other.scale))
        near = abs(self.scale - other.scale) <= SAME * largest
        return near and abs(self.offset - other.offset) <= SAME * max(largest, abs(self.offset), abs(other.offset))

    def behind(self, scale: float, offset: float) -> InputScale:
        """The same chain behind data that are `scale * x + offset` themselves."""
        return InputScale(self.scale * scale, self.scale * offset + self.offset)


def input_scale(block: Block, index: int) -> InputScale:
    """What happens to an input of a step until something else than a scale comes, tensor by tensor."""
    start = block.observations[index]
    if start.size < 2 or start.dtype in ("bool", "string"):
        return InputScale()
    consumers = _consumers(block)
    at, found = index, InputScale()
    for _ in range(LONGEST):
        following = [seen for seen in consumers.get(at, []) if seen.site.role == "activation"]
        scaled = [seen for seen in following if _only_scales(block, seen, at)]
        if len(scaled) != 1 or len(following) != 1:
            break  # the raw tensor is used as well
        fitted = _fit(block, start, scaled[0])
        if fitted is None:
            break
        at, found = scaled[0].index, fitted
    return found


def scaled_rule(
    rule: PartRule, values: tuple[Array, Array], blocks: tuple[Block, Block], inputs: tuple[int, int]
) -> PartRule:
    """The rule that gives b's network what a's sees, where only one of the steps scales its data, or both otherwise.

    `values`: the features of all steps, a's and b's own; where these are spread alike, nothing is changed.
    """
    if any(part.dtype.kind not in "iuf" or part.size < FEWEST for part in values) or prod(rule.shape) < MIN_COLUMNS:
        return rule
    a, b = (float(part.astype(np.float64).std()) for part in values)
    if not a or not b or abs(b / a - 1.0) <= CLEARLY:
        return rule
    one, other = (input_scale(block, index) for block, index in zip(blocks, inputs, strict=True))
    if one.same(other):
        return rule
    scale, offset = one.scale / other.scale, (one.offset - other.offset) / other.scale
    return replace(rule, scale=scale, offset=offset, evidence=f"{rule.evidence}, scaled as the steps do")


def _consumers(block: Block) -> dict[int, list[Observation]]:
    found: dict[int, list[Observation]] = {}
    for seen in block.observations:
        if seen.site.phase == "forward":
            for operand in set(seen.inputs):
                found.setdefault(operand, []).append(seen)
    return found


def _only_scales(block: Block, seen: Observation, at: int) -> bool:
    """Whether an op takes the tensor and numbers of the program, and gives one of as many elements."""
    others = [operand for operand in seen.inputs if operand != at]
    return (
        seen.site.op in AFFINE
        and seen.size == block.observations[at].size
        and all(i < 0 or _is_number(block.observations[i]) for i in others)
    )


def _is_number(seen: Observation) -> bool:
    return seen.size == 1 and seen.site.role in PLAIN


def _fit(block: Block, start: Observation, end: Observation) -> InputScale | None:
    """The map between two tensors, where it is one."""
    x, y = (block.sketch(seen.index).astype(np.float64) for seen in (start, end))
    ones = sketch(np.ones(start.shape, np.float32)).astype(np.float64)
    if x.shape != y.shape or x.shape != ones.shape:
        return None
    (scale, offset), *_ = np.linalg.lstsq(np.stack([x, ones], axis=1), y, rcond=None)
    left = float(np.linalg.norm(scale * x + offset * ones - y))
    if scale <= 0.0 or left > EXACT * max(float(np.linalg.norm(y)), 1e-30):
        return None
    return InputScale(float(scale), float(offset) if abs(offset) > EXACT * abs(end.stats.mean or 1.0) else 0.0)
