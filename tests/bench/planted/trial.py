"""One trial: a network, a fault at a place, two styles; recorded, compared, judged."""

from __future__ import annotations

import random
import re
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import tfdiff
from tests.contract.suite import Worker, told
from tfdiff.errors import TfdiffError

from .fault import behind
from .kinds import KINDS
from .networks import drawn
from .styles import LEGACY_STYLES, STYLES, expresses

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tfdiff.model import Divergence, Place, Result

    from .fault import Fault
    from .spec import Network

DRAWS = 5000
"""Networks tried for a kind that needs one of its own sort."""


@dataclass(frozen=True)
class Trial:
    """What is recorded, and what must be found."""

    number: int
    kinds: tuple[str, ...]
    a: Network
    b: Network
    faults: tuple[Fault, ...]
    a_style: str
    b_style: str

    def __str__(self) -> str:
        places = " and ".join(f"{kind} ({fault.place})" for kind, fault in zip(self.kinds, self.faults, strict=True))
        return f"{places or 'no fault'} in {self.a.name}, {self.a_style} / {self.b_style}, number {self.number}"


@dataclass(frozen=True)
class Outcome:
    """How a trial went."""

    trial: Trial
    verdict: str
    """right, wrong step, wrong phase, wrong site, not found, other"""
    said: str = ""
    phase: str = "-"
    code: str = "-"
    """Of the first divergence, and of the first cause."""
    constants: tuple[tuple[float, ...], tuple[float, ...]] = ((), ())
    """The numbers that the first cause fitted or read on either side."""
    codes: tuple[str, ...] = ()
    """Of all causes."""
    extra: tuple[str, ...] = ()
    """Divergences that belong to no fault, each in a line."""
    own: int = 0
    found: tuple[bool, ...] = field(default_factory=tuple)
    """Per fault, whether a divergence is at its place."""
    first: Divergence | None = None


def plan(
    number: int, seed: int, steps: int, *, kinds: Sequence[str], styles: Sequence[str], two: bool = False
) -> Trial:
    """The trial of that number: the same for the same arguments. Kinds take turns."""
    order = random.Random(f"order {seed}").sample(sorted(kinds), len(kinds))
    draw = random.Random(f"{seed} {number} {two}")
    first = order[number % len(order)]
    for _ in range(DRAWS):
        network = drawn(draw, steps)
        if first == "none":
            names, faults = (), ()
        else:
            names, faults = _faults(network, first, draw, two=two)
            if not faults:
                continue
        b = faults[-1].b if faults else network
        a_styles = [style for style in styles if expresses(style, network)]
        b_styles = [style for style in styles if expresses(style, b)]
        if a_styles and b_styles:
            return Trial(number, names, network, b, faults, draw.choice(a_styles), draw.choice(b_styles))
    raise ValueError(f"no network for {first} with the styles {', '.join(styles)}: give others")


def _faults(
    network: Network, first: str, draw: random.Random, *, two: bool
) -> tuple[tuple[str, ...], tuple[Fault, ...]]:
    fault = KINDS[first](network, draw)
    if fault is None or not two:
        return (first,), (fault,) if fault else ()
    for second in draw.sample(sorted(KINDS), len(KINDS)):
        other = KINDS[second](fault.b, draw) if second != first else None
        if other is not None and _apart(network, (first, fault.place.split()[0]), (second, other.place.split()[0])):
            return (first, second), (fault, other)
    return (), ()


def _apart(network: Network, *faults: tuple[str, str]) -> bool:
    """Whether two faults (kind, layer) are at different places, and none acts on a tensor that the other gives another
    width.
    """
    (one, here), (other, there) = faults
    wide = {name for kind, at in ((one, here), (other, there)) if kind == "width" for name in behind(network, at)}
    return here != there and not wide & {here, there}


class Bench:
    """Runs trials in a folder, with worker processes of its own per thread."""

    def __init__(self, folder: Path, *, calibrate: bool = True) -> None:
        self._folder = folder
        self._calibrate = "--calibrate" if calibrate else "--no-calibrate"
        self._workers: dict[tuple[int, bool], Worker] = {}

    def run(self, trial: Trial, *, keep: bool = False) -> Outcome:
        """Record, compare and judge; the files of a trial that went right are deleted unless they are to be kept.

        A recording of a that is there from before is used again where the script is the same.
        """
        folder = self._folder / f"trial-{trial.number}{'-two' * (len(trial.faults) > 1)}"
        folder.mkdir(parents=True, exist_ok=True)
        a, b = STYLES[trial.a_style](trial.a, 1), STYLES[trial.b_style](trial.b, 2)
        known = (folder / "a.h5").exists() and (folder / "a.py").read_text() == str(a)
        for name, text in (("a.py", a), ("b.py", b)):
            (folder / name).write_text(str(text))
        (folder / "trial.txt").write_text(f"{trial}\n")
        try:
            if not known:
                self._record(folder / "a.py", trial.a_style, self._calibrate)
            self._record(folder / "b.py", trial.b_style, "--reference", folder / "a.h5")
            result = tfdiff.diff(folder / "a.h5", folder / "b.h5")
        except (RuntimeError, TfdiffError) as error:
            return Outcome(trial, "other", f"{error}")
        outcome = judged(trial, result, [_places("a.py", a, b, trial, n) for n in range(len(trial.faults))])
        (folder / "trial.txt").write_text(f"{trial}\n{outcome.verdict}: {outcome.said}\n" + "\n".join(outcome.extra))
        if outcome.verdict == "right" and not keep:
            for file in folder.iterdir():
                file.unlink()
            folder.rmdir()
        return outcome

    def _record(self, script: Path, style: str, *options: object) -> None:
        key = (threading.get_ident(), style in LEGACY_STYLES)
        if key not in self._workers:
            self._workers[key] = Worker(self._folder / "workers.log", legacy=key[1])
        command = ["record", "--quiet", "--force", "--steps", 0, *options, "-o", script.with_suffix(".h5"), script]
        code, said = self._workers[key].run(command, script.with_suffix(".log"), None)
        if code:
            raise RuntimeError(f"{script.name} ({style}) ended with {code}: {' / '.join(said.splitlines()[-3:])}")

    def close(self) -> None:
        """End the processes."""
        for worker in self._workers.values():
            worker.close()


def _places(a_name: str, a: object, b: object, trial: Trial, number: int) -> tuple[set[str], set[str]]:
    fault = trial.faults[number]
    return (
        {f"{a_name}:{line}" for line in a.numbers(fault.a_labels)},
        {f"b.py:{line}" for line in b.numbers(fault.b_labels)},
    )


def judged(trial: Trial, result: Result, places: list[tuple[set[str], set[str]]]) -> Outcome:
    """Whether the first divergence is where the first fault is, and which faults were found at all."""
    first = result.first
    everything = [*result.divergences, *result.own]
    found = _found(trial.faults, places, everything)
    extra = tuple(told(one) for one in everything if not any(_at(one, *place) for place in places))
    common = {
        "phase": first.phase if first else "-",
        "code": result.causes[0].code if result.causes else "-",
        "constants": _constants(result),
        "codes": tuple(cause.code for cause in result.causes),
        "extra": extra,
        "own": len(result.own),
        "found": found,
        "first": first,
    }
    said = told(first) if first else f"verdict {result.verdict}"
    weights = result.shared.get("weights", {})
    if isinstance(weights, dict) and len(set(weights.values())) > 1:
        said += f"; weights shared: {weights}"
    if result.verdict == "incomparable":
        return Outcome(trial, "other", said, **common)
    if not trial.faults:
        return Outcome(trial, "other" if everything else "right", said, **common)
    if len(trial.faults) > 1:
        missing = [kind for kind, seen in zip(trial.kinds, found, strict=True) if not seen]
        told_all = "; ".join(told(one) for one in everything)
        verdict = "not found" if missing else "right"
        return Outcome(trial, verdict, f"missing: {', '.join(missing)}; found: {told_all}", **common)
    return Outcome(trial, _verdict(first, trial.faults[0], places[0]), said, **common)


def _constants(result: Result) -> tuple[tuple[float, ...], tuple[float, ...]]:
    found = result.causes[0].constants if result.causes else {}
    return tuple(numbers_in(found.get("a"))), tuple(numbers_in(found.get("b")))


def numbers_in(value: object) -> list[float]:
    """The numbers of a cause's constants, those within lists, mappings and words (`leaky_relu(0.3)`) included."""
    if isinstance(value, bool) or value is None:
        return []
    if isinstance(value, (int, float)):
        return [float(value)]
    if isinstance(value, str):
        return [float(text) for text in re.findall(r"(?<![\w.])[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?", value)]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    return [number for one in inner for number in numbers_in(one)]


def _found(
    faults: tuple[Fault, ...], places: list[tuple[set[str], set[str]]], everything: list[Divergence]
) -> tuple[bool, ...]:
    """Per fault, whether a divergence is at its place; one divergence is for one fault."""
    fitting = [
        [
            n
            for n, one in enumerate(everything)
            if one.step in fault.steps and one.phase in fault.phases and _at(one, *at)
        ]
        for fault, at in zip(faults, places, strict=True)
    ]
    if len(fitting) == 2 and fitting[0] == fitting[1] and len(fitting[0]) == 1:
        return True, False
    return tuple(bool(fits) for fits in fitting)


def _verdict(first: Divergence | None, fault: Fault, places: tuple[set[str], set[str]]) -> str:
    if first is None:
        return "not found"
    if first.step not in fault.steps:
        return "wrong step"
    if first.phase not in fault.phases:
        return "wrong phase"
    return "right" if _at(first, *places) else "wrong site"


def _at(one: Divergence, a_lines: set[str], b_lines: set[str]) -> bool:
    sides = [_is(place, lines) for place, lines in ((one.a, a_lines), (one.b, b_lines)) if place is not None]
    return bool(sides) and all(sides)


def _is(place: Place, lines: set[str]) -> bool:
    return place.source in lines or place.called in lines
