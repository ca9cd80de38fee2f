"""What b's own batches were before sharing: order, batch size, dropped rows and scale, against a's."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tfdiff.comparison.findings import Finding
from tfdiff.comparison.originals import Made, augmentation, made_rows, random_maps, whole_sources
from tfdiff.comparison.own_altered import added_noise, moved_values
from tfdiff.comparison.own_batches import Fed, fed_batches, rows_by_step
from tfdiff.comparison.own_labels import relabelled
from tfdiff.comparison.own_layout import find_layout
from tfdiff.comparison.own_nonfinite import batch_finding
from tfdiff.comparison.own_scale import find_scale, scaled_in_the_step
from tfdiff.comparison.own_shift import find_shift
from tfdiff.model import Divergence, Place
from tfdiff.pairing.rows import find_rows, find_steps, row_order, row_signatures

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from tfdiff.comparison.own_batches import BatchWatch
    from tfdiff.comparison.runs import Runs
    from tfdiff.model import RowSource
    from tfdiff.pairing.rows import RowOrder
    from tfdiff.trace.reader import Trace

    Array = npt.NDArray[Any]
    Rows = npt.NDArray[np.uint64]

RANK = (
    "non-finite",
    "data-labels",
    "data-scale",
    "data-layout",
    "data-augmentation",
    "data-shift",
    "data-shuffle",
    "data-dropped-batch",
    "data-batch-size",
)
"""In which order the kinds of findings are to be mended."""
PIXELS = ((255.0, 0.0), (127.5, 127.5))
"""What undoes x / 255 and x / 127.5 - 1."""
KNOWN_SHARE = 0.5
"""Share of b's rows that must be among a's for the two to hold the same examples."""


@dataclass(frozen=True)
class Ordered:
    """In which order a run goes through a whole array."""

    order: RowOrder
    source: RowSource
    hashes: Rows
    """Of the rows of the whole array."""
    foreign: bool
    """Whether the whole array was seen in the other run only."""


def data_findings(runs: Runs, watch: BatchWatch) -> tuple[list[Finding], list[str]]:
    """Differences in kind between the batches of both runs, and what could not be decided."""
    if not watch.seen:
        return [], ["the batches were not recorded on both sides: their order, scale and size were not compared"]
    if watch.same:
        return [], []
    alone = batch_finding(runs)
    found, notes = _batch_findings(runs)
    return sorted([*([alone] if alone else []), *found], key=lambda finding: RANK.index(finding.kind)), notes


def _batch_findings(runs: Runs) -> tuple[list[Finding], list[str]]:
    a, b = fed_batches(runs)
    made = made_rows(runs.a, a.rows), made_rows(runs.b, b.rows)
    # From here on a row that a generator made stands for the one it was made from: order and size are those of these.
    a, b = (fed if m is None else replace(fed, rows=m.originals) for fed, m in zip((a, b), made, strict=True))
    augmented = augmentation(runs, made, [a.rows, b.rows]) if a.rows else None
    if augmented is None and all(np.array_equal(first, second) for first, second in zip(a.rows, b.rows, strict=True)):
        unknown = "only statistics of the batches are kept: their order, scale and size were not compared"
        altered = _altered(runs, a, b, made, 1.0)
        return [altered] if altered is not None else [], [] if a.rows else [unknown]
    order_a, order_b = _ordered(a, runs.a, runs.b), _ordered(b, runs.b, runs.a)
    places = _places(a, b, order_a, order_b)
    sizes = _typical(a.rows), _typical(b.rows)
    if augmented is not None:
        rows, unknown_rows = [_augmented(runs, augmented, places)], ""
    else:
        rows, unknown_rows = _changed_rows(runs, a, b, made)
    found, words = _order_difference(runs, order_a, order_b, a, b)
    dropped, resized = _dropped(runs, order_a, order_b, places, sizes[0]), _other_size(runs, sizes, places)
    others = (
        _relabelled(runs, a, b),
        # batches that one side leaves out, or cuts otherwise, move all that come after them
        None if dropped or resized else _shifted(runs, a, b),
        dropped,
        resized,
        _finding(runs, "data-shuffle", places, words, 1.0, a=found[0], b=found[1]) if found else None,
    )
    known = [finding for finding in others if finding is not None]
    told = any(finding.kind == "data-labels" for finding in known)
    notes = ["" if found else words, "" if told else unknown_rows]
    return [*rows, *known], [note for note in notes if note]


def _changed_rows(runs: Runs, a: Fed, b: Fed, made: tuple[Made | None, Made | None]) -> tuple[list[Finding], str]:
    """What was done to the values of the rows on one side: a scale, a random change; or that they are not known."""
    known = _known_share(a, b, runs)
    scaled = None if known >= KNOWN_SHARE else find_scale(a, b)
    if scaled is not None:
        found_at = _places(a, b, None, None)
        told = _finding(runs, "data-scale", found_at, scaled.words, scaled.error, **scaled.numbers)
        return [] if scaled_in_the_step(runs, scaled) else [told], ""
    altered = _altered(runs, a, b, made, known)
    if altered is not None or known >= KNOWN_SHARE:
        return [altered] if altered is not None else [], ""
    if random_maps(runs.a) and random_maps(runs.b):
        return [], "both runs change their rows at random on the way (Dataset.map): no difference in kind"
    why = "no scale explains it" if a.parts and b.parts else "their values are not kept"
    return [], f"b's own rows are not among a's, and {why}: other data, or rows put together otherwise"


def _relabelled(runs: Runs, a: Fed, b: Fed) -> Finding | None:
    """Features with the labels of other rows."""
    labels = relabelled(a.parts, b.parts)
    if labels is None:
        return None
    words = f"{100 * labels['wrong']:.0f} % of {labels['rows']:.0f} rows of a have the label of another row in b"
    return _finding(runs, "data-labels", _places(a, b, None, None), words, labels["wrong"], **labels)


def _shifted(runs: Runs, a: Fed, b: Fed) -> Finding | None:
    """Steps that have the rows of the other run's step before or behind."""
    shift = find_shift(rows_by_step(runs, runs.a, own=False), rows_by_step(runs, runs.b, own=True))
    if shift is None:
        return None
    return _finding(runs, "data-shift", _places(a, b, None, None), shift.words, 1.0, **shift.numbers)


def _other_size(runs: Runs, sizes: tuple[int, int], places: tuple[Place, Place]) -> Finding | None:
    """Batches of another number of rows."""
    if sizes[0] == sizes[1]:
        return None
    words = f"batches of {sizes[0]} rows in a, of {sizes[1]} in b"
    error = abs(sizes[0] - sizes[1]) / max(sizes)
    return _finding(runs, "data-batch-size", places, words, error, a=sizes[0], b=sizes[1])


def _dropped(
    runs: Runs, order_a: Ordered | None, order_b: Ordered | None, places: tuple[Place, Place], batch: int
) -> Finding | None:
    """Rows at the end that only one side leaves out."""
    if not (order_a and order_b and {order_a.order.dropped_last, order_b.order.dropped_last} == {True, False}):
        return None
    side = "a" if order_a.order.dropped_last else "b"
    total = order_a.source.rows
    words = f"{side} leaves out the last {total % batch if batch else 0} of {total} rows, which fill no batch"
    return _finding(runs, "data-dropped-batch", places, words, 1.0, rows=total, batch=batch, dropped_by=side)


def _augmented(runs: Runs, numbers: dict[str, Any], places: tuple[Place, Place]) -> Finding:
    """Rows that only one side changes at random."""
    side = numbers["by"]
    changed = f"{100 * numbers['changed']:.0f} % of the rows"
    words = f"{numbers['generator']} changes {changed} in {side}, the other takes them as they are"
    return _finding(runs, "data-augmentation", places, words, numbers["changed"], **numbers)


def _altered(runs: Runs, a: Fed, b: Fed, made: tuple[Made | None, Made | None], known: float) -> Finding | None:
    """Rows that are in another layout in b, or that one side changes at random: by a map that draws, or in its own
    code.
    """
    if any(made):
        return None
    laid = find_layout(runs, a, b)
    if laid is not None:
        told = f"b's rows are a's with {laid.layout}"
        return _finding(runs, "data-layout", _places(a, b, None, None), told, laid.before, **laid.numbers)
    maps = random_maps(runs.a), random_maps(runs.b)
    plain = [
        not maps[n] and _takes_as_they_are(fed, trace) for n, (fed, trace) in enumerate(((a, runs.a), (b, runs.b)))
    ]
    # where neither takes the rows of an array as they are, both may change them
    if not any(plain):
        return None
    side, generator = ("a", maps[0]) if plain == [False, True] else ("b", maps[1])
    share, words = moved_values(a, b), "the values in {} of the rows are moved about (turned, flipped)"
    if share is None:
        share, words = added_noise(a, b), "something random is added to {} of the rows"
    if share is None and generator and known < KNOWN_SHARE:
        share, words = 1.0 - known, "{} of the rows are changed at random"
    if share is None:
        return None
    name = f"{generator[0].name} ({', '.join(generator[0].parts)})" if generator else "the program"
    numbers = {"by": side, "generator": name, "changed": share, "unknown": 0.0}
    told = f"{words.format(f'{100 * share:.0f} %')} in {side}"
    return _finding(runs, "data-augmentation", _places(a, b, None, None), told, share, **numbers)


def _takes_as_they_are(fed: Fed, trace: Trace) -> bool:
    """Whether a run has its rows from an array of its own, if need be divided on the way."""
    return any(
        _share_of(replace(fed, rows=rows), hashes) >= KNOWN_SHARE
        for source, hashes in whole_sources(trace)
        for rows in _views(fed, source, scaled=True)
    )


def _ordered(fed: Fed, own: Trace, other: Trace) -> Ordered | None:
    """The whole array that knows most of the rows, the run's own before the other's."""
    for trace in (own, other):
        best: tuple[int, Ordered] | None = None
        for source, hashes in whole_sources(trace):
            views = _views(fed, source, scaled=True) if trace is own else [fed.rows]
            orders = (row_order(find_steps(rows, hashes), len(hashes)) for rows in views)
            order = next((order for order in orders if order.kind != "unknown"), None)
            if order is not None and (best is None or order.missing < best[0]):
                best = (order.missing, Ordered(order, source, hashes, trace is other))
        if best is not None:
            return best[1]
    return None


def _views(fed: Fed, source: RowSource, *, scaled: bool = False) -> Iterator[list[Rows]]:
    """The rows of the steps as the run's own array may hold them: whole, or only as many parts as it has.

    Labels that were converted or computed on the way into the step are not known from an array; with `scaled`, pixels
    that were are.
    """
    yield fed.rows
    every = [fed.parts, [[_whole_numbers(part) for part in step] for step in fed.parts]] if scaled else [fed.parts]
    for steps in every:
        if steps is not fed.parts and steps:
            yield [row_signatures(step) for step in steps]
        parts = steps[0] if steps else []
        for chosen in itertools.combinations(range(len(parts)), len(source.parts)):
            if len(chosen) < len(parts) and all(len(step) == len(parts) for step in steps):
                yield [row_signatures([step[number] for number in chosen]) for step in steps]


def _whole_numbers(part: Array) -> Array:
    """Pixels that a map divided on the way are those of the array again; other parts stay as they are."""
    if part.dtype.kind != "f" or part.ndim == 1 or np.array_equal(part, np.rint(part)):
        return part
    for factor, offset in PIXELS:
        back = factor * part.astype(np.float64) + offset
        if np.allclose(back, np.rint(back), rtol=0.0, atol=1e-3):
            return np.asarray(np.rint(back))
    return part


def _known_share(a: Fed, b: Fed, runs: Runs) -> float:
    """Share of one run's rows that the other has, in the compared steps or in its whole arrays; the larger of the two.

    An array from which a run's own steps do not have their rows as they are (a map changes them on the way) is none.
    """
    if not a.rows or not b.rows:
        return 1.0
    sides = ((a, b, runs.b), (b, a, runs.a))
    return max(_share_of(fed, np.concatenate([*other.rows, *_feeding(other, trace)])) for fed, other, trace in sides)


def _feeding(fed: Fed, trace: Trace) -> list[Rows]:
    """The hashes of the whole arrays of a run that its steps take their rows from as they are."""
    return [
        hashes
        for source, hashes in whole_sources(trace)
        if any(_share_of(replace(fed, rows=rows), hashes) >= KNOWN_SHARE for rows in _views(fed, source))
    ]


def _share_of(fed: Fed, known: Rows) -> float:
    wanted = np.concatenate(fed.rows) if fed.rows else np.zeros(0, np.uint64)
    return float((find_rows(wanted, known) >= 0).mean()) if wanted.size else 1.0


def _typical(rows: list[Rows]) -> int:
    return Counter(len(step) for step in rows).most_common(1)[0][0] if rows else 0


def _order_difference(
    runs: Runs, order_a: Ordered | None, order_b: Ordered | None, a: Fed, b: Fed
) -> tuple[tuple[str, str] | None, str]:
    """Kinds of order where exactly one side shuffles, and what to say; without a whole array nothing can be told."""
    if order_a is None or order_b is None:
        same = np.array_equal(np.sort(np.concatenate(a.rows)), np.sort(np.concatenate(b.rows)))
        what = "the same rows in another order" if same else "other rows"
        shown = whole_sources(runs.a) or whole_sources(runs.b)
        why = "the rows are changed on their way from the arrays" if shown else "neither run shows a whole array"
        return None, f"in these steps b has {what} than a; {why}, so shuffling cannot be told"
    kinds = order_a.order.kind, order_b.order.kind
    if kinds[0] == kinds[1]:
        harmless = "both runs shuffle their rows, each in its own way: no difference"
        return None, harmless if kinds[0] == "shuffled" else _other_arrangement(order_a, order_b)
    shuffled, other = ("a", "b") if kinds[0] == "shuffled" else ("b", "a")
    return kinds, f"{shuffled} shuffles the rows, {other} takes them in the order of the array"


def _other_arrangement(a: Ordered, b: Ordered) -> str:
    """That two whole arrays, both taken in their order, have the same rows in another one; "" where they do not."""
    if a.foreign or b.foreign or np.array_equal(a.hashes, b.hashes):
        return ""
    if not np.array_equal(np.sort(a.hashes), np.sort(b.hashes)):
        return ""
    return (
        "both runs take the rows of their arrays in order, but b's array has a's rows in another order (shuffled or "
        "sorted once beforehand): whether one of them is sorted by its labels cannot be told from the rows"
    )


def _places(a: Fed, b: Fed, order_a: Ordered | None, order_b: Ordered | None) -> tuple[Place, Place]:
    first, second = (
        Place(None, ordered.source.name, ordered.source.source or fed.place.source, fed.place.called)
        if ordered and not ordered.foreign
        else fed.place
        for fed, ordered in ((a, order_a), (b, order_b))
    )
    return first, second


def _finding(runs: Runs, kind: str, places: tuple[Place, Place], words: str, error: float, **numbers: Any) -> Finding:
    divergence = Divergence(0, "data", places[0], places[1], error, 0.0, summary=words)
    return Finding(divergence, runs.a, runs.b, runs.pairs, kind=kind, numbers=numbers)
