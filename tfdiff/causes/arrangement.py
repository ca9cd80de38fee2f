"""The same values in another order: flattened or reshaped along other axes, or a batch in another layout.

From a tensor that agrees, each side goes through ops that only put its elements in another order, to an op that mixes
them. With the elements in A's order, B's op must give A's tensor.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice, product
from typing import TYPE_CHECKING

import numpy as np

from tfdiff.causes import replay
from tfdiff.causes.hypothesis import NOISE, Proposal
from tfdiff.causes.paths import ONE_BY_ONE, Path, axes_of, paths
from tfdiff.causes.scaling import is_batch
from tfdiff.causes.scene import LINEAR_OPS, RESHAPES
from tfdiff.causes.words import at, b_site
from tfdiff.pairing.distance import relative_error
from tfdiff.pairing.layouts import inverse

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt

    from tfdiff.causes.scene import Cut, Floats, Scene

    Integers = npt.NDArray[np.int64]

NOT_REPLAYED = 0.1
"""Taken from the confidence where the op behind cannot be computed again."""
MAX_CHOICES = 16
"""Ways to put the operands of one op in another order that are tried."""
CONVOLUTIONS = frozenset({"Conv2D", "Conv3D", "DepthwiseConv2dNative"})


@dataclass(frozen=True)
class _Orders:
    """One tensor and the two orders in which the sides go on with its elements."""

    cut: Cut
    counted: Integers
    """The elements as B has them, or with A's axes where A has more of them."""
    a: Path
    b: Path
    batch: bool

    @property
    def flat(self) -> bool:
        """Whether axes are joined or split on the way, on either side."""
        return any(not _only_turned(self.counted, path) for path in (self.a, self.b))

    @property
    def code(self) -> str:
        """The batch itself is laid out otherwise, or what the network has made of it is flattened so."""
        if self.a.turned or self.b.turned:
            return "data-layout"
        if self.batch and (self.cut.permutation is not None or self.a.value.ndim > 2):
            return "data-layout"
        return "flatten-order" if self.flat else "data-layout"

    def arranged(self) -> Floats:
        """B's tensor with its elements in A's order."""
        place = np.empty(self.b.order.size, np.int64)
        place[self.b.order.reshape(-1)] = np.arange(place.size)
        moved: Floats = self.b.value.reshape(-1)[place[self.a.order]]
        return moved


def _extents(shape: tuple[int, ...]) -> list[int]:
    return [extent for extent in shape if extent > 1]


def _only_turned(counted: Integers, path: Path) -> bool:
    """Whether a path but exchanges axes."""
    axes = axes_of(counted, path.order)
    return axes is not None and _extents(tuple(counted.shape[axis] for axis in axes)) == _extents(path.value.shape)


def other_order(scene: Scene) -> Proposal | None:
    """The elements of an equal tensor in the order in which A's next op takes them: then B's gives A's tensor."""
    known = [orders for cut in scene.cuts for orders in _orders(scene, cut)]
    for user in scene.b.bad:
        seen = scene.b.observations[user]
        if seen.site.op in RESHAPES or seen.site.op in ONE_BY_ONE:
            continue
        operands = seen.inputs[:1] if seen.site.op in CONVOLUTIONS else seen.inputs
        choices = [[None, *(orders for orders in known if orders.b.end == operand)] for operand in operands]
        for chosen in islice(product(*choices), 1, MAX_CHOICES):
            proof = _replayed(scene, user, chosen) or _alike(scene, user, chosen)
            if proof is not None:
                return _proposal(scene, next(orders for orders in chosen if orders is not None), proof)
    return None


def _proposal(scene: Scene, orders: _Orders, proof: tuple[float, float, float]) -> Proposal:
    before, after, doubt = proof
    summary, constants = _words(scene, orders)
    fix = f"{_fix(scene, orders)}{at(scene.finding.divergence.b)}"
    return Proposal(before, after, summary, fix, constants, fitted=0, code=orders.code, doubt=doubt)


def _orders(scene: Scene, cut: Cut) -> Iterator[_Orders]:
    batch = is_batch(scene.a, cut.a) and is_batch(scene.b, cut.b)
    counted, of_a, of_b = _counted(cut)
    limit = scene.tolerance
    ways_a = paths(scene.a, cut.a, cut.x_a, of_a, limit, batch=batch)
    ways_b = paths(scene.b, cut.b, cut.x_b, of_b, limit, batch=batch)
    for b in ways_b:
        for a in ways_a:
            if a.value.shape == b.value.shape and not np.array_equal(a.order, b.order):
                yield _Orders(cut, counted, a, b, batch)


def _counted(cut: Cut) -> tuple[Integers, Integers, Integers]:
    """The elements counted in one order: as the finer side has them, as A and as B has them."""
    if cut.permutation is not None and len(cut.permutation) == cut.x_b.ndim:
        counted = np.arange(cut.x_b.size).reshape(cut.x_b.shape)
        return counted, counted.transpose(cut.permutation).reshape(cut.x_a.shape), counted
    finer = cut.x_a if cut.x_a.ndim > cut.x_b.ndim else cut.x_b
    counted = np.arange(finer.size).reshape(finer.shape)
    return counted, counted.reshape(cut.x_a.shape), counted.reshape(cut.x_b.shape)


def _replayed(scene: Scene, user: int, chosen: Sequence[_Orders | None]) -> tuple[float, float, float] | None:
    """(error before, after, doubt) of an op whose operands are put in A's order, if A has a tensor with these values.

    `chosen` has an entry for each operand; None where the operand stays.
    """
    seen = scene.b.observations[user]
    own, known = _again(scene, user)
    if own is None:
        return None
    moved = [x if orders is None else orders.arranged() for x, orders in zip(known, chosen, strict=False)]
    moved += known[len(moved) :]
    predicted = replay.apply(seen.site.op, seen.site.attrs, moved, seen.shape)
    if predicted is None or relative_error(predicted, own) <= scene.tolerance:
        return None
    behind = set().union(*(scene.a.descendants(orders.a.end) for orders in chosen if orders is not None))
    found = scene.a.find(predicted, [index for index in scene.a.bad if index in behind], max(scene.tolerance, NOISE))
    return None if found is None else (relative_error(predicted, own), scene.a.error(found, predicted), 0.0)


def _again(scene: Scene, user: int) -> tuple[Floats | None, list[Floats]]:
    """An op of B computed again from its operands, None where it cannot be or is not what was recorded."""
    side, seen = scene.b, scene.b.observations[user]
    known = [x for index in seen.inputs if (x := side.array(index)) is not None]
    own = replay.apply(seen.site.op, seen.site.attrs, known, seen.shape) if len(known) == len(seen.inputs) else None
    right = own is not None and side.error(user, own) <= max(scene.tolerance, NOISE)
    return own if right else None, known


def _alike(scene: Scene, user: int, chosen: Sequence[_Orders | None]) -> tuple[float, float, float] | None:
    """Where the op cannot be computed again: A's tensor goes into the same op with the same attributes."""
    seen = scene.b.observations[user]
    moved = [(position, orders) for position, orders in enumerate(chosen) if orders is not None]
    if seen.site.op not in LINEAR_OPS or len(moved) != 1 or _again(scene, user)[0] is not None:
        return None
    position, orders = moved[0]
    bad = set(scene.a.bad)
    others = [scene.a.observations[index] for index in scene.a.consumers.get(orders.a.end, []) if index in bad]
    alike = any(
        (other.site.op, other.site.attrs, other.shape) == (seen.site.op, seen.site.attrs, seen.shape)
        and other.inputs.index(orders.a.end) == position
        for other in others
    )
    before = relative_error(orders.a.value, orders.b.value)
    return (before, relative_error(orders.a.value, orders.arranged()), NOT_REPLAYED) if alike else None


def _words(scene: Scene, orders: _Orders) -> tuple[str, dict[str, list[int] | str]]:
    """Summary and constants: the axes of the tensor in the order in which each side has them, or words."""
    said = [_said(orders.counted, path) for path in (orders.a, orders.b)]
    axes = [axes_of(orders.counted, path.order) for path in (orders.a, orders.b)]
    values = [words if order is None else list(order) for order, words in zip(axes, said, strict=True)]
    constants = dict(zip("ab", values, strict=True))
    if orders.cut.permutation is not None and _is_fed(scene, orders.cut):
        made = list(inverse(orders.cut.permutation))
        return (
            f"B is fed the batch of A with its axes in the order {made}: the same values in another layout",
            constants,
        )
    what = "the batch" if orders.batch else f"a tensor of shape {list(orders.counted.shape)}"
    does = "flattens" if orders.code == "flatten-order" and orders.b.value.ndim <= 2 else "goes on with"
    return f"B {does} {what} {said[1]}, A {said[0]}: the same values in another order", constants


def _is_fed(scene: Scene, cut: Cut) -> bool:
    """Whether both tensors are fed, not computed."""
    seen = scene.a.observations[cut.a], scene.b.observations[cut.b]
    return all(one.site.role == "input" for one in seen)


def _said(counted: Integers, path: Path) -> str:
    if path.turned:
        return f"with {path.turned}"
    axes = axes_of(counted, path.order)
    turned = "as it is" if axes == tuple(range(counted.ndim)) else f"with its axes in the order {list(axes or ())}"
    if axes is not None and (_only_turned(counted, path) or path.value.ndim <= 2):
        return turned
    reshaped = f"reshaped to {list(path.value.shape)}"
    return reshaped if axes is None or turned == "as it is" else f"{turned}, {reshaped}"


def _fix(scene: Scene, orders: _Orders) -> str:
    """What puts B's tensor in A's order, from the tensor that agrees."""
    axes = axes_of(orders.counted, orders.a.order)
    if orders.a.turned:
        return f"take the batch as A does, with {orders.a.turned}"
    flat = orders.code == "flatten-order" and orders.a.value.ndim <= 2
    if axes is None:
        return "put the elements in A's order: tf.transpose exchanges axes, a reshape does not"
    if axes == tuple(range(len(axes))):
        return f"{'flatten' if flat else 'take'} the tensor as it is: leave out what puts its elements in another order"
    ops = [side.observations[side.frontier].site.op if side.frontier is not None else "" for side in scene.sides]
    if ops[1] == "Transpose" != ops[0]:
        return "leave this transpose out, or undo it behind"
    site = b_site(scene)
    behind = "" if _only_turned(orders.counted, orders.a) else " before the reshape"
    if site is not None and site.layer is not None and axes[0] == 0:
        return f"keras.layers.Permute({tuple(axes[1:])}){behind}"
    x = "x" if orders.counted.ndim == orders.cut.x_b.ndim else f"tf.reshape(x, {[-1, *orders.counted.shape[1:]]})"
    return f"tf.transpose({x}, {list(axes)}){behind}"
