"""The parts into which the tensors that a's were written over cut b's forward and backward pass."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfdiff.pairing.sites import PARAMETERS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tfdiff.comparison.graph import StepGraph
    from tfdiff.comparison.runs import StepView


class Segments:
    """What of an isolated step hangs together, and what of it is no evidence.

    Forward an error ends at the next tensor that was written over. Backward it ends there too if a's gradient of that
    tensor is in the trace; if not, the parts on both sides of it are one.
    """

    def __init__(self, view: StepView, joints: Sequence[tuple[int, int, int]], *, backward: bool) -> None:
        """`joints` are a's tensor, b's own and what went on in its place, as indices; `backward` says whether a's
        gradients went on, too.
        """
        self._a, self._b = view.a, view.b
        self._a_ends = frozenset(a for a, _, _ in joints)
        self._onward = frozenset(onward for _, _, onward in joints)
        reached = {seen.of for seen in view.a.observations if seen.site.role == "activation gradient" and seen.stored}
        cut = frozenset(onward for a, _, onward in joints if backward and a in reached)
        self._part = _parts(view.b, cut)
        self._doubtful: set[int] = set()
        self.spoiled: set[int] = set()
        """Parts in which the forward passes differ: their gradients differ, too."""

    def spoil(self, index: int) -> None:
        """A tensor of b differs."""
        if index in self._part:
            self.spoiled.add(self._part[index])

    def doubt(self, onward: int) -> None:
        """What was written over a tensor of b was not what belongs there: nothing behind it can be told."""
        self._doubtful.add(onward)
        self.spoil(onward)

    def stretch(self, index: int) -> set[int]:
        """What a tensor of b was computed from, back to what was written over."""
        return self._b.ancestors((index,), self._onward - {index})

    def doubtful(self, index: int, variables: set[int]) -> bool:
        """Whether a tensor of b hangs on something that is not a's though it should be; `variables` are those that
        are not.
        """
        stretch = self.stretch(index)
        return bool(stretch & self._doubtful) or bool(variables & self._read(stretch))

    def around(self, index: int) -> frozenset[int]:
        """What a tensor of a was computed from, back to and with the tensors that were written over b's."""
        return frozenset(self._a.ancestors((index,), self._a_ends - {index}))

    def of_variable(self, variable: int) -> frozenset[int]:
        """The parts of the backward pass in which a variable of b meets the batch."""
        todo = [i for i in self._b.order if self._b.observations[i].site.variable == variable]
        seen: set[int] = set()
        found: set[int] = set()
        while todo:
            for user in self._b.consumers[todo.pop()]:
                if user in self._part:
                    found.add(self._part[user])
                elif user not in seen:
                    seen.add(user)
                    todo.append(user)
        return frozenset(found)

    def _read(self, indices: Iterable[int]) -> set[int]:
        sites = (self._b.observations[index].site for index in indices)
        return {site.variable for site in sites if site.role in PARAMETERS and site.variable is not None}


def _parts(graph: StepGraph, cut: frozenset[int]) -> dict[int, int]:
    """A number for each tensor that depends on batch or noise, the same one for those that hang together."""
    moving = (graph.data | graph.noise) & graph.members
    above: dict[int, int] = {}

    def root(index: int) -> int:
        while above[index] != index:
            above[index] = above[above[index]]
            index = above[index]
        return index

    for index in sorted(moving):
        above[index] = index
        for operand in () if index in cut else graph.operands(index):
            # The batch itself is given to several parts alike.
            if operand in above and graph.observations[operand].site.role != "input":
                above[root(operand)] = root(index)
    return {index: root(index) for index in above}
