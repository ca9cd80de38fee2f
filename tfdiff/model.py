"""The nouns of tfdiff: what a trace holds, and what comparing two of them yields.

Everything here is plain data. Neither TensorFlow nor h5py nor Textual is imported, so that every half of the program
can speak of the same things. Arrays are NumPy arrays; "step" counts from 0; a "place" string is ``file:line`` relative
to the script's folder.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from tfdiff.orders import Isolated

    FloatArray = npt.NDArray[np.float32]

Role = Literal[
    "input",  # a batch tensor as the step used it (features, labels, sample weights)
    "own input",  # the same before sharing wrote the reference's rows over it
    "noise",  # what a random op drew
    "constant",  # a small tensor that no recorded op made (a rate, an axis, an epsilon)
    "weight",  # a trainable variable
    "state",  # a variable that training moves without a gradient (moving statistics)
    "slot",  # a variable made from gradients (momentum, accumulators)
    "activation",  # output of an op of the forward pass (up to and including the loss)
    "forced",  # in an isolated pass: the reference's tensor that went on in the place of the activation before it
    "loss",  # the target of the gradient call
    "activation gradient",  # d loss / d activation; `Observation.of` names the activation
    "weight gradient",  # d loss / d weight as the tape returned it
    "applied gradient",  # what the optimizer was handed (after clipping, accumulation)
    "assign",  # the value an op wrote into (assign) or added to (assign_add/sub) a variable
    "operation",  # output of an op of the backward pass or the update
]
LEAST_NOISE = 2.0**-24
"""Half the distance from 1 to the next float32: no value is known better."""
Phase = Literal["data", "init", "forward", "loss", "backward", "update", "state", "eval"]
PHASES: tuple[Phase, ...] = ("data", "init", "forward", "loss", "backward", "update", "state", "eval")


@dataclass(frozen=True)
class Variable:
    """A `tf.Variable` of the recorded program."""

    index: int
    """Order of creation in the script; equal between two runs of the same script."""
    name: str
    """Keras path (`sequential/dense/kernel`) or the variable's own name."""
    shape: tuple[int, ...]
    dtype: str
    trainable: bool
    kind: str
    """weight (it got a gradient), state, slot, hyper (iterations, learning rate), seed, metric or other."""
    layer: str | None = None
    source: str | None = None
    """Where the user's code created it (or its layer)."""


@dataclass(frozen=True)
class Site:
    """A place in a step where a tensor can be seen; the same place in every step that runs the same code."""

    id: int
    role: Role
    phase: Phase
    op: str
    """TensorFlow op type (`MatMul`), "" for values read from a variable."""
    output: int = 0
    """Which output of the op."""
    layer: str | None = None
    """Layer path of the innermost layer (`sequential/dropout`), None outside layers."""
    layer_class: str | None = None
    source: str | None = None
    """Line that creates the layer, optimizer or loss, else the same as `called`."""
    called: str | None = None
    """Innermost line of the user's code that ran the op."""
    api: str | None = None
    """The API call made on that line (`tf.nn.dropout`)."""
    occurrence: int = 0
    """Counts sites of a step that are alike in everything above."""
    variable: int | None = None
    """`Variable.index` for weights, gradients, slots, states and assigns."""
    boundary: bool = False
    """Whether this is the last tensor of its layer or API call (kept in full at `--detail layers`)."""
    attrs: dict[str, Any] = field(default_factory=dict)
    """Op attributes worth knowing (padding, strides, transpose_a, epsilon ...); JSON values."""

    @property
    def name(self) -> str:
        """What a person calls this place: layer path, else API call, else op type, `#n` for repeats."""
        base = self.layer or self.api or self.op or self.role
        if self.role in ("input", "own input"):
            base = "batch"
        return f"{base}#{self.occurrence}" if self.occurrence else base


@dataclass(frozen=True)
class Stats:
    """Statistics of one tensor, float64; integers and booleans are converted. Zero elements: all 0."""

    minimum: float
    maximum: float
    mean: float
    norm: float
    """Square root of the sum of squares of the finite elements."""
    zeros: int
    nans: int
    infs: int


@dataclass(frozen=True)
class Observation:
    """One site at one step."""

    index: int
    """Position in the step, in the order of execution; producers come before consumers."""
    site: Site
    shape: tuple[int, ...]
    dtype: str
    stats: Stats
    inputs: tuple[int, ...] = ()
    """Indices of the observations the op consumed, in argument order; -1 where unknown."""
    of: int | None = None
    """For gradients of activations: index of the activation."""
    stored: bool = False
    """Whether the array itself is in the trace."""

    @property
    def size(self) -> int:
        """Number of elements."""
        product = 1
        for extent in self.shape:
            product *= extent
        return product


@dataclass(frozen=True)
class StepInfo:
    """What is known of a step besides its tensors."""

    index: int
    optimizers: tuple[dict[str, Any], ...] = ()
    """One per apply call: {"name", "class", "learning_rate", "iterations", "config", "source", "called"}."""
    applied: bool = True
    """False where the gradients of this step only reached an accumulator."""
    forward_only: bool = False
    """Whether this is a forward pass of a run that never trains."""
    feeds: tuple[int, ...] = ()
    """Of such a pass: pairs of the index of an input and of its number among the arrays made on its line."""
    draws: tuple[int, ...] = ()
    """Pairs of the index of an eager draw outside every tape and of its number among all draws of its place."""


@dataclass(frozen=True)
class EvalInfo:
    """What is known of an evaluation or prediction pass besides its tensors.

    Its block holds the forward pass of its first batch (phase forward), and behind it, in phase eval, columns over all
    its batches: inputs, outputs, and single numbers (one per batch) in which the batches ended. `Observation.of` leads
    from a column to its tensor in the first batch.
    """

    index: int
    kind: str
    """evaluate, predict ... as the program called it; forward: found by its dataflow; run: a TF1 session."""
    after: int
    """Training steps before it."""
    batches: int
    rows: int
    """Of all batches; 0 where the batch was not recognized."""
    batch_rows: int
    """Rows recorded of the first batch; fewer than it had where it was large."""
    outputs: tuple[int, ...] = ()
    """Observations of the first batch that are its results."""
    metrics: dict[str, float] = field(default_factory=dict)
    """What it returned, by name."""
    source: str | None = None
    called: str | None = None


@dataclass(frozen=True)
class Header:
    """What a trace says of its run. JSON values only; no absolute paths, user names or environment."""

    script: str
    arguments: tuple[str, ...]
    versions: dict[str, str]
    """python, tensorflow, keras, numpy, tfdiff."""
    options: dict[str, Any]
    """steps, detail, share."""
    reference: str | None = None
    """File name of the reference trace, for a run that shared its start."""
    shared: dict[str, Any] = field(default_factory=dict)
    """{"weights": {"shared": 8, "a": 8, "b": 8}, "batches": true, "noise": true}; empty without a reference."""
    variable_pairs: tuple[dict[str, Any], ...] = ()
    """{"a": index, "b": index, "permutation": [1, 0] or null, "evidence": "..."} as used for sharing.

    With "reshape" (b's shape) and "restore" (the one before) where transposing a's value does not give b's. A variable
    that is paired part by part (fused gates against split ones) has several entries; "a_part" and "b_part" say which
    part of it an entry is about: per axis the ranges [start, stop), missing for the whole variable. "offset" is what
    b's value has more than a's, because a's program adds that much as a constant (a forget bias), missing for 0.
    "rivals" are variables of b that would fit as well, missing where there are none; "ordered" says that the order in
    which the variables are used decided.
    """
    not_shared: tuple[dict[str, str], ...] = ()
    not_recorded: tuple[dict[str, str], ...] = ()
    switched_off: tuple[dict[str, str], ...] = ()
    """XLA, steps_per_execution: what recording had to change, and why."""
    numerics: dict[str, str] = field(default_factory=dict)
    """What rounding depends on besides the program: device, oneDNN, XLA, deterministic ops, TF32 (on GPUs), dtype
    policy; empty in older traces."""
    switches: dict[str, str] = field(default_factory=dict)
    """How the program is run: eager mode, functions run eagerly, float type and data format by default; empty in older
    traces."""
    assumed: tuple[dict[str, Any], ...] = ()
    """{"assume": "dropout-rate=0.2@b.py:41", "taken": ["Dropout 'drop' at b.py:41"]}: settings the run was made with in
    the place of the script's own; with nothing in "taken" the run is the script's own."""


@dataclass(frozen=True)
class End:
    """How the recording ended."""

    complete: bool
    why: str
    """`steps recorded`, `script ended`, or the reason of an early end."""
    exit_code: int | None = 0


@dataclass(frozen=True)
class Observed:
    """Whether a run that was not recorded ended as the recorded one did."""

    ok: bool | None
    """None where that could not be seen."""
    error: float = 0.0
    """Relative error of all weights and moving statistics together; of `where` alone where that is too far off."""
    noise: float = 0.0
    """What noise does to `where`."""
    where: str = ""
    """What differs most in relation to its noise: a variable's name."""
    loss: float | None = None
    """Relative error of the last loss, None where it cannot be seen (inside compiled functions and sessions)."""
    why: str = ""
    """Why it could not be seen."""


@dataclass(frozen=True)
class RowSource:
    """A whole array or dataset that fed the run, known by hashes of its rows (feature and label parts together)."""

    name: str
    source: str | None
    """Where the user's code handed it over."""
    rows: int
    parts: tuple[str, ...]
    """One description per part, e.g. `float32[784]`."""
    transformed: int | None = None
    """Not None: no whole array, but `rows` rows that a generator made, in the order of drawing. There are twice as many
    hashes: the rows as made, then the rows of the whole array they were made from. The number is that of rows that were
    changed. With 0 rows: a map of a data set that draws random numbers, by the ops in `parts`; its rows are not
    seen."""


@dataclass(frozen=True)
class Place:
    """One side of a divergence, as CONTRACT.md has it in JSON."""

    layer: str | None
    site: str
    source: str | None
    called: str | None = None
    op: str | None = None


@dataclass(frozen=True)
class Divergence:
    """A place where the two runs part: equal inputs, unequal outputs."""

    step: int
    phase: Phase
    a: Place | None
    b: Place | None
    error: float
    """Relative error ||a - b|| / max(||a||, ||b||), see `comparison.metrics.relative_error`."""
    tolerance: float
    introduced: bool = True
    summary: str = ""
    """One line: what differs (`Mul(., 1.4286)` against `Mul(., 3.3333)`), for people."""
    a_index: int | None = None
    """Index of the observation in step `step` of a's trace, where there is one."""
    b_index: int | None = None
    noise: float | None = None
    """Error that moving a's weights by one unit in the last place makes at this place; None where not measured."""

    @property
    def multiple(self) -> float | None:
        """The error in multiples of the noise (at least half a unit in the last place of float32)."""
        return None if self.noise is None else self.error / max(self.noise, LEAST_NOISE)


@dataclass(frozen=True)
class Cause:
    """A named explanation with its proof."""

    code: str
    phase: Phase
    step: int
    confidence: float
    a: Place | None
    b: Place | None
    summary: str
    fix: str
    constants: dict[str, Any] = field(default_factory=dict)
    error_before: float = 0.0
    error_after: float = 0.0
    evidence: tuple[dict[str, Any], ...] = ()
    """Settings that differ and agree with the constants, {"key": "rate", "a": 0.2, "b": 0.8}; of an unexplained one
    those that differ at its place. Where only one side says how it is set up, the other's is the fitted constant."""
    assume: str | None = None
    """What `tfdiff record --assume` takes to run b without the cause; None where nothing can be set for that."""


Status = Literal["equal", "introduced", "carried", "unpaired", "absent"]


@dataclass(frozen=True)
class Cell:
    """A pair of sites at one step."""

    status: Status
    error: float
    tolerance: float
    a_index: int | None = None
    b_index: int | None = None


@dataclass(frozen=True)
class Row:
    """A pair of sites (or one without a counterpart) over the compared steps; rows come in causal order."""

    phase: Phase
    a: Site | None
    b: Site | None
    a_name: str
    b_name: str
    evidence: str
    """value, weight, structure, role, user or "" (unpaired); with ", ambiguous" where another site of b would do as
    well."""
    cells: tuple[Cell, ...]
    """One per compared step."""


@dataclass(frozen=True)
class Result:
    """What `tfdiff diff` found; `reports` turns it into text or JSON, the TUI shows it."""

    verdict: Literal["equivalent", "diverged", "incomparable"]
    a_trace: str
    b_trace: str
    a_header: Header
    b_header: Header
    a_steps: int
    b_steps: int
    compared: int
    first: Divergence | None
    divergences: tuple[Divergence, ...]
    own: tuple[Divergence, ...]
    causes: tuple[Cause, ...]
    rows: tuple[Row, ...]
    shared: dict[str, Any]
    not_shared: tuple[dict[str, str], ...] = ()
    not_recorded: tuple[dict[str, str], ...] = ()
    judged: int | None = None
    """Compared steps that were judged: the first so many, fewer where noise had grown too far, other batches were fed
    or both had NaN; None: not counted."""
    tolerance_source: str = "analytic"
    """calibrated: noise was measured in a; else from the rounding of the arithmetic alone."""
    not_calibrated: str = ""
    """Why noise is not known of all compared steps of a; "" where it is."""
    observer: Observed | None = None
    """Whether recording a changed what it computes; None where that was not looked at."""
    horizon: int | None = None
    """First step at which even a differs from itself, None where there is none or that was not measured."""
    evaluations: dict[str, int] = field(default_factory=dict)
    """{"a": 4, "b": 3, "compared": 2}: evaluation and prediction passes."""
    forward_only: bool = False
    """Whether nothing trains: the steps are forward passes."""
    isolation: Isolated | None = None
    """The pass in which b was judged part by part on a's inputs; None where there was none."""
    notes: tuple[str, ...] = ()
    """Harmless differences and what could not be decided, one sentence each."""
    variable_pairs: tuple[dict[str, Any], ...] = ()
    """As compared, like `Header.variable_pairs`."""
