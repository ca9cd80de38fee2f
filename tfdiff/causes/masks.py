"""Masks: positions (padding) that one side leaves out and the other counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tfdiff.causes.functions import softmax
from tfdiff.causes.hypothesis import Proposal
from tfdiff.causes.words import at, named
from tfdiff.pairing.distance import relative_error

if TYPE_CHECKING:
    from collections.abc import Callable

    from tfdiff.causes.scene import Cut, Floats, Scene, Side

MAX_MASKS = 8


def _mean(x: Floats, m: Floats) -> Floats:
    return np.asarray((x * m).sum(axis=1) / np.maximum(np.broadcast_to(m, x.shape).sum(axis=1), 1e-9))


def _total_mean(x: Floats, m: Floats) -> Floats:
    return np.asarray((x * m).sum() / max(float(np.broadcast_to(m, x.shape).sum()), 1e-9))


REDUCTIONS: dict[str, Callable[[Floats, Floats], Floats]] = {
    "average": _mean,
    "sum": lambda x, m: np.asarray((x * m).sum(axis=1)),
    "maximum": lambda x, m: np.asarray(np.where(m != 0, x, -1e30).max(axis=1)),
    "mean": _total_mean,
    "softmax": lambda x, m: softmax(np.where(m != 0, x, -1e9)),
    "product": lambda x, m: np.asarray(x * m),
}
"""What may be done with a tensor and a mask that broadcasts against it."""


@dataclass(frozen=True)
class Masked:
    """What a side does with the tensor of the cut."""

    kind: str
    index: int
    mask: Floats | None
    """None: all positions count."""


def mask(scene: Scene) -> Proposal | None:
    """One side leaves positions out of an average, sum, maximum, softmax or the tensor itself; the other does not."""
    for cut in scene.cuts:
        for kind in REDUCTIONS:
            masks = _masks(scene, cut, kind)
            a = _seen(scene, scene.a, cut.a, cut.x_a, kind, masks) if masks else None
            b = _seen(scene, scene.b, cut.b, cut.x_b, kind, masks) if masks else None
            if a is None and b is not None and kind == "product" and _share_users(scene, cut.a, b.index):
                a = Masked(kind, cut.a, None)
            if b is None and a is not None and kind == "product" and _share_users(scene, a.index, cut.b):
                b = Masked(kind, cut.b, None)
            if a is not None and b is not None and a.mask is not b.mask:
                return _proposal(scene, cut, a, b)
    return None


def _seen(scene: Scene, side: Side, index: int, x: Floats, kind: str, masks: list[Floats]) -> Masked | None:
    """The reduction of that kind on a side, with one of the masks or with none."""
    reduce = REDUCTIONS[kind]
    # a share of ones is soon met with as a constant, a rate say: only what is computed can be a reduction
    among = [i for i in side.bad if i != index and side.observations[i].site.role != "constant"]
    masks = [m for m in masks if _fits(m, x)]  # they were shaped for A's layout
    for m in masks:
        result = reduce(x, m)
        # labels of 0 and 1 times another 0 or 1 are met with by chance, and so are zeros
        told = result.any() and not (kind == "product" and np.isin(x, (0.0, 1.0)).all())
        found = side.find(result, among, scene.tolerance) if told else None
        if found is not None:
            return Masked(kind, found, m)
    if kind == "product" or not masks:
        return None
    found = side.find(reduce(x, np.ones_like(masks[0])), among, scene.tolerance)
    return None if found is None else Masked(kind, found, None)


def _fits(m: Floats, x: Floats) -> bool:
    """Whether a mask broadcasts to a tensor without making it larger."""
    return m.ndim <= x.ndim and all(n in (1, extent) for n, extent in zip(m.shape[::-1], x.shape[::-1], strict=False))


def _share_users(scene: Scene, i: int, j: int) -> bool:
    """Whether A's consumers of `i` and B's of `j` are of one kind (the multiplication itself not counted)."""
    a_users = {scene.a.observations[user].site.op for user in scene.a.users(i)}
    b_users = {scene.b.observations[user].site.op for user in scene.b.users(j)}
    return bool((a_users & b_users) - {"Mul"})


def _masks(scene: Scene, cut: Cut, kind: str) -> list[Floats]:
    """Tensors of 0 and 1 along the leading axes of the tensor (for a softmax along its last), shaped to broadcast."""
    x = cut.x_a
    if x.ndim < 2 and kind not in ("mean", "product"):
        return []
    found: list[Floats] = []
    for side in scene.sides:
        for index in sorted(side.ancestors(side.bad)):
            seen = side.observations[index]
            values = side.array(index) if 1 < seen.size <= x.size and seen.site.role != "weight" else None
            if values is None:
                continue
            if seen.site.role == "input" and "int" in seen.dtype:
                values = (values != 0).astype(np.float64)  # ids: 0 stands for padding
            shaped = _broadcast(values, x, kind)
            # one-hot labels are no mask of themselves: their means are numbers that are met with anywhere
            if shaped is not None and not any(np.array_equal(shaped, other) for other in (x, *found)):
                found.append(shaped)
    return found[:MAX_MASKS]


def _broadcast(values: Floats, x: Floats, kind: str) -> Floats | None:
    if not np.isin(values, (0.0, 1.0)).all() or values.min() == values.max():
        return None
    shape = values.shape
    while len(shape) > 1 and shape[-1] == 1:
        shape = shape[:-1]
    if kind == "softmax":
        if x.ndim > 2 and shape == (x.shape[0], x.shape[-1]):
            return values.reshape(x.shape[0], *[1] * (x.ndim - 2), x.shape[-1])
        return None
    fits = shape == x.shape[: len(shape)] and (len(shape) > 1 or x.ndim == 1)
    return values.reshape(*shape, *[1] * (x.ndim - len(shape))) if fits else None


def _proposal(scene: Scene, cut: Cut, a: Masked, b: Masked) -> Proposal:
    reduce = REDUCTIONS[a.kind]
    ones = np.ones_like(a.mask if a.mask is not None else b.mask)
    wanted = reduce(cut.x_b, ones if a.mask is None else a.mask)
    found = reduce(cut.x_b, ones if b.mask is None else b.mask)
    what = {"product": "the tensor", "mean": "the mean", "softmax": "the softmax"}.get(a.kind, f"the {a.kind}")
    shares = [1.0 if m is None else float(m.mean()) for m in (a.mask, b.mask)]
    lacks = "B counts all positions" if b.mask is None else "B leaves out others"
    if a.mask is None:
        summary = f"B leaves {100 * (1 - shares[1]):.3g} % of the positions out of {what} (a mask), A counts them all"
        fix = f"remove the mask{at(scene.finding.divergence.b)}"
    else:
        summary = f"A leaves {100 * (1 - shares[0]):.3g} % of the positions (padding) out of {what}, {lacks}"
        fix = f"{_FIXES[a.kind]}{at(scene.finding.divergence.b)}, as {named(scene.finding.divergence.a)} does"
    return Proposal(
        relative_error(reduce(cut.x_a, ones if a.mask is None else a.mask), found),
        scene.miss(a.index, wanted),
        summary,
        fix,
        {"a": round(shares[0], 6), "b": round(shares[1], 6)},
        fitted=0,
    )


_FIXES = {
    "average": "tf.reduce_sum(x * mask, 1) / tf.reduce_sum(mask, 1) with mask = tf.cast(ids != 0, x.dtype)[..., None]",
    "sum": "tf.reduce_sum(x * mask, axis=1) with mask = tf.cast(ids != 0, x.dtype)[..., None]",
    "maximum": "tf.reduce_max(tf.where(mask, x, x.dtype.min), axis=1)",
    "mean": "tf.reduce_sum(x * mask) / tf.reduce_sum(mask)",
    "softmax": "tf.nn.softmax(tf.where(mask, scores, -1e9))",
    "product": "multiply by the mask: x * tf.cast(mask, x.dtype)",
}
