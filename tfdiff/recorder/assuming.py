"""What a run is made with instead of what its script says, and who took it.

The hooks (`assumed_*_hooks`) ask here what stands at a place; what they set is taken back. It is known in the end what
took each assumption: one that nothing took is said to be none.
"""

from __future__ import annotations

import contextlib
import weakref
from typing import TYPE_CHECKING, Any

from tfdiff.recorder.frames import Frames

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tfdiff.assumptions import Assumption
    from tfdiff.recorder.frames import Call
    from tfdiff.recorder.patching import Patches

_MISSING = object()
_LISTED = 6
"""Places that are named where something could have been set."""


class Assuming:
    """The assumptions of one run."""

    def __init__(self, assumptions: tuple[Assumption, ...], folder: Path) -> None:
        self._assumptions = assumptions
        self._frames = Frames(folder)
        self._created: weakref.WeakKeyDictionary[Any, str | None] = weakref.WeakKeyDictionary()
        self._taken: dict[Assumption, dict[str, None]] = {one: {} for one in assumptions}
        self._could: dict[str, dict[str, None]] = {}
        self._set: dict[int, Any] = {}
        self._compiled: list[str | None] = []
        self.evaluating = 0
        """Evaluations that are running: no flag of training is changed there."""

    @property
    def any(self) -> bool:
        """Whether anything is assumed."""
        return bool(self._assumptions)

    def wants(self, *codes: str) -> bool:
        """Whether one of these codes is assumed at all."""
        return any(one.code in codes for one in self._assumptions)

    def here(self) -> Call:
        """The user's line that is running."""
        return self._frames.here()

    def created(self, thing: Any) -> None:
        """Remember the user's line that creates `thing` (the first call counts)."""
        with contextlib.suppress(TypeError):
            if thing not in self._created:
                self._created[thing] = next(reversed(self._compiled), None) or self._frames.here(thing).called

    def source_of(self, thing: Any) -> str | None:
        """The line that created it; None where that was not seen."""
        try:
            return self._created.get(thing)
        except TypeError:
            return None

    @contextlib.contextmanager
    def compiled(self, losses: Any) -> Iterator[None]:
        """Losses that are made in this block are those of `compile`."""
        self._compiled.append(self.source_of(losses))
        try:
            yield
        finally:
            self._compiled.pop()

    def value(
        self,
        code: str,
        what: str,
        *places: str | None,
        only: Any = None,
        placed: bool = False,
        length: int | None = None,
    ) -> Any:
        """What is assumed of `code` for something that stands at these places; None: nothing. Asking is taking.

        `only`: the one value that can be set there; `placed`: an assumption without a place does not count;
        `length`: how many numbers the value must have.
        """
        known = [place for place in places if place]
        about = [one for one in self._assumptions if one.code == code and (one.at is not None or not placed)]
        about = [one for one in about if only is None or one.parsed == only]
        about = [one for one in about if length is None or len(one.parsed) == length]
        fitting = [one for one in about if any(map(one.fits, known or (None,)))]
        if not fitting:
            self._could.setdefault(code, {})[_name(what, known[:1])] = None
            return None
        chosen = max(fitting, key=lambda one: one.at is not None)
        self._taken[chosen][_name(what, [place for place in known if chosen.fits(place)][:1])] = None
        return chosen.parsed

    @contextlib.contextmanager
    def holding(self, thing: Any, values: Mapping[str, Any]) -> Iterator[None]:
        """Attributes of an object that are others in this block, past what it does when they are set."""
        with set_in(vars(thing), values):
            yield

    def set_for_good(self, thing: Any, values: Mapping[str, Any], patches: Patches) -> None:
        """Attributes that stay until the recording ends."""
        own = vars(thing)
        for name, value in values.items():
            if own.get(name) is value:
                continue
            before, own[name] = own.get(name, _MISSING), value
            patches.on_undo(_back(own, name, before))

    def once(self, thing: Any) -> bool:
        """Whether it is asked about this object for the first time."""
        first = id(thing) not in self._set
        self._set[id(thing)] = thing  # kept, so that no other object gets its id
        return first

    def described(self) -> tuple[dict[str, Any], ...]:
        """As the trace keeps it."""
        return tuple({"assume": one.text, "taken": list(taken)} for one, taken in self._taken.items())

    def report(self) -> list[tuple[str, bool]]:
        """One line per assumption, what took it or that nothing did; and whether something did."""
        return [(self._line(one, list(taken)), bool(taken)) for one, taken in self._taken.items()]

    def _line(self, one: Assumption, taken: list[str]) -> str:
        if taken:
            return f"assumed {one.text}: taken by {', '.join(taken)}"
        where = f"nothing at {one.at}" if one.at else "nothing in the script"
        could = list(self._could.get(one.code, ()))
        names = ", ".join(could[:_LISTED])
        more = f" and {len(could) - _LISTED} more" if len(could) > _LISTED else ""
        left = (
            f"it can be set for {names}{more}"
            if could
            else "no layer, call, loss or optimizer here has it as a setting"
        )
        by_hand = "" if one.at is None else "; arithmetic written by hand has nothing that can be set"
        return f"NOT assumed {one.text}: {where} took it, so it changed nothing; {left}{by_hand}"


@contextlib.contextmanager
def set_in(own: dict[str, Any], values: Mapping[str, Any]) -> Iterator[None]:
    """Entries of a dictionary that are others in this block."""
    before = {name: own.get(name, _MISSING) for name in values}
    own.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if own.get(name) is values[name]:
                _back(own, name, value)()


def _name(what: str, where: list[str]) -> str:
    return f"{what} at {where[0]}" if where else what


def _back(own: dict[str, Any], name: str, before: Any) -> Any:
    def back() -> None:
        if before is _MISSING:
            own.pop(name, None)
        else:
            own[name] = before

    return back
