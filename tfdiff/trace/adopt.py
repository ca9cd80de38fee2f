"""Brings the steps of a further run into the trace of the first one, as its isolated steps."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tfdiff.trace.codec import to_json
from tfdiff.trace.reader import open_trace
from tfdiff.trace.trim import repack
from tfdiff.trace.writer import TraceWriter

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from tfdiff.model import Site, Variable
    from tfdiff.orders import Isolated
    from tfdiff.trace.reader import Trace

_FIRST = 1 << 25
"""Sites that the trace has not are numbered from here, out of the way of those of its steps, passes and variables."""


def adopt(path: Path, other: Trace | None, done: Isolated) -> None:
    """Adds the first `done.steps` steps of `other` to the trace at `path`, and then what the run did.

    Without another trace `done` is all there is.
    A site that is equal in everything to one of the trace gets its id. Raises TraceError where either is damaged,
    WriteError where the trace cannot be written to; it stays what it was then.
    """
    with open_trace(path) as trace:
        known = {_key(site): number for number, site in trace.sites.items()}
        first = max(_FIRST, *(number + 1 for number in trace.sites), 0)
    ids: dict[int, int] = {}
    sites: list[Site] = []
    for number, site in sorted(other.sites.items()) if other is not None else ():
        ids[number] = known.setdefault(_key(site), first + len(sites))
        if ids[number] >= first:
            sites.append(replace(site, id=ids[number]))
    with TraceWriter.reopen(path) as writer:
        for block in (other.step(step) for step in range(done.steps)) if other is not None else ():
            writer.isolated(block.info, repack(block, lambda _, seen: seen.stored, ids))
        writer.isolation(done, sites)


def same_variables(first: Iterable[Variable], second: Iterable[Variable]) -> bool:
    """Whether two runs of a script made the same variables: else their numbers mean other ones."""
    shapes = [{v.index: (v.name, v.shape, v.dtype) for v in variables} for variables in (first, second)]
    return all(shapes[0].get(index) == shape for index, shape in shapes[1].items())


def _key(site: Site) -> bytes:
    return to_json({"site": replace(site, id=0)})
