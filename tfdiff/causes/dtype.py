"""One side computes in a type with fewer digits: what the other has, rounded to it, is what it has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfdiff.causes.hypothesis import Proposal
from tfdiff.causes.words import at, plain
from tfdiff.comparison.metrics import into_layout, relative_error
from tfdiff.comparison.precision import rounded
from tfdiff.comparison.tolerance import UNITS, epsilon
from tfdiff.pairing.sites import is_float

if TYPE_CHECKING:
    from tfdiff.causes.scene import Scene
    from tfdiff.comparison.findings import Match
    from tfdiff.model import Observation
    from tfdiff.trace.block import Block


def other_dtype(scene: Scene) -> Proposal | None:
    """The op at which the two part casts an equal tensor to a type with fewer digits, and only one side's does."""
    finding = scene.finding
    a, b, cut, pairing = finding.a_observation, finding.b_observation, finding.cut, finding.pairing
    if a is None or b is None or cut is None or pairing is None:
        return None
    for side, seen, other, block, feeding in (
        ("b", b, a, pairing.b, (pairing.a, cut.a)),
        ("a", a, b, pairing.a, (pairing.b, cut.b)),
    ):
        errors = _cast_errors(seen, block, feeding, cut)
        if errors is None or (other.site.op == "Cast" and other.dtype == seen.dtype):
            continue
        before, after = errors
        where = finding.divergence.b if side == "b" else finding.divergence.a
        who, rest = side.upper(), "A" if side == "b" else "B"
        usual = feeding[0].observations[feeding[1]].dtype
        return Proposal(
            before,
            after,
            f"{who} goes on in {plain(seen.dtype)} where {rest} stays in {plain(usual)}",
            f"{'compute' if side == 'b' else 'compute B too'} in {plain(usual if side == 'b' else seen.dtype)}: "
            f"a dtype policy, dtype=, or a tf.cast{at(where, called=True)}",
            {side: seen.dtype, rest.lower(): usual},
            fitted=0,
        )
    return None


def _cast_errors(seen: Observation, block: Block, feeding: tuple[Block, int], cut: Match) -> tuple[float, float] | None:
    """Errors of a cast against what the other side has of its operand, as that is and rounded to the cast's type."""
    whole = feeding[0].observations[feeding[1]]
    if seen.site.op != "Cast" or not is_float(seen) or not is_float(whole) or not (seen.stored and whole.stored):
        return None
    if epsilon(seen.dtype) <= epsilon(whole.dtype):
        return None
    x = into_layout(feeding[0].array(feeding[1]), seen.shape, cut.permutation)
    if x is None:
        return None
    y = block.array(seen.index)
    before = relative_error(x, y)
    return (before, relative_error(rounded(x, seen.dtype), y)) if before <= UNITS * epsilon(seen.dtype) else None
