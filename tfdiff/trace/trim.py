"""Cuts a trace down to what can be sent by mail: the first steps, without the large arrays."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from tfdiff.errors import UsageError
from tfdiff.trace.guard import shown
from tfdiff.trace.pack import Packed, Tensor, assemble
from tfdiff.trace.sketch import exact
from tfdiff.trace.stats import STATS_DTYPE
from tfdiff.trace.writer import TraceWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from tfdiff.model import Observation
    from tfdiff.trace.block import Block
    from tfdiff.trace.reader import Trace

    Wanted = Callable[[Block, Observation], bool]


def trim(
    source: Trace, path: Path, *, steps: int, largest: int, force: bool = False, also: Wanted | None = None
) -> None:
    """Writes a copy of `source` with its first `steps` steps and without arrays larger than `largest` bytes.

    Statistics and sketches stay as they are, also of what is left out; header, variables, sites, row hashes (of all
    steps' batches) and end stay whole, and the end says that it was cut. `also` names arrays to keep whatever their
    size. Raises UsageError for a target that is the source, exists (without `force`) or cannot be, TraceError where the
    source is damaged; nothing is left at `path` then.
    """
    if path.exists() and path.samefile(source.path):
        raise UsageError(f"{shown(path)}: expected another file than the trace that is cut; give another name")
    with TraceWriter(path, force=force) as writer:
        try:
            _copy(source, writer, min(steps, source.steps), lambda block, seen: _kept(block, seen, largest, also))
        except BaseException:
            writer.close()
            path.unlink()
            raise


def _kept(block: Block, seen: Observation, largest: int, also: Wanted | None) -> bool:
    return seen.stored and (block.nbytes(seen.index) <= largest or (also is not None and also(block, seen)))


def _copy(source: Trace, writer: TraceWriter, steps: int, wanted: Wanted) -> None:
    writer.header(source.header)
    writer.variables(list(source.variables.values()))
    sites = [site for site in source.sites.values() if site.role != "forced"]
    for tree, block in (("initial", source.initial()), ("own", source.own_initial())):
        if block.observations:
            writer.packed(tree, repack(block, wanted), sites)
    for step in range(steps):
        block = source.step(step)
        writer.packed("steps", repack(block, wanted), sites, block.info)
    for number in range(source.evals):
        block = source.eval(number)
        if block.evaluation is not None and block.evaluation.after <= steps:
            writer.packed("evals", repack(block, wanted), sites, block.evaluation)
    writer.rows(source.row_sources, source.batch_rows)
    if source.configurations:
        writer.configurations(source.configurations)
    _copy_further_runs(source, writer, steps, wanted)
    if source.end is not None:
        said = "step" if steps == 1 else "steps"
        writer.end(replace(source.end, why=f"{source.end.why}, cut to {steps} {said}"))


def _copy_further_runs(source: Trace, writer: TraceWriter, steps: int, wanted: Wanted) -> None:
    """What the passes behind the main one have added."""
    if source.isolation is not None:
        isolated = min(steps, source.isolated_steps)
        for step in range(isolated):
            block = source.isolated(step)
            writer.isolated(block.info, repack(block, wanted))
        writer.isolation(replace(source.isolation, steps=isolated), source.sites.values())
    if source.not_calibrated is not None:
        measured = (source.noise(step) for step in range(steps))
        known = [errors for errors in measured if errors is not None]
        updates = [source.update_noise(step) for step in range(len(known))]
        writer.noise(known, updates, source.not_calibrated)
    if source.observed is not None:
        writer.observed(source.observed)


def repack(block: Block, wanted: Wanted, ids: Mapping[int, int] | None = None) -> Packed:
    """The block with the arrays that are wanted (of those it has); `ids`: new numbers of its sites."""
    block.sketches()  # checks the next line
    written = block.written_sketches()
    stats = np.zeros(len(block.observations), STATS_DTYPE)
    tensors = []
    for row, seen in enumerate(block.observations):
        found = seen.stats
        stats[row] = tuple(getattr(found, name) for name in STATS_DTYPE.names or ())
        data = block.raw(row) if wanted(block, seen) else None
        sketch = written[row]
        if sketch is None and data is None:
            sketch = exact(block.array(row))
        of = -1 if seen.of is None else seen.of
        site = seen.site.id if ids is None else ids[seen.site.id]
        tensors.append(Tensor(site, seen.dtype, seen.shape, seen.inputs, of, data, sketch))
    return assemble(tensors, stats)
