"""Pooling and convolution over other windows (size, stride, padding), and pooling of another kind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tfdiff.causes import replay
from tfdiff.causes.hypothesis import NOISE, Proposal
from tfdiff.causes.words import at
from tfdiff.pairing.distance import relative_error

if TYPE_CHECKING:
    from tfdiff.causes.scene import Scene, Side

POOLS = frozenset({"MaxPool", "AvgPool"})
OVER_ALL = frozenset({"Mean", "Max"})
"""Pooling over all of an image."""
TAKES = {"MaxPool": "the maximum", "AvgPool": "the mean", "Max": "the maximum", "Mean": "the mean"}
WORDS = {"ksize": "windows of {}", "strides": "strides {}", "padding": "padding {}"}


def window(scene: Scene) -> Proposal | None:
    """The same op over the same tensor with other attributes: with A's, B's op must give A's tensor."""
    a, b = scene.a.frontier, scene.b.frontier
    if a is None or b is None:
        return None
    first, second = scene.a.observations[a], scene.b.observations[b]
    ops = {first.site.op, second.site.op}
    if not (ops <= POOLS or ops == {"Conv2D"} or ops <= OVER_ALL):
        return None
    names = [name for name in WORDS if first.site.attrs.get(name) != second.site.attrs.get(name)]
    names += ["kind"] if len(ops) > 1 else []
    operands = [scene.b.array(index) for index in second.inputs]
    known = [operand for operand in operands if operand is not None]
    if not names or len(known) != len(operands):
        return None
    predicted = replay.apply(first.site.op, first.site.attrs, known, first.shape)
    own = replay.apply(second.site.op, second.site.attrs, known, second.shape)
    if predicted is None or own is None or scene.b.error(b, own) > max(scene.tolerance, NOISE):
        return None  # what is in B's place is not what it is called
    x, y = scene.a.array(a), scene.b.array(b)
    before = relative_error(x, y) if x is not None and y is not None and x.shape == y.shape else 1.0
    return Proposal(
        before,
        scene.a.error(a, predicted),
        f"{_what(second.site.op, names)} {_words(scene.b, b, names)} in B, {_words(scene.a, a, names)} in A",
        f"{_fix(scene.a, a, names)}{at(scene.finding.divergence.b)}",
        {
            side: {name: _short(seen.site.op if name == "kind" else seen.site.attrs.get(name)) for name in names}
            for side, seen in (("a", first), ("b", second))
        },
        fitted=0,
        code="padding" if names == ["padding"] else "stride-or-pool",
    )


def _what(op: str, names: list[str]) -> str:
    if "kind" not in names:
        return f"{op} has"
    return "this pooling takes" if op in POOLS else "this pooling over all places takes"


def _fix(side: Side, index: int, names: list[str]) -> str:
    kind = "max" if "maximum" in TAKES.get(side.observations[index].site.op, "") else "average"
    rest = _words(side, index, [name for name in names if name != "kind"])
    return ", ".join(part for part in (f"{kind} pooling as in A" if "kind" in names else "", rest) if part)


def _words(side: Side, index: int, names: list[str]) -> str:
    site = side.observations[index].site
    known = (
        TAKES[site.op] if name == "kind" else WORDS[name].format(_size(_short(site.attrs.get(name)))) for name in names
    )
    return " and ".join(known)


def _short(value: Any) -> Any:
    """The two spatial entries of an attribute for all axes."""
    return list(value[1:3]) if isinstance(value, (list, tuple)) and len(value) == 4 else value


def _size(value: Any) -> str:
    return " x ".join(map(str, value)) if isinstance(value, list) else str(value)
