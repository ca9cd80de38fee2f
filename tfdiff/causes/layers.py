"""Forward pass: activations and biases."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tfdiff.causes.functions import ACTIVATIONS, IN_CODE, IN_KERAS, fit_elu, fit_leaky
from tfdiff.causes.hypothesis import Proposal
from tfdiff.causes.words import at, b_site, plain
from tfdiff.model import Place
from tfdiff.pairing.distance import relative_error

if TYPE_CHECKING:
    from tfdiff.causes.scene import Floats, Scene, Side

NONE = "none"
SAMPLE = 2048
BY_OP = {"Relu": "relu", "Elu": "elu", "Selu": "selu", "Tanh": "tanh", "Softsign": "softsign"}
ADDS = frozenset({"Add", "AddV2", "BiasAdd"})


def activation(scene: Scene) -> Proposal | None:
    """The same tensor goes through another function, through none, or one more: each side's function is identified."""
    for cut in scene.cuts:
        a, b = find_function(scene, scene.a, cut.a, cut.x_a), find_function(scene, scene.b, cut.b, cut.x_b)
        if a is None and b is not None and goes_on(scene.a, cut.a, scene.b, b[1]):
            a = (NONE, cut.a, 0)
        if b is None and a is not None and goes_on(scene.b, cut.b, scene.a, a[1]):
            b = (NONE, cut.b, 0)
        if a is None or b is None or a[0] == b[0]:
            continue
        if _passed_by(scene.a, cut.a, a[1]) != _passed_by(scene.b, cut.b, b[1]):
            continue  # a function of one side only is a part of what is done with the tensor
        y_a, wanted = _value(a[0], cut.x_a), _value(a[0], cut.x_b)
        y_b = _value(b[0], cut.x_b)
        turned = scene.in_a(y_b, y_a.shape, cut)
        before = float("inf") if turned is None else relative_error(y_a, turned)
        after = scene.miss(a[1], wanted, cut)
        return Proposal(
            before,
            after,
            f"A applies {_said(a[0])}, B applies {_said(b[0])} to the same values",
            _activation_fix(scene, b[1], a[0], b[0]),
            {"a": a[0], "b": b[0]},
            fitted=a[2] + b[2],
            doubt=0.02 * (NONE in (a[0], b[0])),
        )
    return None


def find_function(scene: Scene, side: Side, index: int, x: Floats) -> tuple[str, int, int] | None:
    """(name, observation, constants fitted) of the activation function that a side applies to `x` behind the cut."""
    alike = [i for i in side.bad if i != index and side.observations[i].size == x.size]
    alike = [i for i in alike if "float" in side.observations[i].dtype]
    best: tuple[float, str, int] | None = None
    for name in ACTIVATIONS if alike else ():
        found = _find_named(side, name, x, alike, scene.tolerance)
        if found is not None and (best is None or found[0] < best[0]):
            best = (found[0], name, found[1])
    if best is not None:
        return best[1], best[2], 0
    for bad in alike:  # values so small that the function hardly changes them: the op itself tells which it is
        named = BY_OP.get(side.observations[bad].site.op)
        if named and index in side.observations[bad].inputs and side.error(bad, _value(named, x)) <= scene.tolerance:
            return named, bad, 0
    for bad in alike:
        y = side.array(bad)
        fitted = None if y is None else _fitted(x, y.reshape(x.shape), max(scene.tolerance, 5e-5))
        if fitted is not None:
            return fitted, bad, 1
    return None


def _find_named(side: Side, name: str, x: Floats, among: list[int], tolerance: float) -> tuple[float, int] | None:
    """(error, observation) where the function of that name gives what was recorded."""
    rows = name.endswith("softmax")
    if rows and (x.ndim < 2 or x.shape[-1] < 2):
        return None
    if not rows:  # a few elements rule most functions out
        few = slice(None, None, max(1, x.size // SAMPLE))
        y = _value(name, x.reshape(-1)[few])
        known = [side.array(i) for i in among]
        among = [
            i
            for i, v in zip(among, known, strict=True)
            if v is None or relative_error(v.reshape(-1)[few], y) <= 10 * tolerance
        ]
    if not among:
        return None
    y = _value(name, x)
    if not np.isfinite(y).all() or np.ptp(y) == 0.0 or np.linalg.norm(y - x) <= 1e-4 * np.linalg.norm(y):
        return None
    found = side.find(y, among, tolerance)
    return None if found is None else (side.error(found, y), found)


def _fitted(x: Floats, y: Floats, tolerance: float) -> str | None:
    """Leaky ReLU or ELU with the constant that gives `y`; a few elements give the constant, all of them prove it."""
    few = slice(None, None, max(1, x.size // SAMPLE))
    x_few, y_few = x.reshape(-1)[few], y.reshape(-1)[few]
    for kind, fit in (("leaky_relu", fit_leaky), ("elu", fit_elu)):
        constant = fit(x_few, y_few)
        name = "" if constant is None else f"{kind}({constant:.4g})"
        if name and relative_error(_value(name, x_few), y_few) <= tolerance:
            return name if relative_error(_value(name, x), y) <= tolerance else None
    return None


def _value(name: str, x: Floats) -> Floats:
    """The function of that name; `leaky_relu(0.3)` and `elu(0.5)` carry their constant."""
    if name == NONE:
        return x
    if name in ACTIVATIONS:
        with np.errstate(over="ignore", invalid="ignore"):
            return ACTIVATIONS[name](x)
    kind, _, rest = name.partition("(")
    constant = float(rest.rstrip(")"))
    lower = x if kind == "leaky_relu" else np.expm1(np.minimum(x, 0.0))
    return np.where(x > 0, x, constant * lower)


def _passed_by(side: Side, index: int, function: int) -> bool:
    """Whether a tensor is used beside the function of it, too."""
    within = side.ancestors((function,))
    return function != index and any(user not in within for user in side.users(index))


def goes_on(side: Side, index: int, other: Side, function: int) -> bool:
    """Whether `side` feeds the tensor itself to the kind of op that `other` feeds the function's result to."""
    return bool(_ops_behind(side, index) & _ops_behind(other, function))


def _ops_behind(side: Side, index: int) -> set[tuple[str, bool]]:
    """(op, whether with a number) that take a tensor, those included that take it times 1 or plus 0 (as Keras 2 writes
    `swish`).
    """
    users = side.users(index)
    behind = [further for user in users if _changes_nothing(side, user) for further in side.users(user)]
    return {(side.observations[user].site.op, _with_number(side, user)) for user in (*users, *behind)}


def _with_number(side: Side, index: int) -> bool:
    """Whether an op of two operands takes a single number for one of them."""
    operands = side.observations[index].inputs
    return len(operands) == 2 and any(side.scalar(operand) is not None for operand in operands)


def _changes_nothing(side: Side, index: int) -> bool:
    seen = side.observations[index]
    neutral = {"Mul": 1.0, "RealDiv": 1.0, "AddV2": 0.0, "Sub": 0.0}.get(seen.site.op)
    return neutral is not None and neutral in [side.scalar(operand) for operand in seen.inputs]


def _said(name: str) -> str:
    return "no activation" if name == NONE else name


def _activation_fix(scene: Scene, index: int, wanted: str, found: str) -> str:
    site = b_site(scene, index)
    place = scene.finding.divergence.b
    if found == NONE and site is not None:  # the line that makes the tensor, not the one that takes it
        place = Place(site.layer, site.name, site.source or site.called, site.called)
    kind, _, rest = wanted.partition("(")
    constant = rest.rstrip(")") if kind in ("leaky_relu", "elu") and rest else ""
    in_layer = site is not None and site.layer is not None
    if wanted == NONE:
        what = "activation=None" if in_layer else f"remove the {plain(found)}"
        return f"{what}{at(place)}"
    if in_layer:
        argument = IN_KERAS.get(wanted, f"'{wanted}'")
        if constant:
            argument = (
                f"lambda x: tf.nn.leaky_relu(x, {constant})"
                if kind == "leaky_relu"
                else f"keras.layers.ELU({constant})"
            )
        return f"activation={argument}{at(place)}"
    code = IN_CODE.get(wanted, f"tf.nn.{wanted}(x)")
    if constant:
        code = (
            f"tf.nn.leaky_relu(x, alpha={constant})"
            if kind == "leaky_relu"
            else f"tf.keras.activations.elu(x, {constant})"
        )
    return f"{code}{at(place, called=True)}"


def bias_missing(scene: Scene) -> Proposal | None:
    """One side adds a vector of its own that has no counterpart; the other goes on from the sum's first operand."""
    if scene.finding.kind == "absent":
        return _idle_bias(scene)
    for cut in scene.cuts:
        a, b = _bias(scene, scene.a, cut.a), _bias(scene, scene.b, cut.b)
        if (a is None) == (b is None):
            continue
        side, other, index = (scene.a, scene.b, cut.b) if a is not None else (scene.b, scene.a, cut.a)
        node, variable = a or b or (0, 0)
        x = cut.x_b if side is scene.a else cut.x_a
        if goes_on(other, index, side, node):
            return _missing(scene, side, node, variable, x, side.error(node, x))
    return None


def _idle_bias(scene: Scene) -> Proposal | None:
    """A bias on one side that is zero still, so that only its being there tells."""
    for side in scene.sides:
        seen = None if side.frontier is None else side.observations[side.frontier]
        if seen is None or seen.site.op not in ADDS or len(seen.inputs) != 2:
            continue
        for operand, vector in (seen.inputs, seen.inputs[::-1]):
            variable, x = side.variable_of(vector), side.array(operand)
            if variable is not None and x is not None and not _is_read(scene, side, variable):
                return _missing(scene, side, seen.index, variable, x, scene.finding.divergence.error)
    return None


def _is_read(scene: Scene, side: Side, variable: int) -> bool:
    """Whether the other side reads the counterpart of a variable in this step."""
    other, pairs = (scene.b, scene.pair_of_a) if side is scene.a else (scene.a, scene.pair_of_b)
    pair = pairs.get(variable)
    known = None if pair is None else pair.b if side is scene.a else pair.a
    reads = (seen.site for seen in other.with_role("weight") if seen.site.phase == "forward")
    return known is not None and any(site.variable == known for site in reads)


def _missing(scene: Scene, side: Side, node: int, variable: int, x: Floats, before: float) -> Proposal | None:
    bias = side.before(variable)
    if bias is None or bias.ndim != 1:
        return None
    shaped = bias.reshape(-1, *[1] * (x.ndim - 2)) if _channels_first(side, node, x, bias) else bias
    name = plain(side.trace.variables[variable].name)
    has, lacks = ("A", "B") if side is scene.a else ("B", "A")
    fix = (
        f"add a bias of shape {list(bias.shape)} (tf.Variable(tf.zeros({list(bias.shape)})), or use_bias=True)"
        if has == "A"
        else "leave the bias out (use_bias=False)"
    )
    return Proposal(
        before,
        side.error(node, x + shaped),
        f"{has} adds the bias {name}, {lacks} has none here",
        f"{fix}{at(scene.finding.divergence.b)}",
        {"a": name if has == "A" else None, "b": name if has == "B" else None},
        fitted=0,
        doubt=0.02,
    )


def _bias(scene: Scene, side: Side, index: int) -> tuple[int, int] | None:
    """(node, variable) of an addition of an unpaired vector to the tensor."""
    pairs = scene.pair_of_a if side is scene.a else scene.pair_of_b
    for user in side.users(index):
        seen = side.observations[user]
        for operand in seen.inputs:
            variable = side.variable_of(operand)
            if seen.site.op in ADDS and variable is not None and variable not in pairs:
                return user, variable
    return None


def _channels_first(side: Side, node: int, x: Floats, bias: Floats) -> bool:
    attrs = side.observations[node].site.attrs
    return x.ndim > 2 and (attrs.get("data_format") == "NCHW" or (x.shape[-1] != bias.size and x.shape[1] == bias.size))
