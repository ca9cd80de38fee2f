"""The text of a script that knows what each of its lines is about."""

from __future__ import annotations


class Text:
    """Lines with labels: `d1/make`, `d1/forward`, `loss`, `opt`, `apply` ..."""

    def __init__(self) -> None:
        self._lines: list[tuple[str, frozenset[str]]] = []

    def add(self, line: str, *labels: str) -> None:
        """One more line."""
        self._lines.append((line, frozenset(labels)))

    def extend(self, other: Text, indent: int = 0) -> None:
        """All lines of another text, so many levels further in."""
        self._lines += [(" " * 4 * indent + line if line else line, labels) for line, labels in other._lines]

    def block(self, *lines: str) -> None:
        """Lines that no fault is about."""
        for line in lines:
            self.add(line)

    def numbers(self, wanted: frozenset[str]) -> list[int]:
        """Numbers of the lines that bear one of the labels; `d1` means all of `d1/...`."""
        return [
            number
            for number, (_, labels) in enumerate(self._lines, 1)
            if any(label in wanted or label.partition("/")[0] in wanted for label in labels)
        ]

    def __str__(self) -> str:
        return "\n".join(line for line, _ in self._lines) + "\n"
