"""A variable of one run and the one of the other that stands for it, whole or part by part; the way between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tfdiff.errors import TfdiffError
from tfdiff.orders import Box
from tfdiff.pairing.layouts import inverse

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Part = Box


@dataclass(frozen=True)
class VariablePair:
    """A variable of a and the one of b that stands for it; `convert` brings values from a's layout to b's."""

    a: int
    b: int
    permutation: tuple[int, ...] | None
    """Transposes a's value; None where the axes stay."""
    evidence: str
    reshape: tuple[int, ...] | None = None
    """b's shape where transposing does not give it ((D, heads, dk) against (D, heads * dk))."""
    restore: tuple[int, ...] | None = None
    """The shape before `reshape`."""
    a_part: Part | None = None
    """The part of a's variable that is meant, None for the whole: a fused kernel pairs gate by gate with split ones."""
    b_part: Part | None = None
    offset: float = 0.0
    """What b's value has more than a's, because a adds that much elsewhere (the forget bias of a TF1 cell)."""
    rivals: tuple[int, ...] = ()
    """Variables of b that would fit as well."""
    ordered: bool = False
    """Whether the order of use decided among them."""

    @property
    def ambiguous(self) -> bool:
        """Whether nothing decided between it and its rivals."""
        return bool(self.rivals) and not self.ordered

    @property
    def whole(self) -> bool:
        """Whether all of a's variable is all of b's."""
        return self.a_part is None and self.b_part is None

    def to_json(self) -> dict[str, Any]:
        """An entry of `Header.variable_pairs`."""
        lists = {"permutation": self.permutation, "reshape": self.reshape, "restore": self.restore}
        named = {key: None if value is None else list(value) for key, value in lists.items()}
        parts = {"a_part": self.a_part, "b_part": self.b_part}
        boxes = {
            key: [[list(extent) for extent in axis] for axis in part] for key, part in parts.items() if part is not None
        }
        more: dict[str, Any] = {"offset": self.offset} if self.offset else {}
        if self.rivals:
            more |= {"rivals": list(self.rivals), "ordered": self.ordered}
        return {"a": self.a, "b": self.b, "evidence": self.evidence, **named, **boxes, **more}


def pair_from_json(entry: Mapping[str, Any]) -> VariablePair:
    """The inverse of `VariablePair.to_json`; raises TfdiffError for an entry that is none."""

    def axes(key: str) -> tuple[int, ...] | None:
        value = entry.get(key)
        return None if value is None else tuple(int(axis) for axis in value)

    def part(key: str) -> Part | None:
        value = entry.get(key)
        if value is None:
            return None
        return tuple(tuple((int(start), int(stop)) for start, stop in axis) for axis in value)

    try:
        (a, b), evidence = (int(entry["a"]), int(entry["b"])), str(entry.get("evidence", ""))
        return VariablePair(
            a,
            b,
            axes("permutation"),
            evidence,
            axes("reshape"),
            axes("restore"),
            part("a_part"),
            part("b_part"),
            float(entry.get("offset", 0.0)),
            tuple(int(index) for index in entry.get("rivals", ())),
            bool(entry.get("ordered", False)),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise TfdiffError(f"expected a variable pair with indices a and b, found {entry!r}; record b again") from error


def indices(part: Part) -> tuple[Any, ...]:
    """What selects a part of an array, for reading and for writing; slices where every axis is one range."""
    if all(len(axis) == 1 for axis in part):
        return tuple(slice(*axis[0]) for axis in part)
    chosen: tuple[Any, ...] = np.ix_(*(np.concatenate([np.arange(*extent) for extent in axis]) for axis in part))
    return chosen


def covers(parts: Iterable[Part | None], shape: tuple[int, ...]) -> bool:
    """Whether some parts (None: the whole) make up all of a variable."""
    covered = np.zeros(shape, bool)
    for part in parts:
        covered[... if part is None else indices(part)] = True
    return bool(covered.all())


def taken(value: npt.NDArray[Any], part: Part | None) -> npt.NDArray[Any]:
    """A part of a variable's value (or gradient); ValueError for a value of another rank or size."""
    if part is None:
        return value
    if value.ndim != len(part) or any(axis[-1][1] > extent for axis, extent in zip(part, value.shape, strict=True)):
        raise ValueError(f"no part {part} in a value of shape {value.shape}")
    found: npt.NDArray[Any] = value[indices(part)]
    return found


def convert(value: npt.NDArray[Any], pair: VariablePair) -> npt.NDArray[Any]:
    """A value of a's variable (initial value, gradient, update, slot of its shape) in the layout of b's (part)."""
    own = taken(value, pair.a_part)
    turned = own if pair.permutation is None else np.transpose(own, pair.permutation)
    return turned if pair.reshape is None else np.reshape(turned, pair.reshape)


def convert_back(value: npt.NDArray[Any], pair: VariablePair) -> npt.NDArray[Any]:
    """A value of b's variable in the layout of a's (part)."""
    own = taken(value, pair.b_part)
    flat = own if pair.restore is None else np.reshape(own, pair.restore)
    return flat if pair.permutation is None else np.transpose(flat, inverse(pair.permutation))
