"""The loss: softmax or sigmoid applied once too often or not at all, sums against means."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tfdiff.causes.functions import log_softmax, sigmoid, softmax, softplus
from tfdiff.causes.hypothesis import Proposal
from tfdiff.causes.scene import LINEAR_OPS, same
from tfdiff.causes.words import api_of, at, b_site, number
from tfdiff.pairing.distance import relative_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tfdiff.causes.scene import Floats, Scene, Side
    from tfdiff.model import Site

KERAS_EPSILON = 1e-7
"""`keras.backend.epsilon()`: where Keras clips probabilities."""


# --- from_logits ---


MAX_SUMS = 4
"""Sums of sums that are looked through."""


@dataclass(frozen=True)
class Entropy:
    """A cross-entropy seen in the numbers."""

    index: int
    times: int
    """How often softmax (sigmoid) is applied to the tensor before the logarithm."""
    kind: str
    """softmax or sigmoid."""
    reduce: Callable[[Floats], Floats]
    """From elements to the shape of the observation."""
    whole: bool = False
    """Clipped before it was made to add up to one, see `elements`."""


def loss_from_logits(scene: Scene) -> Proposal | None:
    """The cross-entropy of one tensor, with softmax (sigmoid) applied another number of times on each side."""
    for z_a, z_b in predictions(scene):
        for kind, labels in label_candidates(scene, z_a):
            a, b = (_entropy(scene, side, z, labels, kind) for side, z in ((scene.a, z_a), (scene.b, z_b)))
            if a is None or b is None or a.times == b.times:
                continue
            wanted, found = (elements(z_b, labels, kind, side.times, whole=side.whole) for side in (a, b))
            before, after = _apart(wanted, found, a.reduce), scene.a.error(a.index, a.reduce(wanted))
            base = 1 if _is_probability(z_a, kind) else 0
            counts = a.times + base, b.times + base
            return Proposal(
                before,
                after,
                _said(kind, *counts),
                _logits_fix(scene, b_site(scene, b.index), kind, *counts),
                {"a": counts[0], "b": counts[1]},
                fitted=0,
                noise=1e-4,
            )
    return None


def _apart(x: Floats, y: Floats, reduce: Callable[[Floats], Floats]) -> float:
    return relative_error(reduce(x), reduce(y))


def predictions(scene: Scene) -> Iterator[tuple[Floats, Floats]]:
    """Equal tensors that could be what goes into the loss, in A's shape: the cuts, then the last equal activations."""
    seen: set[int] = set()
    for cut in scene.cuts:
        seen.add(cut.a)
        if cut.x_a.size == cut.x_b.size:
            yield cut.x_a, cut.x_b.reshape(cut.x_a.shape)
    pairing = scene.finding.pairing
    if pairing is None:
        return
    candidates = [m for m in pairing.matches if m.equal and scene.a.observations[m.a].site.role == "activation"]
    for match in reversed(candidates[-40:]):
        x_a, x_b = (side.array(i) for side, i in ((scene.a, match.a), (scene.b, match.b)))
        if match.a not in seen and x_a is not None and x_b is not None and x_a.ndim >= 1 and x_a.size == x_b.size > 3:
            yield x_a, x_b.reshape(x_a.shape)


def label_candidates(scene: Scene, z: Floats) -> Iterator[tuple[str, Floats]]:
    """(kind, labels in the shape of z) for the inputs that can be labels of this prediction, and what is made of them
    alike on both sides (smoothed labels).
    """
    tried: list[Floats] = [z]
    inputs = [(side, seen.index) for side in scene.sides for seen in side.with_role("input")]
    equal = [cut.x_a for cut in scene.cuts if cut.x_a.size == z.size]
    found = [side.array(index) for side, index in inputs if side.observations[index].size <= z.size]
    for values in [*found, *equal]:
        if values is None or not values.size or values.min() < 0:
            continue
        for kind, labels in _shaped(values, z):
            if not any(np.array_equal(labels, other) for other in tried):
                tried.append(labels)
                yield kind, labels


def _shaped(values: Floats, z: Floats) -> Iterator[tuple[str, Floats]]:
    classes = z.shape[-1] if z.ndim > 1 else 1
    if values.size == z.size and values.max() <= 1.0:
        labels = values.reshape(z.shape)
        if classes > 1 and np.allclose(labels.sum(axis=-1), 1.0, atol=1e-5):
            yield "softmax", labels
        yield "sigmoid", labels
    elif values.size * classes == z.size and np.all(values == np.floor(values)) and values.max() < classes:
        yield "softmax", np.eye(classes)[values.astype(np.int64).reshape(z.shape[:-1])]


def elements(z: Floats, labels: Floats, kind: str, times: int, *, whole: bool = False) -> Floats:
    """Cross-entropy per sample (softmax) or per element (sigmoid).

    `whole`: of a tensor taken for probabilities, as Keras' sparse cross-entropy has it, which clips first and leaves it
    to the softmax of the logarithms to make them add up to one; the other one divides by the sum and clips then.
    """
    if kind == "softmax":
        if times == 0 and whole:
            return elements(np.log(np.clip(z, KERAS_EPSILON, 1.0 - KERAS_EPSILON)), labels, kind, 1)
        if times == 0:
            total = z.sum(axis=-1, keepdims=True)
            p = np.clip(z / np.where(total == 0, 1.0, total), KERAS_EPSILON, 1.0 - KERAS_EPSILON)
            return np.asarray(-(labels * np.log(p)).sum(axis=-1))
        logits = z if times == 1 else softmax(z)
        return np.asarray(-(labels * log_softmax(logits)).sum(axis=-1))
    if times == 0:
        p = np.clip(z, KERAS_EPSILON, 1.0 - KERAS_EPSILON)
        return np.asarray(-(labels * np.log(p) + (1.0 - labels) * np.log(1.0 - p)))
    logits = z if times == 1 else sigmoid(z)
    return softplus(logits) - labels * logits


def _entropy(scene: Scene, side: Side, z: Floats, labels: Floats, kind: str) -> Entropy | None:
    """How often the side squashes the tensor: 0, 1 or 2 times, told by its per-sample losses, their mean or sum."""
    if labels.shape != z.shape and labels.size == z.size:
        labels = labels.reshape(z.shape)
    if labels.shape != z.shape:
        return None
    reductions: list[Callable[[Floats], Floats]] = [
        lambda e: e,
        lambda e: np.asarray(e.mean()),
        lambda e: np.asarray(e.sum()),
    ]
    if kind == "sigmoid" and z.ndim > 1 and z.shape[-1] > 1:
        reductions.insert(1, lambda e: np.asarray(e.mean(axis=-1)))
    among = [i for i in side.bad if side.observations[i].size <= z.size]
    tolerance = max(scene.tolerance, 5e-5)
    for reduce in reductions:
        for times, whole in ((1, False), (0, False), (0, True), (2, False)):
            for sign in (1.0, -1.0):
                predicted = reduce(elements(z, labels, kind, times, whole=whole))
                found = side.find(sign * predicted, among, tolerance)
                if found is not None and sign > 0:
                    return Entropy(found, times, kind, reduce, whole)
                if found is not None:
                    return Entropy(found, times, kind, lambda e, r=reduce: -r(e), whole)  # type: ignore[misc]
    return None


def _is_probability(z: Floats, kind: str) -> bool:
    inside = bool(z.min() >= 0.0 and z.max() <= 1.0 + 1e-6)
    return inside and (kind == "sigmoid" or bool(np.allclose(z.sum(axis=-1), 1.0, atol=1e-4)))


_TIMES = {0: "not at all", 1: "once", 2: "twice", 3: "three times"}


def _said(kind: str, a: int, b: int) -> str:
    if b == 0:
        return f"B's cross-entropy takes logits for probabilities: {kind} is applied {_TIMES[a]} in A, {_TIMES[b]} in B"
    if b == a + 1:
        counts = f"{kind} is applied {_TIMES[b]} in B, {_TIMES[a]} in A"
        return f"{counts}: B's cross-entropy gets probabilities where it wants logits"
    return f"{kind} is applied {_TIMES.get(b, b)} in B's cross-entropy, {_TIMES.get(a, a)} in A's"


def _logits_fix(scene: Scene, site: Site | None, kind: str, a: int, b: int) -> str:
    where = at(scene.finding.divergence.b)
    keras = keras_loss(scene, site)
    if b > a:
        if keras:
            return f"from_logits=False, or no {kind} on the output{where}"
        return f"{api_of(site) or 'the cross-entropy'}: pass the values before the {kind} as logits{where}"
    if keras:
        return f"from_logits=True{where}"
    return f"apply tf.nn.{kind} before the logarithm, or use tf.nn.{kind}_cross_entropy_with_logits{where}"


def keras_loss(scene: Scene, site: Site | None) -> bool:
    """Whether the op belongs to a Keras loss: made on another line than it runs on, or run by `fit`."""
    if site is None or site.layer is not None:
        return False
    by_fit = site.called is not None and site.called == scene.b.optimizer().get("called")
    return by_fit or site.source != site.called or "keras" in (site.api or "")


# --- reduction ---


def loss_reduction(scene: Scene) -> Proposal | None:
    """The same terms, reduced by another factor: sum against mean, or a mean over other axes."""
    return _by_factor(scene) or _of_a_term(scene) or _broadcast(scene)


def _by_factor(scene: Scene) -> Proposal | None:
    """Both sides have c * sum(terms): c is fitted and must be 1 or one over a count of rows, columns or elements."""
    for cut in scene.cuts:
        terms, b_terms = _terms(scene.a, cut.a, cut.x_a), _terms(scene.b, cut.b, cut.x_b)
        if any(_halved(side, index) for side, index in ((scene.a, cut.a), (scene.b, cut.b))):
            terms, b_terms = terms**2, b_terms**2
        if terms.size < 2:
            continue  # a single number is multiplied, not reduced
        counts = _counts(terms.shape)
        a = _share(scene.a, cut.a, float(terms.sum()), counts)
        b = _share(scene.b, cut.b, float(b_terms.sum()), counts)
        if a is None or b is None or same(a[1], b[1], 1e-4):
            continue
        return Proposal(
            abs(a[1] - b[1]) / max(abs(a[1]), abs(b[1])),
            scene.a.error(a[0], np.asarray(a[1] * float(b_terms.sum()))),
            f"{_word(b[1], terms.shape)} in B, {_word(a[1], terms.shape)} in A: "
            f"B's loss is {number(b[1] / a[1])} times A's",
            _reduction_fix(scene, b[0], a[1], terms.shape),
            {"a": float(f"{a[1]:.6g}"), "b": float(f"{b[1]:.6g}"), "ratio": float(f"{b[1] / a[1]:.6g}")},
            fitted=0,
        )
    return None


def _terms(side: Side, cut: int, x: Floats) -> Floats:
    """The equal tensor; where it is a sum already, what was summed."""
    for _ in range(MAX_SUMS):
        seen = side.observations[cut]
        if x.size > 1 or seen.site.op not in ("Sum", "Mean") or not seen.inputs:
            break
        cut = seen.inputs[0]
        summed = side.array(cut)
        x = x if summed is None else summed
    return x


def _halved(side: Side, cut: int) -> bool:
    """Whether tf.nn.l2_loss is made of the tensor: half the sum of its squares."""
    return any(side.observations[user].site.op == "L2Loss" for user in side.users(cut))


def _counts(shape: tuple[int, ...]) -> list[float]:
    """Numbers a sum over such a tensor may be divided by."""
    size = float(np.prod(shape)) if shape else 1.0
    found = {1.0, size}
    for extent in shape:
        found |= {float(extent), size / extent}
    return sorted(found | {2.0, 2.0 * size, *(2.0 * extent for extent in shape[:1])})  # half of a sum of squares


def _share(side: Side, cut: int, total: float, counts: list[float]) -> tuple[int, float] | None:
    """(observation, c): the last scalar computed from the cut that is c * total."""
    if side.observations[cut].site.role != "activation":
        return None  # labels add up to whole numbers, as many other scalars do
    behind = side.descendants(cut)
    for index in [*reversed([i for i in side.bad if i in behind]), cut]:
        value = side.scalar(index)
        if value is None or total == 0.0 or "float" not in side.observations[index].dtype:
            continue
        for count in counts:
            if same(value, total / count, 5e-6):
                return index, 1.0 / count
    return None


def _word(share: float, shape: tuple[int, ...]) -> str:
    size = float(np.prod(shape)) if shape else 1.0
    if same(share, 1.0, 1e-6):
        return f"the {int(size)} terms of the loss are summed"
    if same(share, 1.0 / size, 1e-6):
        return f"the {int(size)} terms of the loss are averaged"
    return f"the sum of the {int(size)} terms of the loss is divided by {number(1.0 / share)}"


def _reduction_fix(scene: Scene, index: int, share: float, shape: tuple[int, ...]) -> str:
    site, place = b_site(scene, index), scene.finding.divergence.b
    size = float(np.prod(shape)) if shape else 1.0
    mean = same(share, 1.0 / size, 1e-6)
    keras = keras_loss(scene, site)
    if mean:
        what = "reduction='sum_over_batch_size'" if keras else "tf.reduce_mean(...)"
    elif same(share, 1.0, 1e-6):
        what = "reduction='sum'" if keras else "tf.reduce_sum(...)"
    else:
        what = f"tf.reduce_sum(...) / {number(1.0 / share)}"
    return f"{what} for the loss{at(place)}"


def _of_a_term(scene: Scene) -> Proposal | None:
    """One term of the loss (a divergence, say) is summed over an axis here and averaged there."""
    if scene.a.frontier is None or scene.b.frontier is None:
        return None
    at_a, at_b = scene.a.frontier, scene.b.frontier
    ops = scene.a.observations[at_a], scene.b.observations[at_b]
    values = scene.a.array(at_a), scene.b.array(at_b)
    if {seen.site.op for seen in ops} != {"Sum", "Mean"} or values[0] is None or values[1] is None:
        return None
    for side, index in ((scene.a, at_a), (scene.b, at_b)):
        if any(side.observations[i].site.op in LINEAR_OPS for i in side.descendants(index) & set(side.bad)):
            return None  # a layer goes on from it: no loss
    counts = [
        side.observations[seen.inputs[0]].size // max(seen.size, 1) for side, seen in zip(scene.sides, ops, strict=True)
    ]
    if counts[0] != counts[1] or values[0].size != values[1].size:
        return None
    ratio = float(counts[0]) if ops[0].site.op == "Sum" else 1.0 / counts[0]
    words = {"Sum": "summed", "Mean": "averaged"}
    return Proposal(
        relative_error(values[0], values[1].reshape(values[0].shape)),
        scene.a.error(at_a, values[1] * ratio),
        f"a term of the loss is {words[ops[1].site.op]} over {counts[0]} numbers in B, {words[ops[0].site.op]} in A",
        f"tf.reduce_{ops[0].site.op.lower()}(...){at(scene.finding.divergence.b)}",
        {"ratio": float(f"{1.0 / ratio:.6g}")},
        fitted=0,
    )


def _broadcast(scene: Scene) -> Proposal | None:
    """(n,) against (n, 1): B's differences are an (n, n) table whose diagonal is A's."""
    for cut in scene.cuts:
        n = cut.x_b.size
        table = next((i for i in scene.b.bad if scene.b.observations[i].shape == (n, n) and n > 1), None)
        values = None if table is None else scene.b.array(table)
        if table is None or values is None:
            continue
        diagonal = np.ascontiguousarray(np.diagonal(values))
        twin = next((s for sign in (1.0, -1.0) if (s := scene.a.find(sign * diagonal)) is not None), None)
        if twin is None:
            continue
        known = scene.a.array(twin)
        spread = relative_error(np.broadcast_to(diagonal, (n, n)), values)
        after = (
            min(scene.a.error(twin, diagonal), scene.a.error(twin, -diagonal)) if known is not None else float("inf")
        )
        return Proposal(
            max(spread, 0.5),
            after,
            f"shapes ({n},) and ({n}, 1) broadcast to ({n}, {n}) in B's loss: every prediction meets every label",
            f"tf.squeeze(prediction, -1), or give the labels the prediction's shape{at(scene.finding.divergence.b)}",
            {"a": n, "b": n * n},
            fitted=0,
        )
    return None
