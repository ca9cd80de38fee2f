"""What this version does not have yet: commands and an option that say so and exit with 2."""

from __future__ import annotations

import argparse

from tfdiff.errors import NotBuiltError

PASSES = (
    "sharing without an extra run of the script",
    "runs the script once before, silently, to learn its structure; leave the option out",
)


def not_built(what: str, reason: tuple[str, str]) -> NotBuiltError:
    """Return the error that names the missing part `what`, with its purpose and what this version does instead."""
    purpose, instead = reason
    return NotBuiltError(f"not built yet: {what} ({purpose}); this version {instead}")


class ReportCommand:
    """write a report to attach to an issue, HTML or Markdown (not built yet)"""

    name = "report"

    def prepare_parser(self, parser: argparse.ArgumentParser) -> None:
        """Take whatever the finished command will take."""
        parser.add_argument("arguments", nargs=argparse.REMAINDER)

    def run(self, arguments: argparse.Namespace) -> int:
        """Raise NotBuiltError."""
        raise not_built(
            "tfdiff report",
            ("a self-contained HTML or Markdown page", "prints text: tfdiff diff A.h5 B.h5 > report.txt"),
        )


class BundleCommand:
    """pack what an issue needs into one small file (not built yet)"""

    name = "bundle"

    def prepare_parser(self, parser: argparse.ArgumentParser) -> None:
        """Take whatever the finished command will take."""
        parser.add_argument("arguments", nargs=argparse.REMAINDER)

    def run(self, arguments: argparse.Namespace) -> int:
        """Raise NotBuiltError."""
        raise not_built(
            "tfdiff bundle", ("the window around the first divergence", "keeps whole traces: attach both .h5 files")
        )
