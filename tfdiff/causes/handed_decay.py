"""A weight decay that is added to the gradients before the optimizer takes them: g + decay * w."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tfdiff.causes.gradients import both_gradients
from tfdiff.causes.hypothesis import Proposal
from tfdiff.causes.scene import joined, proportion
from tfdiff.causes.words import at, number, optimizer_name
from tfdiff.pairing.distance import relative_error

if TYPE_CHECKING:
    from tfdiff.causes.scene import Floats, Scene, Update

FIT = 2e-4
"""What c * w may leave of the difference between what the optimizers are handed."""
NONE = 1e-3
"""Share of the difference up to which a side's own decay is nothing."""


@dataclass(frozen=True)
class Handed:
    """A variable's weight and gradients, all in A's layout."""

    w: Floats
    tape: Floats
    """A's, with which B's agrees: in an isolated pass B goes on with it."""
    a: Floats
    """What A's optimizer is handed."""
    b: Floats


def handed_decay(scene: Scene) -> Proposal | None:
    """The tapes agree, and what the optimizers are handed differs by c * w: each side's share is read from its tape."""
    found = [_handed(scene, update) for update in scene.updates(scene.concerned)]
    known = [each for each in found if each is not None]
    w, g, g_a, g_b = (joined(getattr(each, name) for each in known) for name in ("w", "tape", "a", "b"))
    if not known or len(known) < len(found) or float(w.std()) <= 1e-6 * float(np.abs(w).max()):
        return None
    c, left = proportion(w, g_b - g_a)
    if c == 0.0 or left > FIT:
        return None
    own = [_own(handed - g, w, c) for handed in (g_a, g_b)]
    a, b = (max(0.0, -c), max(0.0, c)) if own[0] is None or own[1] is None else (own[0], own[1])
    return Proposal(
        relative_error(g_a, g_b),
        relative_error(g_a, g_b - c * w),
        f"{_said('B', b)}, {_said('A', a)} (weight decay written into the gradient){_told(scene)}",
        f"{_fix(scene, a, b)}{at(scene.finding.divergence.b)}",
        {"a": float(f"{a:.4g}"), "b": float(f"{b:.4g}")},
        fitted=1,
        noise=FIT,
    )


def _handed(scene: Scene, update: Update) -> Handed | None:
    tape, handed = (both_gradients(scene, update.pair, f"{role} gradient") for role in ("weight", "applied"))
    if tape is None or handed is None or handed[0].shape != update.w_a.shape:
        return None
    return Handed(update.w_a, tape[0], *handed)


def _own(added: Floats, w: Floats, c: float) -> float | None:
    """A side's decay by what it adds to the tape's gradients; None where that is something else."""
    if np.linalg.norm(added) <= NONE * abs(c) * np.linalg.norm(w):
        return 0.0
    decay, left = proportion(w, added)
    return decay if left <= FIT else None


def _said(name: str, decay: float) -> str:
    return f"{name} adds {number(decay)} * w to the gradients" if decay else f"{name} adds nothing to them"


def _config(scene: Scene) -> float:
    value = (scene.a.optimizer().get("config") or {}).get("weight_decay")
    return float(value) if isinstance(value, (int, float)) else 0.0


def _told(scene: Scene) -> str:
    told = _config(scene)
    return f"; A's optimizer takes learning rate * {number(told)} * w off the weights instead" if told else ""


def _fix(scene: Scene, a: float, b: float) -> str:
    told = _config(scene)
    if told and not a:
        name = optimizer_name(scene.a)
        return f"{name}(weight_decay={number(told)}) as in A, and hand on the gradients without {number(b)} * w"
    if a:
        return f"hand on g + {number(a)} * w, as A does"
    return f"hand on the gradients without {number(b)} * w"
