"""Names for the variables and sites of a run: one for each, and what a person writes for them in a map."""

from __future__ import annotations

import difflib
import itertools
from collections import defaultdict
from typing import TYPE_CHECKING, Generic, TypeVar

from tfdiff.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tfdiff.model import Observation, Site, Variable

Key = TypeVar("Key")

NAMED_KINDS = frozenset({"weight", "state", "other"})
"""Kinds of variables that can pair; what optimizers, seeds and metrics keep pairs by itself."""
NAMED_ROLES = frozenset({"input", "noise", "activation"})
SHOWN = 4
"""Names that a message lists."""


class Names(Generic[Key]):
    """Finds what a name means.

    `forms` gives for each thing its possible names, the shortest first. Its own name is the first that no other thing
    has; things that share all of theirs are numbered, from `#0`, so that the bare name stays ambiguous.
    """

    def __init__(self, what: str, forms: Iterable[tuple[Key, Sequence[str]]]) -> None:
        self._what = what
        self._forms: dict[str, list[Key]] = defaultdict(list)
        listed = [(key, tuple(dict.fromkeys(names))) for key, names in forms]
        for key, names in listed:
            for name in names:
                self._forms[name].append(key)
        alone = {name for name, keys in self._forms.items() if len(keys) == 1}
        self._own: dict[Key, str] = {}
        for key, names in listed:
            own = next((name for name in names if name in alone), None)
            self._own[key] = own if own is not None else self._numbered(names[-1])
            self._forms[self._own[key]] = [key]

    def _numbered(self, name: str) -> str:
        return next(own for n in itertools.count() if (own := f"{name}#{n}") not in self._forms)

    def __getitem__(self, key: Key) -> str:
        """The name of a thing that no other has."""
        return self._own[key]

    def __contains__(self, key: Key) -> bool:
        return key in self._own

    def find(self, text: str, where: str) -> Key:
        """What is called `text`, or the only one whose name ends like that; raises UsageError with `where`."""
        found = self.candidates(text)
        if len(found) == 1:
            return found[0]
        if not found:
            near = self._near(text)
            hint = f"; there is {near}" if near else ""
            raise UsageError(f"{where}: no {self._what} {text!r}{hint} (tfdiff diff --write-map lists them)")
        names = [self._own[key] for key in found]
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        raise UsageError(
            f"{where}: {text!r} is ambiguous: expected the name of one {self._what}, found {len(names)}, "
            f"{', '.join(names[:SHOWN])}{more}"
        )

    def candidates(self, text: str) -> list[Key]:
        """All that `text` may mean: exactly so, else with its end at a /, else with any end."""
        exact = self._forms.get(text)
        if exact:
            return exact
        for ending in (f"/{text}", text):
            found = [name for name in self._forms if name.removesuffix(":0").endswith(ending) or name.endswith(ending)]
            keys = list(dict.fromkeys(key for name in found for key in self._forms[name]))
            if keys:
                return keys
        return []

    def _near(self, text: str) -> str:
        return ", ".join(difflib.get_close_matches(text, self._forms, n=2, cutoff=0.4))


def variable_names(variables: Iterable[Variable]) -> Names[int]:
    """By `Variable.index`, in the order of creation."""
    named = sorted((v for v in variables if v.kind in NAMED_KINDS), key=lambda v: v.index)
    return Names("variable", [(v.index, (v.name,)) for v in named])


def site_names(observations: Iterable[Observation]) -> Names[int]:
    """By `Site.id`, in the order of execution: what the forward pass of a step shows."""
    sites: dict[int, Site] = {}
    for seen in observations:
        if seen.site.role in NAMED_ROLES and seen.site.phase in ("forward", "loss", "data"):
            sites.setdefault(seen.site.id, seen.site)
    return Names("site", [(site.id, _site_forms(site)) for site in sites.values()])


def _site_forms(site: Site) -> tuple[str, ...]:
    """The place's name for its last tensor, then with the op, the line, both."""
    op, line = site.op or site.role, site.called or site.source or "no line"
    op += f":{site.output}" if site.output else ""
    short = site.name if site.boundary or not site.op else f"{site.name} {op}"
    return (short, f"{site.name} {op}", f"{site.name} {line}", f"{site.name} {op} {line}")
