"""Writes the pairs of two runs as a map that a person can edit and give back with `--map`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tfdiff.pairing.map_names import NAMED_KINDS, NAMED_ROLES, site_names, variable_names
from tfdiff.pairing.pairs import pair_from_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tfdiff.model import Result, Row
    from tfdiff.pairing.map_names import Names
    from tfdiff.pairing.pairs import VariablePair
    from tfdiff.trace.reader import Trace

HEAD = """\
# Which variable and which site of a is which of b, as tfdiff paired them. Mend what is wrong and give the file back:
#   tfdiff record --reference A.h5 --map FILE B.py    starts b by these pairs
#   tfdiff diff A.h5 B.h5 --map FILE                  compares by them
# What an entry says holds; what no entry is about is found as before. A name may be given by its end, where only one
# ends like that. [[unpaired]] with a or b: it has no counterpart; with both: these two are no pair.
"""


def map_text(a: Trace, b: Trace, result: Result) -> str:
    """The map of a comparison, as TOML."""
    blocks = [HEAD, *_variables(a, b, result), *_sites(a, b, result)]
    return "\n".join(blocks)


def _variables(a: Trace, b: Trace, result: Result) -> Iterator[str]:
    names = variable_names(a.variables.values()), variable_names(b.variables.values())
    pairs = [pair_from_json(entry) for entry in result.variable_pairs]
    pairs = [pair for pair in pairs if pair.a in names[0] and pair.b in names[1]]
    for pair in pairs:
        abouts = [
            f"{variable.shape}{f', {variable.source}' if variable.source else ''}"
            for variable in (a.variables[pair.a], b.variables[pair.b])
        ]
        yield "".join(_variable(pair, *names, abouts))
    paired = {pair.a for pair in pairs}, {pair.b for pair in pairs}
    for side, trace, own, table in zip("ab", (a, b), paired, names, strict=True):
        for index, variable in sorted(trace.variables.items()):
            if index in table and index not in own and variable.kind in NAMED_KINDS - {"other"}:
                yield _alone(side, table[index], f"variable of shape {variable.shape}")


def _variable(pair: VariablePair, a: Names[int], b: Names[int], abouts: list[str]) -> Iterator[str]:
    if pair.rivals:
        others = ", ".join(_quoted(b[index]) for index in pair.rivals if index in b)
        why = "only the order of use speaks for this one" if pair.ordered else "nothing speaks for this one"
        yield f"# ambiguous: {others} would fit as well, {why}\n"
    yield "[[variable]]\n"
    for side, name, about in zip("ab", (a[pair.a], b[pair.b]), abouts, strict=True):
        yield f"{side} = {_quoted(name)}  # {_plain(about)}\n"
    if pair.permutation is not None:
        yield f"permutation = {list(pair.permutation)}\n"
    for key, part in (("a_part", pair.a_part), ("b_part", pair.b_part)):
        if part is not None:
            yield f"{key} = {[[list(extent) for extent in axis] for axis in part]}\n"
    if pair.offset:
        yield f"offset = {pair.offset!r}\n"
    yield f"evidence = {_quoted(pair.evidence)}\n"


def _sites(a: Trace, b: Trace, result: Result) -> Iterator[str]:
    names = tuple(site_names(trace.step(0).observations) for trace in (a, b))
    rows = [row for row in result.rows if row.phase in ("data", "forward", "loss") and _named(row, *names)]
    for row in rows:
        if row.a is not None and row.b is not None and row.evidence != "role":
            yield "".join(_site(row, names[0][row.a.id], names[1][row.b.id]))
    for row in rows:
        if row.a is None and row.b is not None:
            yield _alone("b", names[1][row.b.id], "site")
        elif row.b is None and row.a is not None:
            yield _alone("a", names[0][row.a.id], "site")


def _named(row: Row, a: Names[int], b: Names[int]) -> bool:
    """Whether the row is of a step's forward pass (evaluations and the loss have names of their own)."""
    sides = [(site, names) for site, names in ((row.a, a), (row.b, b)) if site is not None]
    return bool(sides) and all(site.role in NAMED_ROLES and site.id in names for site, names in sides)


def _site(row: Row, a: str, b: str) -> Iterator[str]:
    kind, _, ambiguous = row.evidence.partition(", ")
    if ambiguous:
        yield "# ambiguous: other sites of b have the same values and neighbours\n"
    lines = ["[[site]]", f"a = {_quoted(a)}", f"b = {_quoted(b)}", f"evidence = {_quoted(kind)}"]
    if kind == "structure":
        yield "# guessed from shape, op and order, the values differ; without the # in front it holds\n"
        lines = [f"# {line}" for line in lines]
    yield from (f"{line}\n" for line in lines)


def _alone(side: str, name: str, what: str) -> str:
    return "".join(_commented(["[[unpaired]]", f"{side} = {_quoted(name)}"], f"no counterpart: a {what} of {side}"))


def _commented(lines: Iterable[str], why: str) -> Iterator[str]:
    yield f"# {why}\n"
    yield from (f"# {line}\n" for line in lines)


def _plain(text: str) -> str:
    """Text for a comment: one line, nothing that TOML does not allow."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _quoted(text: Any) -> str:
    """A TOML string; names come from somebody's program and may hold anything."""
    whole = str(text).encode("utf-8", "replace").decode("utf-8")
    return json.dumps(whole, ensure_ascii=False).replace("\x7f", "\\u007f")
