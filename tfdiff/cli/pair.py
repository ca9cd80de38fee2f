"""Two scripts from recording to answer, for `run` and `demo`."""

from __future__ import annotations

import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tfdiff.cli.console import on_terminal, say
from tfdiff.cli.diff import EXIT_OF_VERDICT, print_text
from tfdiff.cli.options import require_script, require_tensorflow, require_writable
from tfdiff.cli.view import view
from tfdiff.errors import TfdiffError
from tfdiff.orders import SHAREABLE

if TYPE_CHECKING:
    from collections.abc import Sequence

# Starts tfdiff as its console script does: the current folder must not come first on the import path, a user's file
# there could be called json.py.
LAUNCH = "import sys; sys.path[0] = {folder!r}; from tfdiff.cli import main; sys.exit(main())"


@dataclass(frozen=True)
class Pair:
    """Two scripts, how to run them, and where their traces go."""

    a: str
    b: str
    folder: Path
    a_arguments: tuple[str, ...] = ()
    b_arguments: tuple[str, ...] = ()
    steps: int = 10
    share: frozenset[str] = frozenset(SHAREABLE)
    force: bool = False
    calibrate: bool = True
    map: Path | None = None

    @property
    def a_trace(self) -> Path:
        """Where a's trace goes."""
        return self.folder / "a.h5"

    @property
    def b_trace(self) -> Path:
        """Where b's trace goes."""
        return self.folder / "b.h5"


def compare_scripts(pair: Pair) -> int:
    """Record both, compare, print the text, offer the viewer on a terminal; returns the verdict's exit code.

    Raises:
        UsageError: a script is missing, or a trace exists without `force`.
        TfdiffError: a script failed; its traceback has been shown and its trace is kept.
    """
    for script in (pair.a, pair.b):
        require_script(script)
    require_tensorflow()
    if pair.map is not None:
        from tfdiff.pairing.map_file import read_map

        read_map(pair.map)  # before anything is run
    make_room(pair)
    steps = ("--steps", str(pair.steps))
    noise = "--calibrate" if pair.calibrate else "--no-calibrate"
    record("1 of 2, the reference", pair.a, pair.a_arguments, pair.a_trace, (*steps, noise))
    equal_start = ("--reference", str(pair.a_trace), "--share", ",".join(sorted(pair.share)) or "none")
    given = () if pair.map is None else ("--map", str(pair.map))
    record("2 of 2, from an equal start", pair.b, pair.b_arguments, pair.b_trace, (*steps, *equal_start, *given))
    say("tfdiff: comparing")
    from tfdiff.api import diff

    result = diff(pair.a_trace, pair.b_trace, pairs=pair.map)
    print_text(result, pair.a_trace, pair.b_trace, pair.b)
    offer_viewer(pair)
    return EXIT_OF_VERDICT[result.verdict]


def make_room(pair: Pair) -> None:
    """Make the folder; refuse existing traces, or remove them with `force`, so that none is left from another run."""
    pair.folder.mkdir(parents=True, exist_ok=True)
    scripts = (Path(pair.a), Path(pair.b))
    for trace in (pair.a_trace, pair.b_trace):
        require_writable(trace, force=pair.force, inputs=scripts)
    for trace in (pair.a_trace, pair.b_trace):
        trace.unlink(missing_ok=True)


def record(title: str, script: str, arguments: Sequence[str], trace: Path, options: Sequence[str]) -> None:
    """Record in a process of its own: two scripts must not share one TensorFlow, and each sets its own switches.

    What the script prints goes to stderr, stdout is for the answer.
    """
    say(f"tfdiff: recording {script} ({title})")
    launch = LAUNCH.format(folder=str(Path(sys.executable).parent))
    command = [sys.executable, "-c", launch, "record", "-o", str(trace), *options, script, *arguments]
    code = subprocess.run(command, stdout=sys.stderr.fileno(), check=False).returncode  # noqa: S603 - our own program
    if code:
        raise TfdiffError(failure(script, trace, code))


def failure(script: str, trace: Path, code: int) -> str:
    """Return the message for a script that failed."""
    ending = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
    kept = (
        f"what was recorded until then is in {trace} (tfdiff info {trace})"
        if trace.exists()
        else "nothing was recorded"
    )
    return f"{script} {ending}, its own words are above; {kept}. Both scripts must run to compare them"


def offer_viewer(pair: Pair) -> None:
    """Ask on a terminal whether to look at the traces."""
    if not on_terminal():
        return
    sys.stderr.write("Open the viewer? [y/N] ")
    sys.stderr.flush()
    try:
        answer = sys.stdin.readline()
    except KeyboardInterrupt:
        answer = ""
    if answer.strip().lower() in ("y", "yes"):
        view(pair.a_trace, pair.b_trace)
