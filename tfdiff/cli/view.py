"""`tfdiff view`: the terminal viewer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tfdiff.cli.console import on_terminal
from tfdiff.errors import UsageError

if TYPE_CHECKING:
    import argparse


class ViewCommand:
    """browse one trace, or two side by side, in the terminal"""

    name = "view"

    def prepare_parser(self, parser: argparse.ArgumentParser) -> None:
        """Add the arguments."""
        parser.add_argument("a", type=Path, metavar="A.h5", help="a trace")
        parser.add_argument("b", type=Path, metavar="B.h5", nargs="?", help="the trace to compare it with")

    def run(self, arguments: argparse.Namespace) -> int:
        """Open the viewer; damaged files are refused before the screen is taken over."""
        from tfdiff.trace.reader import open_trace

        for path in (arguments.a, arguments.b):
            if path is not None:
                with open_trace(path):
                    pass
        if not on_terminal():
            message = "the viewer needs a terminal: in scripts use tfdiff diff A.h5 B.h5 or tfdiff info TRACE"
            raise UsageError(message)
        return view(arguments.a, arguments.b)


def view(a: Path, b: Path | None) -> int:
    """Run the viewer and return its exit code; it may not import the causes, so they are handed to it."""
    from tfdiff.causes import explain_finding
    from tfdiff.tui.app import run_viewer

    return run_viewer(a, b, explain_finding)
