"""`tfdiff info`: what a trace holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from tfdiff.cli.console import put
from tfdiff.errors import Exit

if TYPE_CHECKING:
    import argparse


class InfoCommand:
    """say what a trace holds: script, versions, steps, sites, sizes, and what could not be recorded"""

    name = "info"

    def prepare_parser(self, parser: argparse.ArgumentParser) -> None:
        """Add the arguments."""
        parser.add_argument("trace", type=Path, metavar="TRACE")
        parser.add_argument("--json", action="store_true", help="as JSON")

    def run(self, arguments: argparse.Namespace) -> int:
        """Print the summary."""
        from tfdiff.reports import info
        from tfdiff.trace.reader import open_trace

        with open_trace(arguments.trace) as trace:
            document = info.document(trace)
        put(json.dumps(document, indent=2, allow_nan=False) if arguments.json else info.render(document))
        return Exit.EQUIVALENT
