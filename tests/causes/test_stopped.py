"""Gradients that do not come through: none, zeros, or only those of a penalty."""

import numpy as np
import pytest

from .programs import Program, features

RATE, STRENGTH = 0.05, 0.01


def residual(script: str, share: float, *, zeros: bool = True, penalty: bool = False) -> Program:
    """front, then h + body(h), then out; of the gradient of body `share` comes through."""
    p = Program(script)
    x, y = features(), np.ones((24, 3), np.float32)
    for _ in range(2):
        front = p.dense(p.input(x), "front", 6, bias=False)
        body = p.dense(front, "body", 6, bias=False)
        if share < 1:
            body = p.op("StopGradient", p.value(body), body, line=5)
        whole = p.op("AddV2", p.value(front) + p.value(body), front, body, line=6)
        z = p.dense(whole, "out", 3, bias=False)
        square = p.op("SquaredDifference", (p.value(z).astype(np.float64) - y) ** 2, z, p.input(y), line=20)
        loss = p.op("Mean", np.asarray(p.value(square).astype(np.float64).mean()), square, line=20)
        w = p.weights["body/w"].astype(np.float64)
        if penalty:
            read = next(i for i, r in enumerate(p.records) if r.site.variable == p.index["body/w"])
            each = p.op("Square", w**2, read, line=19)
            total = p.op("Sum", np.asarray((w**2).sum()), each, line=19)
            term = p.op("Mul", np.asarray(STRENGTH * (w**2).sum()), total, p.constant(STRENGTH), line=19)
            loss = p.op("AddV2", np.asarray(p.value(loss) + p.value(term)), loss, term, line=20)
        p.loss(loss)
        error = 2 * (p.value(z) - y) / y.size
        behind = error @ p.weights["out/w"].T
        through = share * behind
        gradients = {
            "out/w": p.value(whole).T @ error,
            "body/w": p.value(front).T @ through + 2 * STRENGTH * w * penalty,
            "front/w": x.T @ (behind + through @ p.weights["body/w"].T),
        }
        if not zeros and not np.any(gradients["body/w"]):
            del gradients["body/w"]
        for name, g in gradients.items():
            p.gradient(name, g)
        for name, g in gradients.items():
            p.assign(name, (RATE * g).astype(np.float32))
        p.end_step()
    return p


@pytest.mark.parametrize("penalty", [False, True])
def test_stopped_inside_a_block(first, penalty):
    """Zeros, or the penalty's gradient alone, count as none; what lies in front is reached around the block."""
    cause = first(residual("a.py", 1.0, penalty=penalty), residual("b.py", 0.0, penalty=penalty))
    assert (cause.code, cause.phase, cause.constants) == ("grad-stopped", "backward", {"a": True, "b": False})
    assert "body/w" in cause.summary
    assert "front/w" not in cause.summary


def test_stopped_in_a(first):
    """The other way round the fix is to stop it."""
    cause = first(residual("a.py", 0.0), residual("b.py", 1.0))
    assert (cause.code, cause.constants) == ("grad-stopped", {"a": False, "b": True})
    assert cause.fix.startswith("stop the gradient as A does")


@pytest.mark.parametrize("share", [0.5, 1e-3])
def test_a_smaller_gradient_is_not_stopped(first, share):
    """What comes through in part has another cause."""
    assert first(residual("a.py", 1.0), residual("b.py", share)).code == "unexplained"


def test_no_gradient_at_all_is_not_stopped(first):
    """Zeros for every weight are no path that is cut."""
    a, b = residual("a.py", 1.0), residual("b.py", 0.0)
    for record in (record for _, records in b.steps for record in records):
        if record.site.role == "weight gradient":
            record.value[...] = 0.0
    assert first(a, b).code != "grad-stopped"
