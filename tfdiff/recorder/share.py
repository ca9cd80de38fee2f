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
from tfdiff.pairing.effects import mirrored
from tfdiff.pairing.noise import convert_draw
from tfdiff.pairing.pairs import covers, indices
from tfdiff.pairing.rows import row_signatures
from tfdiff.trace.records import Record

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tfdiff.pairing.batches import PartRule
    from tfdiff.pairing.pairs import Part
    from tfdiff.recorder.output import Output
    from tfdiff.recorder.variables import Entry, Variables
    from tfdiff.trace.reader import Trace

    Array = np.ndarray[Any, Any]

FeedKey = tuple[Any, ...]
"""(op type or "Leaf", line, occurrence of the line in the step, whether a tape was open, output): evaluation often runs
the same lines, but outside a tape."""
NoiseKey = tuple[Any, ...]
"""(op type, layer, line, API call), and OUTSIDE for eager draws outside every tape: those of an evaluation must not
take what belongs to a training step on the same line."""
OUTSIDE = "outside every tape"


_INITIAL_SITES = 1 << 24
"""Sites of initial values are numbered from here, out of the way of those of the steps."""


@dataclass
class Wanted:
    """What a variable is to start from: parts of variables of the reference, or a whole one."""

    shape: tuple[int, ...]
    parts: list[tuple[Part | None, Array]] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether the parts make up the whole variable."""
        return covers((part for part, _ in self.parts), self.shape)

    def over(self, own: Array) -> Array:
        """The variable's own value with the parts written over it."""
        value = own.copy()
        for part, wanted in self.parts:
            value[... if part is None else indices(part)] = wanted
        return value


@dataclass
class Plan:
    """What `carry out` means for one run."""

    reference: Trace
    weights: dict[int, Wanted] = field(default_factory=dict)
    """Initial value per variable index of this run."""
    feeds: dict[FeedKey, PartRule] = field(default_factory=dict)
    feeds_at: dict[int, dict[FeedKey, PartRule]] = field(default_factory=dict)
    """Per step, where steps of several kinds take turns; else `feeds` holds for all."""
    carried: set[FeedKey] = field(default_factory=set)
    """Places that are fed what the step before gave back."""
    inputs: dict[int, list[int]] = field(default_factory=dict)
    """Per step the observations of the reference that are its batch, in the order the rules count them."""
    forward_only: bool = False
    """Whether neither program trains: then the batches are those of forward passes."""
    passes: dict[FeedKey, list[tuple[int, PartRule]]] = field(default_factory=dict)
    """Of such a run, per place and number of an array in the whole run: the forward passes it feeds, one after the
    other, and their rules. (Where something trains numbers begin anew with each step, and `feeds` says all.)"""
    first_read: str | None = None
    """The line on which the first forward pass reads a weight."""
    draws: dict[NoiseKey, list[tuple[int, int, tuple[int, ...] | None] | None]] = field(default_factory=dict)
    """Per place the successive draws: step and observation of the reference, permutation; None for draws of its own."""
    mirrored: set[NoiseKey] = field(default_factory=set)
    """Places where high numbers do what low ones do in the reference, or the other way round."""

    def batch(self, step: int) -> list[Array]:
        """What this run's batch should be: built of the reference's by the rules, or as the reference has it."""
        block = self.reference.step(step)
        parts = [block.array(index) for index in self.inputs[step]]
        built: list[Array] = []
        for rule in self.feeds_at.get(step, self.feeds).values():
            part = apply_rule(rule, parts, np.float64)
            if not any(np.array_equal(part, other) for other in built):
                built.append(part)
        return built or parts


def feed_key(site: Site) -> FeedKey:
    """What tells an input of a step from the others, also in another run of the same script."""
    made = site.attrs.get("made", site.called)  # an array becomes a tensor on one line and may be used on another
    return (site.op, made, site.attrs.get("feed", 0), site.attrs.get("taped", False), site.output)


class Share:
    """Carries out a plan; without one it only notes the initial values."""

    def __init__(self, plan: Plan | None) -> None:
        self._plan = plan
        self._executed: Counter[NoiseKey] = Counter()
        self._before: Counter[NoiseKey] = Counter()
        """The same at the beginning of the running function."""
        self._equal: list[bool] = []
        self._fed: Counter[FeedKey] = Counter()

    @property
    def active(self) -> bool:
        """Whether batches or noise are written over."""
        return self._plan is not None and bool(self._plan.feeds or self._plan.draws)

    @property
    def forward_only(self) -> bool:
        """Whether neither program trains: forward passes are what is made equal."""
        return self._plan is not None and self._plan.forward_only

    def starts_at(self, called: str | None) -> bool:
        """Whether a weight that is read on this line belongs to the first of the forward passes."""
        return self._plan is not None and self._plan.forward_only and called == self._plan.first_read

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
        wanted = self._plan.weights.get(entry.index) if self._plan is not None else None
        if not entry.dtype.startswith(("float", "bfloat")):  # whole numbers are not recorded: steps made so far
            counts = wanted is not None and wanted.shape == value.shape == ()
            return None, None, np.asarray(wanted.over(np.asarray(value))) if wanted is not None and counts else None
        if self._plan is None:
            return _record(entry, value), None, None
        if wanted is None or wanted.shape != value.shape:
            return _record(entry, value), _record(entry, value), None
        start = wanted.over(np.asarray(value))
        return _record(entry, start), _record(entry, value), start

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
        try:
            wanted = row_signatures(plan.batch(step))
        except TfdiffError:  # this step's batch is built otherwise
            self._equal.append(False)
            return
        used: list[Array] = []
        for record in records:
            value = record.value
            if record.site.role != "input" or not value.ndim or len(value) != len(wanted):
                continue
            if feed_key(record.site) in plan.carried:
                continue
            if not any(np.array_equal(value, other) for other in used):  # some scripts hand an array over twice
                used.append(value)
        self._equal.append(bool(used) and np.array_equal(np.sort(row_signatures(used)), np.sort(wanted)))

    def verdict(self) -> dict[str, bool]:
        """What turned out to be shared."""
        if self._plan is None or not self._plan.inputs:
            return {"batches": False}
        return {"batches": bool(self._equal) and all(self._equal)}

    def unequal(self) -> str | None:
        """What is to be said of batches that should have been the reference's and were not."""
        wrong = [step for step, equal in enumerate(self._equal) if not equal]
        if self._plan is None or not self._plan.feeds or not wrong:
            return None
        return f"{len(wrong)} of the {len(self._equal)} steps with a batch take it from a place of their own"

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
        rule = self._plan.feeds_at.get(step, self._plan.feeds).get(key) if self._plan is not None else None
        if self._plan is not None and self._plan.forward_only:
            upcoming = self._plan.passes.get(key, [])[self._fed[key] :]
            self._fed[key] += 1
            step, rule = upcoming[0] if upcoming else (step, None)
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

    def next_draw(
        self, key: NoiseKey, number: int | None = None, outside: int | None = None
    ) -> tuple[Array, tuple[int, ...] | None] | None:
        """The reference's draw for the next execution of this place, and how its axes turn; None to leave it.

        `number`: which draw of the running function it is, where that is known better than by the order of execution;
        `outside`: which of the whole run, where others come in between (an evaluation samples as training does).
        """
        if self._plan is None or key not in self._plan.draws:
            return None
        place = self._executed[key] if number is None else self._before[key] + number
        place = place if outside is None else outside
        self._executed[key] += 1
        sequence = self._plan.draws[key]
        found = sequence[place] if place < len(sequence) else None
        if found is None:
            return None
        step, index, permutation = found
        value = self._plan.reference.step(step).array(index)
        return (mirrored(value) if key in self._plan.mirrored else value), permutation

    def noise(self, key: NoiseKey, own: Array, number: int | None = None, outside: int | None = None) -> Array | None:
        """The same in the shape and dtype of `own`."""
        draw = self.next_draw(key, number, outside)
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
