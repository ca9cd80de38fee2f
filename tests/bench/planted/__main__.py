"""Plants faults in networks of all API styles and counts how many are found where they are.

`python -m tests.bench.planted [--trials 300] [--seed 0] [--two] [--kinds ...] [--styles ...] [--smallest] [--jobs 2]`.
A trial draws a network, two styles, a fault and its place; the scripts are written, recorded and compared, and the
first divergence must have the step, the phase and the lines of the fault. Exit code 0 when enough of them do: 95 % of
single faults, 85 % of pairs of faults (both found).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .kinds import KINDS
from .smallest import PROBES, table
from .styles import STYLES
from .trial import Bench, Outcome, plan

VERDICTS = ("right", "wrong step", "wrong phase", "wrong site", "not found", "other")
WANTED = {False: 0.95, True: 0.85}


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
    return 0 if outcomes and right >= WANTED[options.two] * len(outcomes) else 1


def report(outcomes: list[Outcome], *, two: bool) -> list[str]:
    """The tables, and each miss in a line."""
    lines = verdicts(outcomes)
    if not two:
        lines += ["", "phase of the fault (down), phase that was said (across)"]
        lines += confusion(
            [(" or ".join(one.trial.faults[0].phases), one.phase) for one in outcomes if one.trial.faults]
        )
        lines += ["", "code of the fault (down), code of the first cause (across, where another)"]
        lines += codes(outcomes)
    misses = [one for one in outcomes if one.verdict != "right"]
    lines += ["", f"{len(misses)} misses"]
    lines += [f"- {one.verdict}: {one.trial}: {one.said}" for one in misses]
    extra = [one for one in outcomes if one.extra and one.verdict == "right"]
    lines += ["", f"{len(extra)} trials that went right name further places"]
    lines += [f"- {one.trial}: {'; '.join(one.extra[:3])}" for one in extra]
    right, wanted = len(outcomes) - len(misses), WANTED[two]
    what = "both faults found" if two else "right step, phase and site"
    share = 100 * right / max(len(outcomes), 1)
    return [*lines, "", f"{what}: {right} of {len(outcomes)} ({share:.1f} %, wanted {100 * wanted:.0f} %)"]


def verdicts(outcomes: list[Outcome]) -> list[str]:
    """How the trials of each kind went."""
    cells = Counter((kind, one.verdict) for one in outcomes for kind in one.trial.kinds or ("none",))
    kinds = sorted({kind for kind, _ in cells})
    width = max(map(len, kinds), default=4)
    lines = [f"{'':{width}} " + " ".join(f"{verdict:>11}" for verdict in VERDICTS)]
    for kind in kinds:
        row = (f"{cells[kind, verdict] or '.':>11}" for verdict in VERDICTS)
        lines.append(f"{kind:{width}} {' '.join(row)}")
    return lines


def confusion(pairs: list[tuple[str, str]]) -> list[str]:
    """Counts of what was against what was said."""
    cells = Counter(pairs)
    rows, columns = sorted({true for true, _ in pairs}), sorted({said for _, said in pairs})
    lines = [f"{'':18}" + "".join(f"{column:>10}" for column in columns)]
    return lines + [f"{row:18}" + "".join(f"{cells[row, one] or '.':>10}" for one in columns) for row in rows]


def codes(outcomes: list[Outcome]) -> list[str]:
    """Per true code, how often it was the first cause, and what was said instead."""
    tally: dict[str, Counter[str]] = {}
    for one in outcomes:
        for fault in one.trial.faults:
            true = fault.codes[0] if fault.codes else "(none)"
            tally.setdefault(true, Counter())["as planted" if one.code in fault.codes else one.code] += 1
    return [
        f"{true:28} {', '.join(f'{n} {said}' for said, n in row.most_common())}" for true, row in sorted(tally.items())
    ]


if __name__ == "__main__":
    sys.exit(main())
