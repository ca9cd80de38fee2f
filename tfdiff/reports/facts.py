"""What several reports read off a result."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tfdiff.model import Result, Site


def shared_weights(result: Result) -> dict[str, Any]:
    """Return {"shared", "a", "b"}: how many weights b took over, and how many each side has.

    Without a reference nothing was shared; the totals are then those of the compared rows.
    """
    recorded = result.shared.get("weights")
    if isinstance(recorded, dict):
        return {"shared": recorded.get("shared", 0), "a": recorded.get("a", 0), "b": recorded.get("b", 0)}
    return {
        "shared": 0,
        "a": _weights(row.a for row in result.rows),
        "b": _weights(row.b for row in result.rows),
    }


def unpaired(result: Result) -> tuple[list[str], list[str]]:
    """Return the names of the sites without a counterpart, a's and b's, each once, in causal order."""
    a = dict.fromkeys(row.a_name for row in result.rows if row.a is not None and row.b is None)
    b = dict.fromkeys(row.b_name for row in result.rows if row.b is not None and row.a is None)
    return list(a), list(b)


def _weights(sites: Any) -> int:
    return len({site.variable for site in _present(sites) if site.role == "weight" and site.variable is not None})


def _present(sites: Any) -> list[Site]:
    return [site for site in sites if site is not None]
