"""The variables of a session: read and written in runs of their own, with ops that the script's graph has anyway."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tfdiff.recorder.stream import Token
    from tfdiff.recorder.variables import Entry, Variables

    Array = np.ndarray[Any, Any]
    RawRun = Callable[[list[Any], list[Any], dict[Any, Any]], list[Any]]
    """Targets, fetches, feeds (by `tensor.ref()`) -> values: TensorFlow's own run, not recorded."""


def reading(variable: Any) -> Any:
    """The tensor to fetch for a variable's value."""
    tensor = getattr(variable, "_graph_element", None)
    return tensor if tensor is not None else variable._as_graph_element()


class SessionVariables:
    """Reads and writes variables of one graph through a session."""

    def __init__(self, variables: Variables, graph: Any, run: RawRun) -> None:
        self._variables = variables
        self._graph = graph
        self._run = run

    def entries(self) -> list[tuple[Entry, Any]]:
        """The variables of this graph that still exist."""
        return [(entry, v) for entry, v in self._variables.alive() if entry.graph is self._graph]

    def values(self, tokens: Iterable[Token]) -> dict[Token, Array]:
        """The present value by handle; variables that are not initialized are left out."""
        found: dict[Token, Any] = {}
        for token in tokens:
            entry = self._variables.by_handle(token)
            variable = entry.variable() if entry is not None else None
            if variable is not None and token not in found:
                found[token] = reading(variable)
        return self._read(found)

    def _read(self, tensors: dict[Token, Any]) -> dict[Token, Array]:
        import tensorflow as tf

        if not tensors:
            return {}
        try:
            values = self._run([], list(tensors.values()), {})
            return {token: np.array(value) for token, value in zip(tensors, values, strict=True)}
        except tf.errors.FailedPreconditionError:  # one of them is not initialized: one by one, without it
            if len(tensors) == 1:
                return {}
            single = [self._read({token: tensor}) for token, tensor in tensors.items()]
            return {token: value for read in single for token, value in read.items()}

    def write(self, variable: Any, value: Array) -> None:
        """Give a variable another value, through its own initializer."""
        initializer = variable.initializer
        self._run([initializer], [], {initializer.inputs[1].ref(): value})
