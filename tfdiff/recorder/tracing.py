"""Ops that are added to a graph while TensorFlow traces a function."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tfdiff.recorder import attributes
from tfdiff.recorder.hosted import Hosted
from tfdiff.recorder.items import GraphAlias, GraphCall, GraphOp
from tfdiff.recorder.recording import safe
from tfdiff.recorder.selections import SELECTIONS
from tfdiff.recorder.stream import (
    ALIAS_OPS,
    CONTROL_OPS,
    NEXT_OPS,
    RANDOM_OPS,
    READ_OP,
    SKIPPED_OPS,
    Code,
    is_update,
)
from tfdiff.recorder.taps import is_closed_branch
from tfdiff.recorder.tensors import depends_on_variable, is_handle, is_numeric, static_value

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tfdiff.recorder.joints import Joints
    from tfdiff.recorder.recording import Recording

_LOOP_CONDITION = "WhileCondFuncGraph"
"""Compares loop counters; TensorFlow lets it capture nothing, not even our queues."""


class Tracing:
    """Notes traced ops in the programs of their graphs, and taps them."""

    def __init__(self, recording: Recording, joints: Joints) -> None:
        self.recording = recording
        self._joints = joints
        self._dataset_graphs: dict[int, bool] = {}
        self._hosted = Hosted(recording)

    @safe
    def op(self, op_type: str, inputs: Sequence[Any], attrs: Any, outputs: Sequence[Any], name: str, graph: Any) -> Any:
        """An op was added to a graph; a returned list replaces its outputs."""
        if op_type in SKIPPED_OPS or self._is_dataset_graph(graph) or type(graph).__name__ == _LOOP_CONDITION:
            return None
        program = self.recording.programs.of(graph)
        ids = [t._id for t in inputs]
        dependent = depends_on_variable(op_type, inputs, program)
        if dependent:
            program.dependent.update(t._id for t in outputs)
        if op_type in CONTROL_OPS:
            program.items.append(GraphCall(None, ids, [t._id for t in outputs], graph.get_operation_by_name(name)))
            return None
        if op_type in ALIAS_OPS and inputs and outputs:
            program.items += [GraphAlias(output._id, token) for output, token in zip(outputs, ids, strict=False)]
            return None
        call = self.recording.frames.here()
        code = self.recording.context.code(call)
        with self.recording.quiet():
            item, replaced = self._tap(op_type, code, inputs, attrs, list(outputs), graph)
            if is_update(op_type):
                # functions in a graph of TensorFlow 1 keep no order of their own between writing and reading
                with graph.control_dependencies([graph.get_operation_by_name(name)]):
                    item.after_tags = {t._id: self._tap_after(t) for t in inputs if is_handle(t)}
        self.recording.mark_boundary(item, call)
        program.items.append(item)
        program.makers.update((token, item) for token in item.outputs)
        for tensor in replaced or outputs:
            program.tensors[tensor._id] = tensor
        if dependent:
            program.dependent.update(item.outputs)
        forced = self._joints.traced(item, replaced or outputs, program, graph)
        return replaced if forced is None else forced

    def _tap(
        self, op_type: str, code: Code, inputs: Sequence[Any], attrs: Any, outputs: list[Any], graph: Any
    ) -> tuple[GraphOp, list[Any] | None]:
        own_tags, replaced, feed = None, None, 0
        program = self.recording.programs.of(graph)
        if op_type == "ResourceGather":
            inputs = [self._tap_gather(inputs[0], code, program), *inputs[1:]]
        if op_type in SELECTIONS:
            feed = program.occurrence((op_type, code.called))
        if op_type in RANDOM_OPS or op_type in NEXT_OPS or op_type in SELECTIONS:
            own_tags, replaced = self._hosted.override(op_type, code, outputs, program, feed)
        tensors = replaced or outputs
        item = GraphOp(
            op_type,
            code,
            [t._id for t in inputs],
            [t._id for t in tensors],
            [],
            [],
            attributes.useful(attrs),
            own_tags=own_tags,
        )
        if op_type in NEXT_OPS or op_type in SELECTIONS:
            item.attrs.update(feed=feed, taped=bool(self.recording.tapes))
        from_shapes = attributes.is_shape_arithmetic(op_type, inputs, program.shapes)
        closed = is_closed_branch(graph)
        for tensor in tensors:
            shapes_only = from_shapes and not tensor.dtype.is_floating
            if shapes_only:
                program.shapes.add(tensor._id)
            static = static_value(op_type, tensor)
            tapped = static is None and not shapes_only and is_numeric(tensor) and not closed
            item.tags.append(self.recording.taps.emit(tensor) if tapped else None)
            item.statics.append(static)
        return item, replaced

    def _tap_gather(self, handle: Any, code: Code, program: Any) -> Any:
        """Read the table that is gathered from, so that it has its place in the dataflow; returns what was read."""
        value = self._read_handle(handle)
        if value is None:
            return handle
        tag = self.recording.taps.emit(value)
        program.items.append(GraphOp(READ_OP, code, [handle._id], [value._id], [tag], [None]))
        program.dependent.add(value._id)
        return value

    def _tap_after(self, handle: Any) -> int | None:
        value = self._read_handle(handle)
        return self.recording.taps.emit(value) if value is not None and value.dtype.is_floating else None

    def _read_handle(self, handle: Any) -> Any:
        from tensorflow.python.ops import gen_resource_variable_ops, handle_data_util

        data = handle_data_util.get_resource_handle_data(handle)
        if not data.is_set or not data.shape_and_type:
            return None
        return gen_resource_variable_ops.read_variable_op(handle, data.shape_and_type[0].dtype)

    def _is_dataset_graph(self, graph: Any) -> bool:
        """Functions of tf.data run in its own threads and may not be tapped."""
        known = self._dataset_graphs.get(id(graph))
        if known is None:
            known = self._dataset_graphs[id(graph)] = attributes.under_dataset()
            self.recording.programs.of(graph)  # keeps the graph, and so its id, alive
        return known

    @safe
    def call(self, name: str, arguments: Sequence[Any], results: Sequence[Any], graph: Any) -> None:
        """A compiled function was called while another graph is traced."""
        op = results[0].op if results else None
        program = self.recording.programs.of(graph)
        program.items.append(GraphCall(name, [t._id for t in arguments], [t._id for t in results], op))
        if depends_on_variable("", arguments, program):
            program.dependent.update(t._id for t in results)
