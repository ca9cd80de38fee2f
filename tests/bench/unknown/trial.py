"""One fault of no known kind: planted, recorded, compared, judged."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

import tfdiff
from tests.bench.alarms import FOLDER, needs_legacy
from tests.contract.suite import Worker, told
from tfdiff.errors import TfdiffError

if TYPE_CHECKING:
    from pathlib import Path

    from tfdiff.model import Place, Result

    from .faults import Fault

STEPS = 2


@dataclass(frozen=True)
class Outcome:
    """What was said of a fault."""

    fault: Fault
    said: str
    """The first divergence, or why there is none."""
    placed: bool = False
    codes: tuple[str, ...] = ()
    """Of the causes of the first divergence."""
    besides: tuple[str, ...] = ()
    """Further divergences, each with its codes."""

    @property
    def unexplained(self) -> bool:
        """Whether nothing else was said of it."""
        return self.codes == ("unexplained",)


class Bench:
    """Runs faults in a folder, with worker processes of its own per thread."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._workers: dict[tuple[int, bool], Worker] = {}

    def run(self, fault: Fault) -> Outcome:
        """Change b, record both scripts, compare and judge."""
        folder = self._folder / fault.name.replace(" ", "-").replace(",", "")
        folder.mkdir(parents=True, exist_ok=True)
        for side in "ab":
            text = (FOLDER / fault.pair / f"{side}.py").read_text()
            (folder / f"{side}.py").write_text(text if side == "a" else planted(text, fault))
        try:
            self._record(folder / "a.py", "--no-calibrate")
            self._record(folder / "b.py", "--reference", folder / "a.h5")
            result = tfdiff.diff(folder / "a.h5", folder / "b.h5")
        except (RuntimeError, TfdiffError) as error:
            return Outcome(fault, str(error))
        return judged(fault, result, folder)

    def _record(self, script: Path, *options: object) -> None:
        key = (threading.get_ident(), needs_legacy(script))
        if key not in self._workers:
            self._workers[key] = Worker(self._folder / "workers.log", legacy=key[1])
        command = ["record", "--quiet", "--force", "--steps", STEPS, *options]
        command += ["-o", script.with_suffix(".h5"), script, 0]
        code, said = self._workers[key].run(command, script.with_suffix(".log"), None)
        if code:
            raise RuntimeError(f"{script.name} ended with {code}: {' / '.join(said.strip().splitlines()[-3:])}")

    def close(self) -> None:
        """End the processes."""
        for worker in self._workers.values():
            worker.close()


def planted(text: str, fault: Fault) -> str:
    """B's program with the fault.

    Raises:
        ValueError: the line to be changed is not there, or more than once.
    """
    if text.count(fault.old) != 1:
        raise ValueError(f"{fault.name}: {fault.old!r} is {text.count(fault.old)} times in {fault.pair}/b.py")
    return text.replace(fault.old, fault.new)


def judged(fault: Fault, result: Result, folder: Path) -> Outcome:
    """Whether the first divergence is the fault's, and what it is called."""
    first = result.first
    if first is None:
        return Outcome(fault, f"verdict {result.verdict}")
    a, b = (_numbers(folder / f"{side}.py", texts) for side, texts in (("a", fault.a), ("b", (fault.new, *fault.also))))
    placed = first.step in fault.steps and first.phase == fault.phase and _is(first.a, a) and _is(first.b, b)
    codes = {
        told(one): tuple(cause.code for cause in result.causes if (cause.step, cause.a, cause.b, cause.phase)
                         == (one.step, one.a, one.b, one.phase))
        for one in (*result.divergences, *result.own)
    }  # fmt: skip
    besides = tuple(f"{one} ({', '.join(names)})" for one, names in codes.items() if one != told(first))
    return Outcome(fault, told(first), placed, codes.get(told(first), ()), besides)


def _numbers(script: Path, texts: tuple[str, ...]) -> set[str]:
    """`file:line` of the lines in which one of the texts begins."""
    whole = script.read_text()
    begins = [whole.find(text.lstrip()) for text in texts]
    if -1 in begins:
        raise ValueError(f"{script.name} lacks {texts[begins.index(-1)]!r}")
    found: set[str] = set()
    for text in texts:
        begin = whole.find(text.lstrip())
        while begin >= 0:
            found.add(f"{script.name}:{whole.count(chr(10), 0, begin) + 1}")
            begin = whole.find(text.lstrip(), begin + 1)
    return found


def _is(place: Place | None, lines: set[str]) -> bool:
    return place is None or place.source in lines or place.called in lines
