"""From a divergence to its causes: every hypothesis that applies is tried, those that are proved are ranked."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from tfdiff.causes.assume import assumption
from tfdiff.causes.configured import as_evidence, hints, in_words, supported
from tfdiff.causes.hypothesis import judge
from tfdiff.causes.registry import HYPOTHESES, OVERRULED, UNEXPLAINED
from tfdiff.causes.scene import Scene
from tfdiff.causes.words import line_of, number, plain
from tfdiff.model import Cause

if TYPE_CHECKING:
    from tfdiff.causes.scene import Side
    from tfdiff.comparison.findings import Finding

MAX_OPERANDS = 4


def explain_finding(finding: Finding) -> list[Cause]:
    """The proved causes of a divergence, most likely first; one `unexplained` with the structural difference otherwise.

    Raises TraceError when an array that is looked at is damaged.
    """
    scene = Scene(finding)
    found: list[Cause] = []
    for hypothesis in HYPOTHESES:
        if finding.divergence.phase not in hypothesis.phases:
            continue
        with np.errstate(all="ignore"):
            proposal = hypothesis.propose(scene)
        cause = None if proposal is None else judge(scene, hypothesis, proposal)
        if cause is not None and all(cause.code != other.code for other in found):
            found.append(cause)
    overruled = {code for cause in found for code in OVERRULED.get(cause.code, ())}
    kept = [supported(scene, cause) for cause in found if cause.code not in overruled]
    kept = [replace(cause, assume=assumption(scene, cause)) for cause in kept]
    return sorted(kept, key=lambda cause: -cause.confidence) or [unexplained(scene)]


def unexplained(scene: Scene) -> Cause:
    """What differs, plainly: the two ops with their constants."""
    divergence = scene.finding.divergence
    words = plain(divergence.summary) or f"{describe(scene.a)} in A, {describe(scene.b)} in B"
    lines = [plain(line) for line in (line_of(divergence.a), line_of(divergence.b)) if line]
    fix = f"compare {' with '.join(lines)}" if lines else "compare the two places"
    settings = hints(scene)
    words = "; ".join(part for part in (words, in_words(settings)) if part)
    return Cause(
        code=UNEXPLAINED,
        phase=divergence.phase,
        step=divergence.step,
        confidence=0.0,
        a=divergence.a,
        b=divergence.b,
        summary=f"no known cause fits: {words}",
        fix=f"{fix}: what goes in is equal, what comes out is not",
        error_before=divergence.error,
        error_after=divergence.error,
        evidence=as_evidence(settings),
    )


def describe(side: Side) -> str:
    """`Mul(., 1.4286)`: the op at the divergence, its scalar operands written out."""
    if side.frontier is None:
        return "nothing"
    seen = side.observations[side.frontier]
    operands = []
    for index in seen.inputs[:MAX_OPERANDS]:
        value = side.scalar(index)
        operands.append("." if value is None else number(value))
    more = ", ..." if len(seen.inputs) > MAX_OPERANDS else ""
    return f"{plain(seen.site.op or seen.site.name)}({', '.join(operands)}{more})"
