"""Reads TOML: with `tomllib`, and under Python 3.10, which has none, the part of the language that maps are written in.

That part is tables, arrays of tables, bare keys, one-line strings, numbers, booleans, arrays and inline tables. What
lies outside it (dates, dotted keys, strings over several lines) is refused with its line, never misread.
"""

from __future__ import annotations

import re
import sys
from typing import Any

_TOKEN = re.compile(
    r"""(?P<space>[ \t]+|\#[^\n\x00-\x08\x0b-\x1f\x7f]*)
    |(?P<newline>\r?\n)
    |(?P<string>"(?!"")(?:[^"\\\n\x00-\x08\x0b-\x1f\x7f]|\\.)*"|'(?!'')[^'\n\x00-\x08\x0b-\x1f\x7f]*')
    |(?P<number>[+-]?(?:0|[1-9](?:_?\d)*)(?:\.\d(?:_?\d)*)?(?:[eE][+-]?\d(?:_?\d)*)?(?![\w.:-]))
    |(?P<word>[A-Za-z0-9_-]+)
    |(?P<sign>\[\[|\]\]|[\[\]{}=,])""",
    re.VERBOSE,
)
_ESCAPES = {"b": "\b", "t": "\t", "n": "\n", "f": "\f", "r": "\r", '"': '"', "\\": "\\"}
_ESCAPE = re.compile(r"\\(?:u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|(.))")


def loads(text: str) -> dict[str, Any]:
    """The document as a dict; ValueError for what is no TOML."""
    try:
        import tomllib
    except ModuleNotFoundError:  # Python 3.10
        return loads_part(text)
    return tomllib.loads(text)


def loads_part(text: str) -> dict[str, Any]:
    """The same for the part of TOML that this module reads by itself."""
    return _Reader(text).document()


class _Reader:
    """A position in the tokens of a text."""

    def __init__(self, text: str) -> None:
        self._tokens: list[tuple[str, str, int]] = []
        place, line = 0, 1
        while place < len(text):
            found = _TOKEN.match(text, place)
            if found is None:
                raise ValueError(f"cannot read {text[place : place + 20].splitlines()[0]!r} (at line {line})")
            place = found.end()
            if found.lastgroup != "space":
                self._tokens.append((found.lastgroup or "", found.group(), line))
            line += found.group().count("\n")
        self._tokens.append(("end", "", line))
        self._at = 0

    def _next(self, *wanted: str) -> tuple[str, str]:
        """The next token, which must be one of the wanted signs or kinds."""
        kind, text, line = self._tokens[self._at]
        if wanted and kind not in wanted and text not in wanted:
            raise ValueError(f"expected {' or '.join(wanted)}, found {text or kind!r} (at line {line})")
        self._at += 1
        return kind, text

    def _sees(self, *wanted: str) -> bool:
        kind, text, _ = self._tokens[self._at]
        return kind in wanted or text in wanted

    def _wrong(self, message: str) -> ValueError:
        return ValueError(f"{message} (at line {self._tokens[max(self._at - 1, 0)][2]})")

    def document(self) -> dict[str, Any]:
        """Everything."""
        found: dict[str, Any] = {}
        table = found
        while not self._sees("end"):
            if self._sees("newline"):
                self._next()
                continue
            if self._sees("[", "[["):
                table = self._header(found)
            else:
                self._pair(table)
            if not self._sees("end"):
                self._next("newline")
        return found

    def _header(self, found: dict[str, Any]) -> dict[str, Any]:
        several = self._next()[1] == "[["
        key = self._key()
        self._next("]]" if several else "]")
        table: dict[str, Any] = {}
        if not several:
            if key in found:
                raise self._wrong(f"{key} is there twice")
            found[key] = table
            return table
        tables = found.setdefault(key, [])
        if not isinstance(tables, list) or not all(isinstance(entry, dict) for entry in tables):
            raise self._wrong(f"{key} is no array of tables")
        tables.append(table)
        return table

    def _key(self) -> str:
        kind, text = self._next("word", "string", "number")
        return self._string(text) if kind == "string" else text

    def _pair(self, table: dict[str, Any]) -> None:
        key = self._key()
        self._next("=")
        if key in table:
            raise self._wrong(f"{key} is there twice")
        table[key] = self._value()

    def _value(self) -> Any:
        kind, text = self._next("string", "number", "true", "false", "[", "[[", "{")
        if kind == "string":
            return self._string(text)
        if kind == "number":
            plain = text.replace("_", "")
            return float(plain) if set(plain) & set(".eE") else int(plain)
        if kind == "word":
            return text == "true"
        if text == "{":
            return self._inline()
        if text == "[[":  # two brackets of nested arrays
            self._at -= 1
            self._tokens[self._at : self._at + 1] = [("sign", "[", self._tokens[self._at][2])] * 2
            self._next()
        return self._array()

    def _array(self) -> list[Any]:
        values: list[Any] = []
        while True:
            while self._sees("newline"):
                self._next()
            if self._closed():
                return values
            values.append(self._value())
            while self._sees("newline"):
                self._next()
            if self._closed():
                return values
            self._next(",")

    def _closed(self) -> bool:
        """Take a closing bracket, one of two where nested arrays end together."""
        if self._sees("]]"):
            self._tokens[self._at : self._at + 1] = [("sign", "]", self._tokens[self._at][2])] * 2
        if self._sees("]"):
            self._next()
            return True
        return False

    def _inline(self) -> dict[str, Any]:
        table: dict[str, Any] = {}
        if self._sees("}"):
            self._next()
            return table
        while True:
            self._pair(table)
            if self._next(",", "}")[1] == "}":
                return table

    def _string(self, text: str) -> str:
        return text[1:-1] if text[0] == "'" else _ESCAPE.sub(self._escape, text[1:-1])

    def _escape(self, found: re.Match[str]) -> str:
        short, long, letter = found.groups()
        if letter is not None:
            if letter not in _ESCAPES:
                raise self._wrong(f"no escape \\{letter} in a string")
            return _ESCAPES[letter]
        number = int(short or long, 16)
        if number > sys.maxunicode or 0xD800 <= number < 0xE000:
            raise self._wrong(f"no character {found.group()}")
        return chr(number)
