"""Text for the screen: a stranger's names made harmless, numbers made short."""

from __future__ import annotations

import math
import unicodedata

from rich.cells import cell_len, get_character_cell_size

_LONGEST = 1000
"""Characters of a name that are looked at; the middle of a longer one is dropped before anything else."""


def plain(text: object) -> str:
    r"""`text` as one line that cannot steer the terminal.

    Control, format (bidi overrides, zero-width) and combining characters are dropped; letters of right-to-left scripts,
    which make terminals reorder the rest of the line, are written as `\u05d0`.
    """
    line = str(text)
    if len(line) > _LONGEST:
        line = f"{line[: _LONGEST // 2]}…{line[-_LONGEST // 2 :]}"
    if line.isascii() and line.isprintable():
        return line
    return "".join(_shown(char) for char in unicodedata.normalize("NFC", line))


def _shown(char: str) -> str:
    if char in "\t\n\r":
        return " "
    category = unicodedata.category(char)
    if category[0] == "C" or category in ("Mn", "Me", "Zl", "Zp"):
        return ""
    if unicodedata.bidirectional(char) in ("R", "AL", "AN"):
        return f"\\u{ord(char):04x}"
    return char


def middle(text: str, width: int) -> str:
    """`text` in at most `width` terminal cells; the middle goes, because layer paths end with what matters."""
    if cell_len(text) <= width:
        return text
    if width <= 1:
        return "…"[: max(width, 0)]
    head = (width - 1) // 4
    return _head(text, head) + "…" + _head(text[::-1], width - 1 - head)[::-1]


def _head(text: str, width: int) -> str:
    used = 0
    for position, char in enumerate(text):
        used += get_character_cell_size(char)
        if used > width:
            return text[:position]
    return text


def fit(text: str, width: int, *, right: bool = False) -> str:
    """`text` in exactly `width` cells: `middle`, then padded on the right (on the left with `right`)."""
    text = middle(text, width)
    padding = " " * (width - cell_len(text))
    return padding + text if right else text + padding


def number(value: float, digits: int = 4) -> str:
    """A float in at most `digits` significant digits, exponents without padding (`1.1e-6`)."""
    if not math.isfinite(value):
        return "nan" if math.isnan(value) else ("inf" if value > 0 else "-inf")
    mantissa, e, exponent = f"{value:.{digits}g}".partition("e")
    return f"{mantissa}e{int(exponent)}" if e else mantissa


def times(error: float, tolerance: float) -> str:
    """How often the tolerance goes into the error: `8.5e5 x tolerance`; "" where there is no tolerance or no error."""
    if error == 0 or not tolerance > 0:
        return ""
    ratio = error / tolerance
    short = number(ratio, 2) if ratio < 1000 or not math.isfinite(ratio) else number(float(f"{ratio:.1e}"), 2)
    return f"{short} x tolerance"


def shape_text(shape: tuple[int, ...]) -> str:
    """`64x784`; `scalar` for no axes."""
    return "x".join(map(str, shape)) or "scalar"
