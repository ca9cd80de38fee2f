"""A product or convolution with the same kernel in another layout: transposed, reshaped, flipped."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

from tfdiff.causes import replay
from tfdiff.causes.arrangement import CONVOLUTIONS
from tfdiff.causes.hypothesis import NOISE, Proposal
from tfdiff.causes.scene import LINEAR_OPS
from tfdiff.causes.words import at
from tfdiff.pairing.distance import relative_error
from tfdiff.pairing.layouts import MAX_RANK, inverse
from tfdiff.pairing.turns import transposed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tfdiff.causes.scene import Floats, Scene, Side
    from tfdiff.pairing.turns import Turn

FLAGS = {0: ("transpose_a", "adj_x"), 1: ("transpose_b", "adj_y")}
AXES = {"Conv2D": ("height", "width", "input channels", "output channels")}
AXES["DepthwiseConv2dNative"] = ("height", "width", "input channels", "multiplier")
FED = frozenset({"input", "noise"})


def kernel_layout(scene: Scene) -> Proposal | None:
    """The kernel that B's op takes is A's in another layout: with it put right, B's op gives A's tensor."""
    a, b = scene.a.frontier, scene.b.frontier
    if a is None or b is None:
        return None
    first, second = _kernel(scene.a, a), _kernel(scene.b, b)
    if first is None or second is None:
        return None
    position, kernel = second
    seen = scene.b.observations[b]
    operands = [scene.b.array(index) for index in seen.inputs]
    known = [operand for operand in operands if operand is not None]
    if len(known) != len(operands) or first[1].size != kernel.size or _near(kernel, first[1]):
        return None
    own = replay.apply(seen.site.op, seen.site.attrs, known, seen.shape)
    if own is None or scene.b.error(b, own) > max(scene.tolerance, NOISE):
        return None
    told = next(((words, turn) for words, turn in _layouts(kernel.shape) if _near(turn(kernel), first[1])), None)
    if told is None:
        return None
    words, turn = told
    known[position] = _as_operand(seen.site.attrs, position, turn(kernel))
    predicted = replay.apply(seen.site.op, seen.site.attrs, known, seen.shape)
    after = float("inf") if predicted is None else scene.miss(a, predicted)
    named = _named(seen.site.op, words)
    return Proposal(
        1.0 if predicted is None else relative_error(predicted, own),
        after,
        f"{seen.site.op} uses A's kernel in another layout in B: {named}",
        f"{_fix(words)}{at(scene.finding.divergence.b, called=True)}",
        {"a": list(first[1].shape), "b": list(kernel.shape), "layout": words},
        fitted=0,
    )


def _kernel(side: Side, index: int) -> tuple[int, Floats] | None:
    """(position among the operands, value as the op multiplies with it) of what does not come from the batch."""
    seen = side.observations[index]
    if seen.site.op not in LINEAR_OPS or seen.site.op == "Einsum" or len(seen.inputs) < 2:
        return None
    fed = [bool({side.observations[i].site.role for i in side.ancestors((i,))} & FED) for i in seen.inputs[:2]]
    # A constant kernel is recorded as fed where nothing tells it from a batch; in a convolution its place does.
    position = 1 if seen.site.op in CONVOLUTIONS or not fed[1] else 0
    value = side.array(seen.inputs[position])
    if (fed[position] and seen.site.op not in CONVOLUTIONS) or value is None or value.ndim < 2:
        return None
    return position, _as_operand(seen.site.attrs, position, value)


def _as_operand(attrs: Mapping[str, Any], position: int, value: Floats) -> Floats:
    """A matrix as the product takes it, its flag for transposing undone or done."""
    flagged = any(bool(attrs.get(flag, False)) for flag in FLAGS.get(position, ()))
    return np.swapaxes(value, -1, -2) if flagged else value


def _near(x: Floats, y: Floats) -> bool:
    return x.shape == y.shape and relative_error(x, y) <= 1e-6


def _layouts(shape: tuple[int, ...]) -> Iterator[tuple[str, Turn]]:
    """How a kernel may have to be laid out anew, in words and as functions that keep its shape."""
    if len(shape) > MAX_RANK - 1:
        return
    for along in ((0, 1), (0,), (1,)) if len(shape) >= 3 else ():
        if any(shape[axis] > 1 for axis in along):
            yield f"reversed along {list(along)}", _reversed(along)
    for axes in itertools.permutations(range(len(shape))):
        made = tuple(shape[axis] for axis in axes)
        if axes == tuple(range(len(shape))):
            continue
        if made == shape:
            yield f"transposed by {list(axes)}", transposed(axes)
            continue
        yield f"transposed by {list(axes)} and reshaped", _reshaped(transposed(axes), shape)
        yield f"reshaped to {list(made)}, not transposed", _reshaped_first(made, transposed(inverse(axes)))


def _reversed(axes: tuple[int, ...]) -> Turn:
    return lambda kernel: np.flip(kernel, axes)


def _reshaped(turn: Turn, shape: tuple[int, ...]) -> Turn:
    return lambda kernel: turn(kernel).reshape(shape)


def _reshaped_first(shape: tuple[int, ...], turn: Turn) -> Turn:
    return lambda kernel: turn(kernel.reshape(shape))


def _named(op: str, words: str) -> str:
    """What is exchanged or reversed, with the names of the axes where these are known."""
    names = AXES.get(op, ())
    if words == "reversed along [0, 1]" and names:
        return "reversed in height and width, as a true convolution has it (TensorFlow correlates)"
    if words == "transposed by [1, 0]":
        return "its transpose"
    if words.startswith("transposed by [1, 0, 2, 3]") and names:
        return f"with {names[0]} and {names[1]} exchanged"
    if words == "transposed by [0, 1, 3, 2]" and names:
        return f"with {names[2]} and {names[3]} exchanged"
    return words


def _fix(words: str) -> str:
    if words.startswith("reversed along"):
        axes = words.removeprefix("reversed along ")
        return f"reverse the kernel as A does: add tf.reverse(kernel, {axes}), or leave out the one that is there"
    if words == "transposed by [1, 0]":
        return "multiply with the transpose: tf.transpose(w), or transpose_b the other way round"
    if "reshaped" in words:
        return "lay the kernel out as A does: tf.transpose it, do not reshape it"
    return f"use the kernel as A does: tf.transpose(kernel, {words.removeprefix('transposed by ')})"
