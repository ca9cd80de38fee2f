"""The forward pass of one recorded step as a graph: what leads to the loss, what depends on the batch, what is the
loss.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from tfdiff.pairing.products import MATRIX
from tfdiff.pairing.sites import PARAMETERS, is_float

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tfdiff.model import Observation, Site
    from tfdiff.trace.block import Block

FORWARD_ROLES = frozenset({"input", "noise", "constant", "weight", "state", "activation"})
SHAPE_OPS = frozenset({"Shape", "ShapeN", "Size", "Rank", "ZerosLike", "OnesLike", "BroadcastGradientArgs"})
"""Ops whose output tells nothing of the values they are given."""
GATHERING = frozenset({"ResourceGather", "ResourceGatherNd", "GatherV2", "Gather", "GatherNd"})
ADDITIONS = frozenset({"AddV2", "Add", "AddN", "BiasAdd", "Identity"})
CROSS_ENTROPY = ("crossentropy", "cross_entropy")


@dataclass(frozen=True)
class StepGraph:
    """The dataflow of one side of one step. All sets hold indices of observations."""

    block: Block
    """The step."""
    target: int | None
    """The observation with role "loss", None where the step has no gradient call."""
    loss: int | None
    """The activation that is the loss (`target` itself where the op is not known); without a gradient call the last
    output."""
    in_parts: frozenset[int] = frozenset()
    """Variables that are paired part by part."""

    @cached_property
    def observations(self) -> tuple[Observation, ...]:
        """All observations of the step."""
        return self.block.observations

    @cached_property
    def order(self) -> tuple[int, ...]:
        """Ancestors of the loss, itself included, in order of execution."""
        if self.loss is None:
            return ()
        return tuple(sorted(self.ancestors((self.loss,))))

    @cached_property
    def members(self) -> frozenset[int]:
        """`order` as a set."""
        return frozenset(self.order)

    def ancestors(self, roots: Iterable[int], stop: frozenset[int] = frozenset()) -> set[int]:
        """Everything the roots were computed from, themselves included; members of `stop` are not entered."""
        seen: set[int] = set()
        todo = list(roots)
        while todo:
            index = todo.pop()
            if index in seen or index < 0:
                continue
            seen.add(index)
            if index not in stop:
                todo.extend(self.observations[index].inputs)
        return seen

    def weights_behind(self, index: int) -> frozenset[int]:
        """The weights, as variables, that an observation was computed from."""
        reads = (self.observations[i].site for i in self.ancestors((index,)))
        return frozenset(site.variable for site in reads if site.role == "weight" and site.variable is not None)

    @cached_property
    def consumers(self) -> dict[int, tuple[int, ...]]:
        """For each ancestor of the loss the ancestors that take it as operand."""
        found: dict[int, list[int]] = {index: [] for index in self.order}
        for index in self.order:
            for operand in set(self.operands(index)):
                found[operand].append(index)
        return {index: tuple(users) for index, users in found.items()}

    def operands(self, index: int) -> tuple[int, ...]:
        """Known operands, in argument order."""
        return tuple(operand for operand in self.observations[index].inputs if operand >= 0)

    def _flow(self, starts: Callable[[Observation], bool], through: Callable[[int, bool], bool]) -> frozenset[int]:
        """Indices reached from the observations that `starts` accepts, along ops that `through` accepts."""
        reached: set[int] = set()
        for index in self.order:
            seen = self.observations[index]
            if starts(seen) or through(index, any(operand in reached for operand in self.operands(index))):
                reached.add(index)
        return frozenset(reached)

    @cached_property
    def data(self) -> frozenset[int]:
        """Everything that depends on the values of the batch."""
        return self._flow(
            lambda seen: seen.site.role == "input",
            lambda index, fed: fed and self.observations[index].site.op not in SHAPE_OPS,
        )

    @cached_property
    def noise(self) -> frozenset[int]:
        """Everything that depends on random draws."""
        return self._flow(
            lambda seen: seen.site.role == "noise",
            lambda index, fed: fed and self.observations[index].site.op not in SHAPE_OPS,
        )

    @cached_property
    def parameters(self) -> frozenset[int]:
        """Variables as read, and what is only a rearrangement of one (cast, transposed, reshaped)."""
        reached: set[int] = set()
        for index in self.order:
            seen = self.observations[index]
            if seen.site.role in PARAMETERS or (
                index not in self.data
                and any(
                    operand in reached and self.observations[operand].size == seen.size > 1
                    for operand in self.operands(index)
                )
            ):
                reached.add(index)
        return frozenset(reached)

    @cached_property
    def weighted(self) -> frozenset[int]:
        """Ops that bring batch (or noise) and parameters together: matmul, bias add, embedding."""
        moving = self.data | self.noise
        return frozenset(
            index
            for index in self.order
            if index in moving
            and (
                any(operand in self.parameters for operand in self.operands(index))
                or self.observations[index].site.op in ("ResourceGather", "ResourceGatherNd")
            )
        )

    @cached_property
    def before_weights(self) -> frozenset[int]:
        """Everything that an op with parameters is computed from (those ops themselves not, unless another follows)."""
        reached: set[int] = set()
        for index in reversed(self.order):
            if any(user in self.weighted or user in reached for user in self.consumers[index]):
                reached.add(index)
        return frozenset(reached)

    @cached_property
    def rearranged(self) -> frozenset[int]:
        """Products with variables that are paired part by part, and what is added to them, up to where the program
        takes them apart: the other side has the same columns in other tensors, so these have no counterpart.
        """
        reached: set[int] = set()
        for index in self.order:
            seen = self.observations[index]
            operands = [operand for operand in self.operands(index) if operand in reached]
            if seen.site.role in PARAMETERS:
                if seen.site.variable in self.in_parts:
                    reached.add(index)
            elif operands and (seen.site.op in ADDITIONS or MATRIX.search(seen.site.op) or index not in self.data):
                # Behind a product only sums go on; in front of it (index not in data) anything done to the variable.
                product = bool(MATRIX.search(seen.site.op))
                if not product or any(operand in self.parameters or operand not in self.data for operand in operands):
                    reached.add(index)
        return frozenset(reached)

    @cached_property
    def labels(self) -> frozenset[int]:
        """Batch inputs that meet the data path only behind the last op with parameters."""
        return frozenset(
            index
            for index in self.order
            if self.observations[index].site.role == "input" and index not in self.before_weights
        )

    @cached_property
    def loss_part(self) -> frozenset[int]:
        """Ops of the loss: behind the labels, penalties on the weights, and what the same line or call computes
        before.
        """
        if not self.members or self.target is None:
            return frozenset()
        core = self._flow(lambda seen: seen.index in self.labels, lambda _, fed: fed) or self._unlabelled_loss()
        lines = {self._line(self.observations[index].site) for index in core if self.operands(index)}
        part = set(core)
        for index in reversed(self.order):
            if index in part or index in self.before_weights or index in self.weighted:
                continue
            seen = self.observations[index]
            users = self.consumers[index]
            inside = bool(users) and all(user in part for user in users)
            if inside and (index not in self.data or (seen.site.layer is None and self._line(seen.site) in lines)):
                part.add(index)
        return frozenset(part)

    def _unlabelled_loss(self) -> frozenset[int]:
        """Without labels (a GAN's ones and zeros): from the first cross-entropy, or from the first op behind the
        layers.
        """
        behind = [index for index in self.order if index in self.data | self.noise and index not in self.before_weights]
        behind = [index for index in behind if index not in self.weighted]
        starts = {index for index in behind if says_cross_entropy(self.observations[index].site)}
        if not starts and any(self.observations[index].site.layer for index in self.order):
            starts = {index for index in behind if self.observations[index].site.layer is None}
        return self._flow(lambda seen: seen.index in starts, lambda _, fed: fed)

    @staticmethod
    def _line(site: Site) -> tuple[str | None, str | None]:
        return (site.source, site.called)

    @cached_property
    def dtypes(self) -> frozenset[str]:
        """Floating point types of the forward pass."""
        return frozenset(self.observations[index].dtype for index in self.order if is_float(self.observations[index]))

    @cached_property
    def precisions(self) -> frozenset[str]:
        """Floating point types of what is made of the batch; the batch itself and constants may have others."""
        found = {
            self.observations[i].dtype
            for i in self.order
            if self.observations[i].site.role == "activation" and i in self.data and is_float(self.observations[i])
        }
        return frozenset(found) or self.dtypes

    def ops(self, *types: str) -> bool:
        """Whether the forward pass has an op whose type begins with one of `types`."""
        return any(self.observations[index].site.op.startswith(types) for index in self.order)


def says_cross_entropy(site: Site) -> bool:
    """Whether op type or API call name a cross-entropy."""
    words = f"{site.op} {site.api or ''}".lower()
    return any(name in words for name in CROSS_ENTROPY)


def build_graph(block: Block) -> StepGraph:
    """Read the forward pass of `block`: found from the loss, or from the last layer output where nothing trains."""
    target = next((seen.index for seen in block.observations if seen.site.role == "loss"), None)
    if target is not None:
        source = block.observations[target].inputs
        # of several losses the sum is minimized, which no op of the program makes
        return StepGraph(block, target, source[0] if len(source) == 1 and source[0] >= 0 else target)
    outputs = [seen for seen in block.observations if seen.site.role == "activation" and seen.site.phase == "forward"]
    last = [seen.index for seen in outputs if seen.site.boundary] or [seen.index for seen in outputs]
    return StepGraph(block, None, last[-1] if last else None)
