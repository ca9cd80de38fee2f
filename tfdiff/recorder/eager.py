"""Ops that run eagerly, and NumPy arrays that become tensors."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from tfdiff.recorder import attributes
from tfdiff.recorder.recording import safe
from tfdiff.recorder.selections import SELECTIONS
from tfdiff.recorder.share import OUTSIDE
from tfdiff.recorder.stream import (
    ALIAS_OPS,
    LEAF,
    NEXT_OPS,
    RANDOM_OPS,
    READ_OP,
    SKIPPED_OPS,
    Code,
    OpEvent,
    Token,
    is_update,
)
from tfdiff.recorder.tensors import is_handle, is_numeric

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np

    from tfdiff.recorder.joints import Joints
    from tfdiff.recorder.recording import Recording
    from tfdiff.recorder.share import NoiseKey


_NO_STEP = -1
"""Number of a batch that is no training step's; no rule has it."""


class Eager:
    """Turns what TensorFlow reports of eager ops into events."""

    def __init__(self, recording: Recording, joints: Joints) -> None:
        self.recording = recording
        self._joints = joints
        self._feeds: dict[Token, tuple[dict[str, Any], np.ndarray[Any, Any] | None]] = {}
        """Tensors made from NumPy arrays: what tells them from others, and own value if replaced."""
        self._drawn: Counter[NoiseKey] = Counter()
        self._draw = 0
        """Number of the present draw among those of its place outside every tape."""
        self._op_arguments: list[tuple[tuple[int, ...], Callable[[Any], None]]] = []

    @safe
    def op(self, op_type: str, inputs: Sequence[Any], attrs: Any, outputs: list[Any]) -> None:
        """An op has run; `outputs` may be changed in place."""
        if op_type.startswith("__") or op_type in SKIPPED_OPS:
            return  # functions are replayed from their graphs
        if op_type in ALIAS_OPS and inputs and outputs:
            for output, tensor in zip(outputs, inputs, strict=False):
                self.recording.builder.known.alias(output._id, tensor._id)
            return
        call = self.recording.frames.here()
        code = self.recording.context.code(call)
        self.leaves(inputs, code, op_type)
        self._op_arguments.clear()
        tokens = [t._id for t in inputs]
        if op_type == "ResourceGather":
            tokens[0] = self._read_before_gather(inputs[0], code)
        own = self._before(op_type, code, inputs, outputs, attrs)
        event = OpEvent(
            op_type,
            code,
            tokens,
            [t._id for t in outputs],
            list(outputs),
            attributes.useful(attrs),
            taped=bool(self.recording.tapes),
            own=own,
        )
        self._note_place(event)
        if is_update(op_type):
            event.after = {t._id: self._value_of(t) for t in inputs if is_handle(t)}
        self.recording.mark_boundary(event, call)
        self.recording.builder.add(event)
        self._joints.eager(event, outputs)

    def _before(
        self, op_type: str, code: Code, inputs: Sequence[Any], outputs: list[Any], attrs: Any
    ) -> list[Any] | None:
        """Make the start, the noise and the batch equal where they are to be; returns the op's own outputs if so."""
        if op_type in RANDOM_OPS and not self.recording.tapes:
            key = self._noise_key(op_type, code)
            self._draw = self._drawn[key]
            self._drawn[key] += 1
        if op_type == READ_OP and not self.recording.started and self.recording.share.starts_at(code.called):
            self.recording.start()  # nothing trains: the start is made equal when the first forward pass begins
            value = self._value_of(inputs[0])
            outputs[0] = outputs[0] if value is None else value
        return self._replace(op_type, code, outputs, attrs)

    def _note_place(self, event: OpEvent) -> None:
        """What tells this batch, draw or read from others of its line."""
        taped = bool(self.recording.tapes)
        if event.type in NEXT_OPS or event.type in SELECTIONS:
            event.attrs.update(feed=self._occurrence(event.type, event.code.called), taped=taped)
        if event.type in RANDOM_OPS and not taped:
            event.attrs.update(taped=False, draw=self._draw)
        if event.type == READ_OP and not taped:
            event.stack = self.recording.frames.stack()

    def leaves(self, inputs: Sequence[Any], code: Code, op_type: str = "") -> None:
        """Note tensors that come from outside (arrays, constants) when they are first used."""
        for position, tensor in enumerate(inputs):
            if not hasattr(tensor, "_id") or self.recording.builder.known.has(tensor._id) or not is_numeric(tensor):
                continue
            attrs: dict[str, Any] = {}
            own = None
            self._claim(tensor)
            if tensor._id in self._feeds and not attributes.is_setting(op_type, position):
                attrs, replaced = self._feeds[tensor._id]
                own = [replaced] if replaced is not None else None
            self.recording.builder.add(
                OpEvent(LEAF, code, [], [tensor._id], [tensor], attrs, taped=bool(self.recording.tapes), own=own)
            )

    def _claim(self, tensor: Any) -> None:
        """The tensor TensorFlow made of a NumPy argument of this op, known by its shape."""
        for place, (shape, note) in enumerate(self._op_arguments):
            if tensor._id not in self._feeds and tuple(tensor.shape) == shape:
                note(tensor)
                del self._op_arguments[place]
                return

    def _read_before_gather(self, handle: Any, code: Code) -> Token:
        """Read the table that is gathered from, so that it has its place in the dataflow; returns the read's token."""
        value = self._value_of(handle)
        if value is None:
            return int(handle._id)
        self.recording.builder.add(OpEvent(READ_OP, code, [handle._id], [value._id], [value]))
        return int(value._id)

    def _value_of(self, handle: Any) -> Any:
        entry = self.recording.variables.by_handle(handle._id)
        variable = entry.variable() if entry is not None else None
        if variable is None:
            return None
        with self.recording.quiet():
            return variable.read_value()

    def _replace(self, op_type: str, code: Code, outputs: list[Any], attrs: Any) -> list[Any] | None:
        """Write the reference's noise or batch over what an eager op drew; returns its own outputs if so."""
        if not self.recording.share.active or not (
            op_type in RANDOM_OPS or op_type in NEXT_OPS or op_type in SELECTIONS
        ):
            return None
        if self.recording.evaluating and not self.recording.share.forward_only:
            return None
        own = list(outputs)
        feed = self._occurrence(op_type, code.called, "share") if op_type not in RANDOM_OPS else 0
        for index, tensor in enumerate(own):
            if not is_numeric(tensor):
                continue
            if op_type in RANDOM_OPS:
                outside = None if self.recording.tapes else self._draw
                value = self.recording.share.noise(self._noise_key(op_type, code), tensor.numpy(), outside=outside)
            else:
                key = (op_type, code.called, feed, bool(self.recording.tapes), index)
                if not self.recording.share.has_rule(key):
                    continue
                fixed, step = attributes.fixed_rows(attrs, index), self.recording.builder.begun
                value = self.recording.share.feed(key, tensor.numpy(), step, fixed=fixed)
            if value is not None:
                with self.recording.quiet():
                    import tensorflow as tf

                    outputs[index] = tf.constant(value, tensor.dtype)
        return own if any(a is not b for a, b in zip(own, outputs, strict=True)) else None

    def _occurrence(self, *place: str | None) -> int:
        """How often this place has fed a batch since the last step; an evaluation's never count."""
        if self.recording.evaluating:
            return _NO_STEP
        return self.recording.builder.occurrence((*place, bool(self.recording.tapes)))

    def _noise_key(self, op_type: str, code: Code) -> NoiseKey:
        key: NoiseKey = (op_type, code.layer, code.called, code.api)
        return key if self.recording.tapes else (*key, OUTSIDE)

    @safe
    def array(self, value: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any], Callable[[Any], None]]:
        """A NumPy array becomes a tensor: what to take instead, and whom to tell of the tensor."""
        place = self.recording.frames.here().called
        self.recording.rows.slice(value, place)
        occurrence = self._occurrence(LEAF, place)
        taped = bool(self.recording.tapes)
        found = self.recording.share.feed((LEAF, place, occurrence, taped, 0), value, self.recording.builder.begun)

        def note(tensor: Any) -> None:
            self._feeds[tensor._id] = (
                {"feed": occurrence, "taped": taped, "made": place},
                None if found is None else value,
            )

        return (value if found is None else found), note

    @safe
    def op_argument(self, value: np.ndarray[Any, Any]) -> Any:
        """A NumPy array was handed to an op itself: what to hand over instead."""
        found = self.array(value)
        if found is None:
            return None
        replaced, note = found
        self._op_arguments.append((value.shape, note))
        return replaced
