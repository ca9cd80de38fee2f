"""What a run is fed: the script's arrays, or the reference's batch and noise in their place."""

from __future__ import annotations

import weakref
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from tfdiff.pairing.noise import convert_draw, draw_target
from tfdiff.recorder.session.closure import is_fixed
from tfdiff.recorder.session.replay import SOURCES, Feed
from tfdiff.recorder.share import OUTSIDE
from tfdiff.recorder.stream import LEAF, NEXT_OPS, RANDOM_OPS
from tfdiff.recorder.tensors import is_numeric

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tfdiff.recorder.recording import Recording
    from tfdiff.recorder.session.building import Building
    from tfdiff.recorder.session.planning import RunPlan
    from tfdiff.recorder.session.variables import RawRun
    from tfdiff.recorder.share import FeedKey, NoiseKey
    from tfdiff.recorder.stream import Token


@dataclass(slots=True)
class Fed:
    """All that goes into one run."""

    feeds: dict[Any, Any]
    """Everything to feed, by `tensor.ref()`."""
    script: list[Feed] = field(default_factory=list)
    """What the script itself feeds, as it goes in."""
    own: dict[Token, Any] = field(default_factory=dict)
    """What ops inside the graph (a dataset's next batch) gave before sharing replaced it."""
    numbers: dict[str, int] = field(default_factory=dict)
    """Number of each op that hands out a batch, by its name."""
    rows_stay: bool = False
    """Whether the batch is left as it is."""
    draws: dict[str, int] = field(default_factory=dict)
    """Of an evaluation: how often the place of each random op has drawn before in the run, by the op's name."""

    @property
    def tokens(self) -> set[Token]:
        """The tensors that are fed."""
        return {key.deref()._id for key in self.feeds}


class Feeding:
    """Decides what is fed."""

    def __init__(self, recording: Recording, building: Building) -> None:
        self.recording = recording
        self._building = building
        self._drawn: Counter[NoiseKey] = Counter()
        self._carried: dict[int, weakref.ref[Any]] = {}

    def feed(self, plan: RunPlan, dead: set[Token], raw: RawRun, feeds: Any) -> Fed:
        """What goes into a run for which the script feeds `feeds`."""
        fed = Fed(dict(feeds), numbers=self._numbers(plan), draws=self._draws(plan, dead))
        if self._shares(plan) and self.recording.share.active:
            fed.rows_stay = self._has_text(plan, dead, feeds) or self._uneven(feeds)
        for number, (key, value) in enumerate(feeds.items()):
            fed.script.append(self._feed(key.deref(), value, number, plan, fed))
        if self._shares(plan) and self.recording.share.active:
            if not fed.rows_stay:
                self._share_sources(plan, dead, raw, feeds, fed)
            self._share_noise(plan, dead, fed)
        return fed

    def _has_text(self, plan: RunPlan, dead: set[Token], feeds: Any) -> bool:
        """Whether texts are part of the batch: they are not recorded, and the rest must not go with other texts."""
        executed = {op.name for op in plan.execution.ops}
        handed = [t for op in plan.execution.ops if op.type in NEXT_OPS for t in op.outputs if t._id not in dead]
        texts = [t for t in handed if t.dtype.name == "string" and any(op.name in executed for op in t.consumers())]
        texts += [key.deref() for key, value in feeds.items() if key.deref().dtype.name == "string" and np.ndim(value)]
        if texts:
            why = f"texts are part of them ({self.recording.frames.here().called}), which are not recorded"
            self.recording.output.not_shared("batches", why)
        return bool(texts)

    def _uneven(self, feeds: Any) -> bool:
        """Whether what is shared has not the same number of rows: the script's own run shall fail as it does."""
        place = self.recording.frames.here().called
        keys = [(LEAF, place, number, True, 0) for number in range(len(feeds))]
        shared = [
            np.shape(v) for key, v in zip(keys, feeds.values(), strict=True) if self.recording.share.has_rule(key)
        ]
        return len({shape[:1] for shape in shared}) > 1

    def _shares(self, plan: RunPlan) -> bool:
        """Whether batches and noise are the reference's: in a step, or in a pass where nothing trains."""
        return plan.kind == "train" or (plan.kind == "evaluate" and self.recording.share.forward_only)

    def _numbers(self, plan: RunPlan) -> dict[str, int]:
        """Number of each op that hands out a batch: within a step, or of a place that feeds evaluations in all."""
        sources = [op for op in plan.execution.ops if op.type in SOURCES and not is_fixed(op)]
        if plan.kind == "train":
            return {op.name: number for number, op in enumerate(sources)}
        count = self.recording.builder.occurrence
        return {op.name: count((op.type, self._building.code(op).called, False)) for op in sources}

    def _draws(self, plan: RunPlan, dead: set[Token]) -> dict[str, int]:
        found = {}
        for op in plan.execution.ops if plan.kind == "evaluate" else ():
            if op.type in RANDOM_OPS and op.outputs[0]._id not in dead:
                code = self._building.code(op)
                key = (op.type, code.layer, code.called, code.api)
                found[op.name] = self._drawn[key]
                self._drawn[key] += 1
        return found

    def handed_out(self, values: Sequence[Any]) -> None:
        """What a training run gave back; fed to the next one it is a state that is carried on, no part of a batch."""
        arrays = [value for value in values if isinstance(value, np.ndarray) and value.ndim]
        self._carried = {id(value): weakref.ref(value) for value in arrays}

    def _is_carried(self, value: Any) -> bool:
        known = self._carried.get(id(value))
        return known is not None and known() is value

    def _feed(self, tensor: Any, value: Any, number: int, plan: RunPlan, fed: Fed) -> Feed:
        """A tensor the script feeds, with the reference's rows in it where they are fed."""
        attrs: dict[str, Any] = {}
        own = None
        if isinstance(value, np.ndarray) and value.ndim and is_numeric(tensor):
            place, taped = self.recording.frames.here().called, plan.kind == "train"
            if not taped:
                number = self.recording.builder.occurrence((LEAF, place, False))
            attrs = {"feed": number, "taped": taped, "made": place}
            if self._is_carried(value):
                attrs["carried"] = True
            elif self._shares(plan) and not fed.rows_stay:
                self.recording.rows.slice(value, place)
                fixed = _fixed_rows(tensor)
                key, step = (LEAF, place, number, taped, 0), self.recording.builder.begun
                found = self.recording.share.feed(key, value, step, fixed=fixed)
                if found is not None:
                    fed.feeds[tensor.ref()] = found
                    value, own = found, value
        return Feed(tensor._id, value, attrs, own)

    def _share_sources(self, plan: RunPlan, dead: set[Token], raw: RawRun, feeds: Any, fed: Fed) -> None:
        """Take the next batch of a dataset in a run before, and feed the reference's in its place."""
        for op in (op for op in plan.execution.ops if op.name in fed.numbers):
            keys = [self._key(op, index, plan, fed) for index in range(len(op.outputs))]
            if op.outputs[0]._id in dead or not any(self.recording.share.has_rule(key) for key in keys):
                continue
            if not all(is_numeric(t) or t.dtype.name == "string" for t in op.outputs):
                continue
            values = raw([], list(op.outputs), feeds)
            for index, (tensor, own) in enumerate(zip(op.outputs, values, strict=True)):
                key, step = keys[index], self.recording.builder.begun
                fixed = _fixed_rows(tensor)
                found = self.recording.share.feed(key, own, step, fixed=fixed) if is_numeric(tensor) else None
                fed.feeds[tensor.ref()] = own if found is None else found
                if found is not None:
                    fed.own[tensor._id] = own

    def _key(self, op: Any, index: int, plan: RunPlan, fed: Fed) -> FeedKey:
        return (op.type, self._building.code(op).called, fed.numbers[op.name], plan.kind == "train", index)

    def _share_noise(self, plan: RunPlan, dead: set[Token], fed: Fed) -> None:
        for op in plan.execution.ops:
            if op.type not in RANDOM_OPS or op.name in plan.execution.looping or op.outputs[0]._id in dead:
                continue
            code = self._building.code(op)
            key: NoiseKey = (op.type, code.layer, code.called, code.api)
            if plan.kind == "train":
                draw = self.recording.share.next_draw(key)
            else:
                draw = self.recording.share.next_draw((*key, OUTSIDE), outside=fed.draws.get(op.name))
            if draw is None or op.outputs[0]._id in plan.execution.fed:
                continue
            static = op.outputs[0].shape.as_list() if op.outputs[0].shape.rank is not None else None
            shape = draw_target(*draw, static)
            if shape is not None:
                dtype = op.outputs[0].dtype.as_numpy_dtype
                fed.feeds[op.outputs[0].ref()] = convert_draw(*draw, shape).astype(dtype)

    # -- after -----------------------------------------------------------------------------------------------------


def _fixed_rows(tensor: Any) -> bool:
    """Whether the graph relies on the tensor's number of rows; extents of TensorFlow 1 are objects, never None."""
    return bool(tensor.shape.rank) and tensor.shape.as_list()[0] is not None
