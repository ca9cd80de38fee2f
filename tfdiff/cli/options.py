"""Options that several subcommands share, and the checks that are cheap enough to make before anything is loaded."""

from __future__ import annotations

import argparse
import importlib.util
from pathlib import Path

from tfdiff.errors import TfdiffError, UsageError
from tfdiff.orders import SHAREABLE


def step_count(text: str) -> int:
    """Parse `--steps`: a number from 0 up."""
    try:
        number = int(text)
    except ValueError:
        number = -1
    if number < 0:
        message = f"a number of steps, or 0 for all, is wanted; found {text!r}"
        raise argparse.ArgumentTypeError(message)
    return number


def shared_parts(text: str) -> frozenset[str]:
    """Parse `--share`: names with commas between, or `none`."""
    if text == "none":
        return frozenset()
    parts = frozenset(part.strip() for part in text.split(","))
    if not parts <= set(SHAREABLE):
        message = f"any of {','.join(SHAREABLE)} with commas between, or none, is wanted; found {text!r}"
        raise argparse.ArgumentTypeError(message)
    return parts


def add_recording_options(parser: argparse.ArgumentParser) -> None:
    """Add what `record` and everything that records have in common."""
    parser.add_argument(
        "--steps", type=step_count, default=10, metavar="N", help="training steps to record (default 10, 0 = all)"
    )
    parser.add_argument(
        "--share",
        type=shared_parts,
        default=None,
        metavar="PARTS",
        help="what b takes from the reference: weights,batches,noise (default: all three) or none",
    )
    parser.add_argument("--force", action="store_true", help="overwrite existing files")
    parser.add_argument(
        "--calibrate",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="of a reference: run the script twice more, to measure what noise does to it and to see that recording "
        "changes nothing (default: yes)",
    )
    parser.add_argument(
        "--passes",
        type=int,
        choices=[1],
        help="1: a reference is run once only, so noise is not measured (of a run against one: not built yet)",
    )


def calibrates(arguments: argparse.Namespace, *, reference: bool) -> bool:
    """Return whether noise is to be measured, with a further run of the script; of a `reference` only.

    Raises:
        UsageError: that was asked for together with what excludes it.
    """
    if arguments.calibrate and not reference:
        message = "--calibrate measures the noise of a reference: record without --reference, or leave it out"
        raise UsageError(message)
    if arguments.calibrate and arguments.passes == 1:
        message = "--calibrate runs the script a further time, which --passes 1 forbids: leave one of them out"
        raise UsageError(message)
    return reference and arguments.passes is None and arguments.calibrate is not False


def add_isolating_options(parser: argparse.ArgumentParser) -> None:
    """Add what says whether b runs once more with a's values over its own."""
    parser.add_argument(
        "--isolate",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="with --reference: run the script once more on a's values, where its own run hides something (default: "
        "yes)",
    )
    parser.add_argument(
        "--lockstep",
        action="store_true",
        help="with --reference: run it once more in any case, each step from a's state",
    )


def isolates(arguments: argparse.Namespace) -> bool:
    """Return whether a run against a reference may be followed by one with a's tensors over its own.

    Raises:
        UsageError: such a run was asked for where there can be none.
    """
    for option, asked in (("--isolate", arguments.isolate), ("--lockstep", arguments.lockstep)):
        if asked and arguments.reference is None:
            message = f"{option} writes a reference's values over the script's own: give one with --reference TRACE"
            raise UsageError(message)
    return arguments.isolate is not False and arguments.passes is None


def add_map_option(parser: argparse.ArgumentParser) -> None:
    """Add `--map`."""
    parser.add_argument(
        "--map",
        type=Path,
        metavar="FILE",
        help="pairs given by you, TOML, as `tfdiff diff --write-map FILE` writes it; they hold against what is found",
    )


def parts_to_share(arguments: argparse.Namespace) -> frozenset[str]:
    """Return the chosen `--share`, all parts by default."""
    return frozenset(SHAREABLE) if arguments.share is None else arguments.share


def require_tensorflow() -> None:
    """Raise TfdiffError when TensorFlow is not installed; it is looked up, not imported."""
    if importlib.util.find_spec("tensorflow") is None:
        message = (
            "recording runs the script and needs TensorFlow, which is not installed here: pip install 'tfdiff[tf]'"
        )
        raise TfdiffError(message)


def require_script(script: str) -> None:
    """Raise UsageError when there is no such script."""
    if not Path(script).exists():
        message = f"no script {script}: a path to a Python file is wanted (a module goes with -m)"
        raise UsageError(message)


def require_writable(output: Path, *, force: bool, inputs: tuple[Path, ...] = ()) -> None:
    """Raise UsageError when `output` must not be written: no folder, an input, or there already without `force`."""
    if output.is_dir():
        message = f"{output} is a folder: name the file to write"
        raise UsageError(message)
    if not output.parent.is_dir():
        message = f"no folder {output.parent} to write {output.name} into: make it first, or choose another with -o"
        raise UsageError(message)
    if not output.exists():
        return
    for given in inputs:
        if given.exists() and output.samefile(given):
            message = f"{output} is itself an input and would be overwritten: choose another output"
            raise UsageError(message)
    if not force:
        message = f"{output} exists: choose another with -o, or overwrite it with --force"
        raise UsageError(message)
