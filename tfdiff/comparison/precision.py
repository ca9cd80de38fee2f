"""Floating point types that only one side computes in, and other reasons for rounding otherwise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tfdiff.comparison.tolerance import epsilon

if TYPE_CHECKING:
    import numpy.typing as npt

    from tfdiff.comparison.graph import StepGraph
    from tfdiff.comparison.runs import Runs

    Array = npt.NDArray[Any]


def rounded(values: Array, dtype: str) -> Array:
    """The values as a floating point type of the given name holds them, as float64; range is not looked at."""
    exact = np.asarray(values).astype(np.float64)
    if "bfloat16" not in dtype:
        try:
            return exact.astype(np.dtype(dtype)).astype(np.float64)
        except TypeError:
            return exact
    bits = exact.astype(np.float32).view(np.uint32)
    with np.errstate(over="ignore"):
        nearest = bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
    return (nearest & np.uint32(0xFFFF0000)).view(np.float32).astype(np.float64)


def coarser(a: str, b: str) -> str:
    """Which of two floating point types holds fewer digits."""
    return a if epsilon(a) >= epsilon(b) else b


def precision_notes(runs: Runs, graphs: tuple[StepGraph, StepGraph]) -> list[str]:
    """Floating point types, devices and settings that are not the same on both sides."""
    notes = []
    names = [" and ".join(sorted(graph.precisions)) for graph in graphs]
    if all(names) and names[0] != names[1]:
        finest = min((max(graph.precisions, key=epsilon) for graph in graphs), key=epsilon)
        judged = finest if epsilon(finest) >= epsilon("float32") else "float32"
        notes.append(f"a computes in {names[0]}, b in {names[1]}: judged by the rounding of {judged}")
    a, b = runs.a.header.numerics, runs.b.header.numerics
    other = [f"{name} {value} in a, {b[name]} in b" for name, value in a.items() if name in b and value != b[name]]
    if other:
        notes.append(f"{'; '.join(other)}: differences of the size of rounding may come from it")
    return notes
