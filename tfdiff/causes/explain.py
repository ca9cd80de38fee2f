"""The pages behind the codes: what a cause is, how people run into it, how it is proved, an example, the fix."""

from __future__ import annotations

from difflib import get_close_matches
from functools import cache
from importlib.resources import files

from tfdiff.errors import UsageError

SUFFIX = ".md"


@cache
def codes() -> tuple[str, ...]:
    """All codes that have a page, sorted."""
    folder = files("tfdiff.causes") / "texts"
    return tuple(sorted(entry.name.removesuffix(SUFFIX) for entry in folder.iterdir() if entry.name.endswith(SUFFIX)))


def text(code: str) -> str:
    """The page of a code, Markdown. Raises UsageError for an unknown code, naming those that exist."""
    if code not in codes():
        near = get_close_matches(code, codes(), n=3)
        hint = f"did you mean {' or '.join(near)}? " if near else ""
        raise UsageError(f"expected a cause code, found {code!r}; {hint}known are: {', '.join(codes())}")
    return (files("tfdiff.causes") / "texts" / f"{code}{SUFFIX}").read_text(encoding="utf-8")
