"""Label smoothing: labels of a cross-entropy moved towards the uniform distribution, on one side or by other shares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tfdiff.causes.hypothesis import Proposal
from tfdiff.causes.loss import elements, keras_loss, label_candidates, predictions
from tfdiff.causes.words import at, b_site, number
from tfdiff.pairing.distance import relative_error

if TYPE_CHECKING:
    from tfdiff.causes.scene import Floats, Scene, Side

FIT = 2e-5
MIN_LOSSES = 4
"""Losses per sample that are needed: one number can be explained by any share."""


@dataclass(frozen=True)
class Smoothed:
    """A cross-entropy with labels (1 - share) * label + share / classes."""

    index: int
    share: float
    times: int


def label_smoothing(scene: Scene) -> Proposal | None:
    """Both sides' shares are fitted to the losses per sample, which are linear in the labels."""
    for z_a, z_b in predictions(scene):
        for kind, labels in label_candidates(scene, z_a):
            a, b = _smoothed(scene.a, z_a, labels, kind), _smoothed(scene.b, z_b, labels, kind)
            if a is None or b is None or a.times != b.times or abs(a.share - b.share) < 1e-4:
                continue
            wanted = _losses(z_b, labels, kind, a.times, a.share)
            found = _losses(z_b, labels, kind, b.times, b.share)
            site = b_site(scene, b.index)
            share = number(round(a.share, 5))
            fix = (
                f"label_smoothing={share}" if keras_loss(scene, site) else f"labels * (1 - {share}) + {share} / classes"
            )
            return Proposal(
                relative_error(wanted, found),
                scene.a.error(a.index, wanted),
                f"labels are smoothed by {share} in A, by {number(round(b.share, 5))} in B",
                f"{fix}{at(scene.finding.divergence.b)}",
                {"a": round(a.share, 5), "b": round(b.share, 5)},
                fitted=2,
            )
    return None


def _losses(z: Floats, labels: Floats, kind: str, times: int, share: float) -> Floats:
    sharp, flat = _ends(z, labels, kind, times)
    return np.asarray((1.0 - share) * sharp + share * flat)


def _ends(z: Floats, labels: Floats, kind: str, times: int) -> tuple[Floats, Floats]:
    """The losses with the labels as they are, and with all classes alike."""
    classes = z.shape[-1] if kind == "softmax" else 2
    return elements(z, labels, kind, times), elements(z, np.full_like(labels, 1.0 / classes), kind, times)


def _smoothed(side: Side, z: Floats, labels: Floats, kind: str) -> Smoothed | None:
    if labels.shape != z.shape:
        return None
    for times in (1, 0):
        sharp, flat = _ends(z, labels, kind, times)
        towards = np.ravel(flat - sharp)
        square = float(towards @ towards)
        for index in side.bad:
            seen = side.observations[index]
            fits = seen.size == sharp.size >= MIN_LOSSES and "float" in seen.dtype and square > 0.0
            losses = side.array(index) if fits else None
            if losses is None:
                continue
            share = float(towards @ (losses.reshape(-1) - np.ravel(sharp))) / square
            predicted = np.ravel(sharp) + share * towards
            if -1e-5 <= share < 1.0 and relative_error(losses.reshape(-1), predicted) <= FIT:
                return Smoothed(index, max(share, 0.0), times)
    return None
