"""The matrix of styles, printed: `python -m tests.contract.matrix [--fault NAME] [--jobs 2] [--sample N --seed S]`.

Each style is recorded by itself, each pair (a, b) is recorded as b with the start of a, and compared. Without a fault
every pair must be equivalent with all weights shared; with one, planted in b, it must be found at its line in b and a.
Exit code 0 when all is as it should be.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .suite import FAULTS, STYLES, Suite


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.contract.matrix", description=__doc__.partition("\n")[0])
    parser.add_argument("--fault", choices=FAULTS, help="plant it in b")
    parser.add_argument("--styles", help="comma-separated; default: all")
    parser.add_argument("--a", help="only these as a")
    parser.add_argument("--b", help="only these as b")
    parser.add_argument("--jobs", type=int, default=1, help="recordings at a time (default 1)")
    parser.add_argument("--sample", type=int, help="only so many pairs, chosen at random")
    parser.add_argument("--seed", type=int, default=0, help="of the choice")
    parser.add_argument("--minutes", type=float, help="begin no pair after so long")
    parser.add_argument("--scout-anew", action="store_true", help="scout b for each a, as the command line does")
    parser.add_argument("--calibrate", action="store_true", help="measure the noise of each a")
    parser.add_argument("--keep", type=Path, help="folder in which traces and logs stay")
    return parser


def chosen(names: str | None, default: tuple[str, ...] = STYLES) -> tuple[str, ...]:
    """The styles of a comma-separated list."""
    if names is None:
        return default
    unknown = set(names.split(",")) - set(STYLES)
    if unknown:
        sys.exit(f"no such style: {', '.join(sorted(unknown))}; there are {', '.join(STYLES)}")
    return tuple(names.split(","))


def sample(pairs: list[tuple[str, str]], count: int | None, seed: int) -> list[tuple[str, str]]:
    """So many of the pairs, the same for the same seed."""
    return pairs if count is None or count >= len(pairs) else random.Random(seed).sample(pairs, count)


def table(rows: tuple[str, ...], columns: tuple[str, ...], cells: dict[tuple[str, str], list[str]]) -> list[str]:
    """a down, b across: `=` as it should be, `X` not, `.` not tried."""
    width = max(map(len, rows))
    lines = [f"{'a down, b across':{width + 4}} " + " ".join(f"{n:2}" for n in range(1, len(columns) + 1))]
    for number, a in enumerate(rows, 1):
        signs = ["." if (a, b) not in cells else "X" if cells[a, b] else "=" for b in columns]
        lines.append(f"{number:3} {a:{width}} " + " ".join(f"{sign:>2}" for sign in signs))
    if rows != columns:
        lines.append("b: " + ", ".join(f"{n} {b}" for n, b in enumerate(columns, 1)))
    return lines


def main(argv: list[str] | None = None) -> int:
    """Record, compare, print."""
    options = arguments().parse_args(argv)
    styles = chosen(options.styles)
    rows, columns = chosen(options.a, styles), chosen(options.b, styles)
    pairs = sample([(a, b) for a in rows for b in columns if options.fault or a != b], options.sample, options.seed)
    started = time.monotonic()
    cells: dict[tuple[str, str], list[str]] = {}
    with tempfile.TemporaryDirectory(prefix="contract-") as temporary:
        folder = options.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        suite = Suite(folder.resolve(), keep_scouts=not options.scout_anew, calibrate=options.calibrate)

        until = [float("inf") if options.minutes is None else started + 60 * options.minutes]

        def compared(pair: tuple[str, str]) -> list[str] | None:
            return suite.compare(*pair, options.fault) if time.monotonic() < until[0] else None

        with ThreadPoolExecutor(options.jobs) as pool:
            outcomes = {pair: pool.submit(compared, pair) for pair in pairs}
            for pair, outcome in outcomes.items():
                try:
                    complaints = outcome.result()
                except KeyboardInterrupt:  # what is there is shown
                    until[0], complaints = 0.0, None
                if complaints is not None:
                    cells[pair] = complaints
                    told = "; ".join(complaints) or "as it should be"
                    print(f"{' / '.join(pair)}: {told}", file=sys.stderr, flush=True)
        suite.close()
    wrong = {pair: complaints for pair, complaints in cells.items() if complaints}
    print("\n".join(table(rows, columns, cells)))
    for (a, b), complaints in wrong.items():
        print(f"{a} / {b}: {'; '.join(complaints)}")
    wanted = f"fault {options.fault} found at its line" if options.fault else "equivalent, no unpaired weight"
    took = f"{time.monotonic() - started:.0f} s"
    print(f"{len(cells) - len(wrong)} of {len(cells)} pairs of {len({*rows, *columns})} styles: {wanted} ({took})")
    if len(cells) < len(pairs):
        print(f"{len(pairs) - len(cells)} pairs were not tried for lack of time")
    return 1 if wrong or not cells else 0


if __name__ == "__main__":
    sys.exit(main())
