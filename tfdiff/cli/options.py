"""Options that several subcommands share, and the checks that are cheap enough to make before anything is loaded."""

from __future__ import annotations

import argparse
import importlib.util
from pathlib import Path

from tfdiff.errors import TfdiffError, UsageError
from tfdiff.model import SHAREABLE


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
