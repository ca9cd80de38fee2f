"""Expected failures: each has an exit code and a slug; none ever shows a traceback of tfdiff's own."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """Exit codes, as diff(1) has them."""

    EQUIVALENT = 0
    DIVERGED = 1
    TROUBLE = 2
    INCOMPARABLE = 3


class TfdiffError(Exception):
    """An expected failure. The message says what was expected, what was found, and what to do next."""

    exit_code: int = Exit.TROUBLE
    slug: str = "error"


class UsageError(TfdiffError):
    """An option that cannot be used like this."""

    slug = "usage"


class NotBuiltError(UsageError):
    """A command or an option that this version does not have yet."""

    slug = "not-built"


class TraceError(TfdiffError):
    """A file that is no trace, or a damaged one."""

    slug = "trace"


class NoStepsError(TfdiffError):
    """A script that ran, but in which nothing could be recorded."""

    slug = "no-steps"


class IncomparableError(TfdiffError):
    """Two traces that have nothing in common."""

    exit_code = Exit.INCOMPARABLE
    slug = "incomparable"
