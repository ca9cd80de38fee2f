"""The batches that either run was fed with: their tensors, their rows, and whether they are the same."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tfdiff.model import Place
from tfdiff.pairing.rows import row_signatures

if TYPE_CHECKING:
    import numpy.typing as npt

    from tfdiff.comparison.runs import Runs
    from tfdiff.model import Observation, Site
    from tfdiff.trace.block import Block
    from tfdiff.trace.reader import Trace

    Array = npt.NDArray[Any]
    Rows = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class Fed:
    """The batches of one run, one entry per step in which both have one."""

    rows: list[Rows]
    """Row signatures."""
    parts: list[list[Array]]
    """The arrays of a batch, features and labels alike; of the steps in which they are stored."""
    place: Place
    """Where the batch enters."""


@dataclass
class BatchWatch:
    """Looks at the batches while the steps are gone through: nothing needs to be hashed where all are the same."""

    same: bool = True
    seen: bool = False
    """Whether any step had a batch on both sides."""

    def take(self, a: Block, b: Block) -> None:
        """Note the batches of one step."""
        first, second = _prints(a, own=False), _prints(b, own=True)
        self.same = self.same and first == second
        self.seen = self.seen or bool(first and second)


def batch_rows(a: Block, b: Block) -> tuple[int, int] | None:
    """Rows of the batches that both steps really used; None where one has no batch."""
    first, second = batch_of(a, own=False), batch_of(b, own=False)
    if not first or not second:
        return None
    return first[0].shape[0], second[0].shape[0]


def other_rows(a: Block, b: Block) -> bool:
    """Whether the batches that both steps really used are kept and have not one row in common."""
    batches = batch_of(a, own=False), batch_of(b, own=False)
    arrays = [arrays_of(block, batch) for block, batch in zip((a, b), batches, strict=True)]
    if not batches[0] or (batches[1] and not all(arrays)):
        return False
    # a side that feeds a constant (zeros to warm up) has no batch at all
    if not batches[1]:
        return True
    return not bool(np.isin(row_signatures(arrays[0]), row_signatures(arrays[1])).any())


def _prints(block: Block, *, own: bool) -> list[tuple[int, bytes]]:
    """Size and sketch of each batch tensor; equal sketches mean equal elements in equal order."""
    sketches = block.sketches()
    return sorted((seen.size, sketches[seen.index].tobytes()) for seen in batch_of(block, own=own))


def fed_batches(runs: Runs) -> tuple[Fed, Fed]:
    """The batches of both runs, of the steps in which both have one (a GAN's generator step may have none).

    Traces that were cut still know the rows of the steps that were cut off.
    """
    rows: list[tuple[Rows, Rows]] = []
    parts: list[tuple[list[Array], list[Array]]] = []
    places: list[Place] = []
    for step in range(runs.compared):
        blocks = runs.a.step(step), runs.b.step(step)
        batches = batch_of(blocks[0], own=False), batch_of(blocks[1], own=True)
        if not all(batches):
            continue
        places = places or [place_of_batch(batch[0].site) for batch in batches]
        arrays = [arrays_of(block, batch) for block, batch in zip(blocks, batches, strict=True)]
        if all(arrays):
            parts.append((arrays[0], arrays[1]))
        hashes = [_rows_of(trace, step, own) for trace, own in zip((runs.a, runs.b), arrays, strict=True)]
        if all(len(found) for found in hashes):
            rows.append((hashes[0], hashes[1]))
    later = zip(runs.a.batch_rows[runs.compared :], runs.b.batch_rows[runs.compared :], strict=False)
    rows += [(first, second) for first, second in later if len(first) and len(second)]
    a, b = ([pair[side] for pair in rows] for side in (0, 1))
    parts_a, parts_b = ([pair[side] for pair in parts] for side in (0, 1))
    return Fed(a, parts_a, places[0]), Fed(b, parts_b, places[1])


def place_of_batch(site: Site) -> Place:
    """Where a batch enters."""
    return Place(None, site.name, site.source or site.called, site.called)


def arrays_of(block: Block, batch: list[Observation]) -> list[Array]:
    """The batch's arrays; none where one of them is not stored."""
    return [block.array(seen.index) for seen in batch] if all(seen.stored for seen in batch) else []


def _rows_of(trace: Trace, step: int, arrays: list[Array]) -> Rows:
    """Row signatures of a step's own batch, as the recorder kept them or (in a run that was killed) from the arrays."""
    if step < len(trace.batch_rows):
        return trace.batch_rows[step]
    return row_signatures(arrays) if arrays else np.zeros(0, np.uint64)


def batch_of(block: Block, *, own: bool) -> list[Observation]:
    """The batch tensors of a step, each once: those with the most frequent number of rows."""
    role = "own input" if own and any(seen.site.role == "own input" for seen in block.observations) else "input"
    seen = [o for o in block.observations if o.site.role == role and o.shape and o.size]
    if not seen:
        return []
    length = Counter(observation.shape[0] for observation in seen).most_common(1)[0][0]
    sketches = block.sketches()
    kept: dict[tuple[tuple[int, ...], bytes], Observation] = {}
    for observation in seen:
        if observation.shape[0] == length:
            kept.setdefault((observation.shape, sketches[observation.index].tobytes()), observation)
    return list(kept.values())


def rows_by_step(runs: Runs, trace: Trace, *, own: bool) -> list[Rows]:
    """Row signatures of every compared step of one run, empty for a step without a batch."""
    found = []
    for step in range(runs.compared):
        block = trace.step(step)
        batch = batch_of(block, own=own)
        found.append(_rows_of(trace, step, arrays_of(block, batch)) if batch else np.zeros(0, np.uint64))
    return found
