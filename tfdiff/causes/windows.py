"""Pooling and convolution over other windows: size, stride, padding."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tfdiff.causes import replay
from tfdiff.causes.hypothesis import Proposal
from tfdiff.causes.words import at
from tfdiff.pairing.distance import relative_error

if TYPE_CHECKING:
    from tfdiff.causes.scene import Scene, Side

POOLS = frozenset({"MaxPool", "AvgPool"})
WORDS = {"ksize": "windows of {}", "strides": "strides {}", "padding": "padding {}"}


def window(scene: Scene) -> Proposal | None:
    """The same op over the same tensor with other attributes: with A's, B's op must give A's tensor."""
    a, b = scene.a.frontier, scene.b.frontier
    if a is None or b is None:
        return None
    first, second = scene.a.observations[a], scene.b.observations[b]
    if first.site.op != second.site.op or first.site.op not in (*POOLS, "Conv2D"):
        return None
    names = [name for name in WORDS if first.site.attrs.get(name) != second.site.attrs.get(name)]
    operands = [scene.b.array(index) for index in second.inputs]
    known = [operand for operand in operands if operand is not None]
    if not names or len(known) != len(operands):
        return None
    predicted = replay.apply(first.site.op, first.site.attrs, known, first.shape)
    if predicted is None:
        return None
    x, y = scene.a.array(a), scene.b.array(b)
    before = relative_error(x, y) if x is not None and y is not None and x.shape == y.shape else 1.0
    return Proposal(
        before,
        scene.a.error(a, predicted),
        f"{second.site.op} has {_words(scene.b, b, names)} in B, {_words(scene.a, a, names)} in A",
        f"{_words(scene.a, a, names)}{at(scene.finding.divergence.b)}",
        {
            side: {name: _short(seen.site.attrs.get(name)) for name in names}
            for side, seen in (("a", first), ("b", second))
        },
        fitted=0,
        code="padding" if names == ["padding"] else "stride-or-pool",
    )


def _words(side: Side, index: int, names: list[str]) -> str:
    attrs = side.observations[index].site.attrs
    return " and ".join(WORDS[name].format(_size(_short(attrs.get(name)))) for name in names)


def _short(value: Any) -> Any:
    """The two spatial entries of an attribute for all axes."""
    return list(value[1:3]) if isinstance(value, (list, tuple)) and len(value) == 4 else value


def _size(value: Any) -> str:
    return " x ".join(map(str, value)) if isinstance(value, list) else str(value)
