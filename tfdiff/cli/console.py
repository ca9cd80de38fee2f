"""Where output goes: data to stdout, talk to stderr; neither ever fails over a character or a closed pipe."""

from __future__ import annotations

import os
import sys
from typing import TextIO


def say(text: str) -> None:
    """Write a line of talk to stderr."""
    _write(sys.stderr, text)


def put(text: str) -> None:
    """Write a line of data to stdout."""
    _write(sys.stdout, text)


def on_terminal() -> bool:
    """Whether somebody sits in front of both ends, so that a question can be asked."""
    return sys.stdin is not None and sys.stdin.isatty() and sys.stdout.isatty() and sys.stderr.isatty()


def _write(stream: TextIO, text: str) -> None:
    encoding = stream.encoding or "utf-8"
    try:
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")
        stream.flush()
    except BrokenPipeError:
        # The reader has left (`tfdiff diff | head`): the exit code is still owed, and python's flush at exit must not
        # fail.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
