"""What is measured in further runs of a script after it was recorded: what noise does, and what recording does."""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tfdiff.model import Observed
from tfdiff.pairing.distance import relative_error
from tfdiff.recorder import children
from tfdiff.recorder.around import CannotKeepError
from tfdiff.recorder.floor import MOVING, Floor, measure_floor
from tfdiff.recorder.observer import seen
from tfdiff.trace.reader import open_trace
from tfdiff.trace.writer import TraceWriter

if TYPE_CHECKING:
    from collections.abc import Callable

    from tfdiff.orders import RecordOptions
    from tfdiff.recorder.around import Around
    from tfdiff.recorder.observer import Seen
    from tfdiff.trace.reader import Trace

LEAST = 1e-5
"""Difference of a final value up to which compiled code may be compiled otherwise where it is tapped."""
MULTIPLE = 10.0
"""Of the noise, where that is more."""


@dataclass(frozen=True)
class Measurement:
    """One recorded script and how to run it again."""

    options: RecordOptions
    seed: int
    beats: int
    """Count up to the end of the last recorded step."""
    around: Around

    def make(self) -> None:
        """Run the script again, twice, and add to its trace what was found; failures are said in the trace and here."""
        self._say("a second run with weights moved by one ulp, to measure noise; its output is not shown")
        floor, why = Floor(), ""

        def calibrate(path: Path, code: int) -> None:
            nonlocal floor, why
            floor, why = measure_floor(self.options.output, path, code)

        why = self._again("calibrate", "again.h5", calibrate) or why
        if why:
            known = f"noise is known of {len(floor.steps)} steps" if floor.steps else "noise is not known"
            self._say(f"the second run: {why}; {known}")
        observed = None if why else self._observe(floor)
        with TraceWriter.reopen(self.options.output) as writer:
            writer.noise(floor.steps, floor.updates, why)
            if observed is not None:
                writer.observed(observed)

    def _observe(self, floor: Floor) -> Observed:
        self._say("a third run without recording, to see that recording changes nothing; its output is not shown")
        observed = Observed(None, why="it left no values")

        def compare(path: Path, code: int) -> None:
            nonlocal observed
            observed = compare_final(self.options.output, seen(path), floor, code)

        why = self._again("observe", "observed.npz", compare)
        observed = replace(observed, why=why) if why else observed
        if observed.why:
            self._say(f"the third run: {observed.why}; whether recording changes anything is not known")
        elif not observed.ok:
            self._say(
                f"without recording {observed.where} ends otherwise (relative error {observed.error:.2g}, noise "
                f"{observed.noise:.2g}): that is a fault of tfdiff, please report it"
            )
        return observed

    def _again(self, kind: str, name: str, take: Callable[[Path, int], None]) -> str:
        """Run the script for a purpose and take in what it leaves; why that did not go, else ""."""
        try:
            with self.around.likeness() as place, tempfile.TemporaryDirectory(prefix="tfdiff-") as folder:
                path = Path(folder) / name
                options = replace(self.options, output=path, quiet=True, keep_running=False, force=True)
                more: dict[str, Any] = {"seed": self.seed, "beats": self.beats}
                more["trace"] = str(self.around.folder / self.options.output)
                take(path, children.run_child(kind, options, place=place, **more))
        except KeyboardInterrupt:
            return "interrupted"
        except (CannotKeepError, OSError) as error:
            return str(error)
        return ""

    def _say(self, words: str) -> None:
        if not self.options.quiet:
            print(f"tfdiff: {words}", file=sys.stderr)


def compare_final(path: Path, found: Seen, floor: Floor, code: int) -> Observed:
    """Whether an unrecorded run ended where the recorded one did: in its weights and moving statistics, and in its last
    loss where an eager tape was asked about it.
    """
    with open_trace(path) as trace:
        last = trace.steps - 1
        after = _after(trace, last, found, floor)
        if after is None:
            return Observed(None, why=f"it ended without values to compare (exit code {code})")
        if not after.ok and any(_is_after(trace, step, found, floor) for step in range(max(last - 3, -1), last)):
            return Observed(None, why="it could not be looked at in the same moment as the recorded run")
        losses = [o for o in trace.step(last).observations if o.site.role == "loss" and o.size == 1]
        if found.loss is None or not losses:
            return after
        loss = relative_error(np.array(losses[-1].stats.mean), np.array(found.loss))
        noise = float(np.nan_to_num(floor.steps[last][losses[-1].index]))
        if after.ok and loss > max(LEAST, MULTIPLE * noise):
            after = Observed(False, loss, noise, "the last loss")
        return replace(after, loss=loss)


def _is_after(trace: Trace, step: int, found: Seen, floor: Floor) -> bool:
    after = _after(trace, step, found, floor)
    return after is not None and bool(after.ok)


def _after(trace: Trace, step: int, found: Seen, floor: Floor) -> Observed | None:
    """The values that were found against those after a step; None where there are none in common."""
    worst, most, total, apart = Observed(True), 0.0, 0.0, 0.0
    for index, variable in trace.variables.items():
        value, other = trace.value_after(index, step), found.values.get(index)
        if variable.kind not in MOVING or value is None or other is None or value.shape != other.shape:
            continue
        error, noise = relative_error(value, other), floor.final.get(index, 0.0)
        beyond = error / max(LEAST, MULTIPLE * noise)
        if beyond > most:
            most, worst = beyond, Observed(beyond <= 1.0, error, noise, variable.name)
        total += float(np.sum(np.square(value, dtype=np.float64)))
        apart += float(np.sum(np.square(np.asarray(value, np.float64) - other)))
    if not total:
        return None
    return replace(worst, error=(apart / total) ** 0.5) if worst.ok else worst
