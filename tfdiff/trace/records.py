"""What the recorder hands to the writer, and the errors that only a trace knows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tfdiff.errors import TraceError, UsageError

if TYPE_CHECKING:
    import numpy.typing as npt

    from tfdiff.model import Site


@dataclass(frozen=True)
class Record:
    """One tensor of a step on its way into the trace."""

    site: Site
    value: npt.NDArray[Any]
    """The tensor on the host; the writer does not change it."""
    inputs: tuple[int, ...] = ()
    """Positions in the same step of what the op consumed; -1 where unknown."""
    of: int | None = None
    """For gradients of activations: position of the activation."""
    keep: bool = True
    """False: only statistics and sketch are written."""


class ExistsError(UsageError):
    """The output file is already there."""

    slug = "exists"


class NotStoredError(TraceError):
    """Only statistics and sketch of this tensor are in the trace."""

    slug = "not-stored"


class WriteError(TraceError):
    """The trace could not be written (a full disk, a missing folder)."""

    slug = "write"
