"""What several reports read off a result."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tfdiff.model import Result, Site

EVIDENCE = ("user", "value", "weight", "structure")
"""What a pair can rest on, the strongest first."""


def shared_weights(result: Result) -> dict[str, int]:
    """Return {"shared", "a", "b"}: how many weights b took over, and how many each side has.

    Without a reference nothing was shared; the totals are then those of the compared rows.
    """
    if "weights" in result.shared:
        return recorded_weights(result.shared)
    return {
        "shared": 0,
        "a": _weights(row.a for row in result.rows),
        "b": _weights(row.b for row in result.rows),
    }


def recorded_weights(shared: dict[str, Any]) -> dict[str, int]:
    """Return {"shared", "a", "b"} from a header's `shared`; what is no number, in a stranger's trace, counts as 0."""
    recorded = shared.get("weights")
    counts = recorded if isinstance(recorded, dict) else {}
    return {key: counts[key] if isinstance(counts.get(key), int) else 0 for key in ("shared", "a", "b")}


def unpaired(result: Result) -> tuple[list[str], list[str]]:
    """Return the names of the sites without a counterpart, a's and b's, each once, in causal order."""
    a = dict.fromkeys(row.a_name for row in result.rows if row.a is not None and row.b is None)
    b = dict.fromkeys(row.b_name for row in result.rows if row.b is not None and row.a is None)
    return list(a), list(b)


def evidences(result: Result) -> dict[str, int]:
    """Return how many pairs rest on which evidence; the losses, which pair by what they are, left out."""
    kinds = [row.evidence.partition(",")[0] for row in result.rows if row.a is not None and row.b is not None]
    return {kind: kinds.count(kind) for kind in EVIDENCE if kind in kinds}


def _weights(sites: Iterable[Site | None]) -> int:
    return len({site.variable for site in sites if site and site.role == "weight" and site.variable is not None})
