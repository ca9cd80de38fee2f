"""What can be called from Python: the same two verbs as the command line has."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tfdiff.assumptions import parse_all
from tfdiff.errors import UsageError
from tfdiff.orders import DETAILS, SHAREABLE, RecordOptions

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable
    from contextlib import AbstractContextManager

    from tfdiff.model import Result
    from tfdiff.orders import PairMap


def diff(
    a: str | os.PathLike[str],
    b: str | os.PathLike[str],
    *,
    pairs: str | os.PathLike[str] | PairMap | None = None,
    write_map: str | os.PathLike[str] | None = None,
) -> Result:
    """Compare two traces, a being the reference.

    Args:
        a: path of the reference's trace.
        b: path of the other trace.
        pairs: path of a map, pairs that hold against what is found (`--map`).
        write_map: path of a map to write, with the pairs as compared; an existing file is overwritten.

    Returns:
        Verdict, first divergence, causes and everything compared; `tfdiff.reports` turns it into text or JSON.

    Raises:
        UsageError: a map that cannot be read, or that does not fit the two traces.
        TraceError: a file is missing, no trace, damaged, or of another format version.
        IncomparableError: the two traces have nothing in common.
    """
    from tfdiff.causes import explain_finding
    from tfdiff.comparison.compare import compare
    from tfdiff.pairing.map_text import map_text
    from tfdiff.trace.reader import open_trace

    given = _pairs(pairs)
    with open_trace(Path(a)) as first, open_trace(Path(b)) as second:
        result = compare(first, second, explain=explain_finding, pairs=given)
        if write_map is not None:
            Path(write_map).write_text(map_text(first, second, result), encoding="utf-8")
        return result


def _pairs(given: str | os.PathLike[str] | PairMap | None) -> PairMap | None:
    from tfdiff.orders import PairMap
    from tfdiff.pairing.map_file import read_map

    return given if given is None or isinstance(given, PairMap) else read_map(Path(given))


def record(
    output: str | os.PathLike[str],
    *,
    steps: int = 10,
    reference: str | os.PathLike[str] | None = None,
    share: Iterable[str] = SHAREABLE,
    force: bool = False,
    detail: str = "layers",
    quiet: bool = False,
    assume: Iterable[str] = (),
) -> AbstractContextManager[None]:
    """Record the training steps that run inside the `with` block.

    The block always runs to its end; `steps` only says how many of its steps are kept.

    Args:
        output: path of the trace to write.
        steps: training steps to record, 0 for all.
        reference: trace of the run whose start is to be taken over; this version has that for scripts only.
        share: what to take from the reference: any of weights, batches, noise.
        force: overwrite an existing output.
        detail: what is kept in full: layers, ops or sketch.
        quiet: no progress and no closing line.
        assume: causes to run without, as `--assume` takes them (`dropout-rate=0.2@b.py:41`).

    Raises:
        UsageError: an option that cannot be used like this, or an output that exists.
        NotBuiltError: a reference is given.
        NoStepsError: at the end of the block, when nothing could be recorded.
    """
    from tfdiff.recorder.launch import recording

    chosen = frozenset(share)
    if not chosen <= set(SHAREABLE):
        message = f"share takes any of {', '.join(SHAREABLE)}; found {', '.join(sorted(chosen - set(SHAREABLE)))}"
        raise UsageError(message)
    if detail not in DETAILS:
        message = f"detail is one of {', '.join(DETAILS)}; found {detail!r}"
        raise UsageError(message)
    if steps < 0:
        message = f"steps is a number from 0 (all) up; found {steps}"
        raise UsageError(message)
    caller = sys._getframe(1).f_globals.get("__file__")  # noqa: SLF001 - python's own way to see the caller
    return recording(
        RecordOptions(
            script=caller or "<interactive>",
            arguments=(),
            module=False,
            output=Path(output),
            force=force,
            reference=None if reference is None else Path(reference),
            share=chosen,
            steps=steps,
            keep_running=True,
            detail=detail,
            quiet=quiet,
            assume=parse_all(assume),
        )
    )
