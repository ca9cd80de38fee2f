"""Plants faults in networks of all API styles and counts how many are found where they are.

`python -m tests.bench.planted [--trials 300] [--seed 0] [--two] [--kinds ...] [--styles ...] [--smallest] [--jobs 2]`.
A trial draws a network, two styles, a fault and its place; the scripts are written, recorded and compared, and the
first divergence must have the step, the phase and the lines of the fault, and the first cause its code. Exit code 0
when enough of them do: places of 95 % of single faults, 85 % of pairs of faults (both found); codes of 90 % of single
faults that have one, with a wrong code in at most 3 % and the fitted constants within 2 %.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .kinds import KINDS
from .report import WANTED, code_goals, report
from .smallest import PROBES, table
from .styles import STYLES
from .trial import Bench, Outcome, plan


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.planted", description=__doc__.partition("\n")[0])
    parser.add_argument("--trials", type=int, help="default: 300, with --two 100")
    parser.add_argument("--from", type=int, default=0, dest="start", help="number of the first trial")
    parser.add_argument("--seed", type=int, default=0, help="of everything that is drawn")
    parser.add_argument("--two", action="store_true", help="two faults at once")
    parser.add_argument("--kinds", help="comma-separated; default: all; `none` plants nothing")
    parser.add_argument("--styles", help="comma-separated; default: all")
    parser.add_argument("--steps", type=int, default=4, help="training steps of a script (default 4)")
    parser.add_argument("--jobs", type=int, default=2, help="trials at a time (default 2)")
    parser.add_argument("--only", type=int, metavar="NUMBER", help="one trial, everything about it printed and kept")
    parser.add_argument("--minutes", type=float, help="begin no trial after so long")
    parser.add_argument("--keep", type=Path, help="folder for the scripts and traces of trials that went wrong")
    parser.add_argument("--smallest", action="store_true", help="the smallest change found, per kind")
    return parser


def chosen(words: str | None, there: list[str]) -> list[str]:
    """Names of a comma-separated list."""
    names = there if words is None else words.split(",")
    if unknown := set(names) - {*there, "none"}:
        sys.exit(f"no such name: {', '.join(sorted(unknown))}; there are {', '.join(there)}")
    return names


def main(argv: list[str] | None = None) -> int:
    """Plant, record, compare, print."""
    options = arguments().parse_args(argv)
    there = [probe.kind for probe in PROBES] if options.smallest else list(KINDS)
    kinds, styles = chosen(options.kinds, there), chosen(options.styles, list(STYLES))
    folder = (options.keep or Path(tempfile.mkdtemp(prefix="planted-"))).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    count = options.trials or (100 if options.two else 300)
    numbers = [options.only] if options.only is not None else range(options.start, options.start + count)
    started, bench = time.monotonic(), Bench(folder)
    if options.smallest:
        for line in table(bench, kinds):
            print(line, flush=True)
        bench.close()
        return 0

    def tried(number: int) -> Outcome | None:
        if options.minutes is not None and time.monotonic() > started + 60 * options.minutes:
            return None
        trial = plan(number, options.seed, options.steps, kinds=kinds, styles=styles, two=options.two)
        return bench.run(trial, keep=options.only is not None)

    outcomes: list[Outcome] = []
    with ThreadPoolExecutor(options.jobs) as pool:
        for outcome in pool.map(tried, numbers):
            if outcome is not None:
                outcomes.append(outcome)
                print(f"{outcome.verdict}: {outcome.trial}", file=sys.stderr, flush=True)
    bench.close()
    print("\n".join(report(outcomes, two=options.two)))
    print(f"{len(outcomes)} trials in {time.monotonic() - started:.0f} s; what went wrong is in {folder}")
    right = sum(outcome.verdict == "right" for outcome in outcomes)
    placed = bool(outcomes) and right >= WANTED[options.two] * len(outcomes)
    return 0 if placed and (options.two or code_goals(outcomes)) else 1


if __name__ == "__main__":
    sys.exit(main())
