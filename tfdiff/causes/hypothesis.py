"""What a hypothesis is, and when it counts as proved.

A cause is a hypothesis over recorded arrays with four parts: when it applies (phases, and what its function looks for),
what it fits (`Proposal.constants`), how it predicts A from B's values (`before` and `after`), and how it reads
(`summary`, `fix`). It is one function from a `Scene` to a `Proposal` or None, and one entry in the registry.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import isfinite
from typing import TYPE_CHECKING, Any

from tfdiff.model import Cause

if TYPE_CHECKING:
    from collections.abc import Callable

    from tfdiff.causes.scene import Scene
    from tfdiff.model import Phase

NOISE = 3e-5
"""Relative error up to which two ways of computing the same thing in float32 may differ, if nothing else is known."""
SHARE = 0.1
"""Share of the difference that may be left."""
COST = 0.01
"""What each fitted constant takes from the confidence."""


@dataclass(frozen=True)
class Proposal:
    """A hypothesis that fits, with its proof."""

    before: float
    """Relative error between A's and B's tensor."""
    after: float
    """Relative error between A's tensor and what B's values give once the cause is taken away."""
    summary: str
    fix: str
    constants: dict[str, Any] = field(default_factory=dict)
    fitted: int = 1
    """Number of constants that were fitted (not read)."""
    code: str | None = None
    """Where a function tells several causes apart; None: the code of its entry."""
    noise: float = 0.0
    """Rounding of these numbers, where it is known to exceed the usual."""
    doubt: float = 0.0
    """Taken from the confidence where part of the evidence is structure, not numbers."""


@dataclass(frozen=True)
class Hypothesis:
    """An entry of the registry."""

    codes: tuple[str, ...]
    """What the function can name; the first is its usual name."""
    phases: tuple[Phase, ...]
    propose: Callable[[Scene], Proposal | None]


def judge(scene: Scene, hypothesis: Hypothesis, proposal: Proposal) -> Cause | None:
    """The cause, if the difference falls to the noise once the hypothesis is applied; None otherwise."""
    limit = max(NOISE, scene.finding.divergence.tolerance, proposal.noise)
    after = proposal.after
    if not isfinite(after) or proposal.before <= 0.0 or after > limit or after > SHARE * proposal.before:
        return None
    share = 1.0 if not isfinite(proposal.before) else 1.0 - after / proposal.before
    confidence = max(0.0, 0.99 * share - COST * proposal.fitted - proposal.doubt)
    divergence = scene.finding.divergence
    return Cause(
        code=proposal.code or hypothesis.codes[0],
        phase=divergence.phase,
        step=divergence.step,
        confidence=round(confidence, 3),
        a=divergence.a,
        b=divergence.b,
        summary=proposal.summary,
        fix=proposal.fix,
        constants=proposal.constants,
        error_before=float(proposal.before),
        error_after=float(after),
    )
