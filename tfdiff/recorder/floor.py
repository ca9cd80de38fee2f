"""The noise floor: the script once more with its weights moved by about one unit in the last place, and how far each
value moves with them.
"""

from __future__ import annotations

import sys
import tempfile
from collections import defaultdict
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tfdiff.errors import TfdiffError
from tfdiff.pairing.distance import relative_error, sketch_errors
from tfdiff.recorder import children
from tfdiff.recorder.around import CannotKeepError, said
from tfdiff.trace.reader import open_trace
from tfdiff.trace.writer import TraceWriter

if TYPE_CHECKING:
    from tfdiff.model import Observation, RecordOptions
    from tfdiff.recorder.around import Around
    from tfdiff.trace.reader import Block, Trace

    Floats = np.ndarray[Any, np.dtype[np.float32]]

MAX_EXACT = 1 << 22
"""Elements up to which arrays are compared where their sketches would do, as the comparison of two runs has it."""
_MOVING = ("weight", "state")
_GIVEN = ("input", "own input", "noise")
"""What both runs are given: where it differs, the difference is not one of rounding."""


def measure(options: RecordOptions, seed: int, around: Around) -> None:
    """Run the recorded script again and add to its trace what noise does; a failure is said in the trace and here."""
    _say(options, "a second run with weights moved by one ulp, to measure noise; its output is not shown")
    floor = Floor()
    try:
        with around.kept() as writes, tempfile.TemporaryDirectory(prefix="tfdiff-") as folder:
            path = Path(folder) / "again.h5"
            again = replace(options, output=path, quiet=True, keep_running=False, force=True)
            trace = str(options.output.resolve())
            code = children.run_child("calibrate", again, place=around, trace=trace, seed=seed, writes=str(writes))
            floor, why = _floor(options.output, path, code)
    except KeyboardInterrupt:
        why = "interrupted"
    except (CannotKeepError, OSError) as error:
        why = str(error)
    if why:
        known = f"noise is known of {len(floor.steps)} steps" if floor.steps else "noise is not known"
        _say(options, f"the second run: {why}; {known}")
    if around.left:
        _say(options, f"left as it is, it may be the second run's: {said(around.left, around.folder)}")
    with TraceWriter.reopen(options.output) as writer:
        writer.noise(floor.steps, floor.updates, why)


def _say(options: RecordOptions, words: str) -> None:
    if not options.quiet:
        print(f"tfdiff: {words}", file=sys.stderr)


@dataclass
class Floor:
    """What was measured."""

    steps: list[Floats] = field(default_factory=list)
    """Per step the relative error of each observation."""
    updates: list[dict[int, float]] = field(default_factory=list)
    """Per step the relative error of what it changed each variable by."""


def _floor(path: Path, again: Path, code: int) -> tuple[Floor, str]:
    """What the two traces say, and what was not as it should be ("" if nothing)."""
    floor = Floor()
    try:
        with open_trace(path) as first, open_trace(again) as second:
            if not second.steps:
                return floor, f"it recorded no step (exit code {code})"
            for step in range(min(first.steps, second.steps)):
                errors, given = step_noise(first.step(step), second.step(step))
                if not given:
                    return floor, f"what it was fed at step {step} is not what the first run was fed"
                floor.steps.append(errors)
                floor.updates.append(update_noise(first, second, step))
            ended = second.end.why if second.end is not None else "it was killed"
            done = len(floor.steps)
            return floor, "" if done == first.steps else f"it ended after {done} steps: {ended}"
    except TfdiffError as error:
        return floor, f"it left no trace (exit code {code}: {error})"


def update_noise(a: Trace, b: Trace, step: int) -> dict[int, float]:
    """By variable how far what a step changed it by is from what the same step of `b` changed it by."""
    found = {}
    for index, variable in a.variables.items():
        values = [trace.value_after(index, at) for trace in (a, b) for at in (step - 1, step)]
        if variable.kind not in _MOVING or any(v is None or v.shape != variable.shape for v in values):
            continue
        before, after, b_before, b_after = (np.asarray(value, np.float64) for value in values)
        found[index] = relative_error(after - before, b_after - b_before)
    return found


def step_noise(a: Block, b: Block) -> tuple[Floats, bool]:
    """Per observation of `a` how far it is from the same place in `b` (NaN where `b` has none), and whether both were
    given the same.
    """
    places: dict[tuple[Any, ...], list[int]] = defaultdict(list)
    for seen in b.observations:
        places[_place(seen)].append(seen.index)
    errors = np.full(len(a.observations), np.nan, np.float32)
    given, counts = True, dict.fromkeys(places, 0)
    for seen in a.observations:
        key = _place(seen)
        number = counts.get(key, 0)
        counts[key] = number + 1
        if number < len(places[key]):
            error = _error(a, seen.index, b, places[key][number])
            errors[seen.index] = error
            given &= not (seen.site.role in _GIVEN and error > 0)
    return errors, given


def _place(seen: Observation) -> tuple[Any, ...]:
    site = seen.site
    where = (site.role, site.phase, site.op, site.output, site.layer, site.called, site.api, site.occurrence)
    return (*where, site.variable, seen.shape, seen.dtype)


def _error(a: Block, i: int, b: Block, j: int) -> float:
    first, second = a.observations[i], b.observations[j]
    if first.stored and second.stored and first.size <= MAX_EXACT:
        return relative_error(a.array(i), b.array(j))
    if (first.stats.nans, first.stats.infs) != (second.stats.nans, second.stats.infs):
        return float("inf")
    norms = np.array([first.stats.norm]), np.array([second.stats.norm])
    return float(sketch_errors(a.sketch(i)[None], b.sketch(j)[None], *norms, first.size)[0])
