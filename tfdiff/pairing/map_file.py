"""Reads a user's map: a TOML file with the pairs that are to hold whatever tfdiff finds.

It has entries `[[variable]]` and `[[site]]`, each with the names `a` and `b`, and `[[unpaired]]` with one of them (it
has no counterpart) or both (these two are no pair). What the names mean is found later, when both programs are known.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tfdiff.errors import UsageError
from tfdiff.orders import MapEntry, PairMap
from tfdiff.pairing import toml

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tfdiff.orders import Box

KINDS = ("variable", "site", "unpaired")
LAYOUT = frozenset({"permutation", "a_part", "b_part", "offset"})
NAMES = frozenset({"a", "b"})
COMMENTS = frozenset({"evidence"})
"""What `--write-map` writes for the reader and nobody reads back."""
MAX_BYTES = 10_000_000


def read_map(path: Path) -> PairMap:
    """Read the file; raises UsageError, in one line, for what is no map."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UsageError(f"expected a map of pairs, found {path} with more than {MAX_BYTES:,} bytes")
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"cannot read the map {path}: {error.strerror}; tfdiff diff A.h5 B.h5 --write-map FILE writes one"
        ) from None
    except UnicodeDecodeError:
        raise UsageError(f"expected a map of pairs in UTF-8, found other bytes in {path}") from None
    try:
        document = toml.loads(text)
    except ValueError as error:
        raise UsageError(f"{path} is no TOML: {error}") from None
    return parse_map(document, str(path))


def parse_map(document: dict[str, Any], file: str) -> PairMap:
    """Check a document and make entries of it."""
    unknown = sorted(document.keys() - set(KINDS))
    if unknown:
        raise UsageError(f"{file}: expected entries {', '.join(f'[[{kind}]]' for kind in KINDS)}, found {unknown[0]!r}")
    found = {kind: tuple(_entries(document.get(kind, []), kind, file)) for kind in KINDS}
    return PairMap(found["variable"], found["site"], found["unpaired"])


def _entries(listed: Any, kind: str, file: str) -> Iterator[MapEntry]:
    if not isinstance(listed, list):
        raise UsageError(f"{file}: expected {kind} as an array of entries, [[{kind}]], found one {_kind(listed)}")
    known = NAMES | COMMENTS | (LAYOUT if kind == "variable" else frozenset())
    for number, entry in enumerate(listed, 1):
        where = f"{file}, {kind} {number}"
        if not isinstance(entry, dict):
            raise UsageError(f"{where}: expected an entry with a and b, found a {_kind(entry)}")
        names = [entry.get(side) for side in "ab"]
        for side, name in zip("ab", names, strict=True):
            if (name is not None and not isinstance(name, str)) or name == "":
                raise UsageError(f"{where}: expected a name for {side}, found {name!r}")
        missing = [side for side, name in zip("ab", names, strict=True) if name is None]
        if len(missing) == 2 or (missing and kind != "unpaired"):
            wanted = "a, b or both" if kind == "unpaired" else "a and b"
            raise UsageError(f"{where}: expected the names {wanted}, found no {' and no '.join(missing)}")
        unknown = sorted(entry.keys() - known)
        if unknown:
            raise UsageError(f"{where}: expected {', '.join(sorted(known))}, found {unknown[0]!r}")
        yield MapEntry(where, names[0], names[1], **_layout(entry, where))


def _layout(entry: dict[str, Any], where: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    axes, offset = entry.get("permutation"), entry.get("offset", 0.0)
    if axes is not None:
        whole = isinstance(axes, list) and all(type(axis) is int for axis in axes)
        if not whole or sorted(axes) != list(range(len(axes))):
            raise UsageError(f"{where}: expected the axes 0 to n - 1 in some order as permutation, found {axes!r}")
        found["permutation"] = tuple(axes)
    for key in ("a_part", "b_part"):
        if key in entry:
            found[key] = _box(entry[key], f"{where}, {key}")
    if isinstance(offset, bool) or not isinstance(offset, (int, float)) or not abs(offset) < float("inf"):
        raise UsageError(f"{where}: expected a number as offset, found {offset!r}")
    return {**found, "offset": float(offset)}


def _box(value: Any, where: str) -> Box:
    """Ranges per axis: [[[0, 4]], [[8, 16], [24, 32]]]."""

    def extent(pair: Any) -> bool:
        whole = isinstance(pair, list) and len(pair) == 2 and all(type(end) is int for end in pair)
        return whole and 0 <= pair[0] < pair[1]

    if not isinstance(value, list) or not all(isinstance(axis, list) and axis for axis in value):
        raise UsageError(f"{where}: expected for each axis a list of ranges [start, stop], found {value!r}")
    for axis in value:
        for pair in axis:
            if not extent(pair):
                raise UsageError(f"{where}: expected a range [start, stop] with 0 <= start < stop, found {pair!r}")
    return tuple(tuple((start, stop) for start, stop in axis) for axis in value)


def _kind(value: Any) -> str:
    return {dict: "table", list: "array", str: "string", bool: "boolean"}.get(type(value), "number")


def map_from_json(data: dict[str, Any]) -> PairMap:
    """The map that `dataclasses.asdict` has taken apart and JSON has kept."""
    return PairMap(
        **{kind: tuple(MapEntry(**_tuples(entry)) for entry in entries) for kind, entries in data.items()},
    )


def _tuples(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _tuples(item) for key, item in value.items()}
    return tuple(_tuples(item) for item in value) if isinstance(value, (list, tuple)) else value
