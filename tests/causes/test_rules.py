"""Rules told from updates and constants alone: optimizers written by hand, which say nothing of themselves."""

import numpy as np
import pytest

from . import programs
from .programs import Program, features


def hand(script: str, rule, *constants: float, bias: float = 1.0) -> Program:
    """A linear model trained by `rule(memory, g, w, t)`, what is subtracted; its constants flow into the update.

    `bias` scales the bias' gradient.
    """
    p = Program(script)
    memory: dict[str, dict] = {}
    y = np.ones((24, 3), np.float32)
    for step in range(5):
        x = features(seed=step)
        z = p.dense(p.input(x), "out", 3)
        programs.squared(p, z, p.input(y))
        error = 2 * (p.value(z) - y) / y.size
        gradients = {"out/w": (x.T @ error).astype(np.float32), "out/b": (bias * error.sum(0)).astype(np.float32)}
        for name, g in gradients.items():
            p.gradient(name, g)
        inputs = tuple(p.constant(c, "update") for c in constants)
        for name, g in gradients.items():
            w = p.weights[name].astype(np.float64)
            change = rule(memory.setdefault(name, {}), g.astype(np.float64), w, step + 1)
            p.assign(name, np.asarray(change, np.float32), *inputs)
        p.end_step()
    return p


def adam(
    b1=0.9,
    b2=0.999,
    *,
    epsilon=1e-7,
    rate=0.01,
    place="outside",
    corrected=True,
    amsgrad=False,
    coupled=0.0,
    decay=0.0,
    clip=0.0,
):
    """Adam in its variants."""

    def rule(memory, g, w, t):
        g = (np.clip(g, -clip, clip) if clip else g) + coupled * w
        m = memory["m"] = b1 * memory.get("m", 0.0) + (1 - b1) * g
        v = memory["v"] = b2 * memory.get("v", 0.0) + (1 - b2) * g * g
        if amsgrad:
            v = memory["z"] = np.maximum(memory.get("z", 0.0), v)
        small = epsilon
        if corrected:
            m, v = m / (1 - b1**t), v / (1 - b2**t)
            small = epsilon / np.sqrt(1 - b2**t) if place == "outside" else epsilon
        root = np.sqrt(v + small) if place == "inside" else np.sqrt(v) + small
        return rate * m / root + rate * decay * w

    return rule, *(c for c in (b1, 1 - b1, b2, 1 - b2, epsilon, rate, 1.0, coupled, decay, clip) if c)


def sgd(momentum=0.0, rate=0.05, *, nesterov=False, damped=False, clip=0.0):
    """Gradient descent in its variants."""

    def rule(memory, g, _, __):
        g = np.clip(g, -clip, clip) if clip else g
        v = memory["v"] = momentum * memory.get("v", 0.0) + (g * (1 - momentum) if damped else g)
        return rate * (g + momentum * v if nesterov else v)

    return rule, *(c for c in (momentum, rate, 1 - momentum if damped else 0.0, clip) if c)


def rmsprop(rho=0.9, *, epsilon=1e-7, rate=0.005, place="inside", centered=False, initial=0.0, momentum=0.0):
    """RMSprop in its variants."""

    def rule(memory, g, _, __):
        v = memory["v"] = rho * memory.get("v", initial) + (1 - rho) * g * g
        a = memory["a"] = rho * memory.get("a", 0.0) + (1 - rho) * g
        v = v - a * a if centered else v
        root = np.sqrt(v + epsilon) if place == "inside" else np.sqrt(v) + epsilon
        memory["m"] = momentum * memory.get("m", 0.0) + rate * g / root
        return memory["m"]

    return rule, *(c for c in (rho, 1 - rho, epsilon, rate, momentum) if c)


def adagrad(initial=0.1, epsilon=1e-7, rate=0.05):
    """Adagrad."""

    def rule(memory, g, _, __):
        v = memory["v"] = memory.get("v", initial) + g * g
        return rate * g / np.sqrt(v + epsilon)

    return rule, *(c for c in (epsilon, rate, initial) if c)


def near(value):
    """The expected constants, numbers up to a relative 1e-3."""
    return pytest.approx(value, rel=1e-3) if isinstance(value, float) else value


@pytest.mark.parametrize(
    ("a", "b", "code", "constants"),
    [
        (adam(), adam(b2=0.99), "optimizer-betas", (0.999, 0.99)),
        (adam(), adam(b1=0.91), "optimizer-betas", (0.9, 0.91)),
        (adam(decay=0.05), adam(b2=0.99, decay=0.05), "optimizer-betas", (0.999, 0.99)),
        (rmsprop(), rmsprop(0.91), "optimizer-betas", (0.9, 0.91)),
        (adam(epsilon=1e-3), adam(epsilon=1e-2), "optimizer-epsilon", (1e-3, 1e-2)),
        (adam(epsilon=1e-4), adam(epsilon=1e-4, place="inside"), "optimizer-epsilon", ("outside", "inside")),
        (adam(epsilon=1e-3), adam(epsilon=1e-3, place="hat"), "optimizer-epsilon", ("outside", "hat")),
        (adam(), adam(corrected=False), "optimizer-bias-correction", (1.0, 0.0)),
        (adam(b2=0.5), adam(b2=0.5, amsgrad=True), "optimizer-amsgrad", (0.0, 1.0)),
        (rmsprop(), rmsprop(centered=True), "optimizer-centered", (0.0, 1.0)),
        (rmsprop(), rmsprop(initial=1.0), "optimizer-accumulator", (0.0, 1.0)),
        (adagrad(), adagrad(0.0), "optimizer-accumulator", (0.1, 0.0)),
        (sgd(), adam(), "optimizer-kind", ("SGD", "Adam")),
        (adagrad(), rmsprop(), "optimizer-kind", ("Adagrad", "RMSprop")),
        (sgd(0.9), sgd(0.89), "optimizer-momentum", (0.9, 0.89)),
        (sgd(0.9), sgd(), "optimizer-momentum", (0.9, 0.0)),
        (sgd(0.9, clip=0.1), sgd(0.5, clip=0.1), "optimizer-momentum", (0.9, 0.5)),
        (rmsprop(momentum=0.9), rmsprop(momentum=0.5), "optimizer-momentum", (0.9, 0.5)),
        (sgd(0.9), sgd(0.9, nesterov=True), "optimizer-nesterov", (0.0, 1.0)),
        (adam(), adam(rate=0.0101), "lr", (0.01, 0.0101)),
        (adam(), adam(coupled=0.02), "weight-decay", (0.0, 0.02)),
        (adam(decay=0.05), adam(coupled=0.05), "weight-decay", ("decoupled", "coupled")),
        (adam(clip=0.05), adam(clip=0.05, coupled=0.02), "weight-decay", (0.0, 0.02)),
    ],
)
def test_the_rule_is_told_from_the_numbers(first, a, b, code, constants):
    """The one setting that differs is found, with both its values, and taking it away leaves nothing."""
    cause = first(hand("a.py", *a), hand("b.py", *b))
    assert cause.code == code
    assert cause.error_after < 1e-4
    assert "b.py:22" in cause.fix
    if constants is not None:
        assert cause.constants == {"a": near(constants[0]), "b": near(constants[1])}


def test_two_settings_at_once_are_both_told(first):
    """The one that matters most gives the code, the other is in the summary, and both together leave nothing."""
    cause = first(hand("a.py", *rmsprop()), hand("b.py", *rmsprop(0.5, epsilon=1e-2)))
    assert cause.code in ("optimizer-epsilon", "optimizer-betas")
    assert "epsilon 0.01 in B" in cause.summary
    assert "rho 0.5 in B" in cause.summary
    assert cause.error_after < 1e-4


def test_a_weight_that_moves_by_rounding_alone_does_not_hide_a_rate(first):
    """A bias of which the last bit moves, alike on both sides: that says nothing about the rate."""
    p, q = (hand(script, *sgd(rate=rate), bias=3e-6) for script, rate in (("a.py", 0.05), ("b.py", 0.0505)))
    moved = [r.weights["out/b"] - r.initial["out/b"] for r in (p, q)]
    assert np.any(moved[0])
    cause = first(p, q)
    assert (cause.code, cause.constants) == ("lr", {"a": near(0.05), "b": near(0.0505)})


def signs(_, g, __, ___):
    """The size of the gradient does not matter."""
    return 0.01 * np.sign(g)


def means_of_sizes(memory, g, _, t):
    """Adam with the mean of absolute values in the place of the root of the mean of squares."""
    m = memory["m"] = 0.9 * memory.get("m", 0.0) + 0.1 * g
    v = memory["v"] = 0.999 * memory.get("v", 0.0) + 0.001 * np.abs(g)
    return 0.01 * m / (1 - 0.9**t) / (v / (1 - 0.999**t) + 1e-7)


def squares_of_before(memory, g, w, _):
    """Adam that divides by the squares of the steps before, at first those of the weights."""
    m = memory["m"] = 0.9 * memory.get("m", 0.0) + 0.1 * g
    v = memory.get("v", 1e-3 + w * w)
    memory["v"] = 0.999 * v + 0.001 * g * g
    return 0.01 * m / (np.sqrt(v) + 1e-7)


def moved_twice(memory, g, _, t):
    """Adam whose first moment moves twice in a step."""
    for _ in range(2):
        m = memory["m"] = 0.9 * memory.get("m", 0.0) + 0.1 * g
    v = memory["v"] = 0.999 * memory.get("v", 0.0) + 0.001 * g * g
    return 0.01 * m / (1 - 0.9**t) / (np.sqrt(v / (1 - 0.999**t)) + 1e-7)


def normed(_, g, __, ___):
    """Each gradient over its norm."""
    return 0.01 * g / (np.linalg.norm(g) + 1e-7)


def nadam(memory, g, _, t):
    """Adam that looks ahead as Nesterov does."""
    m = memory["m"] = 0.9 * memory.get("m", 0.0) + 0.1 * g
    v = memory["v"] = 0.999 * memory.get("v", 0.0) + 0.001 * g * g
    ahead = 0.9 * m / (1 - 0.9 ** (t + 1)) + 0.1 * g / (1 - 0.9**t)
    return 0.01 * ahead / (np.sqrt(v / (1 - 0.999**t)) + 1e-7)


def centralized(memory, g, _, __):
    """Momentum on gradients without their mean."""
    g = g - g.mean(axis=0) if g.ndim > 1 else g * 0.5
    memory["v"] = 0.9 * memory.get("v", 0.0) + g
    return 0.05 * memory["v"]


CONSTANTS = 0.9, 0.1, 0.999, 0.001, 1e-7, 0.01, 0.05, 0.5, 1.0


@pytest.mark.parametrize(
    ("rule", "reference"),
    [
        (signs, adam()),
        (means_of_sizes, adam()),
        (squares_of_before, sgd(0.9)),
        (moved_twice, adam()),
        (normed, sgd()),
        (nadam, adam()),
        (centralized, sgd(0.9)),
    ],
)
def test_an_unknown_rule_stays_unexplained(first, rule, reference):
    """A rule that is none of the known ones is not called by the name of its neighbour."""
    assert first(hand("a.py", *reference), hand("b.py", rule, *CONSTANTS)).code == "unexplained"
