"""Moving statistics."""

import dataclasses

import numpy as np
import pytest

from . import programs
from .programs import Program, features


def program(script: str, move, *, steps: int = 2) -> Program:
    """A batch norm in training mode whose moving statistics `move(before, batch)` writes; None: not at all."""
    p = Program(script)
    p.variable("mean", np.zeros(8), state=True)
    p.variable("var", np.ones(8), state=True)
    for step in range(steps):
        h = p.dense(p.input(features(seed=step) * 2 + 1), "first", 8, bias=False)
        x = p.value(h).astype(np.float64)
        mean = p.op("Mean", x.mean(0), h, line=5)
        var = p.op("Mean", x.var(0), h, mean, line=5)
        y = (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-3)
        n = p.op("Mul", y, h, mean, var, line=5)
        programs.squared(p, p.dense(n, "out", 3, line=9), p.input(np.ones((24, 3), np.float32)))
        for name, statistic in (("mean", mean), ("var", var)):
            if move is not None:
                new = move(p.weights[name].astype(np.float64), p.value(statistic).astype(np.float64), name)
                p.assign(name, new.astype(np.float32), statistic, phase="state", line=6)
        p.end_step()
    return p


def keep(m: float, factor: float = 1.0):
    """after = m * before + (1 - m) * statistic, the variance times a factor."""
    return lambda before, batch, name: m * before + (1 - m) * batch * (factor if name == "var" else 1.0)


@pytest.mark.parametrize(("a", "b"), [(0.99, 0.9), (0.99, 0.01), (0.9, 0.95)])
def test_momentum(first, a, b):
    """Both momenta are fitted."""
    cause = first(program("a.py", keep(a)), program("b.py", keep(b)))
    assert (cause.code, cause.constants) == ("state-norm-momentum", {"a": pytest.approx(a), "b": pytest.approx(b)})
    assert cause.error_after < 1e-5
    assert cause.fix.endswith("at b.py:6")


def test_variance_over_n_minus_one(first):
    """Same momentum, Bessel's factor on one side."""
    cause = first(program("a.py", keep(0.9)), program("b.py", keep(0.9, 24 / 23)))
    assert (cause.code, cause.constants) == ("state-norm-variance", {"a": 1.0, "b": pytest.approx(24 / 23, rel=1e-5)})


def test_another_factor_on_the_variance_is_unexplained(first):
    """1.2 is not n / (n - 1)."""
    assert first(program("a.py", keep(0.9)), program("b.py", keep(0.9, 1.2))).code == "unexplained"


def test_never_updated(first):
    """B's statistics keep their initial values."""
    cause = first(program("a.py", keep(0.95)), program("b.py", None))
    assert (cause.code, cause.constants) == ("state-updates-not-run", {"a": pytest.approx(0.95), "b": 1.0})


def test_updated_with_something_else_is_unexplained(first):
    """Statistics that follow the square of the mean have no momentum."""
    cause = first(
        program("a.py", keep(0.9)), program("b.py", lambda before, batch, _: 0.9 * before + 0.1 * np.sin(7 * batch))
    )
    assert (cause.code, cause.b.source) == ("unexplained", "b.py:6")


def test_a_tf1_program_is_told_to_run_its_update_ops(first):
    """Where an optimizer of TensorFlow 1 trains, the updates are in a collection."""
    b = program("b.py", None)
    b.steps = [
        (dataclasses.replace(info, optimizers=({"class": "AdamOptimizer"},)), records) for info, records in b.steps
    ]
    cause = first(program("a.py", keep(0.99)), b)
    assert cause.code == "state-updates-not-run"
    assert "tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS))" in cause.fix
