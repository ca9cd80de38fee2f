"""An equal start: the reference's weights, batches and noise in the place of the run's own.

What to write where is planned beforehand (`plan.py`) from a scouting run of the same script; here it is carried out.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from tfdiff.errors import TfdiffError
from tfdiff.model import Site
from tfdiff.pairing.batches import apply_rule
from tfdiff.pairing.noise import convert_draw
from tfdiff.pairing.rows import row_signatures
from tfdiff.trace.records import Record

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tfdiff.pairing.batches import PartRule
    from tfdiff.recorder.output import Output
    from tfdiff.recorder.variables import Entry, Variables
    from tfdiff.trace.reader import Trace

    Array = np.ndarray[Any, Any]

FeedKey = tuple[Any, ...]
"""(op type or "Leaf", line, occurrence of the line in the step, whether a tape was open, output): evaluation often runs
the same lines, but outside a tape."""
NoiseKey = tuple[Any, ...]
"""(op type, layer, line, API call)."""


_INITIAL_SITES = 1 << 24
"""Sites of initial values are numbered from here, out of the way of those of the steps."""


@dataclass
class Plan:
    """What `carry out` means for one run."""

    reference: Trace
    weights: dict[int, Array] = field(default_factory=dict)
    """Initial value per variable index of this run."""
    feeds: dict[FeedKey, PartRule] = field(default_factory=dict)
    inputs: dict[int, list[int]] = field(default_factory=dict)
    """Per step the observations of the reference that are its batch, in the order the rules count them."""
    draws: dict[NoiseKey, list[tuple[int, int, tuple[int, ...] | None] | None]] = field(default_factory=dict)
    """Per place the successive draws: step and observation of the reference, permutation; None for draws of its own."""


class Share:
    """Carries out a plan; without one it only notes the initial values."""

    def __init__(self, plan: Plan | None) -> None:
        self._plan = plan
        self._executed: Counter[NoiseKey] = Counter()
        self._before: Counter[NoiseKey] = Counter()
        """The same at the beginning of the running function."""
        self._equal: list[bool] = []

    @property
    def active(self) -> bool:
        """Whether batches or noise are written over."""
        return self._plan is not None and bool(self._plan.feeds or self._plan.draws)

    def start(self, variables: Variables, output: Output) -> None:
        """Note every variable's own value and give it the reference's."""
        records, own = [], []
        for entry, variable in variables.alive():
            record, before = self._one(entry, variable)
            if record is not None:
                records.append(record)
            if before is not None:
                own.append(before)
        output.initial(records, own)

    def one(self, entry: Entry, variable: Any, output: Output) -> None:
        """The same for a variable created later."""
        record, before = self._one(entry, variable)
        if record is not None:
            output.initial([record], [before] if before is not None else [])

    def _one(self, entry: Entry, variable: Any) -> tuple[Record | None, Record | None]:
        if entry.graph is not None:
            return None, None  # its session is asked
        try:
            value = variable.numpy()
        except Exception:  # noqa: BLE001 - not initialized yet: TensorFlow says so in several ways
            return None, None
        record, own, wanted = self._decide(entry, value)
        if wanted is not None:
            variable.assign(wanted)
        return record, own

    def _decide(self, entry: Entry, value: Array) -> tuple[Record | None, Record | None, Array | None]:
        """What to record as the initial value, as its own before sharing, and what to write over it."""
        if not entry.dtype.startswith(("float", "bfloat")):
            return None, None, None
        wanted = self._plan.weights.get(entry.index) if self._plan is not None else None
        if self._plan is None:
            return _record(entry, value), None, None
        if wanted is None or wanted.shape != value.shape:
            return _record(entry, value), _record(entry, value), None
        wanted = wanted.astype(value.dtype)
        return _record(entry, wanted), _record(entry, value), wanted

    def note(self, known: Sequence[tuple[Entry, Any, Array]], output: Output) -> list[tuple[Any, Array]]:
        """Note values of variables that a session has read; returns those to write, with the reference's values."""
        records, own, writes = [], [], []
        for entry, variable, value in known:
            entry.noted = True
            record, before, wanted = self._decide(entry, value)
            records += [record] if record is not None else []
            own += [before] if before is not None else []
            if wanted is not None:
                writes.append((variable, wanted))
        output.initial(records, own)
        return writes

    def check(self, step: int, records: Sequence[Record]) -> None:
        """Whether the batch this step really used is the reference's."""
        plan = self._plan
        if plan is None or not plan.inputs.get(step):
            return  # a step without a batch of its own (the generator's in a GAN)
        block = plan.reference.step(step)
        wanted = row_signatures([block.array(index) for index in plan.inputs[step]])
        used: list[Array] = []
        for record in records:
            value = record.value
            if record.site.role != "input" or not value.ndim or len(value) != len(wanted):
                continue
            if not any(np.array_equal(value, other) for other in used):  # some scripts hand an array over twice
                used.append(value)
        self._equal.append(bool(used) and np.array_equal(np.sort(row_signatures(used)), np.sort(wanted)))

    def verdict(self) -> dict[str, bool]:
        """What turned out to be shared."""
        if self._plan is None or not self._plan.inputs:
            return {"batches": False}
        return {"batches": bool(self._equal) and all(self._equal)}

    def wants_feed(self, op_type: str, called: str | None) -> bool:
        """Whether a batch that this op hands out on this line has a rule."""
        return self._plan is not None and any(key[0] == op_type and key[1] == called for key in self._plan.feeds)

    def has_rule(self, key: FeedKey) -> bool:
        """Whether there is a rule for this very part of a batch."""
        return self._plan is not None and key in self._plan.feeds

    def begin_call(self) -> None:
        """A compiled function is about to run."""
        self._before = self._executed.copy()

    def feed(self, key: FeedKey, own: Array, step: int, *, fixed: bool = False) -> Array | None:
        """The reference's rows of this step in the layout of `own`; None to leave it.

        `fixed`: the program relies on the number of rows, another one would break it.
        """
        rule = self._plan.feeds.get(key) if self._plan is not None else None
        if rule is None or self._plan is None or not self._plan.inputs.get(step):
            return None
        block = self._plan.reference.step(step)
        parts = [block.array(index) for index in self._plan.inputs[step]]
        try:
            value = apply_rule(rule, parts, own.dtype)
        except TfdiffError:
            return None  # this step's batch is built otherwise; `check` says that it was not shared
        return value if value.shape[not fixed :] == own.shape[not fixed :] else None

    def wants_noise(self, key: NoiseKey) -> bool:
        """Whether draws at this place have a counterpart."""
        return self._plan is not None and key in self._plan.draws

    def next_draw(self, key: NoiseKey, number: int | None = None) -> tuple[Array, tuple[int, ...] | None] | None:
        """The reference's draw for the next execution of this place, and how its axes turn; None to leave it.

        `number`: which draw of the running function it is, where that is known better than by the order of execution.
        """
        if self._plan is None or key not in self._plan.draws:
            return None
        place = self._executed[key] if number is None else self._before[key] + number
        self._executed[key] += 1
        sequence = self._plan.draws[key]
        found = sequence[place] if place < len(sequence) else None
        if found is None:
            return None
        step, index, permutation = found
        return self._plan.reference.step(step).array(index), permutation

    def noise(self, key: NoiseKey, own: Array, number: int | None = None) -> Array | None:
        """The same in the shape and dtype of `own`."""
        draw = self.next_draw(key, number)
        if draw is None or draw[0].size != own.size:
            return None
        return convert_draw(*draw, own.shape).astype(own.dtype)


def _record(entry: Entry, value: Array) -> Record:
    described = entry.describe()
    site = Site(
        _INITIAL_SITES + entry.index,
        "weight" if entry.trainable else "state",
        "init",
        "",
        layer=described.layer,
        source=entry.source,
        variable=entry.index,
    )
    return Record(site, np.asarray(value))
