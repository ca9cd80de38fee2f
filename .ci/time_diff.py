"""Check that `tfdiff diff` on each pair in traces/ takes less than twice as long as importing what it stands on."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

IMPORTS = ("-c", "import numpy, scipy.optimize, scipy.stats, h5py")
RUNS = 7  # the fastest counts: everything slower is somebody else's load


def seconds(*arguments: str) -> float:
    """Return the time of the fastest of some runs of python."""
    times = []
    for _ in range(RUNS):
        start = time.perf_counter()
        subprocess.run([sys.executable, *arguments], check=False, stdout=subprocess.DEVNULL)  # noqa: S603 - our own program
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> int:
    """Print both times for each pair; the exit code says whether all are fast enough."""
    allowed = 2 * seconds(*IMPORTS)
    slow = False
    for a in sorted(Path("traces").glob("*-a.h5")):
        b = a.with_name(a.name.replace("-a.h5", "-b.h5"))
        took = seconds("-m", "tfdiff", "diff", str(a), str(b))
        slow |= took >= allowed
        sys.stdout.write(f"tfdiff diff {a} {b}: {took:.2f} s, allowed {allowed:.2f} s\n")
    return int(slow)


if __name__ == "__main__":
    sys.exit(main())
