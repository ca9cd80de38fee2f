"""`tfdiff explain`: what a cause code means."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfdiff.cli.console import put
from tfdiff.errors import Exit, UsageError

if TYPE_CHECKING:
    import argparse


class ExplainCommand:
    """say what a cause code means, with a minimal example and the fix; without a code: list them"""

    name = "explain"

    def prepare_parser(self, parser: argparse.ArgumentParser) -> None:
        """Add the arguments."""
        parser.add_argument(
            "code", nargs="?", metavar="CODE", help="as `tfdiff diff` names it, for example dropout-rate"
        )

    def run(self, arguments: argparse.Namespace) -> int:
        """Print the page of the code, or all codes."""
        from tfdiff.causes import explain

        codes = tuple(explain.codes())
        if arguments.code is None:
            put("\n".join(codes))
        elif arguments.code in codes:
            put(explain.text(arguments.code).rstrip("\n"))
        else:
            raise UsageError(unknown(arguments.code, codes))
        return Exit.EQUIVALENT


def unknown(code: str, codes: tuple[str, ...]) -> str:
    """Return the message for a code that does not exist, with the nearest ones that do."""
    import difflib

    near = difflib.get_close_matches(code, codes, n=3) or [known for known in codes if code in known][:3]
    hint = f"did you mean {' or '.join(near)}?" if near else "tfdiff explain lists the codes"
    return f"no cause code {code!r} in this version; {hint}"
