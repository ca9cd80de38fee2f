"""Follows the elements of variables through a step: which tensors are made of which columns of which weight.

From its read to the product with data a variable is followed element by element, behind it column by column, until it
is mixed with other data (gates times states) or enters the next product. Wherever the program takes a tensor apart,
the variables in it come apart as well: that is how the gates of a fused kernel are found.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from tfdiff.pairing.flow import ACTIVATIONS
from tfdiff.pairing.labels import MAX_ELEMENTS, REARRANGING, Labels, Operands, rearrange, spread
from tfdiff.pairing.products import MATRIX, Product, product_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from tfdiff.model import Variable
    from tfdiff.pairing.flow import Flow
    from tfdiff.pairing.parts import Constant

_ADD = frozenset({"AddV2", "Add", "AddN", "BiasAdd", "Sub"})
_SCALE = frozenset({"Mul", "RealDiv", "Div", "MulNoNan", "DivNoNan"})
_UNARY = frozenset({"Neg", "ClipByValue", "Minimum", "Softplus", "Log", "Square", "Sqrt", "Rsqrt", "Softsign", "Abs"})
ELEMENTWISE = _ADD | _SCALE | _UNARY | ACTIVATIONS.keys()
MAX_CUTS = 64
"""A variable that comes apart in more pieces is taken apart element by element, which says nothing of it."""


Key = tuple[int, int]
"""A variable, and which of its layers: two of its parts may stand in one tensor, added up (GRU's biases)."""
_LAYERS = 4


@dataclass
class Tagged:
    """One tensor: its labels by variable, and whether it is made of variables alone."""

    labels: dict[Key, Labels] = field(default_factory=dict)
    pure: bool = False


@dataclass(frozen=True)
class Source:
    """What some rows of a variable were multiplied with: its elements there, and the observation of the data."""

    elements: npt.NDArray[Any]
    data: int


Join = tuple[int, tuple[int, ...]]
"""The place of some columns in a tensor that is joined from several, and the widths of all of them."""


class Tags:
    """The labels of every observation of a step, and how the variables come apart."""

    def __init__(
        self, variables: Sequence[Variable], flow: Flow, shapes: Sequence[tuple[int, ...]], constant: Constant
    ) -> None:
        self.flow, self.shapes, self.constant = flow, shapes, constant
        self._extents = {v.index: v.shape for v in variables if 0 < int(np.prod(v.shape)) <= MAX_ELEMENTS}
        self._elements: dict[int, Labels] = {}
        self.classes: dict[int, npt.NDArray[np.int64]] = {}
        """By variable: which piece each element is in."""
        self.columns: dict[int, Labels] = {}
        """By variable that went through a product: the column of each element, as labels behind the product name it."""
        self.sources: dict[int, list[Source]] = {}
        """By variable: what it was multiplied with, in order of execution."""
        self.products: list[int] = []
        self.joins: dict[int, Join] = {}
        """By variable: where its columns are joined to those of others."""
        self._known_cuts: set[Any] = set()
        self._behind_known: dict[Any, Labels | None] = {}
        self.varies: list[bool] = []
        """Whether the batch goes into it: rows that it picks are those of one batch, not places of a layout."""
        self.tensors: list[Tagged] = []
        for position in range(len(flow.sites)):
            sources = [source for source in flow.inputs[position] if 0 <= source < position]
            batch = flow.sites[position].role in ("input", "own input", "noise")
            self.varies.append(batch or any(self.varies[source] for source in sources))
            self.tensors.append(self._tagged(position) if flow.live[position] else Tagged())

    def elements(self, variable: int) -> Labels:
        """Every element of a variable, numbered."""
        if variable not in self._elements:
            shape = self._extents[variable]
            self._elements[variable] = np.arange(int(np.prod(shape)), dtype=np.int32).reshape(shape)
        return self._elements[variable]

    def sources_of(self, position: int) -> list[int]:
        """The known inputs of an observation."""
        return [source for source in self.flow.inputs[position] if 0 <= source < position]

    def _tagged(self, position: int) -> Tagged:
        site = self.flow.sites[position]
        if site.role in ("weight", "state") and site.variable is not None:
            return self._read(position, site.variable)
        inputs = self.sources_of(position)
        if not any(self.tensors[source].labels for source in inputs) or site.role == "assign":
            return Tagged(pure=bool(inputs) and all(self.tensors[source].pure for source in inputs))
        if site.op in REARRANGING:
            return self._rearranged(position)
        if MATRIX.search(site.op):
            return self._product(position)
        if site.op in ELEMENTWISE or site.op in ("Select", "SelectV2"):
            return self._elementwise(position, inputs)
        return Tagged()

    def _read(self, position: int, variable: int) -> Tagged:
        if self.flow.sites[position].role == "state" and variable in self.flow.assigns:
            return Tagged()  # a state of a recurrence that outlives the batch
        known = self.shapes[position] == self._extents.get(variable)
        return Tagged({(variable, 0): self.elements(variable)} if known else {}, pure=True)

    def _rearranged(self, position: int) -> Tagged:
        site, inputs = self.flow.sites[position], self.flow.inputs[position]
        known = [source if 0 <= source < position else None for source in inputs]
        shapes = [() if source is None else self.shapes[source] for source in known]
        keys = {key for source in known if source is not None for key in self.tensors[source].labels}
        found: dict[Key, Labels] = {}
        for key in sorted(keys):
            labels = [None if s is None else self.tensors[s].labels.get(key) for s in known]
            given = Operands(
                labels,
                shapes,
                lambda n: None if known[n] is None or self.varies[known[n] or 0] else self.constant(known[n] or 0),
                site.output,
                site.attrs,
                self.shapes[position],
            )
            result = rearrange(site.op, given)
            if result is None or result.ndim != len(self.shapes[position]):
                continue
            if (result >= 0).any():
                found[key] = result
                self._cut(key[0], labels, result)
        main = [s for s in known if s is not None and self.flow.sites[s].role != "constant"]
        if site.op == "ConcatV2" and None not in known:
            self._join([source for source in known[:-1] if source is not None], position)
        return Tagged(found, pure=bool(main) and all(self.tensors[s].pure for s in main))

    def _join(self, sources: Sequence[int], position: int) -> None:
        """Note the place of every variable that stands in a concatenation with all of its columns."""
        rank = len(self.shapes[position])
        axes = [n for n in range(rank) if any(self.shapes[source][n] != self.shapes[position][n] for source in sources)]
        if len(axes) != 1 or any(self.tensors[source].pure or not self.tensors[source].labels for source in sources):
            return
        widths = tuple(self.shapes[source][axes[0]] for source in sources)
        for place, source in enumerate(sources):
            for (variable, _), labels in self.tensors[source].labels.items():
                if labels.shape[axes[0]] == labels.size == widths[place]:
                    self.joins.setdefault(variable, (place, widths))

    def _cut(self, variable: int, labels: Sequence[Labels | None], result: Labels) -> None:
        """Take the variable apart where the op left something of it out."""
        sizes = [part.size for part in labels if part is not None]
        if result.size >= max(sizes, default=0):
            return
        key = (variable, result.tobytes())
        if key in self._known_cuts:
            return
        self._known_cuts.add(key)
        everything = np.unique(np.concatenate([part.ravel() for part in labels if part is not None]))
        kept = np.unique(result)
        kept = kept[kept >= 0]
        if len(kept) < int((everything >= 0).sum()):
            column = self.columns.get(variable, self.elements(variable))
            self._refine(variable, np.isin(column, kept))

    def _refine(self, variable: int, chosen: npt.NDArray[Any]) -> None:
        classes = self.classes.get(variable)
        if classes is None:
            classes = np.zeros(self._extents[variable], np.int64)
        _, numbered = np.unique(classes * 2 + chosen, return_inverse=True)
        self.classes[variable] = numbered.reshape(classes.shape)

    def _product(self, position: int) -> Tagged:
        site, inputs = self.flow.sites[position], self.flow.inputs[position]
        pure = [n for n, source in enumerate(inputs) if 0 <= source < position and self.tensors[source].labels]
        pure = [n for n in pure if self.tensors[inputs[n]].pure]
        if len(pure) != 1 or len(inputs) < 2:
            return Tagged()
        argument = pure[0]
        matrix, data = inputs[argument], inputs[1 - argument] if argument < 2 else -1
        plan = product_of(site, argument, len(self.shapes[matrix]), len(self.shapes[position]))
        if plan is None:
            return Tagged()
        self.products.append(position)
        found = {}
        for (variable, layer), labels in self.tensors[matrix].labels.items():
            behind = self._behind_once(variable, labels, plan, len(self.shapes[position]))
            if behind is not None:
                found[variable, layer] = behind
            self._rows(variable, labels, plan, data)
        return Tagged(found)

    def _behind_once(self, variable: int, labels: Labels, plan: Product, rank: int) -> Labels | None:
        """The same product comes again in every step of a recurrence."""
        key = (variable, labels.__array_interface__["data"][0], labels.shape, labels.strides, plan, rank)
        if key not in self._behind_known:
            self._behind_known[key] = self._behind(variable, labels, plan, rank)
        return self._behind_known[key]

    def _behind(self, variable: int, labels: Labels, plan: Product, rank: int) -> Labels | None:
        """The labels of a product: of each column the first element that is the variable's."""
        turned = np.transpose(labels, (*plan.contracted, *plan.kept))
        inner = tuple(range(len(plan.contracted)))
        first = np.where(turned >= 0, turned, np.iinfo(np.int32).max).min(axis=inner)
        names = np.where(first == np.iinfo(np.int32).max, np.int32(-1), first).astype(np.int32)
        columns = self.columns.get(variable)
        if columns is None:
            columns = np.full(self._extents[variable], -1, np.int32)
        everywhere = np.broadcast_to(names, turned.shape)[turned >= 0]
        before = columns.reshape(-1)[turned[turned >= 0]]
        if (before >= 0).any() and not np.array_equal(before, everywhere):
            return None  # used in another orientation as well (a tied weight): the first use names the columns
        columns.reshape(-1)[turned[turned >= 0]] = everywhere
        self.columns[variable] = columns
        extents = [1] * rank
        for axis, at in zip(range(names.ndim), plan.output, strict=True):
            extents[at] = names.shape[axis]
        order = np.argsort(plan.output)
        return np.transpose(names, order).reshape(extents)

    def _rows(self, variable: int, labels: Labels, plan: Product, data: int) -> None:
        """Note what the rows were multiplied with; where that was put together from pieces, the variable has pieces."""
        if data < 0:
            return
        pieces = self._pieces(data)
        turned = np.transpose(labels, (*plan.contracted, *plan.kept))
        rows = turned.shape[0] if len(plan.contracted) == 1 else -1
        if len(pieces) < 2 or sum(size for _, size in pieces) != rows:
            pieces = [(data, turned.shape[0])]
        start = 0
        for source, size in pieces:
            elements = turned[start : start + size]
            elements = elements[elements >= 0]
            start += size
            if not elements.size:
                continue
            self.sources.setdefault(variable, []).append(Source(elements, source))
            key = (variable, "rows", elements.size, int(elements.flat[0]), int(elements.flat[-1]))
            if len(pieces) > 1 and key not in self._known_cuts:
                self._known_cuts.add(key)
                chosen = np.zeros(self._extents[variable], bool)
                chosen.reshape(-1)[elements] = True
                self._refine(variable, chosen)

    def _pieces(self, data: int) -> list[tuple[int, int]]:
        """The tensors that were joined along the last axis to make the data operand, with their widths."""
        site, inputs = self.flow.sites[data], self.flow.inputs[data]
        if site.op != "ConcatV2" or any(not 0 <= source < data for source in inputs):
            return []
        axis = self.constant(inputs[-1])
        if axis is None or int(np.asarray(axis).reshape(-1)[0]) % len(self.shapes[data]) != len(self.shapes[data]) - 1:
            return []
        return [(source, self.shapes[source][-1]) for source in inputs[:-1]]

    def _elementwise(self, position: int, inputs: Sequence[int]) -> Tagged:
        site, shape = self.flow.sites[position], self.shapes[position]
        if site.op in _SCALE and len([s for s in inputs if self.mixes(s)]) > 1:
            return Tagged()
        axis = 1 if site.op == "BiasAdd" and site.attrs.get("data_format", "").startswith("NC") else -1
        found: dict[Key, Labels] = {}
        for source in inputs:
            for (variable, _), labels in self.tensors[source].labels.items():
                placed = spread(labels, shape, axis if labels.ndim == 1 else -1)
                known = [found[variable, n] for n in range(_LAYERS) if (variable, n) in found]
                if placed is None or len(known) == _LAYERS or any(np.array_equal(placed, other) for other in known):
                    continue
                found[variable, len(known)] = placed
        return Tagged(found, pure=all(self.tensors[source].pure for source in inputs))

    def mixes(self, position: int) -> bool:
        """Whether to multiply with this tensor is more than to scale: neither a variable nor a constant nor noise.

        A constant with as many axes as a batch (a state of zeros) counts as a state.
        """
        size, role = int(np.prod(self.shapes[position])), self.flow.sites[position].role
        state = role in ("constant", "state") and len(self.shapes[position]) > 1 and self.shapes[position][0] > 1
        return not self.tensors[position].pure and (role == "activation" or state) and size > 1
