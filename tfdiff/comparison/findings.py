"""What the comparison hands to whoever names causes: a divergence with everything around it that was read to find it.

`compare()` makes one `Finding` for each divergence (introduced or own) and passes it to its `explain` argument.
Nothing here computes; the arrays stay in the traces and are read through `Finding.array_a`/`array_b` or through the
blocks.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tfdiff.model import Divergence, Observation
    from tfdiff.pairing.variables import VariablePair
    from tfdiff.trace.block import Block
    from tfdiff.trace.reader import Trace


@dataclass(frozen=True)
class Match:
    """One observation of A and its counterpart in B, in one step."""

    a: int
    """Index in A's block."""
    b: int
    """Index in B's block."""
    error: float
    """Relative error (`metrics.relative_error`), after B was brought into A's layout."""
    tolerance: float
    evidence: str
    """value, weight, structure or role."""
    permutation: tuple[int, ...] | None = None
    """`np.transpose(b, permutation)` is in A's layout; None: same order of axes (shapes may differ by a reshape)."""

    @property
    def equal(self) -> bool:
        """Whether the two agree within tolerance."""
        return self.error <= self.tolerance


@dataclass(frozen=True)
class StepPairing:
    """The match table of one step: which observation of A is which of B."""

    step: int
    a: Block
    b: Block
    matches: tuple[Match, ...]
    """In order of A's indices. Forward sites are here when their values agree; variables, gradients, updates and
    states when their variables are paired, whether they agree or not (see `Match.equal`)."""
    a_to_b: Mapping[int, Match]
    b_to_a: Mapping[int, Match]
    a_loss: int | None = None
    """Index of the observation that the loss is (role "activation", or the "loss" one where it is not known which)."""
    b_loss: int | None = None


@dataclass(frozen=True)
class Finding:
    """A divergence and what surrounds it."""

    divergence: Divergence
    """Its `a_index`/`b_index` are the frontier observations (the first ones behind the cut), None where a side has
    none."""
    a: Trace
    b: Trace
    variables: tuple[VariablePair, ...]
    """All pairs of variables (`.a`, `.b`: `Variable.index`; `.permutation`)."""
    pairing: StepPairing | None = None
    """Match table of the divergence's step; None for `own` ones (phase data, init)."""
    cut: Match | None = None
    """Forward and loss: the last pair of equal observations, which both frontier observations consume directly. A
    different variable read next to it is no cut."""
    cuts: tuple[Match, ...] = ()
    """Every pair of equal, informative observations consumed somewhere behind the cut, the nearest first."""
    a_bad: tuple[int, ...] = ()
    """Forward, loss: A's observations without a counterpart that lead to the loss, in order of execution."""
    b_bad: tuple[int, ...] = ()
    variable: VariablePair | None = None
    """Backward, update, state, init: the variable concerned (the first of `also`)."""
    also: tuple[VariablePair, ...] = ()
    """All variables that diverge in the same way at this step, first included."""
    kind: str = ""
    """How it was told, where the comparison knows: missing-gradient, never-moves, absent (a layer or term on one side
    only), behind the first divergence draws (dropouts), width and layers; in `own`: data-labels, data-shuffle,
    data-scale, data-layout, data-augmentation, data-dropped-batch, data-batch-size, init-distribution; else ""."""
    numbers: Mapping[str, Any] = field(default_factory=dict)
    """Measured constants that belong to `kind` (scale, offset, batch sizes, standard deviations)."""

    @property
    def a_observation(self) -> Observation | None:
        """A's frontier observation."""
        index = self.divergence.a_index
        return None if self.pairing is None or index is None else self.pairing.a.observations[index]

    @property
    def b_observation(self) -> Observation | None:
        """B's frontier observation."""
        index = self.divergence.b_index
        return None if self.pairing is None or index is None else self.pairing.b.observations[index]
