"""Dropout: another rate, or none on one side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tfdiff.causes.hypothesis import Proposal
from tfdiff.causes.scene import same
from tfdiff.causes.words import api_of, at, b_site, line_of, named, number, percent, plain
from tfdiff.pairing.distance import relative_error

if TYPE_CHECKING:
    import numpy.typing as npt

    from tfdiff.causes.scene import Cut, Floats, Scene, Side

EXACT = 1e-5
RECURRENT = frozenset({"SimpleRNN", "LSTM", "GRU"})


@dataclass(frozen=True)
class Drop:
    """A dropout seen in the numbers: y = x * scale where kept, 0 elsewhere."""

    index: int
    """Observation of y."""
    rate: float
    scale: float
    kept: npt.NDArray[np.bool_]
    uniform: Floats | None
    """The draw that decided, None where none was found."""
    below: bool = False
    """Kept where the draw lies below the keep probability (else: at or above the rate)."""
    slack: float = 1e-5
    """How far the rate may be off: half the gap between the draws on its two sides where no scale tells it."""

    @property
    def scaled(self) -> bool:
        """Whether what is kept is scaled up by 1 / (1 - rate)."""
        return self.scale > 1.0 + 1e-6

    def again(self, x: Floats, uniform: Floats) -> Floats:
        """What this dropout makes of another tensor with a draw of its shape."""
        return np.where(_kept(self, uniform), x * self.scale, 0.0)


def dropout_rate(scene: Scene) -> Proposal | None:
    """Both sides drop, but another share: fits both rates from the scale and from the draws that were dropped."""
    for cut in scene.cuts:
        a, b = find_drop(scene.a, cut.a, cut.x_a), find_drop(scene.b, cut.b, cut.x_b)
        if a is None or b is None or a.scaled != b.scaled or _may_be_equal(a, b):
            continue
        before, after, doubt = _rate_proof(scene, cut, a, b)
        inverted = same(a.rate + b.rate, 1.0)
        return Proposal(
            before,
            after,
            _summary(a.rate, b.rate, inverted=inverted),
            _fix(scene, b.index, a.rate, inverted=inverted),
            {"a": _rounded(a.rate), "b": _rounded(b.rate)},
            fitted=2,
            doubt=doubt,
        )
    return None


def _rate_proof(scene: Scene, cut: Cut, a: Drop, b: Drop) -> tuple[float, float, float]:
    """(error before, after, doubt) of giving B's dropout A's rate."""
    before = scene.distance(a.index, b.index, cut)
    if a.uniform is None or b.uniform is None:
        return before, _common(scene, cut, a, b), 0.2
    own = scene.miss(a.index, a.again(cut.x_b, b.uniform), cut)
    if own <= EXACT or cut.permutation is not None or a.uniform.size != cut.x_b.size:
        return before, own, 0.0
    # The two drew other numbers: let B decide by A's.
    draw = a.uniform.reshape(cut.x_b.shape)
    y_a = scene.a.array(a.index)
    with_b = b.again(cut.x_b, draw)
    before = before if y_a is None else relative_error(y_a.reshape(with_b.shape), with_b)
    kept = draw < 1.0 - a.rate if b.below else draw >= a.rate
    return before, scene.miss(a.index, np.where(kept, cut.x_b * a.scale, 0.0)), 0.05


def dropout_rate_behind(scene: Scene) -> Proposal | None:
    """Behind the first divergence: equal draws, another share. Each rate is fitted where its own tensors stand, and A's
    dropout is computed again from A's tensor with B's rate and with its own.
    """
    dropouts = scene.finding.numbers.get("dropouts", ()) if scene.finding.kind == "draws" else ()
    if not dropouts:
        return None
    found = [pair for numbers in dropouts if (pair := _own_drops(scene, *numbers)) is not None]
    if len(found) < len(dropouts):
        return _by_scale(scene, dropouts)
    (x, a, b), rates = found[0], [(_rounded(a.rate), _rounded(b.rate)) for _, a, b in found]
    y, drawn = scene.a.array(a.index), a.uniform
    if y is None or drawn is None:
        return None
    before, after = (relative_error(y, drop.again(x, drawn).reshape(y.shape)) for drop in (b, a))
    return _behind(scene, rates, (before, after), dropouts[0][3])


def _by_scale(scene: Scene, dropouts: list[tuple[int, int, int, int]]) -> Proposal | None:
    """Where the tensors are not kept: the rates of which the scales speak, checked against the shares that dropped."""
    rates = []
    for a_x, a_y, b_x, b_y in dropouts:
        a, b = _scaled_rate(scene.a, a_x, a_y), _scaled_rate(scene.b, b_x, b_y)
        if a is None or b is None:
            return None
        rates.append((_rounded(a), _rounded(b)))
    shares, counts = scene.finding.numbers["shares"], scene.finding.numbers["counts"]
    off = [abs(share - rate) for share, rate in zip(shares, rates[0], strict=True)]
    noise = [4.0 * (rate * (1.0 - rate) / count) ** 0.5 for rate, count in zip(rates[0], counts, strict=True)]
    if off[1] > noise[1]:
        return None
    return _behind(scene, rates, (abs(shares[0] - shares[1]), off[0]), dropouts[0][3], noise[0])


def _scaled_rate(side: Side, x: int, y: int) -> float | None:
    """The rate whose 1 / (1 - rate) a tensor is multiplied by on its way into a dropout."""
    for index in sorted(side.ancestors((y,)) - side.ancestors((x,))):
        seen = side.observations[index]
        scales = [s for i in seen.inputs if (s := side.scalar(i)) is not None and s > 1.0 + 1e-6]
        if seen.site.op == "Mul" and x in side.ancestors((index,)) and scales:
            return 1.0 - 1.0 / scales[0]
    return None


def _behind(
    scene: Scene, rates: list[tuple[float, float]], errors: tuple[float, float], index: int, noise: float = 0.0
) -> Proposal:
    inverted = all(same(a + b, 1.0) for a, b in rates)
    kinds = list(dict.fromkeys(rates))
    more = f", and so in {len(rates) - 1} more dropouts" if len(rates) > 1 else ""
    if len(kinds) > 1:
        more += " (" + ", ".join(f"{percent(b)} for {percent(a)}" for a, b in kinds[1:]) + ")"
    a, b = rates[0]
    summary = _summary(a, b, inverted=inverted) + more
    fix = _fix(scene, index, a, inverted=inverted)
    doubt = 0.1 if noise else 0.0
    return Proposal(*errors, summary, fix, {"a": a, "b": b}, fitted=2, noise=noise, doubt=doubt)


def _own_drops(scene: Scene, a_x: int, a_y: int, b_x: int, b_y: int) -> tuple[Floats, Drop, Drop] | None:
    """A's tensor in front of its dropout, and both dropouts fitted, if their rates differ."""
    drops = []
    for side, before, after in ((scene.a, a_x, a_y), (scene.b, b_x, b_y)):
        x, y = side.array(before), side.array(after)
        if x is None or y is None or x.size != y.size:
            return None
        drop = _as_drop(side, after, x, y.reshape(x.shape), side.ancestors((before,)))
        if drop is None or drop.uniform is None:
            return None
        drops.append((x, drop))
    (x, a), (_, b) = drops
    return None if a.scaled != b.scaled or _may_be_equal(a, b) else (x, a, b)


def _kept(drop: Drop, uniform: Floats) -> npt.NDArray[np.bool_]:
    return uniform < 1.0 - drop.rate if drop.below else uniform >= drop.rate


def dropout_absent(scene: Scene) -> Proposal | None:
    """One side drops, the other passes the same tensor on: not in training mode, or no such layer."""
    for cut in scene.cuts:
        a, b = find_drop(scene.a, cut.a, cut.x_a), find_drop(scene.b, cut.b, cut.x_b)
        if (a is None) == (b is None):
            continue
        if a is not None and a.uniform is not None and _passes(scene.b, cut.b, scene.a, a.index):
            before = relative_error(scene.a.array(a.index), cut.x_a)  # type: ignore[arg-type]
            after = scene.miss(a.index, a.again(cut.x_b, a.uniform.reshape(cut.x_b.shape)), cut)
            return _absent(scene, cut, a, before, after, in_b=False)
        if b is not None and b.uniform is not None and _passes(scene.a, cut.a, scene.b, b.index):
            y = scene.b.array(b.index)
            before = relative_error(cut.x_b, y) if y is not None else float("inf")
            after = scene.b.error(b.index, b.again(cut.x_b, b.uniform))
            return _absent(scene, cut, b, before, after, in_b=True)
    return None


def find_drop(side: Side, index: int, x: Floats) -> Drop | None:
    """The last bad observation that is `x` with some elements dropped and the others scaled by one constant."""
    known = side.ancestors((index,))
    for bad in reversed(side.bad):
        seen = side.observations[bad]
        if seen.size != x.size or "float" not in seen.dtype or seen.stats.zeros == 0:
            continue
        y = side.array(bad)
        found = _as_drop(side, bad, x, y.reshape(x.shape), known) if y is not None else None
        if found is not None:
            return found
    return None


def _may_be_equal(a: Drop, b: Drop) -> bool:
    return abs(a.rate - b.rate) <= max(a.slack, b.slack)


def _as_drop(side: Side, index: int, x: Floats, y: Floats, known: set[int]) -> Drop | None:
    active, kept = x != 0.0, (y != 0.0) & (x != 0.0)
    dropped = active & ~kept
    if not kept.any() or not dropped.any():
        return None
    scale = float(np.median(y[kept] / x[kept]))
    if scale <= 0.0 or relative_error(y, np.where(kept, scale * x, 0.0)) > EXACT:
        return None
    rate = 1.0 - 1.0 / scale if scale > 1.0 + 1e-6 else None
    drawn = [i for i in sorted(side.ancestors((index,)) - known) if side.observations[i].site.role == "noise"]
    for noise in drawn:
        found = _by_draw(side.array(noise), kept, dropped, rate)
        if found is not None:
            fitted, uniform, below, slack = found
            return Drop(index, fitted, scale, kept, uniform, below, slack)
    if drawn or rate is None or not _looks_random(x, dropped, active, rate):
        return None
    return Drop(index, rate, scale, kept, None)


def _looks_random(x: Floats, dropped: npt.NDArray[np.bool_], active: npt.NDArray[np.bool_], rate: float) -> bool:
    """Without a draw: as many dropped as the rate says, and neither the large nor the small ones."""
    count = float(active.sum())
    share = float(dropped.sum()) / count
    spread = 4.0 * (share * (1.0 - share) / count) ** 0.5
    values = x[active]
    shift = abs(float(x[dropped].mean()) - float(values.mean()))
    return abs(share - rate) <= spread and bool(shift <= 4.0 * float(values.std()) / float(dropped.sum()) ** 0.5)


def _by_draw(
    uniform: Floats | None, kept: npt.NDArray[np.bool_], dropped: npt.NDArray[np.bool_], rate: float | None
) -> tuple[float, Floats, bool, float] | None:
    """(rate, draw, below, slack) where one threshold of the draw parts what was kept from what was dropped."""
    if uniform is None:
        return None
    try:
        drawn = uniform.reshape(kept.shape) if uniform.size == kept.size else np.broadcast_to(uniform, kept.shape)
    except ValueError:
        return None
    low, high = float(drawn[dropped].max()), float(drawn[kept].min())
    below = low > high
    if below:  # kept where the draw is small: the same with 1 - u
        low, high = float(1.0 - drawn[dropped].min()), float(1.0 - drawn[kept].max())
    if low > high + 1e-6:
        return None
    if rate is not None and not low - 1e-4 <= rate <= high + 1e-4:
        return None
    if rate is None:
        return 0.5 * (low + high), np.asarray(drawn), below, max(0.5 * (high - low), 1e-5)
    return rate, np.asarray(drawn), below, 1e-5


def _common(scene: Scene, cut: Cut, a: Drop, b: Drop) -> float:
    """Without draws: what is left where both sides keep, after B is scaled as A is."""
    y_a = scene.a.array(a.index)
    y_b = scene.b.array(b.index)
    turned = None if y_a is None or y_b is None else scene.in_a(y_b, y_a.shape, cut)
    if y_a is None or turned is None:
        return float("inf")
    both = (y_a != 0) & (turned != 0)
    return relative_error(y_a[both], turned[both] * (a.scale / b.scale)) if both.any() else float("inf")


def _passes(side: Side, index: int, other: Side, drop: int) -> bool:
    """Whether `side` draws nothing for the tensor and feeds the tensor to an op that `other` has behind its dropout."""
    known = side.ancestors((index,))
    drawn = {seen.size for seen in side.with_role("noise") if seen.index not in known}
    users = {side.observations[user].site.op for user in side.users(index)}
    beyond = {other.observations[user].site.op for user in other.users(drop)}
    return side.observations[index].size not in drawn and bool(users & beyond)


def _absent(scene: Scene, cut: Cut, drop: Drop, before: float, after: float, *, in_b: bool) -> Proposal:
    a_index, b_index = (cut.a, drop.index) if in_b else (drop.index, cut.b)
    keras = all(_in_layer(side, index) for side, index in ((scene.a, a_index), (scene.b, b_index)))
    rates = {"a": 0.0 if in_b else _rounded(drop.rate), "b": _rounded(drop.rate) if in_b else 0.0}
    place = scene.finding.divergence.b
    if keras and _may_have_dropout(scene.a if in_b else scene.b):
        on, off = ("B", "A") if in_b else ("A", "B")
        rate = percent(_rounded(drop.rate))
        summary = f"dropout is on in {on} ({rate}) and off in {off}: {off}'s model does not run in training mode"
        flag = "training=False" if in_b else "training=True"
        fix = f"call the model with {flag}{at(place, called=True)}"
        return Proposal(before, after, summary, fix, rates, code="training-flag", doubt=0.15)
    if in_b:
        summary = f"B drops {percent(_rounded(drop.rate))} of this tensor, A drops nothing"
        fix = f"remove the dropout{at(place)}"
        return Proposal(before, after, summary, fix, rates, code="arch-extra-layer", doubt=0.15)
    summary = (
        f"A drops {percent(_rounded(drop.rate))} of this tensor ({named(scene.finding.divergence.a)}), B drops nothing"
    )
    fix = f"add tf.nn.dropout(x, rate={number(_rounded(drop.rate))}) in front of the op{at(place, called=True)}"
    return Proposal(before, after, summary, fix, rates, code="arch-missing-layer", doubt=0.15)


def _may_have_dropout(side: Side) -> bool:
    """Whether a Keras model has a dropout that the step did not use; True where that is not known.

    In Keras 3 a `Dropout` makes a seed variable, which it reads in training mode only; so does a recurrent layer.
    """
    versions = side.trace.header.versions
    if "tf_keras" in versions or "keras" not in versions:
        return True
    read = {seen.site.variable for seen in side.observations}
    idle = sum(v.kind == "seed" and index not in read for index, v in side.trace.variables.items())
    sites = {(seen.site.layer or "", seen.site.layer_class or "") for seen in side.observations}
    recurrent = {
        path.rpartition("/")[0] if kind.endswith("Cell") else path
        for path, kind in sites
        if kind.removesuffix("Cell") in RECURRENT
    }
    return idle > len(recurrent)


def _in_layer(side: Side, index: int) -> bool:
    places = [index, *side.users(index)]
    return any(side.observations[i].site.layer is not None for i in places)


def _rounded(rate: float) -> float:
    """The rate without the rounding of 1 / (1 - rate) in float32."""
    return round(rate, 5)


def _summary(a: float, b: float, *, inverted: bool) -> str:
    text = f"B drops {percent(_rounded(b))}, A drops {percent(_rounded(a))}"
    return f"{text}: B passes the keep probability where the rate is wanted" if inverted else text


def _fix(scene: Scene, index: int, rate: float, *, inverted: bool) -> str:
    site, line = b_site(scene, index), line_of(scene.finding.divergence.b)
    where = f" at {plain(line)}" if line else ""
    value = number(_rounded(rate))
    if site is not None and site.layer_class == "Dropout" and site.api is None:
        return f"Dropout({value}){where}"
    name = api_of(site) or "tf.nn.dropout"
    if inverted:
        return f"{name}(..., rate=1 - keep_prob), that is rate={value}{where}"
    return f"{name}(..., rate={value}){where}"
