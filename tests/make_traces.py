"""Makes the traces of traces/, which show `tfdiff diff` and `tfdiff view` to whoever has no TensorFlow.

    python tests/make_traces.py [DEMO ...]

with tfdiff[tf] installed: two to three minutes. For each demo below it

1. copies the demo's scripts into a temporary folder and records both, ten steps each, as `tfdiff demo` does;
2. cuts both traces: the first steps, no arrays above a few hundred bytes (`tfdiff.trace.trim`), except the evidence of
   the first divergence: what its ops took, and the draw that meets their results;
3. compares the cut pair and ends with an error unless verdict, first divergence and causes are those of the full pair.

What a cut trace still has of everything: statistics and sketches, and the rows of the batches of all recorded steps.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tfdiff.api import diff
from tfdiff.demos import find, materialize
from tfdiff.trace.reader import open_trace
from tfdiff.trace.trim import trim

if TYPE_CHECKING:
    from tfdiff.model import Observation, Result
    from tfdiff.trace.block import Block

TRACES = Path(__file__).resolve().parents[1] / "traces"
RECORDED = 10


@dataclass(frozen=True)
class Cut:
    """How a demo's traces are cut."""

    steps: int
    largest: int
    """Bytes."""
    depth: int = 0
    """How many ops behind the first divergence a draw is looked for that belongs to it."""
    initial: int = 0
    """Bytes up to which initial values are kept, if more than `largest`: a small matrix tells its initializer."""


CUTS = {"mnist-mlp-tf2": Cut(steps=1, largest=512, depth=3, initial=8192), "mnist-cnn": Cut(steps=3, largest=1280)}


def main(names: list[str]) -> int:
    """Make the traces of these demos, of all without a name."""
    TRACES.mkdir(exist_ok=True)
    for name in names or CUTS:
        with tempfile.TemporaryDirectory() as folder:
            make(name, Path(folder))
    return 0


def make(name: str, folder: Path) -> None:
    """Record the demo in the folder and cut what it left."""
    materialize(find(name).name, folder)
    record(folder, "a")
    record(folder, "b", "--reference", "a.h5")
    whole = diff(folder / "a.h5", folder / "b.h5")
    paths = {side: TRACES / f"{name}-{side}.h5" for side in "ab"}
    for side, path in paths.items():
        cut(folder / f"{side}.h5", path, CUTS[name], whole, side)
    check(whole, diff(paths["a"], paths["b"]))
    print(", ".join(f"{path.name} {path.stat().st_size / 1000:.0f} kB" for path in paths.values()))  # noqa: T201


def record(folder: Path, side: str, *options: str) -> None:
    """Run one of the two scripts under `tfdiff record`."""
    program = [sys.executable, "-m", "tfdiff", "record", "--steps", str(RECORDED), "--force"]
    package = str(Path(__file__).resolve().parents[1])
    environment = os.environ | {"PYTHONPATH": package, "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [*program, *options, "-o", f"{side}.h5", f"{side}.py"]
    subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)


def cut(source: Path, path: Path, how: Cut, whole: Result, side: str) -> None:
    """Write the cut trace."""
    first = whole.first
    index = None if first is None else {"a": first.a_index, "b": first.b_index}[side]
    with open_trace(source) as trace:
        kept: set[int] = set()
        if first is not None and index is not None:
            kept = evidence(trace.step(first.step), index, how.depth)

        def also(block: Block, seen: Observation) -> bool:
            if block.info.index < 0:
                return block.nbytes(seen.index) <= how.initial
            return first is not None and block.info.index == first.step and seen.index in kept

        trim(trace, path, steps=how.steps, largest=how.largest, force=True, also=also)


def evidence(block: Block, index: int, depth: int) -> set[int]:
    """What an op took, and the draw that meets its result within `depth` ops: the rest can be computed again."""
    seen = block.observations
    before = ancestors(block, {index})
    after = {index}
    for _ in range(depth):
        after |= {one.index for one in seen if after & set(one.inputs)}
        drawn = {one for one in ancestors(block, after) - before if seen[one].site.role == "noise"}
        if drawn:
            return {*seen[index].inputs, min(drawn)} - {-1}
    return {*seen[index].inputs} - {-1}


def ancestors(block: Block, found: set[int]) -> set[int]:
    """The observations and all that they were computed from."""
    last = found
    while last:
        last = {source for one in last for source in block.observations[one].inputs if source >= 0} - found
        found = found | last
    return found


def check(whole: Result, small: Result) -> None:
    """End the program where the cut pair tells another story than the full one."""
    stories = [
        (result.verdict, result.first and (result.first.step, result.first.a, result.first.b), sorted_codes(result))
        for result in (whole, small)
    ]
    if stories[0] != stories[1]:
        sys.exit(f"the cut traces say\n  {stories[1]}\nthe full ones\n  {stories[0]}\nchange CUTS")


def sorted_codes(result: Result) -> list[str]:
    """The causes' names."""
    return sorted({cause.code for cause in result.causes})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
