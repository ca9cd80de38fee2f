"""Every `tf.Variable` of the run: order of creation, name, kind; found again by its resource handle."""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tfdiff.model import Variable
from tfdiff.recorder.tensors import handle_of, handle_token

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tfdiff.recorder.stream import Token

_FIRM = ("weight", "hyper", "seed", "metric")


@dataclass(slots=True)
class Entry:
    """One variable; the object itself belongs to the user and is only referred to weakly."""

    index: int
    variable: weakref.ref[Any]
    name: str
    shape: tuple[int, ...]
    dtype: str
    trainable: bool
    layer: str | None
    source: str | None
    kind: str = "other"
    keras: weakref.ref[Any] | None = None
    token: Token = 0
    """Of its handle."""
    graph: Any = None
    """The graph of TensorFlow 1 it belongs to; None for an eager one."""
    noted: bool = False
    """Whether its initial value has been noted."""

    def describe(self) -> Variable:
        """As the trace has it."""
        keras = self.keras() if self.keras is not None else None
        name = str(getattr(keras, "path", None) or self.name)
        layer = name.rpartition("/")[0] if keras is not None and "/" in name else self.layer
        return Variable(self.index, name, self.shape, self.dtype, self.trainable, self.kind, layer or None, self.source)


def _graph_of(handle: Any) -> Any:
    """The graph of TensorFlow 1 that a handle belongs to, None for an eager one or one inside a function."""
    if handle is None or hasattr(handle, "numpy"):
        return None
    graph = getattr(handle, "graph", None)
    return None if hasattr(graph, "captures") else graph


class Variables:
    """The variables of one recording."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self._handles: dict[Token, Entry] = {}
        self._objects: dict[int, Entry] = {}
        self._owned: set[int] = set()

    def register(self, variable: Any, layer: str | None, source: str | None) -> Entry | None:
        """Note a variable that was just created; None for one without an eager handle."""
        handle = handle_of(variable)
        graph = _graph_of(handle)
        if handle is None or not hasattr(handle, "_id") or (graph is None and not hasattr(handle, "numpy")):
            return None
        if handle._id in self._handles:  # what an assign returns: another object for the same variable
            return None
        shape = (
            tuple(int(n) if n is not None else -1 for n in variable.shape) if variable.shape.rank is not None else ()
        )
        entry = Entry(
            len(self.entries),
            weakref.ref(variable),
            str(variable.name).removesuffix(":0"),
            shape,
            variable.dtype.base_dtype.name,
            bool(variable.trainable),
            layer,
            source,
        )
        if graph is not None and any(v is variable for v in graph.get_collection("metric_variables")):
            entry.kind = "metric"
        elif not entry.dtype.startswith(("float", "bfloat")):
            entry.kind = "seed" if "seed_generator" in entry.name else "other"
        entry.token, entry.graph = handle._id, graph
        self.entries.append(entry)
        self._handles[handle._id] = entry
        self._objects[id(variable)] = entry
        return entry

    def attach_keras(self, variable: Any, keras_variable: Any) -> None:
        """Note the Keras variable that wraps a `tf.Variable`; it knows the path."""
        entry = self._objects.get(id(variable))
        if entry is not None and entry.variable() is variable:
            entry.keras = weakref.ref(keras_variable)

    def declare(self, variable: Any, kind: str) -> None:
        """Set the kind of a variable whose maker says what it is."""
        entry = self.of(variable)
        if entry is not None:
            entry.kind = kind

    def own(self, variable: Any, layer: str) -> None:
        """A layer whose full path is known by now has this variable; the first one that runs wins."""
        entry = self.of(variable)
        if entry is not None and entry.index not in self._owned:
            self._owned.add(entry.index)
            entry.layer = layer

    def by_handle(self, token: Token) -> Entry | None:
        """The variable whose handle this is."""
        return self._handles.get(token)

    def of(self, variable: Any) -> Entry | None:
        """The entry of a tf.Variable or of a Keras variable around one."""
        return self._handles.get(handle_token(variable))

    def is_trainable(self, token: Token) -> bool:
        """Whether the token is the handle of a variable a gradient can be asked for."""
        entry = self._handles.get(token)
        return entry is not None and (entry.trainable or entry.kind == "weight") and self.is_float(token)

    def is_state(self, token: Token) -> bool:
        """Whether the token is the handle of a floating variable that is no weight, slot, metric or setting."""
        entry = self._handles.get(token)
        return entry is not None and self.is_float(token) and entry.kind in ("other", "state")

    def is_float(self, token: Token) -> bool:
        """Whether the token is the handle of a floating variable."""
        entry = self._handles.get(token)
        return entry is not None and entry.dtype.startswith(("float", "bfloat"))

    def is_metric(self, token: Token) -> bool:
        """Whether the token is the handle of what a metric counts in."""
        entry = self._handles.get(token)
        return entry is not None and entry.kind == "metric"

    def mark(self, token: Token, kind: str) -> None:
        """Set the kind of a variable; what is known firmly stays."""
        entry = self._handles.get(token)
        if entry is not None and (entry.kind not in _FIRM or kind == "weight"):
            entry.kind = kind

    def alive(self) -> Iterator[tuple[Entry, Any]]:
        """Entries with their variables, as far as those still exist."""
        for entry in self.entries:
            variable = entry.variable()
            if variable is not None:
                yield entry, variable

    def describe(self) -> list[Variable]:
        """All variables, as the trace has them."""
        return [entry.describe() for entry in self.entries]
