"""What a run is made with instead of what its script says, `dropout-rate=0.2@b.py:41`, and what can be assumed."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tfdiff.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_FORM = re.compile(r"(?P<code>[^=@]*)=(?P<value>[^@]*)(?:@(?P<at>.+))?", re.DOTALL)
_PLACE = re.compile(r"[^\x00-\x1f]+:[0-9]+")
_FLAGS = {"true": True, "false": False}
_MOST_BETAS = 2


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value


def _share(text: str) -> float:
    value = _number(text)
    if not 0.0 <= value <= 1.0:
        raise ValueError(text)
    return value


def _positive(text: str) -> float:
    value = _number(text)
    if value < 0.0:
        raise ValueError(text)
    return value


def _flag(text: str) -> bool:
    if text.lower() not in _FLAGS:
        raise ValueError(text)
    return _FLAGS[text.lower()]


def _reduction(text: str) -> str:
    if text not in ("sum", "mean", "none"):
        raise ValueError(text)
    return text


def _shares(text: str) -> tuple[float, ...]:
    values = tuple(_share(part) for part in text.split(","))
    if len(values) > _MOST_BETAS:
        raise ValueError(text)
    return values


_SHARE = (_share, "a number from 0 to 1")
_POSITIVE = (_positive, "a number from 0 up")
_SWITCH = (_flag, "true or false")
ASSUMABLE: dict[str, tuple[Callable[[str], Any], str]] = {
    "dropout-rate": _SHARE,
    "norm-epsilon": _POSITIVE,
    "state-norm-momentum": _SHARE,
    "training-flag": _SWITCH,
    "loss-from-logits": _SWITCH,
    "loss-smoothing": _SHARE,
    "loss-reduction": (_reduction, "sum, mean or none"),
    "grad-clipping": _POSITIVE,
    "lr": (_number, "a number"),
    "optimizer-epsilon": _POSITIVE,
    "optimizer-betas": (_shares, "beta_1,beta_2 (0.9,0.999), or rho alone, numbers from 0 to 1"),
    "optimizer-momentum": _SHARE,
    "optimizer-nesterov": _SWITCH,
    "optimizer-amsgrad": _SWITCH,
    "optimizer-centered": _SWITCH,
    "optimizer-accumulator": _POSITIVE,
    "weight-decay": _POSITIVE,
}
"""Cause codes that can be assumed: how their value is read, and what is said to be wanted."""


@dataclass(frozen=True)
class Assumption:
    """One cause, taken for mended: the run is made with this value in the place of the script's own."""

    code: str
    value: str
    """As given; `parsed` is what it says."""
    at: str | None = None
    """`file:line`; None: wherever there is such a thing."""

    @property
    def parsed(self) -> Any:
        """Number, numbers, flag or word."""
        return ASSUMABLE[self.code][0](self.value)

    @property
    def text(self) -> str:
        """As `--assume` takes it."""
        return f"{self.code}={self.value}" + (f"@{self.at}" if self.at else "")

    def fits(self, place: str | None) -> bool:
        """Whether it is about what stands at that `file:line`, a path relative to the script's folder."""
        if self.at is None:
            return True
        return place is not None and (self.at == place or self.at.endswith(f"/{place}"))


def parse(text: str) -> Assumption:
    """Read `CODE=VALUE[@FILE:LINE]`.

    Raises:
        UsageError: it is none, the code cannot be assumed, or the value is not one of the code's.
    """
    form = _FORM.fullmatch(text)
    if form is None:
        raise UsageError(
            f"--assume wants CODE=VALUE[@FILE:LINE] (dropout-rate=0.2@b.py:41), found {text!r}: {_known()}"
        )
    code, value, at = form["code"].strip(), form["value"].strip(), form["at"]
    if code not in ASSUMABLE:
        raise UsageError(f"--assume: expected a code that can be set in a run, found {code!r}: {_known()}")
    if at is not None and _PLACE.fullmatch(at) is None:
        raise UsageError(f"--assume {code}: expected a place FILE:LINE behind @ (b.py:41), found {at!r}: name the line")
    read, wanted = ASSUMABLE[code]
    try:
        read(value)
    except ValueError:
        raise UsageError(
            f"--assume {code}: expected {wanted}, found {value!r}: give {code}=VALUE[@FILE:LINE]"
        ) from None
    return Assumption(code, value, at)


def parse_all(texts: Iterable[str]) -> tuple[Assumption, ...]:
    """Read several; raises as `parse` does, and where two say otherwise of one code and place."""
    found = tuple(parse(text) for text in texts)
    told: dict[tuple[str, str | None], Assumption] = {}
    for one in found:
        other = told.setdefault((one.code, one.at), one)
        if other.parsed != one.parsed:
            raise UsageError(f"--assume: expected one value of {one.code}, found {other.text} and {one.text}: keep one")
    return found


def _known() -> str:
    return f"take one of {', '.join(ASSUMABLE)}"
