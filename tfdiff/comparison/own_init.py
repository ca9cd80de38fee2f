"""What b's variables started from before sharing: another kind of distribution than a's, or only another draw."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tfdiff.comparison.findings import Finding
from tfdiff.comparison.own_nonfinite import init_finding
from tfdiff.comparison.places import place_of_variable
from tfdiff.model import Divergence
from tfdiff.pairing.pairs import taken
from tfdiff.pairing.sites import is_float

if TYPE_CHECKING:
    import numpy.typing as npt

    from tfdiff.comparison.runs import Runs
    from tfdiff.pairing.variables import VariablePair
    from tfdiff.trace.block import Block

    Array = npt.NDArray[Any]

SIGNIFICANCE = 1e-6
"""Probability below which two samples are not held to come from one distribution."""
SIGMAS = 6.0
MIN_SAMPLE = 8


def init_findings(runs: Runs) -> list[Finding]:
    """One finding for all pairs whose own initial values are of different kinds, the first variable naming the
    place; another one for those that are not finite on one side.
    """
    own = runs.b.own_initial()
    block_b = own if own.observations else runs.b.initial()
    a_values, b_values = _values(runs.a.initial()), _values(block_b)
    found: list[tuple[VariablePair, str, float, dict[str, Any]]] = []
    odd: list[tuple[VariablePair, int, int]] = []
    for pair in (*runs.weights, *runs.states):
        a, b = a_values.get(pair.a), b_values.get(pair.b)
        if a is None or b is None:
            continue
        counts = int((~np.isfinite(a)).sum()), int((~np.isfinite(b)).sum())
        if any(counts):
            odd.append((pair, *counts))
        else:
            told = compare_samples(taken(a, pair.a_part).reshape(-1) + pair.offset, taken(b, pair.b_part).reshape(-1))
            if told is not None:
                found.append((pair, *told))
    alone = init_finding(runs, odd)
    return [*([alone] if alone else []), *_kind_findings(runs, found, list(a_values))]


def _kind_findings(
    runs: Runs, found: list[tuple[VariablePair, str, float, dict[str, Any]]], order_of: list[int]
) -> list[Finding]:
    if not found:
        return []
    order = {variable: number for number, variable in enumerate(order_of)}
    found.sort(key=lambda entry: order[entry[0].a])
    pair, words, error, numbers = found[0]
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    divergence = Divergence(
        step=0,
        phase="init",
        a=place_of_variable(runs.a.variables[pair.a]),
        b=place_of_variable(runs.b.variables[pair.b]),
        error=error,
        tolerance=SIGNIFICANCE,
        summary=f"{runs.a.variables[pair.a].name}{more}: {words}",
    )
    pairs = tuple(entry[0] for entry in found)
    return [
        Finding(
            divergence, runs.a, runs.b, runs.pairs, variable=pair, also=pairs, kind="init-distribution", numbers=numbers
        )
    ]


def _values(block: Block) -> dict[int, Array]:
    return {
        seen.site.variable: np.asarray(block.array(seen.index), np.float64)
        for seen in block.observations
        if seen.site.variable is not None and seen.stored and seen.size and is_float(seen)
    }


def compare_samples(a: Array, b: Array) -> tuple[str, float, dict[str, Any]] | None:
    """What tells two samples of initial values apart, the error, and the numbers; None where both may be one
    initializer's.

    Constants are told by their value, spreads by their ratio, shapes by the two-sample Kolmogorov-Smirnov test.
    """
    stds = float(a.std()), float(b.std())
    means = float(a.mean()), float(b.mean())
    numbers: dict[str, Any] = {"a": {"mean": means[0], "std": stds[0]}, "b": {"mean": means[1], "std": stds[1]}}
    if stds[0] == 0.0 or stds[1] == 0.0:
        if stds[0] == stds[1] and np.isclose(means[0], means[1]):
            return None
        if stds[0] != stds[1] and min(a.size, b.size) < 2:
            return None
        words = " against ".join(_kind(mean, std) for mean, std in zip(means, stds, strict=True))
        return words, 1.0, numbers
    if min(a.size, b.size) < MIN_SAMPLE:
        return None
    ratio = abs(float(np.log(stds[0] / stds[1])))
    limit = SIGMAS * float(np.sqrt(0.5 / a.size + 0.5 / b.size)) + 0.02
    distance, probability = kolmogorov_smirnov(a, b)
    if ratio <= limit and probability >= SIGNIFICANCE:
        return None
    words = " against ".join(_kind(mean, std) for mean, std in zip(means, stds, strict=True))
    return words, max(distance, 1.0 - float(np.exp(-ratio))), numbers


def _kind(mean: float, std: float) -> str:
    return f"constant {mean:.4g}" if std == 0.0 else f"mean {mean:.2g}, standard deviation {std:.3g}"


def kolmogorov_smirnov(a: Array, b: Array) -> tuple[float, float]:
    """Two-sample Kolmogorov-Smirnov distance and its asymptotic probability.

    The series and the small-sample factor are Stephens' (1970), as in Numerical Recipes; written out because importing
    `scipy.stats` would take longer than the whole comparison.
    """
    x, y = np.sort(a), np.sort(b)
    both = np.concatenate([x, y])
    steps = np.searchsorted(x, both, side="right") / x.size - np.searchsorted(y, both, side="right") / y.size
    distance = float(np.abs(steps).max())
    root = (x.size * y.size / (x.size + y.size)) ** 0.5
    scaled = (root + 0.12 + 0.11 / root) * distance
    if scaled < 0.2:
        return distance, 1.0
    terms = np.arange(1, 101)
    series = 2.0 * float(np.sum((-1.0) ** (terms - 1) * np.exp(-2.0 * (terms * scaled) ** 2)))
    return distance, min(max(series, 0.0), 1.0)
