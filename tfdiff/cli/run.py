"""`tfdiff run`: the whole job for two scripts."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from tfdiff.cli.options import add_map_option, add_recording_options, calibrates, parts_to_share
from tfdiff.cli.pair import Pair, compare_scripts
from tfdiff.errors import UsageError

if TYPE_CHECKING:
    import argparse


class RunCommand:
    """record two scripts from an equal start, compare them and say where and why they part

    Records A, records B with A's weights, batches and noise, compares the two and prints the answer on stdout;
    what the scripts print goes to stderr. Leaves DIR/a.h5 and DIR/b.h5. Each script runs up to three times; what
    its further runs print is not shown, and what they write goes to a temporary likeness of its folders.
    """

    name = "run"

    def prepare_parser(self, parser: argparse.ArgumentParser) -> None:
        """Add the arguments."""
        parser.add_argument("a", metavar="A.py", help="the script that works: the reference")
        parser.add_argument("b", metavar="B.py", help="the script that does not")
        parser.add_argument(
            "-o", "--output", type=Path, default=Path("tfdiff-run"), metavar="DIR", help="default: tfdiff-run"
        )
        add_recording_options(parser)
        parser.add_argument("--a-args", type=words, default=(), metavar='"..."', help="arguments for A.py")
        parser.add_argument("--b-args", type=words, default=(), metavar='"..."', help="arguments for B.py")
        add_map_option(parser)

    def run(self, arguments: argparse.Namespace) -> int:
        """Record both, compare, print; returns the verdict's exit code, 2 when a script failed."""
        return compare_scripts(
            Pair(
                a=arguments.a,
                b=arguments.b,
                folder=arguments.output,
                a_arguments=arguments.a_args,
                b_arguments=arguments.b_args,
                steps=arguments.steps,
                share=parts_to_share(arguments),
                force=arguments.force,
                calibrate=calibrates(arguments, reference=True),
                map=arguments.map,
            )
        )


def words(text: str) -> tuple[str, ...]:
    """Split arguments as a shell would."""
    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        message = f"arguments as a shell has them are wanted; found {text!r}: {error}"
        raise UsageError(message) from None
