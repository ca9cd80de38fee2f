"""`tfdiff diff`: compare two traces."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tfdiff.cli.console import put, say
from tfdiff.cli.options import add_map_option, require_writable
from tfdiff.errors import Exit

if TYPE_CHECKING:
    import argparse

    from tfdiff.model import Result

EXIT_OF_VERDICT = {"equivalent": Exit.EQUIVALENT, "diverged": Exit.DIVERGED, "incomparable": Exit.INCOMPARABLE}


class DiffCommand:
    """compare two traces: the first place where they part, and why

    Needs no TensorFlow. Exit codes: 0 equivalent within noise, 1 diverged, 2 bad input, 3 not comparable.
    """

    name = "diff"

    def prepare_parser(self, parser: argparse.ArgumentParser) -> None:
        """Add the arguments."""
        parser.add_argument("a", type=Path, metavar="A.h5", help="the reference's trace")
        parser.add_argument("b", type=Path, metavar="B.h5", help="the other trace")
        parser.add_argument(
            "--json", metavar="FILE", help="write the result as JSON too; - writes JSON alone to stdout"
        )
        add_map_option(parser)
        parser.add_argument(
            "--write-map",
            type=Path,
            metavar="FILE",
            help="write the pairs as compared, TOML, to edit and give to --map",
        )

    def run(self, arguments: argparse.Namespace) -> int:
        """Compare, write what was asked for, and return the verdict's exit code."""
        from tfdiff.api import diff
        from tfdiff.reports import json as json_report

        file = None if arguments.json in (None, "-") else Path(arguments.json)
        if file is not None:
            require_writable(file, force=True, inputs=(arguments.a, arguments.b))
        if arguments.write_map is not None:
            require_writable(arguments.write_map, force=True, inputs=(arguments.a, arguments.b))
        result = diff(arguments.a, arguments.b, pairs=arguments.map, write_map=arguments.write_map)
        if arguments.json == "-":
            put(json_report.render(result))
        else:
            print_text(result, arguments.a, arguments.b)
        if file is not None:
            file.write_text(json_report.render(result) + "\n", encoding="utf-8")
            say(f"tfdiff: wrote {file}")
        if arguments.write_map is not None:
            say(f"tfdiff: wrote {arguments.write_map}")
        return EXIT_OF_VERDICT[result.verdict]


def print_text(result: Result, a: Path, b: Path, script: str | None = None) -> None:
    """Put the text for people on stdout; `a` and `b` are the traces, `script` is b's program as the user can type
    them.
    """
    from tfdiff.reports import text

    put(text.render(result, paths=(str(a), str(b)), script=script))
