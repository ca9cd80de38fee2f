"""Layers of one side between an equal tensor and whatever the other side applies to that tensor at once.

`architecture` looks for a product with a paired weight behind them. Here anything that can be computed again may stand
there: a normalization, an activation, a loss.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfdiff.causes.architecture import layer_proposal, own_weights
from tfdiff.causes.normalization import find_norm
from tfdiff.causes.recompute import MIN_SIZE, differ, dominators, effort, find, inverse, recompute, tells
from tfdiff.comparison.metrics import into_layout
from tfdiff.pairing.distance import relative_error

if TYPE_CHECKING:
    from tfdiff.causes.hypothesis import Proposal
    from tfdiff.causes.scene import Cut, Floats, Scene, Side

MAX_WORK = 1 << 28
"""Multiplications that are done for one divergence."""
STATISTICS = frozenset({"Mean", "FusedBatchNormV3", "FusedBatchNormV2", "FusedBatchNorm"})
MAX_TRIED = 300
"""Pairs of tensors that are tried on a side."""


def layers_between(scene: Scene) -> Proposal | None:
    """One side goes on from an equal tensor as the other does from what layers of its own make of it."""
    for cut in scene.cuts:
        if cut.x_b.size < MIN_SIZE or cut.x_b.ndim < 2:
            continue
        for long in scene.sides[::-1]:
            found = _found(scene, long, cut)
            if found is not None:
                return found
    return None


def _found(scene: Scene, long: Side, cut: Cut) -> Proposal | None:
    start, x = (cut.a, cut.x_a) if long is scene.a else (cut.b, cut.x_b)
    known = dominators(long, start)
    pairs = [(end, middle) for end in known if tells(long, end) for middle in reversed(known[end])]
    work = 0
    for end, middle in pairs[:MAX_TRIED]:
        seen = long.observations[middle]
        if not tells(long, middle) or seen.size != x.size or seen.shape[0] != x.shape[0]:
            continue
        own = own_weights(scene, long, start, middle)
        vector = len(own) == 1 and len(long.trace.variables[own[0]].shape) == 1  # a bias has a name of its own
        if (not own or vector) and not _is_norm(long, start, x, middle):
            continue
        work += effort(long, (middle,), end)
        if work > MAX_WORK:
            return None
        errors = _errors(scene, long, cut, (x, middle, end))
        if errors is not None:
            return layer_proposal(scene, long, own, errors)
    return None


def _is_norm(side: Side, start: int, x: Floats, middle: int) -> bool:
    """Whether a tensor is `x` normalized, by statistics that are taken of it: a factor alone gives the same numbers
    where `x` is normalized already.
    """
    norm = find_norm(side, start, x)
    between = side.ancestors((middle,)) & side.descendants(start)
    ops = {side.observations[index].site.op for index in between}
    return norm is not None and norm.index == middle and not ops.isdisjoint(STATISTICS)


def _errors(scene: Scene, long: Side, cut: Cut, where: tuple[Floats, int, int]) -> tuple[float, float] | None:
    """(error as recorded, error without the layers) of what stands behind them, if the other side has it."""
    x, middle, end = where
    short = scene.b if long is scene.a else scene.a
    permutation = cut.permutation if short is scene.a else inverse(cut.permutation)
    predicted, recorded = recompute(long, {middle: x.reshape(long.observations[middle].shape)}, end), long.array(end)
    if predicted is None or recorded is None or not differ(predicted, recorded):
        return None
    index = find(scene, short, predicted, permutation)
    if index is None:
        return None
    shape = short.observations[index].shape
    turned, wanted = (into_layout(value, shape, permutation) for value in (recorded, predicted))
    if turned is None or wanted is None:
        return None
    return relative_error(wanted, turned), short.error(index, wanted)
