"""The command line: one module per subcommand, listed in COMMANDS; nothing heavy is imported before a command runs."""

from __future__ import annotations

import argparse
import inspect
import sys
import traceback
from typing import TYPE_CHECKING, Any

from tfdiff._version import __version__
from tfdiff.cli.console import say
from tfdiff.cli.demo import DemoCommand
from tfdiff.cli.diff import DiffCommand
from tfdiff.cli.explain import ExplainCommand
from tfdiff.cli.info import InfoCommand
from tfdiff.cli.later import BundleCommand, ReportCommand
from tfdiff.cli.record import RecordCommand
from tfdiff.cli.run import RunCommand
from tfdiff.cli.view import ViewCommand
from tfdiff.errors import Exit, TfdiffError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tfdiff.cli.command import Command

COMMANDS: tuple[Command, ...] = (
    RunCommand(),
    RecordCommand(),
    DiffCommand(),
    ViewCommand(),
    InfoCommand(),
    ReportCommand(),
    BundleCommand(),
    ExplainCommand(),
    DemoCommand(),
)
INTERRUPTED = 130  # what a shell reports for a program ended by ctrl-c


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command in `argv` (default: the process's own) and return the exit code, as CONTRACT has it."""
    try:
        arguments = make_parser().parse_args(argv)
        return int(arguments.command.run(arguments))
    except TfdiffError as error:
        say(f"tfdiff: {error}")
        return int(error.exit_code)
    except KeyboardInterrupt:
        say("tfdiff: interrupted")
        return INTERRUPTED
    except OSError as error:
        say(f"tfdiff: {error.filename or 'the operating system'}: {error.strerror or error}")
        return Exit.TROUBLE
    except Exception:  # noqa: BLE001 - python's own exit code for this, 1, would read as "diverged"
        traceback.print_exc(file=sys.stderr)
        say(f"tfdiff {__version__}: the lines above show a mistake in tfdiff itself, please report them")
        return Exit.TROUBLE


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line; `arguments.command` is the chosen member of COMMANDS."""
    parser = argparse.ArgumentParser(
        prog="tfdiff",
        description="Runs two TensorFlow scripts from an equal start and names where they part first, and why.",
        epilog="Exit codes: 0 equivalent, 1 diverged, 2 bad usage or input, 3 not comparable.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"tfdiff {__version__}")
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in COMMANDS:
        text = inspect.getdoc(type(command)) or ""
        options: dict[str, Any] = {
            "description": text,
            "formatter_class": argparse.RawDescriptionHelpFormatter,
            "allow_abbrev": False,
        }
        subparser = subparsers.add_parser(command.name, help=text.partition("\n")[0], **options)
        command.prepare_parser(subparser)
        subparser.set_defaults(command=command)
    return parser
