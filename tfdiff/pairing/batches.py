"""How the parts of one run's batch are built from the parts of the other's (features, labels, weights)."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from tfdiff.errors import TfdiffError
from tfdiff.pairing.layouts import permutations_between
from tfdiff.pairing.rows import is_one_hot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

Array = npt.NDArray[Any]
RuleKind = Literal["copy", "one-hot", "class index", "columns", "by class"]
# Parts with more columns than this are arrays of features, not columns that somebody stacks by hand.
_MAX_COLUMNS = 64
_WHOLE = 1e-3
"""Pixels that were divided by 255 are whole numbers again up to this."""


@dataclass(frozen=True)
class PartRule:
    """How one part of b's batch comes from a's parts; `apply_rule` does it."""

    kind: RuleKind
    """copy (permuted, reshaped), one-hot (of a class index), class index (of a one-hot), columns (picked, stacked),
    by class (a number that b gives each class of another part)."""
    sources: tuple[int, ...]
    """Numbers of a's parts it uses."""
    shape: tuple[int, ...]
    """b's shape behind the batch axis."""
    permutation: tuple[int, ...] | None = None
    """Of all axes, the batch axis stays first."""
    columns: tuple[tuple[int, int], ...] = ()
    """(a's part, its column when flattened) for every column of b's part."""
    classes: int = 0
    of: PartRule | None = None
    """How the part with the classes is built."""
    table: tuple[tuple[float, float], ...] = ()
    """(class, number); one entry for all rows where every class has the same number."""
    scale: float = 1.0
    offset: float = 0.0
    """b's values are scale * a's + offset: one of the runs scales its data in the step, the other beforehand."""
    evidence: str = ""
    """By value or by shape, and how."""


def apply_rule(rule: PartRule, a_parts: Sequence[Array], dtype: npt.DTypeLike) -> Array:
    """b's part, built from a batch of a: shape (n, *rule.shape) and the given dtype.

    Raises TfdiffError when the parts of this batch are not shaped like those the rule was made for.
    """
    if max(rule.sources) >= len(a_parts):
        wanted = max(rule.sources)
        raise TfdiffError(f"the batch rule needs part {wanted} of a, this batch has {len(a_parts)}; record b again")
    if rule.of is not None:
        return _looked_up(rule, np.asarray(apply_rule(rule.of, a_parts, np.float64))).astype(dtype)
    part = np.asarray(a_parts[rule.sources[0]])
    rows = part.shape[0] if part.ndim else 0
    if rule.kind == "columns":
        flat = {number: np.asarray(a_parts[number]).reshape(len(a_parts[number]), -1) for number in rule.sources}
        built = np.stack([flat[number][:, column] for number, column in rule.columns], axis=1)
    elif rule.kind == "one-hot":
        built = part.reshape(-1, 1) == np.arange(rule.classes)
    elif rule.kind == "class index":
        built = part.argmax(axis=-1)
    else:
        built = part if rule.permutation is None else part.transpose(rule.permutation)
    if (rule.scale, rule.offset) != (1.0, 0.0):
        built = rule.scale * built.astype(np.float64) + rule.offset
        whole = np.rint(built)
        built = whole if np.allclose(built, whole, rtol=0.0, atol=_WHOLE) else built
    try:
        return np.ascontiguousarray(built.reshape(rows, *rule.shape).astype(dtype))
    except ValueError as error:
        raise TfdiffError(
            f"the batch rule '{rule.evidence}' expects rows of shape {rule.shape}, a's part has shape {part.shape}; "
            "record without sharing batches"
        ) from error


def _looked_up(rule: PartRule, labels: Array) -> Array:
    if len(rule.table) == 1:
        return np.full((len(labels), *rule.shape), rule.table[0][1])
    classes = labels.argmax(axis=1) if labels.ndim == 2 and labels.shape[1] > 1 else labels.reshape(-1)
    known, numbers = (np.array(column) for column in zip(*rule.table, strict=True))
    place = np.searchsorted(known, classes).clip(0, len(known) - 1)
    if not np.array_equal(known[place], classes):
        raise TfdiffError("a's labels have classes that b's own rows never had; record b without sharing batches")
    found: Array = numbers[place].reshape(len(labels), *rule.shape)
    return found


def _tail(part: Array) -> tuple[int, ...]:
    return tuple(part.shape[1:])


def _index_like(part: Array) -> bool:
    """Whether every row is one whole number >= 0 (a class index, whatever its dtype)."""
    if prod(_tail(part)) != 1 or part.dtype.kind not in "uif" or not part.size:
        return False
    return bool(np.all(part >= 0) and np.all(part == np.floor(part)))


def _text(part: Array) -> bool:
    return part.dtype.kind in "OSU"


def _copies(number: int, a: Array, b: Array) -> Iterator[PartRule]:
    """a's part as it is, reshaped, or with its axes permuted; the plainest first."""
    if _text(a) != _text(b) or prod(_tail(a)) != prod(_tail(b)):
        return
    shapes = f"{_tail(a)} as it is" if _tail(a) == _tail(b) else f"{_tail(a)} reshaped to {_tail(b)}"
    yield PartRule("copy", (number,), _tail(b), evidence=shapes)
    yield from _permuted_copies(number, a, b)


def _permuted_copies(number: int, a: Array, b: Array) -> Iterator[PartRule]:
    seen = {tuple(range(a.ndim))}
    tail = _tail(a)
    targets = [_tail(b)]
    if b.ndim <= 2 < a.ndim:  # flattened in another layout: channels last, then first, then reversed
        targets = [tail[-1:] + tail[:-1], tail[1:] + tail[:1], tail[::-1]]
    for target in targets:
        for permutation in permutations_between(tuple(a.shape), (len(a), *target), fixed=1):
            if permutation not in seen:
                seen.add(permutation)
                evidence = f"{tail} with axes {permutation} to {_tail(b)}"
                yield PartRule("copy", (number,), _tail(b), permutation, evidence=evidence)


def _class_rules(number: int, a: Array, b: Array) -> Iterator[PartRule]:
    """Class indices into one-hot rows and back."""
    if _text(a) or _text(b):
        return
    if is_one_hot(b) and _index_like(a) and a.max() < b.shape[1]:
        evidence = f"class index to one-hot of {b.shape[1]} classes"
        yield PartRule("one-hot", (number,), _tail(b), classes=b.shape[1], evidence=evidence)
    if is_one_hot(a) and _index_like(b) and b.max() < a.shape[1]:
        evidence = f"one-hot of {a.shape[1]} classes to class index"
        yield PartRule("class index", (number,), _tail(b), classes=a.shape[1], evidence=evidence)


def _equal(built: Array, wanted: Array) -> bool:
    """Equal as numbers; float dtypes of different precision may round differently."""
    if _text(built) or _text(wanted):
        return bool(np.array_equal(built, wanted))
    if built.dtype.kind not in "fV" and wanted.dtype.kind not in "fV":
        return bool(np.array_equal(built, wanted))
    precise = built.dtype.itemsize >= 4 and wanted.dtype.itemsize >= 4
    left, right = built.astype(np.float64), wanted.astype(np.float64)
    return bool(np.allclose(left, right, rtol=1e-6 if precise else 1e-2, atol=0.0, equal_nan=True))


def _by_value(a_parts: Sequence[Array], b: Array) -> PartRule | None:
    """The plainest rule that gives exactly b's rows."""
    families: tuple[Callable[[int, Array, Array], Iterator[PartRule]], ...] = (_copies, _class_rules)
    for family in families:
        for number, a in enumerate(a_parts):
            for rule in family(number, a, b):
                if _equal(apply_rule(rule, a_parts, a.dtype if rule.kind == "copy" else b.dtype), b):
                    return _with_evidence(rule, "by value")
    return _columns_by_value(a_parts, b)


def _columns_by_value(a_parts: Sequence[Array], b: Array) -> PartRule | None:
    width = prod(_tail(b))
    if not 1 <= width <= _MAX_COLUMNS or _text(b):
        return None
    available = [
        (number, column, part.reshape(len(part), -1)[:, column])
        for number, part in enumerate(a_parts)
        if not _text(part) and prod(_tail(part)) <= _MAX_COLUMNS
        for column in range(prod(_tail(part)))
    ]
    wanted = b.reshape(len(b), -1)
    chosen: list[tuple[int, int]] = []
    for target in range(width):
        equal = [(n, c) for n, c, values in available if _equal(values, wanted[:, target])]
        # Equal columns (all zeros in this batch): rather one not taken yet, in a's order.
        free = [place for place in equal if place not in chosen]
        if not equal:
            return None
        chosen.append((free or equal)[0])
    return _column_rule(chosen, a_parts, b, "by value")


def _column_rule(chosen: Sequence[tuple[int, int]], a_parts: Sequence[Array], b: Array, how: str) -> PartRule:
    sources = tuple(sorted({number for number, _ in chosen}))
    shapes = ", ".join(str(_tail(a_parts[number])) for number in sources)
    return PartRule(
        "columns", sources, _tail(b), columns=tuple(chosen), evidence=f"{how}: columns of {shapes} to {_tail(b)}"
    )


def _with_evidence(rule: PartRule, how: str) -> PartRule:
    return replace(rule, evidence=f"{how}: {rule.evidence}")


def _range_fits(a: Array, b: Array) -> bool:
    """Whether two parts of different rows can be the same quantity: whole numbers or not, signs, text or not."""
    if _text(a) or _text(b):
        return _text(a) and _text(b)
    if not a.size or not b.size:
        return True
    if is_one_hot(a) != is_one_hot(b):
        return False
    whole_a, whole_b = (bool(np.all(part == np.floor(part.astype(np.float64)))) for part in (a, b))
    # Pixels are whole numbers as uint8 and fractions after a division: allowed; a class index has a few values only.
    return whole_a == whole_b or prod(_tail(a)) > 1


def _by_shape(a_parts: Sequence[Array], b: Array) -> list[PartRule]:
    """Every rule that could give a part like b from other rows; the caller demands that there is just one."""
    found: list[PartRule] = []
    for number, a in enumerate(a_parts):
        if not _range_fits(a, b):
            found.extend(_class_rules(number, a, b))
            continue
        if _tail(a) == _tail(b) or prod(_tail(a)) == prod(_tail(b)) == 1:
            found.append(next(_copies(number, a, b)))
            continue
        permutations = permutations_between((len(a), *_tail(a)), (len(a), *_tail(b)), fixed=1)
        if permutations:
            evidence = f"{_tail(a)} with axes {permutations[0]} to {_tail(b)}"
            found.append(PartRule("copy", (number,), _tail(b), permutations[0], evidence=evidence))
        elif 2 in (a.ndim, b.ndim) and prod(_tail(a)) == prod(_tail(b)):
            found.append(PartRule("copy", (number,), _tail(b), evidence=f"{_tail(a)} reshaped to {_tail(b)}"))
    return found


def _nearest(rules: Sequence[PartRule], a_parts: Sequence[Array], b: Array) -> list[PartRule]:
    """Of several candidates those that agree best in kind of dtype, range of values and shape."""

    def likeness(rule: PartRule) -> tuple[bool, bool, bool]:
        a = a_parts[rule.sources[0]]
        same_kind, same_shape = a.dtype.kind == b.dtype.kind, _tail(a) == _tail(b)
        if rule.kind != "copy" or _text(a) or not a.size or not b.size:
            return same_kind, False, same_shape
        low, high = float(a.min()), float(a.max())
        overlap = min(high, float(b.max())) - max(low, float(b.min()))
        widest = max(high, float(b.max())) - min(low, float(b.min()))
        return same_kind, widest == 0 or overlap / widest > 0.5, same_shape

    best = max(map(likeness, rules), default=None)
    return [rule for rule in rules if likeness(rule) == best]


def match_parts(
    a_parts: Sequence[Array],
    b_parts: Sequence[Array],
    same_rows: bool,  # noqa: FBT001 - named at every call
) -> list[PartRule | None] | None:
    """For each of b's parts the rule that builds it from a's parts, None for a part that stays unexplained.

    With `same_rows` both batches hold the same rows in the same order, and a rule must give b's values. Otherwise
    shape, dtype and range decide, and only where they leave one choice (one part of a for each of b, none used twice).
    None altogether when no part has a rule.
    """
    a_arrays, b_arrays = [np.asarray(part) for part in a_parts], [np.asarray(part) for part in b_parts]
    if not a_arrays or not b_arrays or any(part.ndim == 0 for part in (*a_arrays, *b_arrays)):
        return None
    rules: list[PartRule | None]
    if same_rows:
        if len({len(part) for part in (*a_arrays, *b_arrays)}) != 1:
            return None
        rules = [_by_value(a_arrays, b) for b in b_arrays]
    else:
        rules = _assign_by_shape(a_arrays, b_arrays)
    return rules if any(rule is not None for rule in rules) else None


def _assign_by_shape(a_parts: Sequence[Array], b_parts: Sequence[Array]) -> list[PartRule | None]:
    """Settle the parts of one candidate that no other part wants, take their sources out of the choice, and repeat.

    Parts alike on both sides (two id columns) stay None: pairing them in their order would be a guess.
    """
    rules: list[PartRule | None] = [None] * len(b_parts)
    used: set[int] = set()
    progress = True
    while progress:
        progress = False
        options = {
            n: _nearest([rule for rule in _by_shape(a_parts, b) if not used & set(rule.sources)], a_parts, b)
            for n, b in enumerate(b_parts)
            if rules[n] is None
        }
        wanted = Counter(source for choice in options.values() for source in {rule.sources for rule in choice})
        for n, choice in options.items():
            if len(choice) == 1 and wanted[choice[0].sources] == 1:
                rules[n] = _with_evidence(choice[0], "by shape")
                used |= set(choice[0].sources)
                progress = True
    return rules
