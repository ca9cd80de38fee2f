"""`tfdiff demo`: one of the shipped pairs, from scripts to answer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tfdiff.cli.console import put, say
from tfdiff.cli.options import require_tensorflow, step_count
from tfdiff.cli.pair import Pair, compare_scripts
from tfdiff.errors import Exit

if TYPE_CHECKING:
    import argparse


class DemoCommand:
    """copy a pair of scripts that should agree and do not, and do with them what run does

    The scripts are yours to change afterwards: mend b.py and see the answer become 'equivalent'.
    """

    name = "demo"

    def prepare_parser(self, parser: argparse.ArgumentParser) -> None:
        """Add the arguments."""
        parser.add_argument("demo", nargs="?", metavar="NAME", help="default: the first of the list")
        parser.add_argument("--list", action="store_true", help="list the demos")
        parser.add_argument("-o", "--output", type=Path, metavar="DIR", help="default: tfdiff-demo/NAME")
        parser.add_argument(
            "--steps", type=step_count, metavar="N", help="training steps (default: the demo's, mostly 10; 0 = all)"
        )
        parser.add_argument("--force", action="store_true", help="overwrite the traces of an earlier demo")

    def run(self, arguments: argparse.Namespace) -> int:
        """List the demos, or run one; the exit code is the verdict's, so 1 where the demo's scripts diverge."""
        from tfdiff import demos

        if arguments.list:
            put("\n".join(f"{demo.name:14} {demo.title}" for demo in demos.DEMOS))
            return Exit.EQUIVALENT
        demo = demos.find(arguments.demo or demos.DEFAULT)
        folder = arguments.output or Path("tfdiff-demo") / demo.name
        require_tensorflow()
        a, b = demos.materialize(demo.name, folder)
        say(f"tfdiff: demo {demo.name}: {demo.title}")
        steps = demo.steps if arguments.steps is None else arguments.steps
        code = compare_scripts(Pair(a=str(a), b=str(b), folder=folder, steps=steps, force=arguments.force))
        say(f"tfdiff: the scripts are yours: change {b} and run tfdiff run {a} {b} -o {folder} --force")
        return code
