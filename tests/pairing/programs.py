"""Small programs as the recorder would see one step of them: sites with their dataflow, for tests of pairing."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

from tfdiff.model import Phase, Role, Site, Variable
from tfdiff.pairing.uses import VariableUse, uses_of


@dataclass
class Program:
    """Writes down ops in order of execution; every method returns the position of its record."""

    variables: list[Variable] = field(default_factory=list)
    sites: list[Site] = field(default_factory=list)
    inputs: list[tuple[int, ...]] = field(default_factory=list)
    initial: dict[int, tuple[float, float]] = field(default_factory=dict)

    def new(
        self,
        shape: tuple[int, ...],
        *,
        kind: str = "weight",
        name: str = "Variable:0",
        layer: str | None = None,
        initial: tuple[float, float] | None = None,
        trainable: bool | None = None,
    ) -> int:
        """Create a variable; returns its index."""
        index = len(self.variables)
        trains = kind == "weight" if trainable is None else trainable
        self.variables.append(Variable(index, name, shape, "float32", trains, kind, layer))
        if initial is not None:
            self.initial[index] = initial
        return index

    def op(
        self,
        op: str,
        *inputs: int,
        role: Role = "activation",
        phase: Phase = "forward",
        variable: int | None = None,
        output: int = 0,
        **attrs: object,
    ) -> int:
        """Run an op."""
        site = Site(len(self.sites), role, phase, op, output, variable=variable, attrs=dict(attrs))
        self.sites.append(site)
        self.inputs.append(inputs)
        return len(self.sites) - 1

    def batch(self) -> int:
        """A tensor of the batch."""
        return self.op("Placeholder", role="input")

    def constant(self) -> int:
        """A small constant."""
        return self.op("Const", role="constant")

    def read(self, variable: int, phase: Phase = "forward") -> int:
        """Read a variable."""
        role: Role = "weight" if self.variables[variable].kind == "weight" else "state"
        return self.op("ReadVariableOp", role=role, phase=phase, variable=variable)

    def assign(self, variable: int, value: int, op: str = "AssignVariableOp") -> int:
        """Write a moving statistic."""
        return self.op(op, value, role="assign", phase="state", variable=variable)

    def dense(self, x: int, kernel: int, bias: int | None = None, *, add: str = "BiasAdd", relu: bool = True) -> int:
        """x @ kernel + bias."""
        x = self.op("MatMul", x, self.read(kernel), transpose_a=False, transpose_b=False)
        if bias is not None:
            x = self.op(add, x, self.read(bias))
        return self.op("Relu", x) if relu else x

    def uses(self) -> list[VariableUse]:
        """What pairing sees of it."""
        return uses_of(self.variables, self.sites, self.inputs, self.initial)


def mlp(*widths: int, add: str = "BiasAdd", bias: bool = True, biases_last: bool = False) -> Program:
    """A perceptron; `biases_last` creates the variables as dictionaries of weights and biases do."""
    program = Program()
    shapes = list(itertools.pairwise(widths))
    if biases_last:
        kernels = [program.new(shape) for shape in shapes]
        offsets = [program.new(shape[1:]) for shape in shapes] if bias else [None] * len(shapes)
    else:
        kernels, offsets = [], []
        for shape in shapes:
            kernels.append(program.new(shape))
            offsets.append(program.new(shape[1:]) if bias else None)
    x = program.batch()
    for number, (kernel, offset) in enumerate(zip(kernels, offsets, strict=True)):
        x = program.dense(x, kernel, offset, add=add, relu=number < len(shapes) - 1)
    program.op("Mean", x, role="loss", phase="loss")
    return program


@dataclass
class Norm:
    """The variables of one batch normalization."""

    gamma: int | None
    beta: int
    mean: int
    variance: int


def norm_variables(program: Program, channels: int, *, initial: bool = True, order: str = "gbmv") -> Norm:
    """Create gamma, beta and the moving statistics in the given order."""
    made: dict[str, int] = {}
    for letter in order:
        start = (float(letter in "gv"), 0.0) if initial else None
        made[letter] = program.new((channels,), kind="weight" if letter in "gb" else "state", initial=start)
    return Norm(made.get("g"), made["b"], made["m"], made["v"])


def keras_norm(program: Program, x: int, norm: Norm, *, training: bool = True) -> int:
    """Keras 3's BatchNormalization: moments, moving averages, tf.nn.batch_normalization."""
    if training:
        mean = program.op("Squeeze", program.op("Mean", x, program.constant()))
        squares = program.op("SquaredDifference", x, mean)
        variance = program.op("Squeeze", program.op("Mean", squares, program.constant()))
        for moving, batch in ((norm.mean, mean), (norm.variance, variance)):
            old = program.op("Mul", program.read(moving, "state"), program.constant(), phase="state")
            part = program.op("Mul", batch, program.constant(), phase="state")
            program.assign(moving, program.op("AddV2", old, part, phase="state"))
    else:
        mean, variance = program.read(norm.mean), program.read(norm.variance)
    inv = program.op("Rsqrt", program.op("AddV2", variance, program.constant()))
    if norm.gamma is not None:
        inv = program.op("Mul", inv, program.read(norm.gamma))
    scaled = program.op("Mul", x, inv)
    shift = program.op("Sub", program.read(norm.beta), program.op("Mul", mean, inv))
    return program.op("AddV2", scaled, shift)


def raw_norm(program: Program, x: int, norm: Norm) -> int:
    """(x - m) / sqrt(v + eps) * gamma + beta, moving statistics by assign_sub((moving - batch) * (1 - decay))."""
    mean = program.op("Mean", x, program.constant())
    centred = program.op("Sub", x, mean)
    variance = program.op("Mean", program.op("Mul", centred, centred), program.constant())
    for moving, batch in ((norm.mean, mean), (norm.variance, variance)):
        gap = program.op("Sub", program.read(moving, "state"), batch, phase="state")
        program.assign(moving, program.op("Mul", gap, program.constant(), phase="state"), "AssignSubVariableOp")
    x = program.op("RealDiv", centred, program.op("Sqrt", program.op("AddV2", variance, program.constant())))
    if norm.gamma is not None:
        x = program.op("Mul", program.read(norm.gamma), x)
    return program.op("AddV2", x, program.read(norm.beta))
