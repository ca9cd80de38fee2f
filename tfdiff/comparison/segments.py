"""The parts into which the tensors that a's were written over cut b's forward and backward pass."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfdiff.pairing.sites import PARAMETERS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tfdiff.comparison.graph import StepGraph
    from tfdiff.comparison.runs import StepView


class Parts:
    """What of one side's step hangs together, the tensors that a's were written over being cut."""

    def __init__(self, graph: StepGraph, cut: frozenset[int], *, behind: bool) -> None:
        """`cut`: tensors that are not connected with what they are computed from, or, `behind` them, with what is
        computed from them.
        """
        self._graph = graph
        self._part = _parts(graph, cut, behind=behind)
        self.spoiled: set[int] = set()
        """Parts in which the forward passes differ: their gradients differ, too."""

    def spoil(self, index: int) -> None:
        """A tensor differs."""
        if index in self._part:
            self.spoiled.add(self._part[index])

    def of_variable(self, variable: int) -> frozenset[int]:
        """The parts of the backward pass in which a variable meets the batch."""
        graph = self._graph
        todo = [i for i in graph.order if graph.observations[i].site.variable == variable]
        seen: set[int] = set()
        found: set[int] = set()
        while todo:
            for user in graph.consumers[todo.pop()]:
                if user in self._part:
                    found.add(self._part[user])
                elif user not in seen:
                    seen.add(user)
                    todo.append(user)
        return frozenset(found)

    def sound(self, variable: int) -> bool:
        """Whether nothing differs in the parts of a variable."""
        part = self.of_variable(variable)
        return not part & self.spoiled and bool(part or not self.spoiled)


class Segments:
    """What of an isolated step hangs together, and what of it is no evidence.

    Forward an error ends at the next tensor that was written over. Backward it ends there too if a's gradient of that
    tensor is in the trace; if not, the parts on both sides of it are one. A way around such a tensor that only one side
    has connects what it leads to: so both sides are looked at.
    """

    def __init__(self, view: StepView, joints: Sequence[tuple[int, int, int]], *, backward: bool) -> None:
        """`joints` are a's tensor, b's own and what went on in its place, as indices; `backward` says whether a's
        gradients went on, too.
        """
        self._a, self._b = view.a, view.b
        self._a_ends = frozenset(a for a, _, _ in joints)
        self._onward = frozenset(onward for _, _, onward in joints)
        reached = {seen.of for seen in view.a.observations if seen.site.role == "activation gradient" and seen.stored}
        cut = [(a, onward) for a, _, onward in joints if backward and a in reached]
        self._of_a = Parts(view.a, frozenset(a for a, _ in cut), behind=True)
        self._of_b = Parts(view.b, frozenset(onward for _, onward in cut), behind=False)
        self._doubtful: set[int] = set()

    @property
    def spoiled(self) -> bool:
        """Whether anything differs."""
        return bool(self._of_b.spoiled)

    def spoil(self, a: int, b: int) -> None:
        """A pair of tensors differs."""
        self._of_a.spoil(a)
        self._of_b.spoil(b)

    def spoil_around(self, a: int, b: int) -> None:
        """A pair of variables differs."""
        self._of_a.spoiled |= self._of_a.of_variable(a)
        self._of_b.spoiled |= self._of_b.of_variable(b)

    def doubt(self, a: int, onward: int) -> None:
        """What was written over a tensor of b was not what belongs there: nothing behind it can be told."""
        self._doubtful.add(onward)
        self.spoil(a, onward)

    def sound(self, a: int, b: int) -> bool:
        """Whether nothing differs in the parts that a pair of variables takes part in."""
        return self._of_a.sound(a) and self._of_b.sound(b)

    def of_variable(self, variable: int) -> frozenset[int]:
        """The parts of b's backward pass in which a variable of b meets the batch."""
        return self._of_b.of_variable(variable)

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

    def _read(self, indices: Iterable[int]) -> set[int]:
        sites = (self._b.observations[index].site for index in indices)
        return {site.variable for site in sites if site.role in PARAMETERS and site.variable is not None}


def _parts(graph: StepGraph, cut: frozenset[int], *, behind: bool) -> dict[int, int]:
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
        for operand in () if index in cut and not behind else graph.operands(index):
            # The batch itself is given to several parts alike.
            if operand not in above or graph.observations[operand].site.role == "input":
                continue
            # What is computed from a tensor that is cut behind hangs together, and not with it.
            node = ~operand if operand in cut and behind else operand
            above.setdefault(node, node)
            above[root(node)] = root(index)
    return {index: root(index) for index in above if index >= 0}
