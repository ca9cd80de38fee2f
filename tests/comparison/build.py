"""A small network that trains in NumPy and writes traces, in two styles of program, with faults to plant.

    x -> matmul W1 -> + b1 -> activation -> batch norm (gamma, beta, moving statistics) -> dropout -> matmul W2 -> + b2
    -> loss

`keras` style puts ops into layers and normalizes by `(x - mean) * inv * gamma + beta`; `raw` style has no layers and
computes `x * scale + shift`, so that only the values tell what is what.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from tfdiff.model import End, Header, RowSource, StepInfo, Variable
from tfdiff.pairing.rows import row_signatures
from tfdiff.trace.writer import TraceWriter

from .recorder import LINES, Recorder

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from tfdiff.trace.records import Record

    Array = npt.NDArray[Any]

ROWS, BATCH = 80, 16
NAMES = ("W1", "b1", "gamma", "beta", "W2", "b2", "mean", "var")


@dataclass(frozen=True)
class Plan:
    """One program: its style and what it does; the defaults are the reference's."""

    style: str = "keras"
    activation: str = "relu"
    coarse: float = 0.0
    """Relative error of an activation that is only approximated (gelu by tanh)."""
    branch: float = 0.0
    """Factor of a branch that is added to the activation."""
    pivot: float | None = None
    """What one element is in front of the activation: +-1e-8 is one number within rounding, with two slopes."""
    slope: float = 1.0
    """Factor on the activation's gradient (a custom gradient that is wrong)."""
    rate: float = 0.3
    epsilon: float = 1e-3
    momentum: float = 0.99
    training: bool = True
    normalize: bool = True
    reduction: str = "mean"
    penalty: float = 0.0
    lr: float = 0.05
    halved_from: int | None = None
    """Step from which on the learning rate is half of that."""
    decay: float = 0.0
    stop: bool = False
    """No gradient reaches anything in front of the batch norm."""
    frozen: tuple[str, ...] = ()
    """Weights the program does not train."""
    clip: float | None = None
    clip_norm: float | None = None
    """Limit of the norm of all gradients together."""
    inner_clip: float | None = None
    """The same limit, kept by the optimizer, which is handed the gradients as they are."""
    idle: bool = False
    """The moving statistics are made and never touched."""
    bias: bool = True
    """Whether b1 is added; without, it is created and never used."""
    unsnapped: bool = False
    """The weights are written where no hook sees it (inside a `tf.cond`): no writes, no snapshots."""
    adaptive: bool = False
    """Updates have one size whatever the size of the gradient (Adam without memory)."""
    damping: float = 0.0
    """What such an optimizer adds to the size of the gradient (its epsilon); 0: it is not one."""
    shuffle: bool = False
    whole_labels: bool = True
    """Whether the labels are seen as a whole array, as the features are."""
    scale: float = 1.0
    """Of the program's own features; the shared ones have scale 1."""
    init: str = "uniform"
    moved: float = 0.0
    """By how much of its size every weight is moved up or down before the first step."""
    steps: int = 3
    rename: bool = field(default=False)
    """Variables are created in another order."""


def initial_values(kind: str, seed: int) -> dict[str, Array]:
    """Initial values of all variables."""
    rng = np.random.default_rng(seed)
    draw = {
        "uniform": lambda *shape: rng.uniform(-0.4, 0.4, shape),
        "normal": lambda *shape: rng.normal(size=shape),
    }[kind]
    bias = np.zeros if kind == "uniform" else rng.standard_normal
    values = {
        "W1": draw(6, 12), "b1": bias(12), "gamma": np.ones(12), "beta": np.zeros(12),
        "W2": draw(12, 4), "b2": bias(4), "mean": np.zeros(12), "var": np.ones(12),
    }  # fmt: skip
    return {name: value.astype(np.float32) for name, value in values.items()}


def examples() -> tuple[Array, Array]:
    """Features and targets of the whole set."""
    rng = np.random.default_rng(5)
    x = rng.normal(size=(ROWS, 6)).astype(np.float32)
    return x, np.tanh(x @ rng.normal(size=(6, 4))).astype(np.float32)


def batch_rows(plan: Plan, step: int, seed: int) -> Array:
    """Row numbers of a step."""
    per_pass = ROWS // BATCH
    order = np.random.default_rng([seed, step // per_pass]).permutation(ROWS) if plan.shuffle else np.arange(ROWS)
    start = step % per_pass * BATCH
    return order[start : start + BATCH]


def within(gradients: dict[str, Array], limit: float) -> dict[str, Array]:
    """The gradients, shortened so far that the norm of all of them together is at most the limit."""
    total = float(np.sqrt(sum(np.sum(gradient**2) for gradient in gradients.values())))
    return {name: gradient * min(1, limit / total) for name, gradient in gradients.items()}


class Network:
    """One recorded run."""

    def __init__(self, plan: Plan, script: str, seed: int, shared_rows: list[Array] | None) -> None:
        self.plan, self.script, self.seed, self.shared_rows = plan, script, seed, shared_rows
        self.own_values = initial_values(plan.init, seed)
        self.values = dict(self.own_values) if shared_rows is None else initial_values("uniform", 1)
        for name, value in self.values.items() if plan.moved else ():
            signs = np.random.default_rng(len(name)).choice((-1.0, 1.0), value.shape)
            size = np.maximum(np.abs(value), np.sqrt(np.mean(np.square(value))))
            if name not in ("mean", "var"):
                self.values[name] = (value + plan.moved * signs * size).astype(np.float32)
        self.recorder = Recorder(script, plan.style)
        names = tuple(reversed(NAMES)) if plan.rename else NAMES
        self.index = {name: number for number, name in enumerate(names)}

    def variables(self) -> list[Variable]:
        """The variables as the trace describes them."""
        keras = self.plan.style == "keras"
        parts = {
            "W1": "first",
            "b1": "first",
            "gamma": "bn",
            "beta": "bn",
            "W2": "second",
            "b2": "second",
            "mean": "bn",
            "var": "bn",
        }
        return [
            Variable(
                number, f"{parts[name]}/{name}" if keras else name, self.values[name].shape, "float32", name not in
                ("mean", "var"), self.kind(name), f"net/{parts[name]}" if keras else
                None, f"{self.script}:{LINES[parts[name]]}",
            )
            for name, number in sorted(self.index.items(), key=lambda item: item[1])
        ]  # fmt: skip

    def kind(self, name: str) -> str:
        """What a variable is for."""
        if name not in ("mean", "var"):
            return "weight"
        return "other" if self.plan.idle else "state"

    def read(self, name: str) -> int:
        """Record a variable as the forward pass reads it."""
        role = "state" if name in ("mean", "var") else "weight"
        return self.recorder.put(role, "forward", "ReadVariableOp", self.values[name], variable=self.index[name])

    def snapshot(self, values: dict[str, Array]) -> list[Record]:
        """Values of the variables before step 0."""
        self.recorder.begin()
        for name, value in values.items():
            self.recorder.put("weight", "init", "", value, variable=self.index[name])
        return self.recorder.records

    def step(self, number: int) -> tuple[StepInfo, list[Record]]:
        """Run one training step."""
        recorder, plan = self.recorder, self.plan
        self.rate = plan.lr / 2 if plan.halved_from is not None and number >= plan.halved_from else plan.lr
        recorder.begin()
        x, y = examples()
        own = batch_rows(plan, number, self.seed)
        rows = own if self.shared_rows is None else self.shared_rows[number]
        if self.shared_rows is not None:
            for part in (x[own] * plan.scale, y[own]):
                recorder.put("own input", "data", "", part, source=f"{self.script}:{LINES['fit']}")
        factor = plan.scale if self.shared_rows is None else 1.0
        inputs = [
            recorder.put("input", "forward", "", p, source=f"{self.script}:{LINES['fit']}")
            for p in (x[rows] * factor, y[rows])
        ]
        forward = self.forward(number, *inputs)
        gradients = self.backward(forward, y[rows])
        self.update(gradients)
        source = f"{self.script}:{LINES['optimizer']}"
        info = StepInfo(
            number,
            (
                {
                    "name": "sgd",
                    "class": "SGD",
                    "learning_rate": self.rate,
                    "config": {"global_clipnorm": plan.inner_clip},
                    "source": source,
                    "called": source,
                },
            ),
        )
        return info, list(recorder.records)

    def forward(self, number: int, x_at: int, y_at: int) -> dict[str, Any]:
        """Run the network and the loss; the indices that the backward pass needs."""
        recorder, plan, v, value = self.recorder, self.plan, self.values, self.recorder.values
        w1 = self.read("W1")
        z = recorder.op("first", "MatMul", value[x_at] @ v["W1"], x_at, w1)
        h = z
        if plan.bias:
            added = value[z] + v["b1"]
            if plan.pivot is not None:
                added[3, 5] = plan.pivot
            h = recorder.op("first", "AddV2", added, z, self.read("b1"), last=plan.activation == "none")
        out = h
        if plan.activation == "relu":
            exact = np.maximum(value[h], 0)
            out = recorder.op("act", "Relu", exact * (1 + plan.coarse * np.sin(20 * value[h])), h, last=True)
        elif plan.activation == "tanh":
            out = recorder.op("act", "Tanh", np.tanh(value[h]), h, last=True)
        if plan.branch:
            factor = recorder.put("constant", "forward", "Const", np.float32(plan.branch))
            beside = recorder.op("act", "Mul", value[out] * value[factor], out, factor)
            out = recorder.op("act", "AddV2", value[out] + value[beside], out, beside, last=True)
        act, statistics = out, None
        if plan.normalize:
            out, statistics = self.normalization(out)
        noise = np.random.default_rng([77, number]).random((BATCH, 12)).astype(np.float32)
        draw = recorder.put("noise", "forward", "RandomUniform", noise)
        keep = recorder.op("drop", "GreaterEqual", noise >= plan.rate, draw)
        scale = recorder.put("constant", "forward", "Const", np.float32(1 / (1 - plan.rate)))
        scaled = recorder.op("drop", "Mul", value[out] * value[scale], out, scale)
        dropped = recorder.op("drop", "SelectV2", np.where(value[keep], value[scaled], 0), keep, scaled, last=True)
        z2 = recorder.op("second", "MatMul", value[dropped] @ v["W2"], dropped, self.read("W2"))
        logits = recorder.op("second", "AddV2", value[z2] + v["b2"], z2, self.read("b2"), last=True)
        loss = self.loss(logits, y_at, w1)
        recorder.put(
            "loss", "loss", value[loss].dtype.name, value[loss], (loss,), source=f"{self.script}:{LINES['loss']}"
        )
        return {
            "x": x_at,
            "h": h,
            "act": act,
            "stats": statistics,
            "norm": out,
            "keep": keep,
            "drop": dropped,
            "logits": logits,
        }

    def normalization(self, at: int) -> tuple[int, tuple[Array, Array]]:
        """Batch norm: in Keras style as subtract, multiply, add; in raw style folded into scale and shift."""
        recorder, plan, v, value = self.recorder, self.plan, self.values, self.recorder.values
        x = value[at]
        gamma, beta = self.read("gamma"), self.read("beta")
        if plan.training:
            mean = recorder.op("bn", "Mean", x.mean(0), at)
            var = recorder.op("bn", "Mean", ((x - x.mean(0)) ** 2).mean(0), at, mean)
            for name, source in () if plan.idle else (("mean", mean), ("var", var)):
                new = plan.momentum * v[name] + (1 - plan.momentum) * value[source]
                moved = recorder.put("activation", "state", "AddV2", new, (source,))
                about = {"variable": self.index[name], "layer": "net/bn" if plan.style == "keras" else None}
                recorder.put(
                    "assign",
                    "state",
                    "AssignVariableOp",
                    new,
                    (moved,),
                    source=f"{self.script}:{LINES['bn']}",
                    **about,
                )
                v[name] = new.astype(np.float32)
        else:
            mean, var = self.read("mean"), self.read("var")
        inverse = recorder.op("bn", "Rsqrt", 1 / np.sqrt(value[var] + plan.epsilon), var)
        if plan.style == "keras":
            centred = recorder.op("bn", "Sub", x - value[mean], at, mean)
            scaled = recorder.op("bn", "Mul", value[centred] * value[inverse], centred, inverse)
            scaled = recorder.op("bn", "Mul", value[scaled] * v["gamma"], scaled, gamma)
            out = recorder.op("bn", "AddV2", value[scaled] + v["beta"], scaled, beta, last=True)
        else:
            scale = recorder.op("bn", "Mul", value[inverse] * v["gamma"], inverse, gamma)
            shift = recorder.op("bn", "Sub", v["beta"] - value[mean] * value[scale], beta, mean, scale)
            scaled = recorder.op("bn", "Mul", x * value[scale], at, scale)
            out = recorder.op("bn", "AddV2", value[scaled] + value[shift], scaled, shift)
        return out, (value[mean], value[inverse])

    def loss(self, logits: int, y_at: int, w1: int) -> int:
        """The loss: squared errors, and the penalty where there is one."""
        recorder, plan, value = self.recorder, self.plan, self.recorder.values
        square = recorder.op("loss", "SquaredDifference", (value[logits] - value[y_at]) ** 2, logits, y_at)
        if plan.reduction == "sum":
            loss = recorder.op("loss", "Sum", value[square].sum(), square, last=True)
        elif plan.style == "keras":
            rows = recorder.op("loss", "Mean", value[square].mean(1), square)
            loss = recorder.op("loss", "Mean", value[rows].mean(), rows, last=True)
        else:
            loss = recorder.op("loss", "Mean", value[square].mean(), square)
        if plan.penalty:
            squares = recorder.op("first", "Square", value[w1] ** 2, w1)
            total = recorder.op("first", "Sum", value[squares].sum(), squares)
            term = recorder.op("first", "Mul", np.float32(plan.penalty) * value[total], total)
            loss = recorder.op("loss", "AddV2", value[loss] + value[term], loss, term, last=True)
        return loss

    def backward(self, f: dict[str, Any], y: Array) -> dict[str, Array]:
        """Gradients of all weights, with the operations that make them."""
        recorder, plan, v, value = self.recorder, self.plan, self.values, self.recorder.values

        def operation(op: str, array: Array, *inputs: int, of: int | None = None) -> int:
            at = recorder.put("operation", "backward", op, array, inputs)
            if of is not None:
                recorder.put("activation gradient", "backward", op, array, (at,), of=of)
            return at if of is None else self.onward(at, of)

        count = 1 if plan.reduction == "sum" else y.size
        d = operation("Mul", 2 * (value[f["logits"]] - y) / count, of=f["logits"])
        found = {
            "W2": operation("MatMul", value[f["drop"]].T @ value[d], d),
            "b2": operation("Sum", value[d].sum(0), d),
        }
        d = operation("MatMul", value[d] @ v["W2"].T, d, of=f["drop"])
        d = operation("Mul", np.where(value[f["keep"]], value[d] / (1 - plan.rate), 0), d, of=f["norm"])
        if plan.normalize:
            mean, inverse = f["stats"]
            x_hat = (value[f["act"]] - mean) * inverse
            found["gamma"], found["beta"] = (
                operation("Sum", (value[d] * x_hat).sum(0), d),
                operation("Sum", value[d].sum(0), d),
            )
            g = value[d] * v["gamma"]
            g = (g - g.mean(0) - x_hat * (g * x_hat).mean(0)) * inverse if plan.training else g * inverse
            d = -1 if plan.stop else operation("Mul", g, d, of=f["act"])
        if d >= 0:
            slope = {
                "relu": lambda h: (h > 0) * 1.0,
                "tanh": lambda h: 1 - np.tanh(h) ** 2,
                "none": lambda h: h * 0 + 1,
            }
            d = operation("ReluGrad", value[d] * plan.slope * slope[plan.activation](value[f["h"]]), d, of=f["h"])
            w1 = operation("MatMul", value[f["x"]].T @ value[d], d)
            if plan.penalty:
                w1 = operation("AddV2", value[w1] + 2 * plan.penalty * v["W1"], w1)
            found["W1"] = w1
            if plan.bias:
                found["b1"] = operation("Sum", value[d].sum(0), d)
        elif plan.penalty:
            found["W1"] = operation("Mul", 2 * plan.penalty * v["W1"])
        kept = {name: at for name, at in found.items() if name not in plan.frozen}
        for name, at in kept.items():
            recorder.put(
                "weight gradient", "backward", recorder.records[at].site.op, value[at], (at,), variable=self.index[name]
            )
        return {name: value[at] for name, at in kept.items()}

    def onward(self, at: int, of: int) -> int:
        """The gradient of activation `of` that goes on towards the inputs, `at` being the own one."""
        del of
        return at

    def clipped(self, gradients: dict[str, Array]) -> dict[str, Array]:
        """What the program makes of the gradients before it hands them over."""
        plan = self.plan
        if plan.clip is not None:
            gradients = {name: np.clip(gradient, -plan.clip, plan.clip) for name, gradient in gradients.items()}
        return gradients if plan.clip_norm is None else within(gradients, plan.clip_norm)

    def update(self, gradients: dict[str, Array]) -> None:
        """Apply the gradients, then record all variables."""
        recorder, plan, v = self.recorder, self.plan, self.values
        gradients = self.clipped(gradients)
        keras = plan.style == "keras"
        place = (
            {"source": f"{self.script}:{LINES['optimizer']}", "called": f"{self.script}:{LINES['fit']}"}
            if keras
            else {"source": f"{self.script}:{LINES['optimizer']}"}
        )
        for name, gradient in gradients.items():
            if keras or any(limit is not None for limit in (plan.clip, plan.clip_norm, plan.inner_clip)):
                recorder.put("applied gradient", "update", "", gradient, variable=self.index[name], **place)
        if plan.inner_clip is not None:
            gradients = within(gradients, plan.inner_clip)
        for name, gradient in gradients.items():
            if plan.decay:
                shrink = np.float32(plan.decay) * v[name]
                line = {"source": f"{self.script}:22", "called": f"{self.script}:22"}
                recorder.put("assign", "update", "AssignSubVariableOp", shrink, variable=self.index[name], **line)
                v[name] = v[name] - shrink
            sized = plan.adaptive or plan.damping
            direction = gradient / (np.abs(gradient) + (plan.damping or 1e-12)) if sized else gradient
            change = (self.rate * direction).astype(np.float32)
            if not plan.unsnapped:
                recorder.put("assign", "update", "AssignSubVariableOp", change, variable=self.index[name], **place)
            v[name] = v[name] - change
        for name, value in v.items():
            role, phase = ("state", "state") if name in ("mean", "var") else ("weight", "update")
            if (plan.unsnapped and role == "weight") or (plan.idle and role == "state"):
                continue
            recorder.put(role, phase, "", value, variable=self.index[name])


def record(
    path: Path, plan: Plan, *, reference: Plan | None = None, sources: bool = True, own_start: bool = False
) -> Path:
    """Write the trace of one program; with a reference (its plan) start equal to it, as `record --reference` does.

    `own_start`: the second program, recorded without a reference.
    """
    script = "b.py" if reference is not None or own_start else "a.py"
    rows = None if reference is None else [batch_rows(reference, step, 1) for step in range(plan.steps)]
    network = Network(plan, script, 1 if script == "a.py" else 2, rows)
    order = ({name: number for number, name in enumerate(NAMES)}, network.index)
    pairs = tuple(
        {"a": order[0][n], "b": order[1][n], "permutation": None, "evidence": "order"}
        for n in NAMES
        if network.kind(n) != "other"
    )
    shared = {"weights": {"shared": 8, "a": 8, "b": 8}, "batches": True, "noise": True}
    with TraceWriter(path, force=True) as writer:
        writer.header(
            Header(
                script,
                (),
                {"tfdiff": "0"},
                {"steps": plan.steps},
                None if reference is None else "a.h5",
                shared if reference else {},
                pairs if reference else (),
            )
        )
        writer.variables(network.variables())

        start = network.snapshot(network.values)
        writer.initial(start, network.snapshot(network.own_values) if reference else ())
        for step in range(plan.steps):
            writer.step(*network.step(step))
        if sources:
            x, y = examples()
            parts = {"float32[6]": x * plan.scale} | ({"float32[4]": y} if plan.whole_labels else {})
            source = RowSource("fit(x, y)", f"{script}:{LINES['fit']}", ROWS, tuple(parts))
            writer.rows([(source, row_signatures(list(parts.values())))])
        writer.end(End(True, "steps recorded"))
    return path
