"""The seam of the command line: what a subcommand is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import argparse


class Command(Protocol):
    """A subcommand. The class docstring is its help: the first line in the overview, all of it in `--help`."""

    name: str

    def prepare_parser(self, parser: argparse.ArgumentParser) -> None:
        """Add the arguments."""

    def run(self, arguments: argparse.Namespace) -> int:
        """Do it and return the exit code; expected failures are raised as TfdiffError."""
