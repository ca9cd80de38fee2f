"""`tfdiff record`: run one script and write its trace."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tfdiff.assumptions import parse_all
from tfdiff.cli import later
from tfdiff.cli.options import (
    add_isolating_options,
    add_map_option,
    add_recording_options,
    calibrates,
    isolates,
    parts_to_share,
    require_script,
    require_tensorflow,
    require_writable,
)
from tfdiff.errors import UsageError
from tfdiff.orders import DETAILS, RecordOptions

if TYPE_CHECKING:
    from tfdiff.orders import PairMap


class RecordCommand:
    """run a script as python would, and write a trace of its training steps

    The script is not changed: it sees its own arguments, working directory and `__main__`, and its exit code is
    the command's. After the last recorded step it is stopped, which counts as success. It runs up to three times;
    what its further runs print is not shown, and what they write goes to a temporary likeness of its folders.
    """

    name = "record"

    def prepare_parser(self, parser: argparse.ArgumentParser) -> None:
        """Add the arguments; everything behind SCRIPT belongs to the script."""
        parser.add_argument("-o", "--output", type=Path, metavar="TRACE", help="default: the script's name with .h5")
        parser.add_argument(
            "--reference", type=Path, metavar="TRACE", help="start equal to that run: weights, batches, noise"
        )
        add_recording_options(parser)
        parser.add_argument("--keep-running", action="store_true", help="let the script go on after the recorded steps")
        parser.add_argument(
            "--detail", choices=DETAILS, default="layers", help="what is kept in full (default: layers)"
        )
        parser.add_argument("--quiet", action="store_true", help="no progress")
        add_isolating_options(parser)
        add_map_option(parser)
        parser.add_argument(
            "--assume",
            action="append",
            default=[],
            metavar="CODE=VALUE[@FILE:LINE]",
            help="with --reference: run the script with a cause mended (dropout-rate=0.2@b.py:41), to see whether they "
            "agree then; may be repeated",
        )
        parser.add_argument(
            "-m", dest="module", action="store_true", help="SCRIPT is a module's name, as with python -m"
        )
        # One argument that takes all of the rest: of two, argparse gives the first one a `--` that is the script's.
        parser.add_argument(
            "program", nargs=argparse.PARSER, metavar="SCRIPT", help="a Python file, then its own arguments"
        )

    def run(self, arguments: argparse.Namespace) -> int:
        """Check what can be checked without loading anything, then record; returns the script's exit code."""
        options = recording_of(arguments)
        check(options)
        require_tensorflow()
        from tfdiff.comparison.isolation import plan_isolation
        from tfdiff.recorder.launch import record

        return record(options, partial(plan_isolation, always=options.lockstep))


def recording_of(arguments: argparse.Namespace) -> RecordOptions:
    """Return the options as the recorder takes them.

    Raises:
        UsageError: options that need a reference, without one.
        NotBuiltError: `--passes 1` with a reference.
    """
    script, *rest = arguments.program[1:] if arguments.program[0] == "--" else arguments.program
    if arguments.share is not None and arguments.reference is None:
        message = "--share says what to take from a reference: give one with --reference TRACE"
        raise UsageError(message)
    if arguments.map is not None and arguments.reference is None:
        message = (
            "--map says which of the reference's variables are which of the script's: give one with --reference TRACE"
        )
        raise UsageError(message)
    if arguments.assume and arguments.reference is None:
        message = "--assume mends a difference to a reference: give one with --reference TRACE"
        raise UsageError(message)
    if arguments.passes is not None and arguments.reference is not None:
        raise later.not_built("--passes 1 with --reference", later.PASSES)
    return RecordOptions(
        script=script,
        arguments=tuple(rest),
        module=arguments.module,
        output=arguments.output or default_output(script, module=arguments.module),
        force=arguments.force,
        reference=arguments.reference,
        share=parts_to_share(arguments),
        steps=arguments.steps,
        keep_running=arguments.keep_running,
        detail=arguments.detail,
        quiet=arguments.quiet,
        isolate=isolates(arguments),
        lockstep=arguments.lockstep,
        calibrate=calibrates(arguments, reference=arguments.reference is None),
        pairs=None if arguments.map is None else read_pairs(arguments.map),
        assume=parse_all(arguments.assume),
    )


def read_pairs(file: Path) -> PairMap:
    """Read `--map`; raises UsageError for a file that is none."""
    from tfdiff.pairing.map_file import read_map

    return read_map(file)


def default_output(script: str, *, module: bool) -> Path:
    """Return the trace's default path: in the working directory, named after the script or the module's last part."""
    return Path((script.rpartition(".")[2] if module else Path(script).stem) + ".h5")


def check(options: RecordOptions) -> None:
    """Raise UsageError for paths that cannot be used."""
    if not options.module:
        require_script(options.script)
    inputs: tuple[Path, ...] = () if options.module else (Path(options.script),)
    if options.reference is not None:
        if not options.reference.exists():
            message = f"no trace {options.reference} to take the start from: record it first, without --reference"
            raise UsageError(message)
        inputs += (options.reference,)
    require_writable(options.output, force=options.force, inputs=inputs)
