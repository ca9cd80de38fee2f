"""Gradients of weights in an isolated pass: this run's own are recorded, the reference's go on to its update."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tfdiff.orders import FORCED, gradient_of
from tfdiff.recorder.recording import safe
from tfdiff.recorder.stream import Code, OpEvent
from tfdiff.recorder.taps import replace_beside, replace_in_graph

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tfdiff.recorder.graphs import Program
    from tfdiff.recorder.joints import Joints
    from tfdiff.recorder.recording import Recording

    Array = np.ndarray[Any, Any]
    Dense = Callable[[Any], Array | None]
    """The reference's gradient in a dtype, None where this run's own stays."""


class Handing:
    """Hands the reference's gradients on."""

    def __init__(self, recording: Recording, joints: Joints) -> None:
        self.recording = recording
        self._joints = joints

    @safe
    def on(self, sources: Sequence[Any], gradients: Sequence[Any], graph: Any) -> list[Any] | None:
        """What a gradient call gives back instead; None for all of its own."""
        isolating = self.recording.isolating
        if isolating is None:
            return None
        code = self.recording.context.code(self.recording.frames.here())
        found = list(gradients)
        for number, (source, gradient) in enumerate(zip(sources, gradients, strict=True)):
            entry = self.recording.variables.of(source)
            if entry is None or gradient is None:
                continue
            if not isolating.hands(entry.index, rows=hasattr(gradient, "indices")):
                continue
            with self.recording.quiet():
                if graph is None:
                    found[number] = self._eagerly(entry.index, gradient, code)
                else:
                    found[number] = self._in_graph(entry.index, gradient, graph, code)
        return found

    def _eagerly(self, index: int, gradient: Any, code: Code) -> Any:
        import tensorflow as tf

        isolating, step = self.recording.isolating, self.recording.builder.begun - 1
        dense = None if isolating is None else isolating.weight_gradient(index, step, _dtype(gradient))
        if dense is None:
            return gradient
        if not hasattr(gradient, "indices"):
            other = tf.constant(dense, gradient.dtype)
            self.recording.builder.add(OpEvent(FORCED, code, [gradient._id], [other._id], [other]))
            return other
        indices = gradient.indices
        rows = rows_of(dense, gradient.values.numpy(), indices.numpy())
        if rows is None:  # the reference's has others; in eager code their number is free
            indices = tf.constant(np.flatnonzero(dense.any(axis=tuple(range(1, dense.ndim)))), indices.dtype)
            rows = dense[indices.numpy()]
        values = tf.constant(rows, gradient.values.dtype)
        inputs = [gradient.values._id, gradient.indices._id]
        self.recording.builder.add(OpEvent(FORCED, code, inputs, [values._id], [values]))
        return tf.IndexedSlices(values, indices, gradient.dense_shape)

    def _in_graph(self, index: int, gradient: Any, graph: Any, code: Code) -> Any:
        import tensorflow as tf

        program = self.recording.programs.of(graph)
        at = len(program.items)

        def dense(dtype: Any) -> Array | None:
            step, isolating = self._step_of(program, at), self.recording.isolating
            return None if step is None or isolating is None else isolating.weight_gradient(index, step, dtype)

        return self.replaced(index, gradient, dense, code, tf)

    def replaced(self, index: int, gradient: Any, dense: Dense, code: Code, tf: Any) -> Any:
        """A gradient in a graph with a host function behind it that hands on `dense`."""

        def host(own: Array) -> Array:
            found = dense(own.dtype) if self.recording.training_call else None
            return own if found is None or found.shape != own.shape else found

        def host_rows(own: Array, indices: Array) -> Array:
            found = dense(own.dtype) if self.recording.training_call else None
            rows = None if found is None else rows_of(found, own, indices)
            if found is not None and rows is None:
                self._leave_rows(index)
            return own if rows is None else rows

        if hasattr(gradient, "indices"):
            values = replace_beside(gradient.values, gradient.indices, host_rows)
            self._joints.note(gradient.values, values, code)
            return tf.IndexedSlices(values, gradient.indices, gradient.dense_shape)
        other = replace_in_graph(gradient, host)
        self._joints.note(gradient, other, code)
        return other

    def _step_of(self, program: Program, at: int) -> int | None:
        """The step whose gradient call this is; None where the call makes several and it is not seen which."""
        recording = self.recording
        if recording.passes <= 1:
            return recording.builder.begun
        if recording.outermost is not program:
            return None
        return recording.builder.begun + recording.programs.passes(program, at) - 1

    def _leave_rows(self, index: int) -> None:
        if self.recording.isolating is not None:
            name = self.recording.variables.entries[index].name
            why = "the reference's has other rows than are looked up here"
            self.recording.isolating.leave(gradient_of(name), why)


def rows_of(dense: Array, own: Array, indices: Array) -> Array | None:
    """A dense gradient as rows at `indices` that add up to it: the script's `own` ones in proportion, for not all
    optimizers add up repeated rows; where these add up to something quite different, all of it the first time.

    None where it has other rows that are not zero.
    """
    flat = indices.reshape(-1)
    rows = np.zeros((flat.size, *dense.shape[1:]), own.dtype)
    first = np.unique(flat, return_index=True)[1]
    rows[first] = dense[flat[first]]
    rest = np.ones(len(dense), bool)
    rest[flat] = False
    if np.any(dense[rest]):
        return None
    mine = own.reshape(rows.shape)
    total = np.zeros(dense.shape, np.float64)
    np.add.at(total, flat, mine)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = (dense / total)[flat]
    near = np.abs(np.log2(np.where(ratio > 0.0, ratio, np.inf))) < 1.0
    return np.where(near, mine * np.where(near, ratio, 0.0), rows).astype(own.dtype).reshape(own.shape)


def _dtype(gradient: Any) -> Any:
    return (gradient.values if hasattr(gradient, "values") else gradient).dtype.as_numpy_dtype
