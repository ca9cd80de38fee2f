"""What the free run and the isolated pass found, as one list without repeats."""

from __future__ import annotations

from dataclasses import replace
from math import isfinite
from typing import TYPE_CHECKING

from tfdiff.comparison.nonfinite import NON_FINITE
from tfdiff.model import PHASES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tfdiff.comparison.findings import Finding
    from tfdiff.comparison.isolated import Found
    from tfdiff.comparison.runs import Runs
    from tfdiff.model import Cause, Divergence, Observation

FORWARD = frozenset({"forward", "loss"})


def merged(free: Iterable[Finding], isolated: Iterable[Found]) -> list[Finding]:
    """All findings in causal order; of what both passes tell the earlier one, else the free run's."""
    kept = list(free)
    for found in isolated:
        if not isfinite(found.finding.divergence.error) and any(known.kind == NON_FINITE for known in kept):
            continue  # what NaN and infinity lead to is told with the op that makes them
        same = next((number for number, known in enumerate(kept) if _same(known, found)), None)
        if same is None:
            kept.append(found.finding)
        elif found.finding.divergence.step < kept[same].divergence.step:
            kept[same] = found.finding
    return sorted(kept, key=_order)


def _order(finding: Finding) -> tuple[int, int, float]:
    divergence = finding.divergence
    at = float("inf") if divergence.a_index is None else float(divergence.a_index)
    return divergence.step, PHASES.index(divergence.phase), at if divergence.phase in FORWARD else 0.0


def _same(known: Finding, found: Found) -> bool:
    """Whether an isolated step shows what is known already."""
    one, other = known, found.finding
    if one.divergence.phase in FORWARD and other.divergence.phase in FORWARD:
        return _same_site(one, other) or _dropped_alike(one, other) or _same_lines(one, found)
    if one.divergence.phase != other.divergence.phase or _role(one) != _role(other):
        return False
    if one.kind != other.kind and not (one.divergence.phase == "backward" and _same_place(one, other)):
        return False
    return bool({pair.a for pair in one.also} & {pair.a for pair in other.also})


def _same_site(one: Finding, other: Finding) -> bool:
    sides = zip(_sites(one), _sites(other), strict=True)
    return any(first is not None and first == second for first, second in sides)


def _same_place(one: Finding, other: Finding) -> bool:
    """Whether both name the same ops of the same lines: a gradient of zeros, and none at all, at what stops it."""
    return (one.divergence.a, one.divergence.b) == (other.divergence.a, other.divergence.b)


def _same_lines(known: Finding, found: Found) -> bool:
    """Whether both name the same lines in the same part of the network: a dropout's mask and its scale, say."""
    one, other = known.divergence, found.finding.divergence
    if known.pairing is None or found.finding.pairing is None or (one.a is None and one.b is None):
        return False
    return _at(known.a_observation, found) and all(
        (p.layer, p.source, p.called) == (q.layer, q.source, q.called) if p is not None and q is not None else p is q
        for p, q in ((one.a, other.a), (one.b, other.b))
    )


def _at(seen: Observation | None, found: Found) -> bool:
    """Whether an observation of a's lies in the part that was judged, by its site: steps may differ."""
    return seen is not None and seen.site.id in found.around


def _dropped_alike(known: Finding, other: Finding) -> bool:
    """Whether a finding stands in one of the dropouts that a known one is about."""
    seen = other.a_observation
    if known.kind != "draws" or known.pairing is None or seen is None:
        return False
    sites = [observation.site.id for observation in known.pairing.a.observations]
    return any(seen.site.id in sites[x + 1 : y + 1] for x, y, _, _ in known.numbers["dropouts"])


def _sites(finding: Finding) -> tuple[int | None, int | None]:
    """The ids of the sites on both sides; the two traces number them for themselves."""
    seen = finding.a_observation, finding.b_observation
    return seen[0].site.id if seen[0] else None, seen[1].site.id if seen[1] else None


def _role(finding: Finding) -> str | None:
    seen = finding.a_observation or finding.b_observation
    return seen.site.role if seen else None


def mended_once(causes: Iterable[Cause]) -> list[Cause]:
    """Without causes that are gone once an earlier one is mended: the same code, and the same fix on the same line.

    A line in a loop is seen as often as the loop runs; the first of its causes says how often more.
    """
    kept: dict[tuple[str, str], list[Cause]] = {}
    for number, cause in enumerate(causes):
        key = (cause.code, cause.fix) if cause.b is not None and cause.b.source else (cause.code, str(number))
        kept.setdefault(key, []).append(cause)
    return [_and_more(*same) for same in kept.values()]


def _and_more(first: Cause, *others: Cause) -> Cause:
    if not others:
        return first
    more = f"; so in {len(others)} more place{'s' * (len(others) > 1)}, by the same line"
    return replace(first, summary=first.summary + more)


def as_of_run(runs: Runs, finding: Finding) -> Divergence:
    """A finding's divergence, with the index of b's observation in the step of the free run; None without one."""
    divergence, seen = finding.divergence, finding.b_observation
    if finding.b is runs.b or seen is None:
        return divergence
    index = None
    if divergence.step < runs.b.steps:
        block = runs.b.step(divergence.step)
        index = next((known.index for known in block.observations if known.site.id == seen.site.id), None)
    return replace(divergence, b_index=index)
