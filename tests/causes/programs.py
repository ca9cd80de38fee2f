"""Small programs that run in NumPy and write traces: each op is recorded with the value it had."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from tfdiff.causes import explain_finding
from tfdiff.comparison.compare import compare
from tfdiff.model import End, Header, Site, StepInfo, Variable
from tfdiff.trace.reader import open_trace
from tfdiff.trace.records import Record
from tfdiff.trace.writer import TraceWriter

if TYPE_CHECKING:
    from pathlib import Path

    from tfdiff.comparison.findings import Finding
    from tfdiff.model import Cause, Result
    from tfdiff.settings import Configuration


@dataclass
class Program:
    """One run: variables by name, and one or more steps. `script` is a.py or b.py."""

    script: str
    keras: bool = False
    optimizer: dict[str, Any] | None = None
    weights: dict[str, np.ndarray] = field(default_factory=dict)
    states: tuple[str, ...] = ()
    """Names of the variables that are no weights."""
    index: dict[str, int] = field(default_factory=dict)
    steps: list[tuple[StepInfo, list[Record]]] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)
    own: list[Record] = field(default_factory=list)
    """What the run started with of its own, where it was replaced."""
    versions: dict[str, str] = field(default_factory=dict)
    seeds: int = 0
    """Seed variables that are made and not read, as Keras 3 makes one per dropout."""
    configurations: tuple[Configuration, ...] = ()
    """How its layers and losses were set up."""
    keep: bool = True
    """False: of inner tensors only sketches are kept."""

    def __post_init__(self) -> None:
        self.sites: dict[Any, Site] = {}
        self.counts: Counter[Any] = Counter()
        self.initial: dict[str, np.ndarray] = {}

    def variable(self, name: str, value: Any, *, state: bool = False) -> str:
        """Create a variable."""
        self.index[name] = len(self.index)
        self.weights[name] = np.asarray(value, np.float32)
        self.initial[name] = self.weights[name]
        if state:
            self.states = (*self.states, name)
        return name

    def put(self, role: str, phase: str, op: str, value: Any, inputs: tuple[int, ...] = (), **about: Any) -> int:
        """Record one tensor."""
        of, keep = about.pop("of", None), about.pop("keep", True)
        attrs = about.pop("attrs", {})
        key = (role, phase, op, repr(attrs), *sorted(about.items()))
        key = (*key, self.counts[key])
        self.counts[key[:-1]] += 1
        if key not in self.sites:
            self.sites[key] = Site(len(self.sites), role, phase, op, occurrence=key[-1], attrs=attrs, **about)
        value = np.asarray(value)
        with np.errstate(over="ignore"):
            value = value.astype(np.float32) if value.dtype.kind == "f" and value.dtype != np.float16 else value
        self.records.append(Record(self.sites[key], value, inputs, of, keep))
        return len(self.records) - 1

    def value(self, index: int) -> np.ndarray:
        """What was recorded."""
        return self.records[index].value

    def input(self, value: Any, line: int = 1) -> int:
        """A tensor of the batch."""
        return self.put("input", "forward", "", value, source=f"{self.script}:{line}", called=f"{self.script}:{line}")

    def noise(self, value: Any) -> int:
        """A random draw."""
        return self.put("noise", "forward", "RandomUniform", value)

    def constant(self, value: Any, phase: str = "forward") -> int:
        """A constant."""
        return self.put("constant", phase, "Const", np.float32(value))

    def read(self, name: str, phase: str = "forward") -> int:
        """Read a variable."""
        role = "state" if name in self.states else "weight"
        return self.put(role, phase, "ReadVariableOp", self.weights[name], variable=self.index[name])

    def op(self, kind: str, value: Any, *inputs: int, layer: str | None = None, line: int = 2, **about: Any) -> int:
        """A forward op, in a Keras layer or on a line of the script."""
        about.setdefault("source", f"{self.script}:{line}")
        about.setdefault("called", f"{self.script}:99" if layer else f"{self.script}:{line}")
        about.setdefault("keep", self.keep)
        path = f"net/{layer}" if layer else None
        return self.put("activation", about.pop("phase", "forward"), kind, value, inputs, layer=path, **about)

    def dense(
        self, x: int, name: str, width: int, *, layer: str | None = None, bias: bool = True, line: int = 2
    ) -> int:
        """A matrix product and a bias; the variables are made on first use."""
        shape = (self.value(x).shape[-1], width)
        if f"{name}/w" not in self.weights:
            seed = sum(ord(c) for c in name)
            self.variable(f"{name}/w", np.random.default_rng(seed).normal(size=shape) * 0.5)
            if bias:
                self.variable(f"{name}/b", np.random.default_rng(seed + 1).normal(size=width) * 0.1)
        w = self.read(f"{name}/w")
        with np.errstate(all="ignore"):
            product = self.value(x) @ self.weights[f"{name}/w"]
        h = self.op("MatMul", product, x, w, layer=layer, line=line)
        if bias:
            b = self.read(f"{name}/b")
            h = self.op("BiasAdd", self.value(h) + self.weights[f"{name}/b"], h, b, layer=layer, line=line)
        return h

    def loss(self, at: int, line: int = 20) -> None:
        """The target of the gradient call."""
        self.put(
            "loss", "loss", "", self.value(at), (at,), source=f"{self.script}:{line}", called=f"{self.script}:{line}"
        )

    def gradient(self, name: str, value: Any, line: int = 21) -> None:
        """The gradient of a variable, out of the tape."""
        at = self.put("operation", "backward", "Mul", value)
        about = {"source": f"{self.script}:{line}", "called": f"{self.script}:{line}"}
        self.put("weight gradient", "backward", "Mul", value, (at,), variable=self.index[name], **about)

    def assign(
        self, name: str, change: Any, *inputs: int, phase: str = "update", line: int = 22, layer: str | None = None
    ) -> None:
        """Subtract from a weight, or set a state."""
        about = {"source": f"{self.script}:{line}", "called": f"{self.script}:{line}"}
        path = f"net/{layer}" if layer else None
        kind = "AssignVariableOp" if phase == "state" else "AssignSubVariableOp"
        at = self.put("assign", phase, kind, change, inputs, variable=self.index[name], layer=path, **about)
        written = np.asarray(self.value(at), np.float32)
        self.weights[name] = written if phase == "state" else self.weights[name] - written

    def end_step(self) -> None:
        """Snapshots, and on to the next step."""
        for name, value in self.weights.items():
            role, phase = ("state", "state") if name in self.states else ("weight", "update")
            self.put(role, phase, "", value, variable=self.index[name])
        optimizers = () if self.optimizer is None else (self.optimizer,)
        self.steps.append((StepInfo(len(self.steps), optimizers), self.records))
        self.records = []
        self.counts.clear()

    def write(self, path: Path, pairs: tuple[dict[str, Any], ...] = ()) -> None:
        """Write the trace; `pairs` where it started equal to a reference."""
        with TraceWriter(path, force=True) as writer:
            shared = {
                "weights": {"shared": len(pairs), "a": len(pairs), "b": len(pairs)},
                "batches": True,
                "noise": True,
            }
            reference = "a.h5" if pairs else None
            writer.header(Header(self.script, (), self.versions, {}, reference, shared if pairs else {}, pairs))
            kinds = {name: "state" if name in self.states else "weight" for name in self.index}
            layers = {name: name.split("/")[0] if self.keras else None for name in self.index}
            writer.variables(
                [
                    Variable(
                        number,
                        name,
                        self.initial[name].shape,
                        "float32",
                        kinds[name] == "weight",
                        kinds[name],
                        layers[name],
                        f"{self.script}:3",
                    )
                    for name, number in self.index.items()
                ]
                + [
                    Variable(len(self.index) + number, "seed_generator/state", (2,), "uint32", False, "seed")
                    for number in range(self.seeds)
                ]
            )
            self.records, kept = [], self.records
            for name, value in self.initial.items():
                self.put("weight", "init", "", value, variable=self.index[name])
            writer.initial(self.records, self.own)
            self.records = kept
            for info, records in self.steps:
                writer.step(info, records)
            writer.configurations(self.configurations)
            writer.end(End(True, "script ended"))

    def own_value(self, name: str, value: Any) -> None:
        """What the variable held before it was given the reference's value."""
        site = Site(10_000 + self.index[name], "weight", "init", "", variable=self.index[name])
        self.own.append(Record(site, np.asarray(value, np.float32)))


def diff(a: Program, b: Program, folder: Path, findings: list[Finding] | None = None) -> Result:
    """Write both, variables paired by name, and compare them with causes."""
    for program in (a, b):
        if program.records:
            program.end_step()
    pairs = tuple(
        {"a": number, "b": b.index[name], "permutation": None, "evidence": "name"}
        for name, number in a.index.items()
        if name in b.index
    )
    a.write(folder / "a.h5")
    b.write(folder / "b.h5", pairs)

    def explain(finding: Finding) -> list[Cause]:
        if findings is not None:
            findings.append(finding)
        return explain_finding(finding)

    with open_trace(folder / "a.h5") as one, open_trace(folder / "b.h5") as other:
        return compare(one, other, explain=explain)


def features(rows: int = 24, columns: int = 8, seed: int = 3) -> np.ndarray:
    """A batch."""
    return np.random.default_rng(seed).normal(size=(rows, columns)).astype(np.float32)


def one_hot(rows: int = 24, classes: int = 5, seed: int = 4) -> np.ndarray:
    """Labels."""
    return np.eye(classes, dtype=np.float32)[np.random.default_rng(seed).integers(0, classes, rows)]


def squared(p: Program, prediction: int, target: int, line: int = 20) -> None:
    """Mean squared error as the loss."""
    z, y = p.value(prediction).astype(np.float64), p.value(target)
    square = p.op("SquaredDifference", (z - y) ** 2, prediction, target, line=line)
    axes = p.put("constant", "forward", "Const", np.arange(z.ndim, dtype=np.int32))
    p.loss(p.op("Mean", np.asarray(((z - y) ** 2).mean()), square, axes, line=line), line)
