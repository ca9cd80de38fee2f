"""A recurrent layer that runs over the steps of a sequence from the other end."""

from __future__ import annotations

from itertools import pairwise, product
from typing import TYPE_CHECKING

from tfdiff.causes.hypothesis import Proposal
from tfdiff.causes.recompute import differ, find, recomputed
from tfdiff.causes.words import at, named
from tfdiff.comparison.metrics import into_layout
from tfdiff.pairing.distance import relative_error

if TYPE_CHECKING:
    from tfdiff.causes.scene import Scene, Side

    Steps = list[tuple[int, int]]

MIN_STEPS = 3
MAX_OPS = 20_000
"""Ops of a whole recurrence."""
LAST = 40
"""Ops of the last step that may be what both sides have in the end."""


def other_direction(scene: Scene) -> Proposal | None:
    """The inputs of B's k-th step are those of A's last but k, and B's recurrence over A's order gives A's state."""
    for steps in _reversed_steps(scene):
        found = _proved(scene, steps)
        if found is not None:
            return found
    return None


def _reversed_steps(scene: Scene) -> list[Steps]:
    """Groups of equal tensors, one for each step, that come in opposite orders; in A's order."""
    of_a, of_b = _groups(scene.a), _groups(scene.b)
    found = []
    for group, other in product(of_a, of_b):
        steps = list(zip(group, reversed(other), strict=False))
        if len(group) != len(other) or not all(_alike(scene, i, j) for i, j in steps):
            continue
        equal = all(scene.distance(i, j) <= scene.tolerance for i, j in steps)
        if equal and _chained(scene.a, group) and _chained(scene.b, other):
            found.append(steps)
    return found


def _alike(scene: Scene, i: int, j: int) -> bool:
    """Whether a tensor of A and one of B may be equal, by size and norm."""
    first, second = scene.a.observations[i], scene.b.observations[j]
    larger = max(first.stats.norm, second.stats.norm)
    return first.size == second.size and abs(first.stats.norm - second.stats.norm) <= 2 * scene.tolerance * larger


def _groups(side: Side) -> list[list[int]]:
    """Tensors in front of the divergence that one op of one place makes, again and again."""
    found: dict[tuple[object, ...], list[int]] = {}
    for index in sorted(side.ancestors(side.bad) - set(side.bad)):
        seen = side.observations[index]
        if seen.site.role == "activation" and "float" in seen.dtype and seen.size > 1 and seen.stats.norm > 0.0:
            key = (seen.site.op, seen.site.layer, seen.site.source, seen.site.called, seen.shape)
            found.setdefault(key, []).append(index)
    return [group for group in found.values() if len(group) >= MIN_STEPS]


def _chained(side: Side, group: list[int]) -> bool:
    """Whether what is computed from each step's tensor goes on into what is computed from the next one's."""
    bad = set(side.bad)
    behind = [side.descendants(index) & bad for index in group]
    return all(later and later <= earlier for earlier, later in pairwise(behind[1:]))


def _proved(scene: Scene, steps: Steps) -> Proposal | None:
    """B's recurrence is computed again over A's order: what it ends in must be what A's ends in."""
    side = scene.b
    changed = {}
    for (_, index), (_, other) in zip(steps, reversed(steps), strict=True):
        value = side.array(other)
        if value is None:
            return None
        changed[index] = value
    last = sorted(side.descendants(steps[0][1]) & set(side.bad))[:LAST]
    values = recomputed(side, changed, last, MAX_OPS)
    for index in reversed(last):
        predicted, recorded = values.get(index), side.array(index)
        if predicted is None or recorded is None or recorded.ndim < 2 or not differ(predicted, recorded):
            continue
        at_a = find(scene, scene.a, predicted, None, behind=steps[-1][0])
        if at_a is None:
            continue
        shape = scene.a.observations[at_a].shape
        turned, wanted = into_layout(recorded, shape, None), into_layout(predicted, shape, None)
        if turned is not None and wanted is not None:
            return _proposal(scene, relative_error(wanted, turned), scene.a.error(at_a, wanted))
    return None


def _proposal(scene: Scene, before: float, after: float) -> Proposal:
    place = scene.finding.divergence.b
    backwards = [_turned(side) for side in scene.sides]
    layer = place is not None and place.layer is not None
    if backwards == [False, True]:
        fix = "go_backwards=False" if layer else "leave tf.reverse of the sequence out"
        said = "B runs the recurrence from the last step of the sequence to the first, A from the first to the last"
    elif backwards == [True, False]:
        fix = "go_backwards=True" if layer else "tf.reverse(x, axis=[1]) in front of the recurrence"
        said = "A runs the recurrence from the last step of the sequence to the first, B from the first to the last"
    else:
        fix = f"go through the sequence in A's order ({named(scene.finding.divergence.a)})"
        said = "B runs the recurrence over the sequence in the opposite order: its first step is A's last"
    return Proposal(before, after, said, f"{fix}{at(place)}", {"a": _order(backwards[0]), "b": _order(backwards[1])}, 0)


def _order(backwards: bool) -> str | None:  # noqa: FBT001 - a value, not a switch
    return "reversed" if backwards else None


def _turned(side: Side) -> bool:
    """Whether the side reverses a tensor in front of the divergence."""
    return any(side.observations[i].site.op in ("ReverseV2", "ReverseSequence") for i in side.ancestors(side.bad))
