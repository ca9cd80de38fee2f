"""Loss scaling: one side differentiates its loss times a number, and takes the number out of the gradients again.

Then loss and gradients differ by one factor, and what the optimizers are handed, and the updates, do not.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from tfdiff.comparison.handed import handed
from tfdiff.comparison.metrics import own_values, pair_values, relative_error
from tfdiff.comparison.runs import norm
from tfdiff.comparison.update import updates
from tfdiff.pairing.sites import is_float

if TYPE_CHECKING:
    import numpy.typing as npt

    from tfdiff.comparison.backward import Gradient
    from tfdiff.comparison.forward import ForwardResult
    from tfdiff.comparison.runs import Runs, StepView
    from tfdiff.comparison.update import UpdateHistory
    from tfdiff.model import Observation

    Floats = npt.NDArray[np.float64]

ALIKE = 1e-3
"""Relative difference up to which the factor of the losses is that of the gradients."""


def without_scale(
    runs: Runs, view: StepView, forward: ForwardResult, found: list[Gradient], history: UpdateHistory
) -> list[Gradient] | None:
    """The gradients compared as if neither side had scaled its loss; None where something else differs, too, or where
    the factor is still in what the weights are updated with.
    """
    if any(finding.divergence.phase != "loss" for finding in forward.findings) or any(g.missing for g in found):
        return None
    values = [pair for gradient in found if not gradient.noise and (pair := _values(view, gradient)) is not None]
    if not values or len(values) < sum(not gradient.noise for gradient in found):
        return None
    square = sum(float((a * a).sum()) for a, _ in values)
    factor = sum(float((a * b).sum()) for a, b in values) / square if square else 0.0
    known = factor > 0.0 and abs(factor - 1.0) > ALIKE and (forward.equal or _is_ratio_of_losses(view, factor))
    if not known or not _is_scale(view, found, factor, loss_agrees=forward.equal):
        return None
    plain = [gradient if gradient.noise else _scaled(view, gradient, factor) for gradient in found]
    alike = _handed_alike(view, plain)
    if any(gradient.different for gradient in plain) or alike is False:
        return None
    if alike:
        return plain
    noise = {gradient.pair for gradient in plain if gradient.noise}
    moved = [update for update in updates(runs, view, plain, history) if update.pair not in noise]
    return plain if any(norm(u.a) for u in moved) and not any(u.different for u in moved) else None


def _is_scale(view: StepView, found: list[Gradient], factor: float, *, loss_agrees: bool) -> bool:
    """Whether the side with the larger loss has it without the factor, too, and its gradients divided by it.

    Clipping, and optimizers that go by the gradients' signs, make equal updates of another loss as well.
    """
    scaled, times = (view.b, factor) if factor > 1.0 else (view.a, 1.0 / factor)
    kept = [seen for seen in scaled.observations if seen.site.phase in ("backward", "update") and is_float(seen)]
    for gradient in found:
        own = gradient.b if scaled is view.b else gradient.a
        if own is not None and not gradient.noise and not _one_of(kept, own.size, own.stats.norm / times):
            return False
    if loss_agrees or scaled.loss is None:
        return loss_agrees
    whole = scaled.observations[scaled.loss].stats.norm
    return _one_of([scaled.observations[i] for i in scaled.order if i != scaled.loss], 1, whole / times)


def _one_of(among: list[Observation], size: int, length: float) -> bool:
    """Whether a tensor of that size and norm is there."""
    return any(seen.size == size and abs(seen.stats.norm - length) <= ALIKE * length for seen in among)


def _values(view: StepView, gradient: Gradient) -> tuple[Floats, Floats] | None:
    """Both gradients in A's layout, None where one is not in the trace."""
    if gradient.a is None or gradient.b is None or not (gradient.a.stored and gradient.b.stored):
        return None
    own = own_values(gradient.pair, view.a.block.array(gradient.a.index))
    other = None if own is None else pair_values(gradient.pair, view.b.block.array(gradient.b.index), own.shape)
    if own is None or other is None:
        return None
    return own.astype(np.float64), other.astype(np.float64)


def _scaled(view: StepView, gradient: Gradient, factor: float) -> Gradient:
    """The gradient with its error against the factor times A's."""
    values = _values(view, gradient)
    if values is None:
        return gradient
    return replace(gradient, error=relative_error(factor * values[0], values[1]), factor=factor)


def _is_ratio_of_losses(view: StepView, factor: float) -> bool:
    if view.a.loss is None or view.b.loss is None:
        return False
    a, b = view.a.observations[view.a.loss], view.b.observations[view.b.loss]
    return a.size == b.size == 1 and abs(b.stats.mean - factor * a.stats.mean) <= ALIKE * abs(b.stats.mean)


def _handed_alike(view: StepView, found: list[Gradient]) -> bool | None:
    """Whether what the optimizers are handed agrees; None where it does as far as it goes, and some is not known."""
    both = [handed(view, gradient.pair) for gradient in found if not gradient.noise]
    pairs = zip(both, (gradient for gradient in found if not gradient.noise), strict=True)
    if any(known is not None and known[2] > gradient.tolerance for known, gradient in pairs):
        return False
    return True if all(known is not None for known in both) else None
