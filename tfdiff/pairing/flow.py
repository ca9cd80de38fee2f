"""The forward dataflow of one step: where variables meet the data, and what lies around those places."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from tfdiff.model import Site
    from tfdiff.pairing.parts import Constant

PASS_THROUGH = frozenset(
    {"Cast", "Identity", "Reshape", "Squeeze", "ExpandDims", "StopGradient", "Transpose", "ReadVariableOp"}
)
_SQUARE = frozenset({"Square", "SquaredDifference", "Pow"})
_REDUCE = frozenset({"Mean", "Sum"})
# Nonlinearities that survive another way of writing; hand-written ones count as what they are made for.
ACTIVATIONS = {
    **dict.fromkeys(("Relu", "Relu6", "LeakyRelu", "Maximum", "Select", "SelectV2"), "relu"),
    **dict.fromkeys(("Softmax", "Exp"), "softmax"),
    **dict.fromkeys(("Sigmoid",), "sigmoid"),
    **dict.fromkeys(("Tanh",), "tanh"),
    **dict.fromkeys(("Elu", "Selu"), "elu"),
    **dict.fromkeys(("Erf", "Erfc"), "erf"),
}
POOLS = {
    **dict.fromkeys(("MaxPool", "MaxPoolV2", "MaxPool3D", "MaxPoolWithArgmax"), "max"),
    **dict.fromkeys(("AvgPool", "AvgPool3D"), "average"),
}
_DATA_PRODUCTS = frozenset({"MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3", "Einsum"})
_TOGETHER = frozenset({"Softmax", "LogSoftmax", "Max", "Sum", "Mean", "Exp", *_DATA_PRODUCTS})
# A moving statistic is a few ops away from the batch statistic it follows; layers are some dozens of ops long.
_STATISTIC_REACH = 64
_LAYER_REACH = 512


@dataclass(frozen=True)
class Use:
    """Where a variable first meets the data."""

    position: int
    path: tuple[int, ...]
    """Observations from the read (exclusive) to the op at `position` (inclusive)."""


class Flow:
    """The forward dataflow of one step: who consumes whom, what depends on the batch, which weights lie upstream."""

    def __init__(self, sites: Sequence[Site], inputs: Sequence[Sequence[int]]) -> None:
        self.sites, self.inputs = sites, inputs
        self.live = [site.phase in ("forward", "loss", "state", "data") for site in sites]
        self.reads: dict[int, list[int]] = {}
        self.assigns: dict[int, list[int]] = {}
        self.consumers: list[list[int]] = [[] for _ in sites]
        self.data = [False] * len(sites)
        for position, site in enumerate(sites):
            if self.live[position]:
                self._enter(position, site)

    def _enter(self, position: int, site: Site) -> None:
        for source in self.inputs[position]:
            if 0 <= source < position:
                self.consumers[source].append(position)
        self.data[position] = site.role in ("input", "own input", "noise") or any(
            0 <= source < position and self.data[source] for source in self.inputs[position]
        )
        if site.variable is None:
            return
        if site.role == "assign":
            self.assigns.setdefault(site.variable, []).append(position)
        elif site.role in ("weight", "state") and (site.phase == "forward" or site.op == "ReadVariableOp"):
            self.reads.setdefault(site.variable, []).append(position)

    def use(self, variable: int) -> Use | None:
        """The first op in which `variable` meets the data; its first consumer or read where it never does."""
        reads = self.reads.get(variable, [])
        if not reads:
            return None
        paths: dict[int, tuple[int, ...]] = dict.fromkeys(reads, ())
        queue = deque(reads)
        merges = []
        while queue:
            position = queue.popleft()
            for consumer in self.consumers[position]:
                if consumer not in paths:
                    paths[consumer] = (*paths[position], consumer)
                    if self.data[consumer] or self.sites[consumer].role == "assign":
                        merges.append(consumer)
                    else:
                        queue.append(consumer)
        found = min(merges, key=lambda merge: (self.sites[merge].phase == "state", merge), default=None)
        if found is None:
            found = min((position for position in paths if paths[position]), default=reads[0])
        return Use(found, paths[found])

    def upstream(self, uses: Mapping[int, Use]) -> tuple[list[int], list[int]]:
        """Per observation two bit sets over the variables of `uses`: all met so far, and those met last."""
        meets: dict[int, int] = {}
        for variable, use in uses.items():
            meets[use.position] = meets.get(use.position, 0) | 1 << variable
        met, last = [0] * len(self.sites), [0] * len(self.sites)
        for position in range(len(self.sites)):
            if self.data[position]:
                before, near = self.behind(position, met, last)
                met[position] = before | meets.get(position, 0)
                last[position] = meets.get(position, 0) or near
        return met, last

    def behind(self, position: int, met: Sequence[int], last: Sequence[int]) -> tuple[int, int]:
        """What the data operands of an observation have met."""
        before = near = 0
        for source in self.inputs[position]:
            if 0 <= source < position:
                before |= met[source]
                near |= last[source]
        return before, near

    def inputs_behind(self, position: int) -> frozenset[int]:
        """Tensors of the batch that an observation was computed from."""
        found, todo, seen = set(), [position], {position}
        while todo:
            place = todo.pop()
            if self.sites[place].role == "input":
                found.add(place)
            for source in self.inputs[place]:
                if 0 <= source < place and self.data[source] and source not in seen:
                    seen.add(source)
                    todo.append(source)
        return frozenset(found)

    def statistic(self, variable: int) -> str | None:
        """`mean` or `variance` by the batch statistic that is written into a moving one; None if neither is seen."""
        queue = deque(self.assigns.get(variable, []))
        seen: set[int] = set()
        found = None
        while queue and len(seen) < _STATISTIC_REACH:
            position = queue.popleft()
            if position in seen or not (self.data[position] or self.sites[position].role == "assign"):
                continue
            seen.add(position)
            site = self.sites[position]
            if site.op.startswith("FusedBatchNorm"):
                kind = {1: "mean", 2: "variance"}.get(site.output)
            elif site.op in _REDUCE:
                kind = "variance" if self._squares(position) else "mean"
            else:
                queue.extend(source for source in self.inputs[position] if 0 <= source < position)
                continue
            if kind == "variance":
                return kind
            found = found or kind
        return found

    def _squares(self, reduction: int) -> bool:
        source = self.inputs[reduction][0] if self.inputs[reduction] else -1
        while source >= 0 and self.sites[source].op in PASS_THROUGH and self.inputs[source]:
            source = self.inputs[source][0]
        if source < 0:
            return False
        operands = self.inputs[source]
        product_with_itself = self.sites[source].op == "Mul" and len(operands) == 2 and operands[0] == operands[1]
        return self.sites[source].op in _SQUARE or product_with_itself

    def _layer(self, start: int, products: Collection[int]) -> Iterator[tuple[int, int]]:
        """(source, consumer) edges behind an observation up to the next of `products` (meetings with matrices)."""
        queue, seen = deque([start]), {start}
        while queue and len(seen) < _LAYER_REACH:
            position = queue.popleft()
            for consumer in self.consumers[position]:
                if self.data[consumer]:
                    yield position, consumer
                    if consumer not in seen and consumer not in products:
                        seen.add(consumer)
                        queue.append(consumer)

    def activations(self, start: int, products: Collection[int]) -> frozenset[str] | None:
        """Nonlinearities between an observation and the next of `products`; None if none follows.

        Behind the last product lies the loss, which is written in too many ways to tell anything.
        """
        consumers = {consumer for _, consumer in self._layer(start, products)}
        if consumers.isdisjoint(products):
            return None
        ops = {self.sites[consumer].op for consumer in consumers.difference(products)}
        return frozenset(ACTIVATIONS[op] for op in ops if op in ACTIVATIONS)

    def next_products(self, start: int, products: Collection[int]) -> frozenset[int]:
        """The next of `products` behind an observation."""
        return frozenset({consumer for _, consumer in self._layer(start, products)} & frozenset(products))

    def pools(self, start: int, products: Collection[int]) -> tuple[frozenset[str], frozenset[str]]:
        """Kinds of pooling between the last of `products` and an observation, and between it and the next ones."""
        behind = {self.sites[consumer].op for _, consumer in self._layer(start, products)}
        before, todo, seen = set(), [start], {start}
        while todo and len(seen) < _LAYER_REACH:
            for source in self.inputs[todo.pop()]:
                if 0 <= source < start and self.data[source] and source not in seen and source not in products:
                    seen.add(source)
                    before.add(self.sites[source].op)
                    todo.append(source)
        kinds = [frozenset(POOLS[op] for op in ops if op in POOLS) for ops in (before, behind)]
        return kinds[0], kinds[1]

    def side(self, start: int, products: Collection[int], constant: Constant) -> str | None:
        """`row` or `column`: the axis it becomes in the first product of data with data, else None.

        The column is the last axis where the product is used, over which a softmax runs: the keys of an attention,
        however the product is written and turned round.
        """
        for source, consumer in self._layer(start, products):
            operands, site = self.inputs[consumer], self.sites[consumer]
            if consumer in products or site.op not in _DATA_PRODUCTS or len(set(operands)) != 2:
                continue
            last = self._last_axis(consumer, constant)
            column = 2 + last
            if site.op == "Einsum":
                terms, _, output = str(site.attrs.get("equation", "")).replace(" ", "").partition("->")
                label = output[last:][:1]
                holders = [n for n, term in enumerate(terms.split(",")) if label and label in term]
                if len(holders) != 1:
                    return None
                column = holders[0]
            return "column" if operands.index(source) == column else "row"
        return None

    def _last_axis(self, product: int, constant: Constant) -> int:
        """Which axis (from behind: -1, -2 ...) of a product of data comes last where its values are next looked at
        together: by a softmax, a reduction, another product.
        """
        queue: deque[tuple[int, tuple[int, ...]]] = deque([(product, ())])
        seen = {product}
        while queue and len(seen) < _STATISTIC_REACH:
            position, order = queue.popleft()
            for consumer in self.consumers[position]:
                if self.sites[consumer].op in _TOGETHER:
                    return order[-1] - len(order) if order else -1
                if consumer not in seen and self.data[consumer]:
                    seen.add(consumer)
                    queue.append((consumer, self._turned(consumer, order, constant)))
        return -1

    def _turned(self, position: int, order: tuple[int, ...], constant: Constant) -> tuple[int, ...]:
        """The order of the axes, () for the one they had, behind one more op."""
        inputs = self.inputs[position]
        value = constant(inputs[1]) if self.sites[position].op == "Transpose" and len(inputs) == 2 else None
        if value is None:
            return order
        axes = tuple(int(axis) for axis in value)
        return tuple(order[axis] for axis in axes) if len(order) == len(axes) else axes
