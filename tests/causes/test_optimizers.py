"""Other optimizers, and other settings of one."""

import numpy as np
import pytest

from . import programs
from .programs import Program, features

RATE = 0.01


class Adam:
    """As Kingma and Ba have it, epsilon behind the corrections of TensorFlow's kind."""

    def __init__(self, beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float = 1e-7) -> None:
        self.config = {"beta_1": beta_1, "beta_2": beta_2, "epsilon": epsilon}
        self.m, self.v, self.t = 0.0, 0.0, 0

    def __call__(self, g):
        """What is subtracted."""
        b1, b2, epsilon = self.config.values()
        self.t += 1
        self.m = b1 * self.m + (1 - b1) * g
        self.v = b2 * self.v + (1 - b2) * g**2
        return RATE * np.sqrt(1 - b2**self.t) / (1 - b1**self.t) * self.m / (np.sqrt(self.v) + epsilon)


class SGD:
    """With momentum."""

    def __init__(self, momentum: float = 0.0, *, nesterov: bool = False) -> None:
        self.config = {"momentum": momentum, "nesterov": nesterov}
        self.v = 0.0

    def __call__(self, g):
        """What is subtracted."""
        self.v = self.config["momentum"] * self.v + RATE * g
        return self.config["momentum"] * self.v + RATE * g if self.config["nesterov"] else self.v


class RMSprop:
    """Without momentum."""

    def __init__(self, rho: float = 0.9) -> None:
        self.config = {"rho": rho, "epsilon": 1e-7, "momentum": 0.0}
        self.v = 0.0

    def __call__(self, g):
        """What is subtracted."""
        self.v = self.config["rho"] * self.v + (1 - self.config["rho"]) * g**2
        return RATE * g / np.sqrt(self.v + 1e-7)


def trained(script: str, make, **told) -> Program:
    """A linear model trained by an optimizer per weight; `told` replaces what it says of itself."""
    optimizers = {"out/w": make(), "out/b": make()}
    config = {**optimizers["out/w"].config, **told}
    about = {"class": type(optimizers["out/w"]).__name__, "learning_rate": RATE, "source": "x.py:7", "called": "x.py:8"}
    p = Program(script, optimizer={**about, "name": "optimizer", "config": config})
    x, y = features(), np.ones((24, 3), np.float32)
    for _ in range(3):
        z = p.dense(p.input(x), "out", 3)
        programs.squared(p, z, p.input(y))
        error = 2 * (p.value(z) - y) / y.size
        gradients = {"out/w": (x.T @ error).astype(np.float32), "out/b": error.sum(0).astype(np.float32)}
        for name, g in gradients.items():
            p.gradient(name, g)
        for name, g in gradients.items():
            p.assign(name, np.asarray(optimizers[name](g), np.float32))
        p.end_step()
    return p


@pytest.mark.parametrize(
    ("a", "b", "code", "constants"),
    [
        (Adam, RMSprop, "optimizer-kind", {"a": "Adam", "b": "RMSprop"}),
        (lambda: Adam(epsilon=0.1), Adam, "optimizer-epsilon", {"a": 0.1, "b": 1e-7}),
        (lambda: Adam(beta_1=0.5), Adam, "optimizer-betas", {"a": 0.5, "b": 0.9}),
        (lambda: RMSprop(0.99), RMSprop, "optimizer-betas", {"a": 0.99, "b": 0.9}),
        (lambda: SGD(0.9), SGD, "optimizer-momentum", {"a": 0.9, "b": 0.0}),
        (lambda: SGD(0.9, nesterov=True), lambda: SGD(0.9), "optimizer-nesterov", {"a": 1.0, "b": 0.0}),
    ],
)
def test_the_setting_that_differs(first, a, b, code, constants):
    """It is named where B's gradients with A's setting give A's update, also in the second step."""
    cause = first(trained("a.py", a), trained("b.py", b))
    assert (cause.code, cause.constants) == (code, constants)
    assert cause.error_after < 1e-3
    assert "x.py:7" in cause.fix


def test_settings_that_do_not_give_the_updates_explain_nothing(first):
    """What an optimizer says of itself must be what it does."""
    assert first(trained("a.py", lambda: Adam(epsilon=0.1)), trained("b.py", Adam, epsilon=0.2)).code == "unexplained"
