"""What b's own batches were before sharing: order, batch size, dropped rows and scale, against a's."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tfdiff.comparison.findings import Finding
from tfdiff.comparison.originals import augmentation, made_rows, whole_sources
from tfdiff.comparison.own_batches import Fed, batch_of, fed_batches
from tfdiff.comparison.own_labels import relabelled
from tfdiff.comparison.own_nonfinite import batch_finding
from tfdiff.model import Divergence, Place
from tfdiff.pairing.rows import find_rows, find_steps, row_order, row_signatures
from tfdiff.pairing.scales import input_scale

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
    "data-augmentation",
    "data-shuffle",
    "data-dropped-batch",
    "data-batch-size",
)
"""In which order the kinds of findings are to be mended."""
KNOWN_SHARE = 0.5
"""Share of b's rows that must be among a's for the two to hold the same examples."""
FIT = 0.02
"""An affine map is believed when it leaves less than this share of the spread, and told when it differs from 1 by
more."""

EXACT = 1e-4
"""Share of the spread that a map of the very same rows may leave."""
CLEARLY = 3.0
"""A map of other rows must explain this many times what it leaves, and what the halves of either run differ by: the
same images turned at random differ a little as well."""


@dataclass(frozen=True)
class Ordered:
    """In which order a run goes through a whole array."""

    order: RowOrder
    source: RowSource
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
        return [], [] if a.rows else [unknown]
    order_a, order_b = _ordered(a, runs.a, runs.b), _ordered(b, runs.b, runs.a)
    findings = []
    notes: list[str] = []
    if augmented is not None:
        findings.append(_augmented(runs, augmented, _places(a, b, order_a, order_b)))
    scaled = None if _known_share(a, b, runs) >= KNOWN_SHARE else _scale(a, b)
    if scaled is not None and not _scaled_in_the_step(runs, scaled):
        scale, offset, error, part = scaled
        words = f"part {part} of the batch: b's values are {scale:.6g} times a's plus {offset:.6g}"
        findings.append(
            _finding(runs, "data-scale", _places(a, b, None, None), words, error, scale=scale, offset=offset)
        )
    places = _places(a, b, order_a, order_b)
    labels = relabelled(a.parts, b.parts)
    if labels is not None:
        words = f"{100 * labels['wrong']:.0f} % of {labels['rows']:.0f} rows of a have the label of another row in b"
        findings.append(_finding(runs, "data-labels", _places(a, b, None, None), words, labels["wrong"], **labels))
    sizes = _typical(a.rows), _typical(b.rows)
    others = _dropped(runs, order_a, order_b, places, sizes[0]), _other_size(runs, sizes, places)
    findings += [finding for finding in others if finding is not None]
    found, words = _order_difference(order_a, order_b, a, b)
    if found:
        findings.append(_finding(runs, "data-shuffle", places, words, 1.0, a=found[0], b=found[1]))
    elif words:
        notes.append(words)
    if scaled is None and labels is None and _known_share(a, b, runs) < KNOWN_SHARE:
        why = "no scale explains it" if a.parts and b.parts else "their values are not kept"
        notes.append(f"b's own rows are not among a's, and {why}: other data, or rows put together otherwise")
    return findings, notes


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


def _ordered(fed: Fed, own: Trace, other: Trace) -> Ordered | None:
    """The whole array that knows most of the rows, the run's own before the other's."""
    for trace in (own, other):
        best: tuple[int, Ordered] | None = None
        for source, hashes in whole_sources(trace):
            views = _views(fed, source) if trace is own else [fed.rows]
            orders = (row_order(find_steps(rows, hashes), len(hashes)) for rows in views)
            order = next((order for order in orders if order.kind != "unknown"), None)
            if order is not None and (best is None or order.missing < best[0]):
                best = (order.missing, Ordered(order, source, trace is other))
        if best is not None:
            return best[1]
    return None


def _views(fed: Fed, source: RowSource) -> Iterator[list[Rows]]:
    """The rows of the steps as the run's own array may hold them: whole, or only as many parts as it has.

    Labels that were converted or computed on the way into the step are not known from an array.
    """
    yield fed.rows
    parts = fed.parts[0] if fed.parts else []
    for chosen in itertools.combinations(range(len(parts)), len(source.parts)):
        if len(chosen) < len(parts) and all(len(step) == len(parts) for step in fed.parts):
            yield [row_signatures([step[number] for number in chosen]) for step in fed.parts]


def _known_share(a: Fed, b: Fed, runs: Runs) -> float:
    """Share of b's rows that a has, in the compared steps or in its whole arrays."""
    known = np.concatenate([*a.rows, *(hashes for _, hashes in whole_sources(runs.a))])
    wanted = np.concatenate(b.rows)
    return float((find_rows(wanted, known) >= 0).mean()) if wanted.size else 1.0


def _typical(rows: list[Rows]) -> int:
    return Counter(len(step) for step in rows).most_common(1)[0][0] if rows else 0


def _order_difference(
    order_a: Ordered | None, order_b: Ordered | None, a: Fed, b: Fed
) -> tuple[tuple[str, str] | None, str]:
    """Kinds of order where exactly one side shuffles, and what to say; without a whole array nothing can be told."""
    if order_a is None or order_b is None:
        same = np.array_equal(np.sort(np.concatenate(a.rows)), np.sort(np.concatenate(b.rows)))
        what = "the same rows in another order" if same else "other rows"
        return None, f"in these steps b has {what} than a; neither run shows a whole array, so shuffling cannot be told"
    kinds = order_a.order.kind, order_b.order.kind
    if kinds[0] == kinds[1]:
        return None, "both runs shuffle their rows, each in its own way: no difference" if kinds[
            0
        ] == "shuffled" else ""
    shuffled, other = ("a", "b") if kinds[0] == "shuffled" else ("b", "a")
    return kinds, f"{shuffled} shuffles the rows, {other} takes them in the order of the array"


def _places(a: Fed, b: Fed, order_a: Ordered | None, order_b: Ordered | None) -> tuple[Place, Place]:
    first, second = (
        Place(None, ordered.source.name, ordered.source.source or fed.place.source, fed.place.called)
        if ordered and not ordered.foreign
        else fed.place
        for fed, ordered in ((a, order_a), (b, order_b))
    )
    return first, second


def _scaled_in_the_step(runs: Runs, scaled: tuple[float, float, float, int]) -> bool:
    """Whether the steps make up for the scale of their data: what the networks see is scaled alike."""
    scale, offset, _, number = scaled
    blocks = runs.a.step(0), runs.b.step(0)
    batches = [batch_of(block, own=False) for block in blocks]
    if len(batches[1]) <= number:
        return False
    wanted = batches[1][number].shape[1:]
    chains = [input_scale(blocks[0], seen.index) for seen in batches[0] if seen.shape[1:] == wanted]
    b = input_scale(blocks[1], batches[1][number].index).behind(scale, offset)
    return any(chain.same(b) for chain in chains)


def _scale(a: Fed, b: Fed) -> tuple[float, float, float, int] | None:
    """Scale, offset, error without them and number of the first part of b that is an affine map of a part of a."""
    for number, part in enumerate(b.parts[0] if b.parts else ()):
        candidates = [n for n, other in enumerate(a.parts[0]) if other.shape[1:] == part.shape[1:]]
        for candidate in candidates:
            x, y = (
                np.concatenate([np.asarray(step[n], np.float64).reshape(-1) for step in fed.parts if len(step) > n])
                for fed, n in ((a, candidate), (b, number))
            )
            found = fit_scale(x, y)
            if found is not None:
                return (*found, number)
    return None


def fit_scale(x: Array, y: Array) -> tuple[float, float, float] | None:
    """Scale, offset and relative error of the best `y = scale * x + offset` over the quantiles; None where it does not
    fit.

    Quantiles, because the rows need not be in the same order. None too where scale and offset are those of equal data.
    """
    x, y = x[np.isfinite(x)], y[np.isfinite(y)]
    if not x.size or not y.size:
        return None
    shares = np.linspace(0.005, 0.995, 199)
    p, q = np.quantile(x, shares), np.quantile(y, shares)
    if p.std() == 0.0 or q.std() == 0.0:
        return None
    scale, offset = np.polyfit(p, q, 1)
    residual = float(np.std(q - scale * p - offset) / q.std())
    changed = abs(scale - 1.0) > FIT or abs(offset) > FIT * float(q.std())
    if residual > EXACT:
        chance = max(residual, *(_apart(*(np.quantile(half, shares) for half in np.array_split(z, 2))) for z in (x, y)))
        changed = changed and _apart(p, q) > CLEARLY * chance
    if residual > FIT or not changed or scale <= 0.0:
        return None
    return float(scale), float(offset), abs(float(scale) - 1.0) / max(1.0, abs(float(scale)))


def _apart(p: Array, q: Array) -> float:
    """Distance between two rows of quantiles, relative to their spread."""
    return float(np.sqrt(np.mean((q - p) ** 2)) / max(float(q.std()), 1e-300))


def _finding(runs: Runs, kind: str, places: tuple[Place, Place], words: str, error: float, **numbers: Any) -> Finding:
    divergence = Divergence(0, "data", places[0], places[1], error, 0.0, summary=words)
    return Finding(divergence, runs.a, runs.b, runs.pairs, kind=kind, numbers=numbers)
