"""Learning rate, weight decay, gradient scale."""

import numpy as np
import pytest

from . import programs
from .programs import Program, features


def program(script: str, update, *, optimizer=None, steps: int = 2, backward: float = 1.0) -> Program:
    """A linear model with true gradients; `update(p, name, g)` returns what is subtracted from the weight."""
    p = Program(script, optimizer=optimizer)
    x, y = features(), np.ones((24, 3), np.float32)
    for step in range(steps):
        z = p.dense(p.input(x), "out", 3)
        programs.squared(p, z, p.input(y))
        error = 2 * (p.value(z) - y) / y.size
        gradients = {"out/w": backward * x.T @ error, "out/b": backward * error.sum(0)}
        for name, g in gradients.items():
            p.gradient(name, g.astype(np.float32))
        for name, g in gradients.items():
            update(p, name, g, step)
        p.end_step()
    return p


def sgd(rate: float, *, shown: bool = True):
    """w -= rate * g, the rate a constant of the update."""

    def apply(p: Program, name: str, g: np.ndarray, _: int) -> None:
        inputs = ()
        if shown:
            c = p.constant(rate, "update")
            inputs = (p.put("operation", "update", "Mul", rate * g, (c,)),)
        p.assign(name, (rate * g).astype(np.float32), *inputs)

    return apply


def told(rate: float, name: str = "SGD") -> dict:
    """What the step says of its optimizer."""
    return {
        "name": name.lower(),
        "class": name,
        "learning_rate": rate,
        "source": "x.py:7",
        "called": "x.py:8",
        "config": {},
    }


@pytest.mark.parametrize(("a", "b"), [(0.05, 0.5), (0.01, 0.0101)])
def test_learning_rates_that_the_optimizers_tell(first, a, b):
    """The ratio of the updates is that of the rates."""
    cause = first(
        program("a.py", sgd(a, shown=False), optimizer=told(a)), program("b.py", sgd(b, shown=False), optimizer=told(b))
    )
    assert (cause.code, cause.constants) == ("lr", {"a": pytest.approx(a), "b": pytest.approx(b)})
    assert cause.fix == f"SGD(learning_rate={a:.4g}) at x.py:7"
    assert cause.error_after < cause.error_before / 10


def test_learning_rate_of_a_hand_written_update(first):
    """A's is told, B's is a constant that flows into the update."""
    cause = first(program("a.py", sgd(0.05), optimizer=told(0.05)), program("b.py", sgd(0.2)))
    assert (cause.code, cause.constants) == ("lr", {"a": pytest.approx(0.05), "b": pytest.approx(0.2)})
    assert "assign_sub(0.05 * g)" in cause.fix


def test_learning_rate_in_a_velocity(first):
    """The rate scales the velocity, which is written first and then read to move the weight."""

    def velocity(p: Program, name: str, g: np.ndarray, _: int) -> None:
        v = (0.2 * g).astype(np.float32)
        slot = name + "/velocity"
        if slot not in p.index:
            p.variable(slot, np.zeros_like(v), state=True)
        scaled = p.put("operation", "update", "Mul", v, (p.constant(0.2, "update"),))
        p.put("assign", "update", "AssignVariableOp", v, (scaled,), variable=p.index[slot])
        p.weights[slot] = v
        p.assign(name, v, p.put("slot", "update", "ReadVariableOp", v, variable=p.index[slot]))

    cause = first(program("a.py", sgd(0.05), optimizer=told(0.05)), program("b.py", velocity))
    assert (cause.code, cause.constants) == ("lr", {"a": pytest.approx(0.05), "b": pytest.approx(0.2)})


def momentum(rate: float, *, nesterov: bool):
    """SGD with momentum 0.9; the first two updates of the two kinds have ratios 1.9 and about 1.4."""
    velocity: dict[str, np.ndarray] = {}

    def apply(p: Program, name: str, g: np.ndarray, _: int) -> None:
        v = velocity[name] = 0.9 * velocity.get(name, 0.0) + g
        change = rate * (g + 0.9 * v if nesterov else v)
        at = p.put("operation", "update", "Mul", change, (p.constant(rate, "update"),))
        p.assign(name, change.astype(np.float32), at)

    return apply


def test_a_factor_that_is_no_learning_rate_is_unexplained(first):
    """Nesterov's first update is 1.9 times the other's: neither a rate nor a factor on the gradients."""
    a = program("a.py", momentum(0.05, nesterov=False), optimizer=told(0.05))
    cause = first(a, program("b.py", momentum(0.05, nesterov=True)))
    assert (cause.code, cause.b.source) == ("unexplained", "b.py:22")


def test_only_some_weights_is_no_learning_rate(first):
    """A factor on one weight's updates alone is no learning rate, whatever the optimizers say."""

    def uneven(p: Program, name: str, g: np.ndarray, _: int) -> None:
        rate = 0.1 if name == "out/w" else 0.05
        p.assign(name, (rate * g).astype(np.float32), p.constant(rate, "update"))

    assert first(program("a.py", sgd(0.05)), program("b.py", uneven)).code == "unexplained"


def repeated(times: int, first: float, then: float, only: str = ""):
    """Plain SGD with one rate and again with another, on all weights or on one."""

    def apply(p: Program, name: str, g: np.ndarray, step: int) -> None:
        sgd(first)(p, name, g, step)
        for _ in range(times - 1 if only in ("", name) else 0):
            sgd(then)(p, name, g, step)

    return apply


@pytest.mark.parametrize("only", ["", "out/w"])
@pytest.mark.parametrize("times", [2, 3])
def test_updates_that_are_repeated(first, times, only):
    """The same gradients applied n times are neither a rate nor a factor on the gradients, on all weights or on one."""
    a = program("a.py", sgd(0.05), optimizer=told(0.05), steps=3)
    cause = first(a, program("b.py", repeated(times, 0.05, 0.05, only), steps=3))
    assert (cause.code, cause.constants) == ("update-twice", {"a": 1, "b": times})
    assert "b.py:22" in cause.fix


def test_two_writes_that_are_one_update_are_not_repeated(first):
    """Twice A's update in two parts of which none is A's: here the rate is what differs."""
    a = program("a.py", sgd(0.05), optimizer=told(0.05), steps=3)
    cause = first(a, program("b.py", repeated(2, 0.07, 0.03), optimizer=told(0.1), steps=3))
    assert (cause.code, cause.constants) == ("lr", {"a": 0.05, "b": 0.1})


def clipped(kind: str, c: float):
    """Clips in front of the update, from all gradients of the step (kept until the last one has come)."""
    seen: dict[str, np.ndarray] = {}

    def apply(p: Program, name: str, g: np.ndarray, _: int) -> None:
        seen[name] = g
        if len(seen) < 2:
            return
        total = np.sqrt(sum(float((x**2).sum()) for x in seen.values()))
        for each, x in list(seen.items()):
            if kind == "value":
                kept = np.clip(x, -c, c)
            else:
                kept = x * min(1.0, c / (total if kind == "global norm" else np.linalg.norm(x)))
            p.assign(each, (0.05 * kept).astype(np.float32))
        seen.clear()

    return apply


@pytest.mark.parametrize(("kind", "c"), [("value", 0.02), ("norm", 0.2), ("global norm", 0.2)])
def test_clipping(first, kind, c):
    """Kind and threshold are told from the updates of plain SGD."""
    a = program("a.py", clipped(kind, c), optimizer=told(0.05), steps=3)
    cause = first(a, program("b.py", sgd(0.05), optimizer=told(0.05), steps=3))
    assert (cause.code, cause.constants) == ("grad-clipping", {"a": pytest.approx(c, rel=1e-3), "b": None})
    assert cause.error_after < 1e-3


def by_value(c: float, rate: float = 0.05):
    """Plain SGD on clipped gradients, the rate a constant of the update."""
    return lambda p, name, g, step: sgd(rate)(p, name, np.clip(g, -c, c), step)


@pytest.mark.parametrize(("a", "b"), [(1e9, 0.02), (0.02, 0.03)])
def test_clipping_where_no_optimizer_tells_its_rate(first, a, b):
    """Then the rate is read from the update."""
    cause = first(program("a.py", by_value(a), steps=3), program("b.py", by_value(b), steps=3))
    wanted = None if a > 1 else pytest.approx(a, rel=1e-3)
    assert (cause.code, cause.constants) == ("grad-clipping", {"a": wanted, "b": pytest.approx(b, rel=1e-3)})


@pytest.mark.parametrize("function", [np.tanh, lambda g: np.maximum(g, 0.0), lambda g: np.sign(g) * np.abs(g) ** 0.9])
def test_a_treatment_made_up_is_unexplained(first, function):
    """What no one calls clipping."""
    other = program("b.py", lambda p, name, g, step: sgd(0.05)(p, name, function(g), step), steps=3)
    assert first(program("a.py", sgd(0.05), steps=3), other).code == "unexplained"


def test_the_global_norm_is_that_of_all_gradients(first):
    """One weight is clipped by the norm of all: the gradients that agree count."""
    whole: list[float] = []

    def apply(p: Program, name: str, g: np.ndarray, step: int) -> None:
        if name == "out/w":
            x = features()
            rows = 2 * (x @ p.weights["out/w"] + p.weights["out/b"] - 1) / 72
            total = float(np.sqrt((g**2).sum() + (rows.sum(0) ** 2).sum()))
            whole.append(total)
            g = g * min(1.0, 0.2 / total)
        sgd(0.05, shown=False)(p, name, g, step)

    a = program("a.py", apply, optimizer=told(0.05), steps=3)
    assert min(whole) > 0.2
    cause = first(a, program("b.py", sgd(0.05, shown=False), optimizer=told(0.05), steps=3))
    assert (cause.code, cause.constants) == ("grad-clipping", {"a": pytest.approx(0.2, rel=1e-3), "b": None})


def test_clipping_inside_an_adaptive_optimizer(first):
    """Updates that are no multiple of the gradients do not show it; the optimizer's settings do."""

    def adaptive(c: float):
        def apply(p: Program, name: str, g: np.ndarray, _: int) -> None:
            g = g * min(1.0, c / np.linalg.norm(g))
            p.assign(name, (0.05 * g / (np.abs(g) + 0.01)).astype(np.float32))

        return apply

    plain = {**told(0.05, "Adam"), "config": {"beta_1": 0.9}}
    clipping = {**plain, "config": {"beta_1": 0.9, "clipnorm": 0.02}}
    a = program("a.py", adaptive(0.02), optimizer=clipping, steps=3)
    cause = first(a, program("b.py", adaptive(1e9), optimizer=plain, steps=3))
    assert (cause.code, cause.constants) == ("grad-clipping", {"a": pytest.approx(0.02), "b": None})


def test_sign_of_the_gradient_is_no_learning_rate(first):
    """Updates that are not proportional have no rate in common."""

    def sign(p: Program, name: str, g: np.ndarray, _: int) -> None:
        p.assign(name, (0.01 * np.sign(g)).astype(np.float32), p.constant(0.01, "update"))

    assert first(program("a.py", sgd(0.05)), program("b.py", sign)).code == "unexplained"


def decayed(rate: float, decay: float):
    """Takes decay * w away as well."""

    def apply(p: Program, name: str, g: np.ndarray, _: int) -> None:
        shrink = (decay * p.weights[name]).astype(np.float32)
        at = p.put("operation", "update", "Mul", shrink)
        p.assign(name, shrink, at, line=23)
        p.assign(name, (rate * g).astype(np.float32), line=22)

    return apply


@pytest.mark.parametrize(("a", "b"), [(0.0, 4e-3), (4e-6, 4e-3), (1e-2, 0.0)])
def test_weight_decay(first, a, b):
    """The difference of the updates is c * w, each side's share is read from its ops."""
    programs_ = [
        program(s, decayed(0.05, d) if d else sgd(0.05), optimizer=told(0.05)) for s, d in (("a.py", a), ("b.py", b))
    ]
    cause = first(*programs_)
    assert cause.code == "weight-decay"
    assert cause.constants["difference"] == pytest.approx(b - a, rel=0.02)
    assert (cause.constants["a"], cause.constants["b"]) == (pytest.approx(a, rel=0.02), pytest.approx(b, rel=0.02))


def test_decay_towards_the_old_weight_is_unexplained(first):
    """Pulling towards a constant is no weight decay."""

    def pulled(p: Program, name: str, g: np.ndarray, _: int) -> None:
        p.assign(name, (0.05 * g + 1e-2 * (p.weights[name] - 0.7)).astype(np.float32))

    assert (
        first(program("a.py", sgd(0.05), optimizer=told(0.05)), program("b.py", pulled, optimizer=told(0.05))).code
        == "unexplained"
    )


def accumulated(n: int, *, mean: bool):
    """Gradients of n steps, summed or averaged, then one update."""
    sums: dict[str, np.ndarray] = {}

    def apply(p: Program, name: str, g: np.ndarray, step: int) -> None:
        sums[name] = sums.get(name, 0) + g
        if step % n == n - 1:
            p.assign(name, (0.05 * sums.pop(name) / (n if mean else 1)).astype(np.float32), p.constant(0.05, "update"))

    return apply


def test_sum_of_micro_batches(first):
    """The updates are those of the summed and of the averaged gradients of four steps."""
    cause = first(
        program("a.py", accumulated(4, mean=True), steps=4), program("b.py", accumulated(4, mean=False), steps=4)
    )
    assert (cause.code, cause.step, cause.constants) == ("grad-scale", 3, {"a": 1.0, "b": 4.0})
    assert cause.fix.startswith("divide the accumulated gradients by 4")


def test_gradients_scaled_on_the_tape(first):
    """Loss and forward pass agree, all gradients have one ratio."""
    cause = first(program("a.py", sgd(0.05)), program("b.py", sgd(0.05), backward=3.0))
    assert (cause.code, cause.phase, cause.constants["b"]) == ("grad-scale", "backward", pytest.approx(3.0))


def test_one_wrong_gradient_is_unexplained(first):
    """A factor on a single gradient is no scale of all."""
    b = program("b.py", sgd(0.05), steps=1)
    a = program("a.py", sgd(0.05), steps=1)
    for p in (a, b):
        for info, records in p.steps:
            for i, r in enumerate(records):
                if p is b and r.site.role == "weight gradient" and r.site.variable == p.index["out/w"]:
                    records[i] = type(r)(r.site, 2 * r.value, r.inputs)
            assert info.index == 0
    assert first(a, b).code == "unexplained"


def test_learning_rate_that_changes_later(first):
    """Equal updates at first, then another rate: a schedule."""

    def scheduled(p: Program, name: str, g: np.ndarray, step: int) -> None:
        rate = 0.05 if step < 2 else 0.005
        at = p.put("operation", "update", "Mul", rate * g, (p.constant(rate, "update"),))
        p.assign(name, (rate * g).astype(np.float32), at)

    cause = first(program("a.py", sgd(0.05), optimizer=told(0.05), steps=3), program("b.py", scheduled, steps=3))
    assert (cause.code, cause.step, cause.constants) == ("lr-schedule", 2, {"a": 0.05, "b": pytest.approx(0.005)})


@pytest.mark.parametrize(
    ("course", "ahead"),
    [
        ((0.05, 0.05, 0.005, 0.005, 0.005), "1 step ahead of A's"),
        ((0.05, 0.05, 0.05, 0.05, 0.005), "1 step behind A's"),
        ((0.05, 0.05, 0.05, 0.02, 0.005), ""),
    ],
)
def test_how_both_schedules_go_on(first, course, ahead):
    """The rates of all steps are told, and a schedule that is the other's some steps later as such."""
    rates = (0.05, 0.05, 0.05, 0.005, 0.005)
    a, b = (
        program(script, lambda *args, of=of: sgd(of[args[3]])(*args), steps=5)
        for script, of in (("a.py", rates), ("b.py", course))
    )
    cause = first(a, b)
    assert cause.code == "lr-schedule"
    assert "from step 3 on 0.005" in cause.summary
    assert (ahead in cause.summary) if ahead else ("ahead" not in cause.summary and "behind" not in cause.summary)


@pytest.mark.parametrize("shown", [True, False])
def test_a_warm_up_that_begins_with_nothing(first, shown):
    """A first step with a rate of 0, as the update shows; weights that stay for no visible reason are unexplained."""
    a = program("a.py", lambda *args: sgd(0.01 * args[3], shown=shown)(*args), steps=4)
    cause = first(a, program("b.py", lambda *args: sgd(0.01 * (args[3] + 1))(*args), steps=4))
    assert cause.step == 0
    if shown:
        assert (cause.code, cause.constants) == ("lr-schedule", {"a": 0.0, "b": pytest.approx(0.01)})
        assert "1 step ahead of A's" in cause.summary
    else:
        assert cause.code == "unexplained"


def handed(decay: float, rate: float = 0.05, odd: float = 0.0):
    """Plain SGD that is handed g + decay * w."""

    def apply(p: Program, name: str, g: np.ndarray, step: int) -> None:
        given = g + decay * p.weights[name] + odd * np.sign(p.weights[name])
        p.put("applied gradient", "backward", "AddV2", given.astype(np.float32), variable=p.index[name])
        sgd(rate, shown=False)(p, name, given, step)

    return apply


@pytest.mark.parametrize(("a", "b"), [(0.0, 0.02), (0.02, 0.0), (0.01, 0.02)])
def test_a_decay_that_the_optimizer_is_handed(first, a, b):
    """What is handed on is the tape's gradient and decay * w: both decays are read from that."""
    one, other = (
        program(script, handed(decay), optimizer=told(0.05, "Adam")) for script, decay in (("a.py", a), ("b.py", b))
    )
    cause = first(one, other)
    assert (cause.code, cause.phase) == ("weight-decay", "backward")
    assert cause.constants == {"a": pytest.approx(a, rel=0.02), "b": pytest.approx(b, rel=0.02)}


def test_what_is_handed_on_and_no_multiple_of_the_weights_is_no_decay(first):
    """The signs of the weights are no weights."""
    a = program("a.py", handed(0.0), optimizer=told(0.05, "Adam"))
    b = program("b.py", handed(0.0, odd=0.02), optimizer=told(0.05, "Adam"))
    assert first(a, b).code == "unexplained"


def left_out(name: str):
    """Plain SGD on all variables but one."""

    def apply(p: Program, each: str, g: np.ndarray, step: int) -> None:
        if each != name:
            sgd(0.05)(p, each, g, step)

    return apply


def test_frozen_weight(first):
    """A weight that only one side moves."""
    cause = first(program("a.py", sgd(0.05)), program("b.py", left_out("out/w")))
    assert (cause.code, cause.constants) == ("frozen-layer", {"a": True, "b": False})
    assert "out/w" in cause.summary


def test_stopped_gradient(first):
    """A weight in use whose gradient is missing on one side."""

    def cut(script: str, *, stopped: bool) -> Program:
        p = Program(script)
        x, y = features(), np.ones((24, 3), np.float32)
        for _ in range(2):
            h = p.dense(p.input(x), "hidden", 6, bias=False)
            if stopped:
                h = p.op("StopGradient", p.value(h), h)
            z = p.dense(h, "out", 3, bias=False)
            programs.squared(p, z, p.input(y))
            error = 2 * (p.value(z) - y) / y.size
            gradients = {"out/w": p.value(h).T @ error}
            if not stopped:
                gradients["hidden/w"] = x.T @ (error @ p.weights["out/w"].T)
            for name, g in gradients.items():
                p.gradient(name, g)
            for name, g in gradients.items():
                p.assign(name, (0.05 * g).astype(np.float32))
            p.end_step()
        return p

    cause = first(cut("a.py", stopped=False), cut("b.py", stopped=True))
    assert (cause.code, cause.phase, cause.constants) == ("grad-stopped", "backward", {"a": True, "b": False})
