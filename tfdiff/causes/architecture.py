"""Layers with weights of their own that only one side has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfdiff.causes import replay
from tfdiff.causes.hypothesis import Proposal
from tfdiff.causes.scene import LINEAR_OPS
from tfdiff.causes.words import at, named, plain
from tfdiff.pairing.distance import relative_error

STRUCTURE = 0.05
"""Doubt where the proof is where the layers stand, not what they compute."""

if TYPE_CHECKING:
    from tfdiff.causes.scene import Floats, Scene, Side


def extra_layer(scene: Scene) -> Proposal | None:
    """B computes a layer with weights of its own before the op that A reaches at once."""
    found = _detour(scene, scene.a, scene.b)
    return None if found is None else layer_proposal(scene, scene.b, found[2], found[:2])


def missing_layer(scene: Scene) -> Proposal | None:
    """A computes a layer with weights of its own before the op that B reaches at once."""
    found = _detour(scene, scene.b, scene.a)
    return None if found is None else layer_proposal(scene, scene.a, found[2], found[:2])


def layer_proposal(scene: Scene, side: Side, own: list[int], errors: tuple[float, float]) -> Proposal:
    """Layers that only `side` has, with the weights that are its own; without such weights it is one layer."""
    count = sum(1 for v in own if len(side.trace.variables[v].shape) > 1) or 1
    place, divergence = scene.place(side), scene.finding.divergence
    names = _names(side, own) or named(place)
    if side is scene.b:
        summary = f"B has {_layers(count)} that A lacks here ({names})"
        fix = f"remove {'this layer' if count == 1 else f'these {count} layers'}{at(divergence.b)}"
    else:
        summary = f"A has {_layers(count)} that B lacks here ({names})"
        fix = f"add {_layers(count)} as in A ({named(divergence.a)}){at(divergence.b)}"
    constants = {"a": 0, "b": count} if side is scene.b else {"a": count, "b": 0}
    code = "arch-extra-layer" if side is scene.b else "arch-missing-layer"
    return Proposal(*errors, summary, fix, constants, fitted=0, code=code)


def layers_behind(scene: Scene) -> Proposal | None:
    """Behind the first divergence: weights of one side only, between layers that both have."""
    if scene.finding.kind != "layers":
        return None
    numbers = scene.finding.numbers
    a, b = int(numbers["a"]), int(numbers["b"])
    place = scene.finding.divergence.b
    side, who, other = (scene.a, "A", "B") if a > b else (scene.b, "B", "A")
    known = [v for v in numbers["variables"] if v in side.trace.variables]
    count = abs(a - b)
    if not count or len(known) != count:
        return None
    remove = f"remove {'this layer' if count == 1 else f'these {count} layers'}{at(place)}"
    add = f"add {_layers(count)} as in A ({named(scene.finding.divergence.a)}){at(place)}"
    return Proposal(
        1.0,
        0.0,
        f"{who} has {_layers(count)} that {other} lacks here ({_names(side, known)})",
        remove if who == "B" else add,
        {"a": a, "b": b},
        fitted=0,
        code="arch-extra-layer" if who == "B" else "arch-missing-layer",
        doubt=STRUCTURE,
    )


def width(scene: Scene) -> Proposal | None:
    """Two layers of one kind that stand at the same place and have another number of outputs."""
    a, b = scene.a.frontier, scene.b.frontier
    if a is None or b is None:
        return None
    ops = scene.a.observations[a], scene.b.observations[b]
    first, second = _units(scene.a, a), _units(scene.b, b)
    if ops[0].site.op != ops[1].site.op or first is None or second is None:
        return None
    (kernel_a, units_a), (kernel_b, units_b) = first, second
    if units_a == units_b or scene.pair_of_a.get(kernel_a) is not None or scene.pair_of_b.get(kernel_b) is not None:
        return None
    place = scene.finding.divergence.b
    return Proposal(
        abs(units_a - units_b) / max(units_a, units_b),
        0.0,
        f"this layer has {_outputs(units_b)} in B, {units_a} in A",
        f"give it {_outputs(units_a)} as in A ({named(scene.finding.divergence.a)}){at(place)}",
        {"a": units_a, "b": units_b},
        fitted=0,
        doubt=STRUCTURE,
    )


def _outputs(count: int) -> str:
    return "1 output" if count == 1 else f"{count} outputs"


def _units(side: Side, index: int) -> tuple[int, int] | None:
    """Variable and number of outputs of a matrix product or convolution."""
    seen = side.observations[index]
    for _, variable in _linear(side, [index]):
        if len(side.trace.variables[variable].shape) > 1 and seen.shape:
            first = seen.site.attrs.get("data_format") == "NCHW" and len(seen.shape) > 2
            return variable, seen.shape[1] if first else seen.shape[-1]
    return None


def _layers(count: int) -> str:
    return "a layer" if count == 1 else f"{count} layers"


def _names(side: Side, variables: list[int]) -> str:
    """The weights' names, with the lines that create them where the names alone say nothing."""
    known = [side.trace.variables[variable] for variable in variables]
    names = list(dict.fromkeys(plain(v.name) for v in known))
    if len(names) < len(known):
        names = list(dict.fromkeys(f"weights of {plain(v.source or v.name)}" for v in known))
    return ", ".join(names)


def _detour(scene: Scene, short: Side, long: Side) -> tuple[float, float, list[int]] | None:
    """Proof that `long` without its own weights gives `short`: (before, after, weights)."""
    for cut in scene.cuts:
        s_cut, l_cut, x = (cut.a, cut.b, cut.x_b) if short is scene.a else (cut.b, cut.a, cut.x_a)
        for node, variable in _linear(short, short.users(s_cut)):
            partner = _partner(scene, short, variable)
            for target, found in _linear(long, long.bad):
                proof = _skip(scene, long, l_cut, x, target) if partner is not None and found == partner else None
                if proof is None:
                    continue
                predicted, own = proof
                mine, theirs = short.array(node), long.array(target)
                if mine is None or theirs is None or mine.size != predicted.size:
                    continue
                before = relative_error(mine, theirs.reshape(mine.shape)) if mine.size == theirs.size else 1.0
                return before, short.error(node, predicted), own
    return None


def _partner(scene: Scene, side: Side, variable: int) -> int | None:
    """The other side's counterpart of a variable; it may be one that is made and never used."""
    if side is scene.a:
        pair = scene.pair_of_a.get(variable)
        return None if pair is None else pair.b
    pair = scene.pair_of_b.get(variable)
    return None if pair is None else pair.a


def _linear(side: Side, among: list[int] | tuple[int, ...]) -> list[tuple[int, int]]:
    """(node, variable) of the matrix products and convolutions with a variable."""
    found = []
    for index in among:
        if side.observations[index].site.op in LINEAR_OPS:
            found += [(index, v) for v in map(side.variable_of, side.observations[index].inputs) if v is not None]
    return found


def _skip(scene: Scene, side: Side, start: int, x: Floats, target: int) -> tuple[Floats, list[int]] | None:
    """(what `target` gives for the tensor of the cut, the unpaired weights skipped), None where nothing is skipped."""
    own = own_weights(scene, side, start, target)
    seen = side.observations[target]
    if not own or start not in side.ancestors((target,)):
        return None
    operands: list[Floats] = []
    for operand in seen.inputs:
        value = side.array(operand)
        if value is None:
            return None
        weight = side.variable_of(operand) is not None
        if not weight and value.shape[1:] != x.shape[1:]:
            if value.size != x.size:
                return None
            value = x.reshape(value.shape)
        operands.append(value if weight else x.reshape(value.shape))
    predicted = replay.apply(seen.site.op, seen.site.attrs, operands, seen.shape)
    return None if predicted is None else (predicted, own)


def own_weights(scene: Scene, side: Side, start: int, end: int) -> list[int]:
    """The weights on the way from one tensor to another that the other side does not use."""
    pairs = scene.pair_of_a if side is scene.a else scene.pair_of_b
    between = side.ancestors((end,)) - side.ancestors((start,))
    variables = {
        v for i in between if (v := side.variable_of(i)) is not None and side.observations[i].site.role == "weight"
    }
    other = scene.b if side is scene.a else scene.a
    used = {seen.site.variable for seen in other.with_role("weight") if seen.site.phase == "forward"}
    return sorted(v for v in variables if v not in pairs or _partner(scene, side, v) not in used)
