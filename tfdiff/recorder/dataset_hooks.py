"""Data sets: the arrays they are made from, and maps on the way into the step that draw random numbers."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tfdiff.recorder.patching import Patches
    from tfdiff.recorder.recording import Recording

NAME = "Dataset.map"
RANDOM = re.compile(r"Random|Truncated|Multinomial|StatefulUniform|StatefulStandard|SampleDistorted|^(Eager)?PyFunc")
"""Ops that draw, and Python functions, which may."""
SHUFFLING = re.compile(r"RandomShuffle|Dataset|SeedGenerator|RandomGetKey")


def install(recording: Recording, patches: Patches) -> None:
    """Hook into `from_tensor_slices` and `map`."""
    from tensorflow.python.data.ops import dataset_ops

    def make_slices(original: Callable[..., Any]) -> Callable[..., Any]:
        def from_tensor_slices(tensors: Any, *args: Any, **kwargs: Any) -> Any:
            if recording.active:
                import tensorflow as tf

                recording.rows.add("dataset", recording.frames.here().called, _leaves(tf.nest.flatten(tensors)))
            return original(tensors, *args, **kwargs)

        return from_tensor_slices

    def make_map(original: Callable[..., Any]) -> Callable[..., Any]:
        def map_(self: Any, *args: Any, **kwargs: Any) -> Any:
            mapped = original(self, *args, **kwargs)
            if recording.active:
                drawing = sorted(set(filter(_draws, _ops(mapped))))
                if drawing:
                    recording.rows.drawing(NAME, recording.frames.here().called, drawing)
            return mapped

        return map_

    patches.wrap(dataset_ops.DatasetV2, "from_tensor_slices", make_slices)
    patches.wrap(dataset_ops.DatasetV2, "map", make_map)


def _draws(op: str) -> bool:
    return RANDOM.search(op) is not None and SHUFFLING.search(op) is None


def _ops(mapped: Any) -> Iterator[str]:
    """The types of all ops of a map, those of the functions that it calls included; none where it shows no graph."""
    function = getattr(getattr(mapped, "_map_func", None), "function", None)
    graph = getattr(function, "graph", None)
    if graph is None:
        return
    definition = graph.as_graph_def()
    for node in definition.node:
        yield node.op
    for inner in definition.library.function:
        for node in inner.node_def:
            yield node.op


def _leaves(leaves: Sequence[Any]) -> list[Any]:
    """Arrays only; a symbolic tensor (from_tensor_slices inside a dataset's own function) has no rows to see."""
    arrays = [leaf.numpy() if hasattr(leaf, "numpy") else leaf for leaf in leaves]
    return [array for array in arrays if isinstance(array, np.ndarray)]
