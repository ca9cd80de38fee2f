"""What the optimizers of both sides work with: the gradients they were handed, after the clipping they do themselves.

One program clips before it calls its optimizer, the other one lets the optimizer clip: what they are handed differs
then without any meaning.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tfdiff.comparison.metrics import own_values, pair_error, pair_values, relative_error
from tfdiff.comparison.runs import of_variable

if TYPE_CHECKING:
    import numpy.typing as npt

    from tfdiff.comparison.runs import StepView
    from tfdiff.model import Observation
    from tfdiff.pairing.pairs import VariablePair
    from tfdiff.trace.block import Block

    Array = npt.NDArray[Any]

CLIPPING = ("clipvalue", "clipnorm", "global_clipnorm")
"""Settings of Keras optimizers; the first that is set holds."""


def handed(view: StepView, pair: VariablePair) -> tuple[Observation, Observation, float] | None:
    """Both sides' gradients of a pair as handed over, and the error between what the optimizers make of them.

    None where a side was handed none, or where the values are not there.
    """
    a, b = (
        of_variable(graph.block, "applied gradient").get(variable)
        for graph, variable in ((view.a, pair.a), (view.b, pair.b))
    )
    if not a or not b:
        return None
    if not any(_clipping(graph.block) for graph in (view.a, view.b)):
        return a[0], b[0], pair_error(view.a.block, a[0].index, view.b.block, b[0].index, pair)
    values = [_clipped(graph.block, seen[0]) for graph, seen in ((view.a, a), (view.b, b))]
    own = None if values[0] is None else own_values(pair, values[0])
    other = None if own is None or values[1] is None else pair_values(pair, values[1], own.shape)
    return None if own is None or other is None else (a[0], b[0], relative_error(own, other))


def _clipping(block: Block) -> dict[str, float]:
    """The settings of the step's optimizer that clip; with several optimizers those of the first that has any."""
    for optimizer in block.info.optimizers:
        config = optimizer.get("config") or {}
        found = {name: float(config[name]) for name in CLIPPING if config.get(name)}
        if found:
            return found
    return {}


def _clipped(block: Block, seen: Observation) -> Array | None:
    """A gradient behind its optimizer's own clipping, None where the array is not in the trace."""
    if not seen.stored:
        return None
    value, settings = np.asarray(block.array(seen.index), np.float64), _clipping(block)
    if "clipnorm" in settings:
        return value * _factor(settings["clipnorm"], seen.stats.norm)
    if "global_clipnorm" in settings:
        norms = [entries[0].stats.norm for entries in of_variable(block, "applied gradient").values()]
        return value * _factor(settings["global_clipnorm"], float(np.linalg.norm(norms)))
    if "clipvalue" in settings:
        return np.clip(value, -settings["clipvalue"], settings["clipvalue"])
    return value


def _factor(limit: float, size: float) -> float:
    return limit / max(size, limit)
