"""The campaign without a false alarm: `python -m tests.bench.alarms [--pairs TEXT] [--seeds N] [--steps N] [--jobs N]`.

Each folder of `pairs/` holds two programs that compute the same in other words. Per seed a is recorded by itself, b
with a's start, and `tfdiff.diff` must report nothing. Prints a line per pair, what was reported, and totals; exit code
1 if anything was reported or a run failed. Steps not judged and what was not shared have columns of their own.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tfdiff
from tests.contract.suite import Worker, told
from tfdiff.errors import TfdiffError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tfdiff.model import Result

FOLDER = Path(__file__).resolve().parent / "pairs"
PAIRS = tuple(sorted(path.name for path in FOLDER.iterdir() if (path / "b.py").exists()))
_ALONE = ("neither shared nor compared", "only one of the two programs uses it")


@dataclass(frozen=True)
class Run:
    """What came of one pair with one seed."""

    pair: str
    seed: int
    seconds: float
    reported: tuple[str, ...] = ()
    """Divergences, differences of b's own, or a verdict that is not "equivalent" without either."""
    judged: int = 0
    """Steps that were compared and judged."""
    horizon: int | None = None
    """Step from which on a differs from itself, where there is one."""
    not_shared: tuple[str, ...] = ()
    """Weights, batches or draws that b did not take from a, and what is unpaired."""
    failed: str | None = None
    """Why there is no result, where there is none."""


class Campaign:
    """Records and compares; traces and logs go to a folder; each thread has worker processes of its own."""

    def __init__(self, folder: Path, steps: int) -> None:
        self._folder, self._steps = folder, steps
        self._workers: dict[tuple[int, bool], Worker] = {}

    def run(self, pair: str, seed: int) -> Run:
        """One pair with one seed; its traces are deleted where nothing was reported."""
        began = time.monotonic()
        traces = [self._folder / f"{pair}-{seed}-{side}.h5" for side in "ab"]
        try:
            self._record(FOLDER / pair / "a.py", seed, traces[0], "--calibrate")
            self._record(FOLDER / pair / "b.py", seed, traces[1], "--reference", traces[0])
            result = tfdiff.diff(*traces)
        except (RuntimeError, TfdiffError) as error:
            return Run(pair, seed, time.monotonic() - began, failed=str(error))
        found = reported(result), result.judged or 0, result.horizon, not_shared(result)
        run = Run(pair, seed, time.monotonic() - began, *found)
        if not run.reported:
            for trace in traces:
                trace.unlink()
        return run

    def _record(self, script: Path, seed: int, trace: Path, *options: object) -> None:
        """Record a script.

        Raises:
            RuntimeError: it ended with another code than 0.
        """
        command = ["record", "--quiet", "--force", "--steps", self._steps, *options, "-o", trace, script, seed]
        code, said = self._worker(legacy=needs_legacy(script)).run(command, trace.with_suffix(".log"), None)
        if code:
            raise RuntimeError(f"{script.name} ended with {code}: {' / '.join(said.strip().splitlines()[-3:])}")

    def _worker(self, *, legacy: bool) -> Worker:
        key = (threading.get_ident(), legacy)
        if key not in self._workers:
            self._workers[key] = Worker(self._folder / "workers.log", legacy=legacy)
        return self._workers[key]

    def close(self) -> None:
        """End the worker processes."""
        for worker in self._workers.values():
            worker.close()


def needs_legacy(script: Path) -> bool:
    """Whether a script sets the switch of legacy Keras before it imports TensorFlow."""
    return 'os.environ["TF_USE_LEGACY_KERAS"] = "1"' in script.read_text()


def reported(result: Result) -> tuple[str, ...]:
    """Everything that a user would be told differs."""
    found = tuple(told(one) for one in (*result.divergences, *result.own))
    if not found and result.verdict != "equivalent":
        return (f"verdict {result.verdict}",)
    return found


def not_shared(result: Result) -> tuple[str, ...]:
    """What b did not start with or was not fed as a was, and weights without a counterpart."""
    weights = result.shared.get("weights") or {}
    missing = max(weights.get(side, 0) for side in "ab") - weights.get("shared", 0)
    found = [f"{missing} weights"] if missing or not weights else []
    found += [part for part in ("batches", "noise") if result.shared.get(part) is not True]
    found += [f"{note['what']}: {note['why']}" for note in (*result.not_shared, *result.not_recorded)]
    return (*found, *(note for note in result.notes if note.endswith(_ALONE)))


def lines(pair: str, runs: Sequence[Run], steps: int) -> list[str]:
    """The line of a pair, and below it what is not as it should be."""
    done = [run for run in runs if run.failed is None]
    least = min((run.judged for run in done), default=0)
    kept_back = sorted({what for run in done for what in run.not_shared})
    horizons = [run.horizon for run in done if run.horizon is not None]
    seconds = sum(run.seconds for run in runs)
    row = f"{pair:{WIDTH}} {len(runs):5} {sum(len(run.reported) for run in runs):11} {len(runs) - len(done):6} "
    row += f"{least:3} of {steps:3} {min(horizons, default='-'):>7} {len(kept_back):10} {seconds:7.1f} s"
    below = [f"    seed {run.seed}: {one}" for run in runs for one in (*run.reported, *filter(None, [run.failed]))]
    below += [f"    not shared: {what}" for what in kept_back]
    below += [f"    seed {run.seed}: {run.judged} of {steps} steps judged" for run in done if run.judged < steps]
    return [row, *below]


WIDTH = max(map(len, PAIRS))
HEAD = f"{'pair':{WIDTH}} seeds divergences failed min judged horizon not shared    time"


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.alarms", description=__doc__.partition("\n")[0])
    parser.add_argument("--pairs", default="", help="only those with this in their name; several: comma-separated")
    parser.add_argument("--seeds", type=int, default=5, help="of each pair, from 0 on (default 5)")
    parser.add_argument("--steps", type=int, default=30, help="to record and judge (default 30)")
    parser.add_argument("--jobs", type=int, default=2, help="recordings at a time (default 2)")
    parser.add_argument("--keep", type=Path, help="folder in which logs, and traces that say something, stay")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Record, compare, print."""
    options = arguments().parse_args(argv)
    pairs = [pair for pair in PAIRS if any(text in pair for text in options.pairs.split(","))]
    if not pairs:
        sys.exit(f"no pair has {options.pairs!r} in its name; there are {', '.join(PAIRS)}")
    began = time.monotonic()
    everything: list[Run] = []
    with tempfile.TemporaryDirectory(prefix="alarms-") as temporary, ThreadPoolExecutor(options.jobs) as pool:
        folder = options.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        campaign = Campaign(folder.resolve(), options.steps)
        futures = {pair: [pool.submit(campaign.run, pair, seed) for seed in range(options.seeds)] for pair in pairs}
        print(HEAD, flush=True)
        for pair, outcomes in futures.items():
            runs = [outcome.result() for outcome in outcomes]
            print("\n".join(lines(pair, runs, options.steps)), flush=True)
            everything += runs
        campaign.close()
    clean = [run for run in everything if not run.reported and run.failed is None]
    whole = [run for run in clean if run.judged >= options.steps]
    print(
        f"{len(clean)} of {len(everything)} runs without a reported divergence, {len(whole)} of them with all "
        f"{options.steps} steps judged; {len(pairs)} pairs, {time.monotonic() - began:.0f} s"
    )
    return 0 if len(clean) == len(everything) else 1


if __name__ == "__main__":
    sys.exit(main())
