"""What a recording is asked to do: its options, the user's pairs, what an isolated pass writes over and did."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from tfdiff.assumptions import Assumption

JointKey = tuple[str, int, str | None, str | None, str | None, int]
"""What tells a tensor of b's forward pass: its site's op, output, layer, called, api and occurrence."""

FORCED = "Forced"
"""The op, in a trace, that stands for a tensor of the reference's in the place of its input."""


@dataclass(frozen=True)
class Joint:
    """A tensor of b's forward pass over which an isolated pass writes a's of the same step."""

    a: int
    """`Site.id` of a's tensor; its value at a step is stored there."""
    b: JointKey
    permutation: tuple[int, ...] | None = None
    """How the axes of a's value turn (as `np.transpose` takes it) before it is reshaped to b's shape; None: not."""


@dataclass(frozen=True)
class Isolation:
    """What an isolated pass of b is to do: over which tensors a's are written. Each step starts from a's variables."""

    joints: tuple[Joint, ...] = ()


@dataclass(frozen=True)
class Isolated:
    """What an isolated pass did; its steps are a tree of their own in b's trace."""

    steps: int
    """Complete ones."""
    joints: tuple[Joint, ...] = ()
    missed: tuple[tuple[int, int], ...] = ()
    """Number of a joint, and of the steps in which b's own tensor went on there: of those joints that have any."""
    lockstep: bool = True
    """Whether each step started from a's variables, as far as they are paired."""
    unset: tuple[int, ...] = ()
    """Those that did not: a call of one compiled function made several."""
    left: tuple[dict[str, str], ...] = ()
    """{"what", "why"}: variables, slots and gradients that stayed b's own, places that could not be written over."""


Box = tuple[tuple[tuple[int, int], ...], ...]
"""A part of a variable: per axis the ranges [start, stop) of it, in order."""


@dataclass(frozen=True)
class MapEntry:
    """What one entry of a user's map says, in names; `tfdiff.pairing.given` finds what they name."""

    where: str
    """`pairs.toml, variable 2`: for messages."""
    a: str | None
    """None in an entry of `unpaired` that is about b alone."""
    b: str | None
    permutation: tuple[int, ...] | None = None
    a_part: Box | None = None
    b_part: Box | None = None
    offset: float = 0.0


@dataclass(frozen=True)
class PairMap:
    """Pairs given by the user (`--map`)."""

    variables: tuple[MapEntry, ...] = ()
    sites: tuple[MapEntry, ...] = ()
    unpaired: tuple[MapEntry, ...] = ()
    """With both names: these two are no pair; with one: it has no counterpart."""


@dataclass(frozen=True)
class RecordOptions:
    """What `tfdiff record` was asked to do; the command line and `tfdiff.record` both make one."""

    script: str
    """Path of the script, or the module's dotted name when `module`; for `tfdiff.record` the calling file."""
    arguments: tuple[str, ...]
    module: bool
    output: Path
    force: bool
    reference: Path | None
    share: frozenset[str]
    """Subset of SHAREABLE; without a reference it means nothing."""
    steps: int
    """Training steps to record, 0 for all."""
    keep_running: bool
    """Whether the script goes on after its last recorded step."""
    detail: str
    """One of DETAILS."""
    quiet: bool
    """No progress, no closing line; warnings and errors are still said."""
    calibrate: bool = False
    """Whether the script runs again to measure what noise does; without a reference only."""
    isolate: bool = True
    """Whether a run against a reference may be followed by an isolated one."""
    lockstep: bool = False
    """Whether it is followed by one in any case."""
    pairs: PairMap | None = None
    """Pairs given by the user, for sharing weights."""
    assume: tuple[Assumption, ...] = ()
    """Settings that every run of the script is made with in the place of its own."""


SHAREABLE: tuple[str, ...] = ("weights", "batches", "noise")
DETAILS: tuple[str, ...] = ("layers", "ops", "sketch")
GRADIENTS = "gradients"
"""What `Isolated.left` says stayed b's own where no gradient of a's could go on."""


def gradient_of(name: str) -> str:
    """The same for one variable's."""
    return f"the gradient of {name}"
