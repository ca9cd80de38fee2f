"""Words and numbers for people; whatever comes out of a trace passes through `plain` before it is shown."""

from __future__ import annotations

import math
import unicodedata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

HIDDEN = frozenset(
    {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
)  # control, format (bidi), surrogate, unassigned, separators


def plain(text: object) -> str:
    """Return `text` with every character that could steer a terminal or hide another written as an escape."""
    return "".join(
        character.encode("unicode_escape").decode("ascii") if unicodedata.category(character) in HIDDEN else character
        for character in str(text)
    )


def number(value: float) -> str:
    """Return two significant digits (`0.93`, `1.1e-06`, `nan`)."""
    return f"{value:.2g}"


def would_pass(error: float) -> float:
    """Return the smallest tolerance of two digits that an error passes; infinite where none would do."""
    if not math.isfinite(error) or error <= 0.0:
        return error if error == 0.0 else math.inf
    unit = 10.0 ** (math.floor(math.log10(error)) - 1)
    return float(f"{math.ceil(error / unit * (1 - 1e-9)) * unit:.2g}")


def constant(value: object) -> str:
    """Return a fitted constant: six significant digits for a float, anything else as it is."""
    return f"{value:.6g}" if isinstance(value, float) else plain(value)


def count(amount: int, noun: str) -> str:
    """Return `1 step`, `2,345 steps`, `3 passes`."""
    plural = "es" if noun.endswith(("s", "ch")) else "s"
    return f"{amount:,} {noun}{'' if amount == 1 else plural}"


def assumptions(assumed: Iterable[dict[str, Any]]) -> list[str]:
    """Return `dropout-rate=0.2@b.py:41, taken by Dropout 'drop' at b.py:41`; where nothing took one, that."""
    found = []
    for one in assumed:
        taken = one.get("taken") if isinstance(one.get("taken"), (list, tuple)) else ()
        by = f"taken by {', '.join(map(plain, taken))}" if taken else "NOT taken by anything, so it changed nothing"
        found.append(f"{plain(one.get('assume', '?'))}, {by}")
    return found


def yes_no(value: object) -> str:
    """Return yes or no; a string (a reason, a part) stays as it is."""
    if isinstance(value, str):
        return plain(value)
    return "yes" if value else "no"


def sharing(weights: dict[str, int], shared: dict[str, Any]) -> str:
    """Return `weights 8 of 8, batches yes, noise yes`; the second number is how many b has.

    Where b has not all of a's rows itself, its batches are said to hold a's values.
    """
    batches = yes_no(shared.get("batches", False))
    if batches == "yes" and shared.get("batches_from") == "values of a":
        batches = "yes (a's values: b has other rows)"
    noise = yes_no(shared.get("noise", False))
    return f"weights {weights['shared']:,} of {weights['b']:,}, batches {batches}, noise {noise}"
