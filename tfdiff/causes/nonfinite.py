"""NaN and infinity: the op that makes them, and the operands that it cannot take."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfdiff.causes.hypothesis import Proposal
from tfdiff.causes.words import at, plain

if TYPE_CHECKING:
    from tfdiff.causes.scene import Scene
    from tfdiff.model import Place

KIND = "non-finite"
FIXES = {
    "log-0": "tf.math.log(tf.clip_by_value(p, 1e-7, 1.0)), or take the loss from the logits",
    "log-negative": "take the logarithm of what is positive only: of probabilities, not of logits",
    "division-by-0": "tf.math.divide_no_nan(x, y), or a small number added to the denominator",
    "root-negative": "tf.sqrt(tf.maximum(x, 0.0)): rounding can leave a difference of squares below 0",
    "root-slope": "tf.sqrt(x + 1e-12): the slope of the square root is infinite at 0",
    "exp-overflow": "subtract the largest value before tf.exp, as tf.nn.softmax and tf.reduce_logsumexp do",
    "overflow": "keep the values smaller",
    "given": "replace or leave out what is not finite",
}
HALF = "compute this in float32: tf.cast(x, tf.float32)"
UNCOMPUTED = 0.1
"""Doubt where the operands were not kept, so that only their ranges speak."""
STRUCTURE = frozenset({"log-negative", "root-negative"})
"""What may as well be another function's values: a softmax that is missing leaves logits to the logarithm."""


def non_finite(scene: Scene) -> Proposal | None:
    """An op of one side has operands for which it has no finite result; the other side's are none or are guarded."""
    found = scene.finding.numbers if scene.finding.kind == KIND else {}
    reason, side = str(found.get("reason", "")), str(found.get("side", ""))
    if reason not in FIXES or side not in ("a", "b") or found.get("explains") is False:
        return None
    divergence = scene.finding.divergence
    place: Place | None = divergence.a if side == "a" else divergence.b
    doubt = 0.0 if found.get("explains") else UNCOMPUTED
    fix = HALF if reason == "overflow" and "16" in _dtype(scene, side) else FIXES[reason]
    return Proposal(
        before=divergence.error,
        after=0.0,
        summary=plain(divergence.summary),
        fix=f"{fix}{at(place, called=True)}",
        constants={"side": side, "reason": reason},
        fitted=0,
        doubt=doubt + (0.3 if reason in STRUCTURE else 0.0),
    )


def _dtype(scene: Scene, side: str) -> str:
    seen = scene.finding.a_observation if side == "a" else scene.finding.b_observation
    return seen.dtype if seen is not None else ""
