"""What B's own batches were: order, size, dropped rows, scale."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tfdiff.causes.hypothesis import Proposal
from tfdiff.causes.scene import same
from tfdiff.causes.words import at, number, percent, plain
from tfdiff.errors import TfdiffError

if TYPE_CHECKING:
    from tfdiff.causes.scene import Floats, Scene
    from tfdiff.trace.reader import Block, Trace

MAX_STEPS = 20
UNKNOWN = 0.05
"""Share of rows that may be found on one side only: a few of an array may be hashed otherwise."""


def shuffle(scene: Scene) -> Proposal | None:
    """One run takes the rows in the order of the whole array, the other in another one: read from the rows' hashes."""
    kinds = _numbers(scene, "data-shuffle")
    if kinds is None or {kinds.get("a"), kinds.get("b")} != {"shuffled", "sequential"}:
        return None
    where = at(scene.finding.divergence.b)
    if kinds["b"] == "sequential":
        summary = "A shuffles the rows, B takes them in the same order in every epoch"
        fix = f"dataset.shuffle(number_of_rows) before .batch(...), or shuffle the indices in every epoch{where}"
        if _keras_fit(scene):
            fix = f"fit(..., shuffle=True){where}"
    else:
        summary = "B shuffles the rows, A takes them in the order of the array"
        fix = (
            f"fit(..., shuffle=False){where}"
            if _keras_fit(scene)
            else f"take the rows in their order: no shuffle{where}"
        )
    return Proposal(1.0, 0.0, summary, fix, {"a": kinds["a"], "b": kinds["b"]}, fitted=0)


def labels(scene: Scene) -> Proposal | None:
    """The features are A's, each with the label of another row."""
    found = _numbers(scene, "data-labels")
    if found is None or not found.get("rows"):
        return None
    rows, wrong = int(found["rows"]), float(found.get("wrong", 0.0))
    return Proposal(
        wrong,
        0.0,
        f"B pairs the features of A with the labels of other rows: {percent(wrong)} of {rows} rows have a wrong label",
        "move features and labels by one permutation: order = np.random.permutation(len(x)); x, y = x[order], y[order]"
        f"{at(scene.finding.divergence.b)}",
        {"a": 0.0, "b": round(wrong, 4)},
        fitted=0,
    )


def layout(scene: Scene) -> Proposal | None:
    """B's own rows have A's numbers, in every row moved alike: axes exchanged, channels in another order."""
    found = _numbers(scene, "data-layout")
    if found is None or not found.get("rows"):
        return None
    words = plain(found.get("layout", ""))
    return Proposal(
        float(found["before"]),
        float(found["after"]),
        f"B's rows are A's with {words}: the same numbers in another layout",
        f"lay the rows out as A does; B has them with {words}{at(scene.finding.divergence.b)}",
        {"a": "as they are", "b": words},
        fitted=0,
    )


def augmentation(scene: Scene) -> Proposal | None:
    """One run changes its rows at random (turns, shifts, flips), the other feeds what they were made from."""
    found = _numbers(scene, "data-augmentation")
    if found is None or found.get("by") not in ("a", "b"):
        return None
    changed, unknown = float(found.get("changed", 0.0)), float(found.get("unknown", 1.0))
    who, other = found["by"].upper(), "B" if found["by"] == "a" else "A"
    generator, where = plain(str(found.get("generator", "a generator"))), at(scene.finding.divergence.b)
    fix = f"augment the rows as A does ({generator})" if who == "A" else "feed the rows as they are: no augmentation"
    return Proposal(
        changed,
        unknown,
        f"{who} augments its rows ({generator} changes {percent(changed)} of them), {other} feeds the rows as they are",
        f"{fix}{where}",
        {"a": changed if who == "A" else 0.0, "b": changed if who == "B" else 0.0},
        fitted=0,
        noise=UNKNOWN,
    )


def shift(scene: Scene) -> Proposal | None:
    """One run's steps have the rows of the other's a step or more later: read from the rows' hashes."""
    found = _numbers(scene, "data-shift")
    if found is None or not found.get("steps") or not found.get("found"):
        return None
    by, where = int(found["steps"]), at(scene.finding.divergence.b)
    first = "first step" if abs(by) == 1 else f"first {abs(by)} steps"
    if by > 0:
        fix = f"leave out the {first} before the loop (a call to warm up or to build the model trains as well){where}"
    else:
        fix = f"begin with the batches of A's {first}: a loop that starts at 1, or a batch taken to look at{where}"
    return Proposal(1.0, 0.0, plain(scene.finding.divergence.summary), fix, {"steps": by}, fitted=0)


def dropped_batch(scene: Scene) -> Proposal | None:
    """One run leaves out the rows at the end that fill no batch."""
    found = _numbers(scene, "data-dropped-batch")
    if found is None:
        return None
    rows, batch, by = int(found.get("rows", 0)), int(found.get("batch", 0)), str(found.get("dropped_by", ""))
    rest = rows % batch if batch else 0
    if not rest or by not in ("a", "b"):
        return None
    where = at(scene.finding.divergence.b)
    if by == "b":
        fix = f"do not drop the last batch: drop_remainder=False, or ceil(rows / batch_size) steps in an epoch{where}"
    else:
        fix = f"drop the last batch: drop_remainder=True{where}"
    return Proposal(
        1.0,
        0.0,
        f"{by.upper()} drops the last {rest} of {rows} rows in every epoch because they do not fill a batch of {batch}",
        fix,
        {"a": rest if by == "a" else 0, "b": rest if by == "b" else 0},
        fitted=0,
    )


def batch_size(scene: Scene) -> Proposal | None:
    """Batches of another size."""
    found = _numbers(scene, "data-batch-size")
    if found is None:
        return None
    a, b = int(found.get("a", 0)), int(found.get("b", 0))
    if a == b or min(a, b) <= 0:
        return None
    fix = f"batch_size={a}{at(scene.finding.divergence.b)}"
    summary = f"B trains on batches of {b} rows, A on batches of {a}"
    return Proposal(abs(a - b) / max(a, b), 0.0, summary, fix, {"a": a, "b": b}, fitted=0)


def scale(scene: Scene) -> Proposal | None:
    """B's features are an affine map of A's: fitted on sorted values, and proved by mapping them back."""
    found = _numbers(scene, "data-scale")
    if found is None or not found.get("scale"):
        return None
    where = at(scene.finding.divergence.b)
    if found.get("columns"):
        return _scaled_columns(scene, found)
    proof = _mapped_back(scene)
    if proof is None and found.get("pooled"):
        proof = float(found["before"]), float(found["after"]), float(found["scale"]), float(found["offset"])
    if proof is None:
        return None
    before, after, factor, offset = proof
    rounded, zero = nice(factor), abs(offset) < 1e-6 * max(abs(factor), 1.0)
    said = f"{rounded} * A's" if zero else f"{rounded} * A's {'+' if offset > 0 else '-'} {number(abs(offset))}"
    return Proposal(
        before,
        after,
        f"B's input values are {said}: the two scale their data differently",
        f"{undo_scale(factor, offset, zero=zero)}{where}",
        {"a": 1.0, "b": float(f"{factor:.6g}"), "offset": 0.0 if zero else float(f"{offset:.6g}")},
        fitted=1 if zero else 2,
        noise=1e-3,
    )


def _scaled_columns(scene: Scene, found: dict[str, Any]) -> Proposal:
    """Each column of b's table is scaled by its own numbers: their fit is the proof."""
    return Proposal(
        float(found["before"]),
        float(found["after"]),
        f"B's input values are scaled column by column: {plain(scene.finding.divergence.summary)}",
        f"scale the columns as A does (x - mean) / deviation, or not at all{at(scene.finding.divergence.b)}",
        {"columns": int(found["columns"])},
        fitted=2,
        noise=1e-3,
    )


def _numbers(scene: Scene, kind: str) -> dict[str, Any] | None:
    return dict(scene.finding.numbers) if scene.finding.kind == kind else None


def _keras_fit(scene: Scene) -> bool:
    place = scene.finding.divergence.b
    return place is not None and ".fit(" in f".{place.site}("


def nice(factor: float) -> str:
    """`1/255` where it is one over a whole number."""
    inverse = 1.0 / factor
    whole = abs(factor) < 1.0 and same(inverse, round(inverse), 1e-4)
    return f"1/{round(inverse)}" if whole else number(factor)


def undo_scale(factor: float, offset: float, *, zero: bool) -> str:
    """What undoes a scale, in words."""
    if zero:
        whole = same(factor, round(factor), 1e-4) and abs(factor) > 1.0
        return f"divide the inputs by {round(factor)}" if whole else f"multiply the inputs by {number(1.0 / factor)}"
    return f"x = (x - {number(offset)}) / {number(factor)}"


def _mapped_back(scene: Scene) -> tuple[float, float, float, float] | None:
    """(error before, after, scale, offset) of the part that was scaled, row by row where they pair, else sorted."""
    a, b = _parts(scene.finding.a, own=False), _parts(scene.finding.b, own=True)
    for part in b:
        for other in a:
            if part.size != other.size or not part.std() or not other.std():
                continue
            proof = _affine(other, part)
            if proof is not None:
                return proof
    return None


def _affine(x: Floats, y: Floats) -> tuple[float, float, float, float] | None:
    """B's values `y` as factor * x + offset, in their order where that fits, else sorted."""
    both = np.isfinite(x) & np.isfinite(y)
    x, y = (x, y) if both.all() else (x[both], y[both])
    if not x.size:
        return None
    for p, q in ((x, y), (np.sort(x), np.sort(y))):
        factor, offset = (float(value) for value in np.polyfit(p, q, 1))
        if factor <= 0.0:
            continue
        back = (q - offset) / factor
        scale_of = max(float(np.linalg.norm(p)), 1e-30)
        after = float(np.linalg.norm(p - back)) / scale_of
        before = float(np.linalg.norm(p - q)) / max(scale_of, float(np.linalg.norm(q)))
        if after <= 1e-3 and before > 1e-2:
            return before, after, factor, offset
    return None


def _parts(trace: Trace, *, own: bool) -> list[Floats]:
    """The float tensors of the first steps' batches, each flattened over all steps."""
    found: dict[int, list[Floats]] = {}
    for step in range(min(trace.steps, MAX_STEPS)):
        block = trace.step(step)
        for position, values in enumerate(_batch(block, own=own)):
            found.setdefault(position, []).append(values.reshape(-1))
    return [np.concatenate(parts) for parts in found.values()]


def _batch(block: Block, *, own: bool) -> list[Floats]:
    role = "own input" if own and any(s.site.role == "own input" for s in block.observations) else "input"
    found = []
    for seen in block.observations:
        if seen.site.role == role and seen.stored and seen.shape and seen.size > 1:
            try:
                found.append(np.asarray(block.array(seen.index)).astype(np.float64))
            except (TfdiffError, ValueError):
                continue
    return found
