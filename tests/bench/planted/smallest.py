"""The smallest change of each continuous setting that is still found where it is, in one fixed network.

A change of size d makes a value v into v * (1 + d), a decay v (momentum, beta, rho) into 1 - (1 - v) * (1 + d). The
search goes down in powers of ten and then halves the last one on a logarithmic scale.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from .fault import Fault, of_layer, of_optimizer
from .spec import Activation, BatchNorm, Dense, Dropout, LayerNorm, Loss, Network, Optimizer, Scale
from .trial import Outcome, Trial

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tfdiff.model import Divergence

    from .spec import Layer
    from .trial import Bench

STYLES = ("keras_sequential", "raw_function")
LEAST = 1e-7
HALVINGS = 1
LAYERS: dict[str, Layer] = {
    layer.name: layer
    for layer in (
        Scale("scale", 0.5),
        Dense("d1", 16, "relu", l2=1e-2),
        BatchNorm("bn1", 0.9),
        Dropout("drop1", 0.3),
        Dense("d2", 16),
        Activation("leaky", "leaky", 0.2),
        LayerNorm("ln1"),
        Dense("out", 4),
    )
}
NETWORK = Network("probe", (12,), tuple(LAYERS.values()), 4, loss=Loss(smoothing=0.1))
ADAM = Optimizer("adam", 0.01, decay=0.05)


@dataclass(frozen=True)
class Probe:
    """A setting, the network it is changed in, and the fault that a change of some size is."""

    kind: str
    network: Network
    fault: Callable[[Network, float], Fault]
    largest: float = 0.1
    """The change that is tried first."""


def _layer(kind: str, name: str, setting: str, phase: str = "forward", *, decay: bool = False) -> Probe:
    def fault(network: Network, change: float) -> Fault:
        layer = LAYERS[name]
        found = of_layer(network, layer, "", (), **{setting: moved(getattr(layer, setting), change, decay=decay)})
        at = frozenset({name, "loss"}) if phase == "loss" else frozenset({name})
        return replace(found, phases=(phase,), a_labels=at, b_labels=at)

    return Probe(kind, replace(NETWORK, optimizer=ADAM), fault)


def _optimizer(
    kind: str, optimizer: Optimizer, setting: str, *steps: int, decay: bool = False, largest: float = 0.1
) -> Probe:
    def fault(network: Network, change: float) -> Fault:
        value = moved(getattr(optimizer, setting), change, decay=decay)
        phases = ("backward", "update") if setting == "clip" else ("update",)
        labels = ("opt/clip", "gradient")
        return of_optimizer(network, (), steps=steps or (0,), phases=phases, labels=labels, **{setting: value})

    return Probe(kind, replace(NETWORK, optimizer=optimizer), fault, largest)


def moved(value: float, change: float, *, decay: bool) -> float:
    """The value after a change of that size."""
    return 1 - (1 - value) * (1 + change) if decay else value * (1 + change)


def _smoothing(network: Network, change: float) -> Fault:
    b = replace(network, loss=replace(network.loss, smoothing=network.loss.smoothing * (1 + change)))
    at = frozenset({"loss"})
    return Fault("smoothing", b, ("loss",), (0,), at, at)


PROBES = (
    _layer("input-scale", "scale", "factor"),
    _layer("leaky-slope", "leaky", "slope"),
    _layer("rate", "drop1", "rate"),
    _layer("bn-epsilon", "bn1", "epsilon"),
    _layer("ln-epsilon", "ln1", "epsilon"),
    _layer("bn-momentum", "bn1", "momentum", "state", decay=True),
    _layer("l2-strength", "d1", "l2", "loss"),
    Probe("loss-smoothing", NETWORK, _smoothing),
    _optimizer("lr-sgd", Optimizer("sgd", 0.1), "rate"),
    _optimizer("lr-adam", ADAM, "rate"),
    _optimizer("momentum", Optimizer("sgd", 0.05, momentum=0.9), "momentum", 1, decay=True),
    _optimizer("beta1", ADAM, "beta1", 0, 1, decay=True),
    _optimizer("beta2", ADAM, "beta2", 0, 1, decay=True, largest=10.0),
    _optimizer("optimizer-epsilon", ADAM, "epsilon", largest=1e5),
    _optimizer("weight-decay", ADAM, "decay"),
    _optimizer("rho", Optimizer("rmsprop", 0.005), "rho", decay=True),
    _optimizer("clip-norm", Optimizer("sgd", 0.1, clip=0.05), "clip"),
)


def table(bench: Bench, kinds: list[str]) -> Iterator[str]:
    """A line per kind: the smallest change found, its error beside the measured noise and the tolerance, what the next
    smaller one gave.
    """
    yield f"{'kind':18} {'found':>8} {'error':>8} {'noise':>8} {'x noise':>7} {'allowed':>8}  next smaller"
    for number, probe in enumerate(PROBES):
        if probe.kind not in kinds:
            continue
        found, missed = _search(lambda change, n=number, p=probe: _tried(bench, n, p, change), probe.largest)
        said = f"{missed[0]:.1e}: {missed[1].verdict}" if missed else f"{LEAST:.0e} was found, too"
        if found is None:
            yield f"{probe.kind:18} {'none':>8} {'':35} {said} {missed[1].said if missed else ''}"
            continue
        yield f"{probe.kind:18} {found[0]:8.1e} {_numbers(found[1].first)}  {said}"


def _numbers(first: Divergence | None) -> str:
    if first is None:
        return f"{'':35}"
    noise = "-" if first.noise is None else f"{first.noise:.1e}"
    multiple = "-" if first.multiple is None else f"{first.multiple:.0f}"
    return f"{first.error:8.1e} {noise:>8} {multiple:>7} {first.tolerance:8.1e}"


def _tried(bench: Bench, number: int, probe: Probe, change: float) -> Outcome:
    fault = probe.fault(probe.network, change)
    return bench.run(Trial(number, (probe.kind,), probe.network, fault.b, (fault,), *STYLES), keep=True)


Found = tuple[float, Outcome]


def _search(tried: Callable[[float], Outcome], change: float) -> tuple[Found | None, Found | None]:
    """The smallest change that was found, and the largest below it that was not."""
    found, missed = None, None
    while change >= LEAST and missed is None:
        outcome = tried(change)
        if outcome.verdict == "right":
            found = change, outcome
        else:
            missed = change, outcome
        change /= 10
    for _ in range(HALVINGS if found and missed else 0):
        change = (found[0] * missed[0]) ** 0.5
        outcome = tried(change)
        if outcome.verdict == "right":
            found = change, outcome
        else:
            missed = change, outcome
    return found, missed
