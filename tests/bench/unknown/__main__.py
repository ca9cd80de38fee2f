"""Faults of no known kind must be found and left unexplained: `python -m tests.bench.unknown [--only TEXT] [--jobs N]`.

Each fault of `faults.py` is one line of b changed by hand: an activation made up, two channels exchanged, a scaled
branch. The first divergence must have its step, phase and lines, and its cause must be `unexplained`: a name that does
not fit sends people to the wrong line. Exit code 1 if one does not.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .faults import FAULTS
from .trial import Bench, Outcome


def main(argv: list[str] | None = None) -> int:
    """Change, record, compare, print."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.unknown", description=__doc__.partition("\n")[0])
    parser.add_argument("--only", default="", help="faults with this in their name or pair")
    parser.add_argument("--jobs", type=int, default=2, help="recordings at a time (default 2)")
    parser.add_argument("--keep", type=Path, help="folder in which scripts and traces stay")
    options = parser.parse_args(argv)
    faults = [fault for fault in FAULTS if options.only in f"{fault.name} {fault.pair}"]
    if not faults:
        sys.exit(f"no fault has {options.only!r} in its name or pair")
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory(prefix="unknown-") as temporary, ThreadPoolExecutor(options.jobs) as pool:
        bench = Bench((options.keep or Path(temporary)).resolve())
        for outcome in pool.map(bench.run, faults):
            outcomes.append(outcome)
            print("\n".join(lines(outcome)), flush=True)
        bench.close()
    placed, plain = (sum(getattr(one, what) for one in outcomes) for what in ("placed", "unexplained"))
    count = len(outcomes)
    print(f"right step, phase and lines: {placed} of {count}; unexplained there: {plain} of {count}")
    return 0 if placed == plain == count else 1


def lines(outcome: Outcome) -> list[str]:
    """How a fault was told, and what was said besides."""
    marks = ("right place" if outcome.placed else "WRONG PLACE", "" if outcome.unexplained else "WRONG NAME ")
    head = f"{outcome.fault.name} ({outcome.fault.pair}): {marks[0]}, {marks[1]}{', '.join(outcome.codes) or 'no code'}"
    return [head, f"    {outcome.said}", *(f"    besides: {one}" for one in outcome.besides)]


if __name__ == "__main__":
    sys.exit(main())
