"""NaN and infinity in what only one run had of its own: its batches, its initial values."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfdiff.comparison.domains import is_finite
from tfdiff.comparison.findings import Finding
from tfdiff.comparison.nonfinite import NON_FINITE
from tfdiff.comparison.own_batches import batch_of, place_of_batch
from tfdiff.comparison.places import place_of_variable
from tfdiff.model import Divergence

if TYPE_CHECKING:
    from tfdiff.comparison.runs import Runs
    from tfdiff.model import Observation, Phase, Place
    from tfdiff.pairing.variables import VariablePair


def batch_finding(runs: Runs) -> Finding | None:
    """NaN or infinity in the batches of one run only, as each had them before sharing."""
    first: list[Observation | None] = [None, None]
    odd: list[list[int]] = [[], []]
    count = 0
    for step in range(runs.compared):
        for number, trace in enumerate((runs.a, runs.b)):
            batch = batch_of(trace.step(step), own=number == 1)
            first[number] = first[number] or next(iter(batch), None)
            bad = [seen for seen in batch if not is_finite(seen)]
            if bad:
                first[number] = first[number] if odd[number] else bad[0]
                odd[number].append(step)
                count += sum(seen.stats.nans + seen.stats.infs for seen in bad)
    if bool(odd[0]) == bool(odd[1]) or None in first:
        return None
    side, other = ("a", "b") if odd[0] else ("b", "a")
    steps = odd[0] or odd[1]
    places = [place_of_batch(seen.site) if seen is not None else None for seen in first]
    where = f"elements: {count}, first in step {steps[0]}"
    words = f"NaN or infinity in the batches of {side} ({where}), none in those of {other}"
    return _finding(runs, "data", (places[0], places[1]), words, side)


def init_finding(runs: Runs, found: list[tuple[VariablePair, int, int]]) -> Finding | None:
    """NaN or infinity in the initial values of one run only; `found` has the numbers of such values in A and B."""
    alone = [entry for entry in found if not (entry[1] and entry[2])]
    if not alone:
        return None
    pair, in_a, in_b = alone[0]
    side, other = ("a", "b") if in_a else ("b", "a")
    more = f" (and {len(alone) - 1} more)" if len(alone) > 1 else ""
    name = runs.a.variables[pair.a].name
    words = (
        f"{name}{more}: NaN or infinity in the initial values of {side} (elements: {in_a or in_b}), none in {other}'s"
    )
    places = place_of_variable(runs.a.variables[pair.a]), place_of_variable(runs.b.variables[pair.b])
    return _finding(runs, "init", places, words, side, tuple(entry[0] for entry in alone))


def _finding(
    runs: Runs,
    phase: Phase,
    places: tuple[Place | None, Place | None],
    words: str,
    side: str,
    also: tuple[VariablePair, ...] = (),
) -> Finding:
    divergence = Divergence(0, phase, *places, float("inf"), 0.0, summary=words)
    numbers = {"side": side, "reason": "given", "explains": True}
    variable = also[0] if also else None
    return Finding(
        divergence, runs.a, runs.b, runs.pairs, variable=variable, also=also, kind=NON_FINITE, numbers=numbers
    )
