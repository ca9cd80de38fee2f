"""Evaluation: the wrong mode, other test data, another metric."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfdiff.causes.data import nice, undo_scale
from tfdiff.causes.dropout import find_drop
from tfdiff.causes.hypothesis import Proposal
from tfdiff.causes.normalization import MODES, find_norm
from tfdiff.causes.words import at, b_site, number, percent
from tfdiff.comparison.eval_formulas import candidates, explained, outputs_and_labels
from tfdiff.comparison.eval_pairing import Evaluation
from tfdiff.pairing.distance import relative_error

if TYPE_CHECKING:
    from tfdiff.causes.dropout import Drop
    from tfdiff.causes.scene import Cut, Floats, Scene, Side


def eval_mode(scene: Scene) -> Proposal | None:
    """One side evaluates as it trains: dropout on, or normalization by the statistics of the test batch."""
    for cut in scene.cuts:
        found = _dropping(scene, cut) or _normalizing(scene, cut)
        if found is not None:
            return found
    return None


def _dropping(scene: Scene, cut: Cut) -> Proposal | None:
    """One side drops what the other passes on."""
    drops = find_drop(scene.a, cut.a, cut.x_a), find_drop(scene.b, cut.b, cut.x_b)
    if (drops[0] is None) == (drops[1] is None):
        return None
    in_b = drops[1] is not None
    side, drop, x = (scene.b, drops[1], cut.x_b) if in_b else (scene.a, drops[0], cut.x_a)
    if drop is None or drop.uniform is None:
        return None
    y = side.array(drop.index)
    if y is None:
        return None
    without = relative_error(*_common(cut.x_a, cut.x_b))
    who, other = ("B", "A") if in_b else ("A", "B")
    where = at(scene.finding.divergence.b, called=True)
    return Proposal(
        relative_error(x, y.reshape(x.shape)),
        max(without, _left(side, drop, x)),
        f"{who} drops {percent(drop.rate)} of the units when it evaluates, {other} drops none",
        f"{_switch(scene, drop.index if in_b else None, training=not in_b)}{where}",
        {"a": not in_b, "b": in_b},
        fitted=1,
    )


def _left(side: Side, drop: Drop, x: Floats) -> float:
    """How far the tensor is from the dropout that was read off it."""
    return side.error(drop.index, drop.again(x, drop.uniform.reshape(x.shape))) if drop.uniform is not None else 1.0


def _normalizing(scene: Scene, cut: Cut) -> Proposal | None:
    """One side normalizes with the statistics of the test batch, the other with the moving ones."""
    a, b = find_norm(scene.a, cut.a, cut.x_a), find_norm(scene.b, cut.b, cut.x_b)
    if a is None or b is None or a.mode == b.mode or "row" in (a.mode, b.mode):
        return None
    y_a, y_b = scene.a.array(a.index), scene.b.array(b.index)
    if y_a is None or y_b is None:
        return None
    if a.mode == "moving":
        wanted, found, predicted = y_a, y_b, b.again(cut.x_b, a.statistics, a.epsilon)
    else:
        wanted, found, predicted = y_b, y_a, a.again(cut.x_a, b.statistics, b.epsilon)
    return Proposal(
        relative_error(*_common(wanted, found)),
        relative_error(*_common(wanted, predicted)),
        f"when it evaluates, B's batch normalization uses {MODES[b.mode]}, A's uses {MODES[a.mode]}",
        f"{_switch(scene, b.index, training=a.mode == 'batch')}{at(scene.finding.divergence.b, called=True)}",
        {"a": a.mode == "batch", "b": b.mode == "batch"},
        fitted=1,
        noise=3e-4,
    )


def _switch(scene: Scene, index: int | None, *, training: bool) -> str:
    site = b_site(scene, index) if index is not None else b_site(scene)
    flag = f"training={training}"
    if site is not None and site.layer is not None:
        return f"call the model with {flag} where it is evaluated"
    return f"evaluate {'as in training' if training else 'without dropout and with the moving statistics'} ({flag})"


def _common(a: Floats, b: Floats) -> tuple[Floats, Floats]:
    """The rows that both have: one side may evaluate in larger batches."""
    rows = min(len(a), len(b))
    first, second = a[:rows], b[:rows]
    return first, second.reshape(first.shape) if second.size == first.size else second


def eval_data(scene: Scene) -> Proposal | None:
    """B's test inputs are an affine map of A's."""
    if scene.finding.kind != "eval-data" or scene.a.frontier is None or scene.b.frontier is None:
        return None
    factor, offset = float(scene.finding.numbers["scale"]), float(scene.finding.numbers["offset"])
    x, y = scene.a.array(scene.a.frontier), scene.b.array(scene.b.frontier)
    if x is None or y is None or x.size != y.size or factor == 0.0:
        return None
    x, y = x.reshape(-1), y.reshape(-1)
    zero = abs(offset) < 1e-6 * max(abs(factor), 1.0)
    where = at(scene.finding.divergence.b, called=True)
    said = f"{nice(factor)} * A's" + ("" if zero else f" {'+' if offset > 0 else '-'} {number(abs(offset))}")
    return Proposal(
        relative_error(x, y),
        relative_error(x, (y - offset) / factor),
        f"the inputs of B's evaluation are {said}: they are scaled otherwise than A's",
        f"{undo_scale(factor, offset, zero=zero)} where they are evaluated{where}",
        {"a": 1.0, "b": float(f"{factor:.6g}"), "offset": 0.0 if zero else float(f"{offset:.6g}")},
        fitted=1 if zero else 2,
        noise=1e-3,
    )


def eval_metric(scene: Scene) -> Proposal | None:
    """Outputs and labels agree, and each number is what another formula makes of them."""
    if scene.finding.kind != "eval-metric":
        return None
    kind = str(scene.finding.numbers["kind"])
    values = float(scene.finding.numbers["a"]), float(scene.finding.numbers["b"])
    sides = Evaluation(0, scene.a.block), Evaluation(0, scene.b.block)
    names = [explained(side, kind, value) for side, value in zip(sides, values, strict=True)]
    wanted = explained(sides[1], kind, values[0])  # what gives A's number when it is taken of B's outputs
    if None in names or wanted is None or wanted == names[1] or outputs_and_labels(sides[1]) is None:
        return None
    put_right = dict(candidates(sides[1], kind))[wanted]
    scale = max(abs(values[0]), abs(values[1]), 1e-12)
    after = abs(put_right - values[0]) / scale
    return Proposal(
        abs(values[0] - values[1]) / scale,
        after,
        f"B's {kind} is {number(values[1])} ({names[1]}), A's is {number(values[0])} ({wanted}), of the same outputs",
        f"measure as A does: {wanted}{at(scene.finding.divergence.b)}",
        {"a": wanted, "b": names[1]},
        fitted=0,
        noise=2e-3,
    )
