"""Another optimizer, or another setting of it: each side's rule is told from its own updates.

Both rules must give all recorded updates of their side; then B's rule with one setting of A's, run on the gradients,
must give A's update.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tfdiff.causes import repeats
from tfdiff.causes.histories import elements, history, looked_up, settings, usable
from tfdiff.causes.hypothesis import Proposal
from tfdiff.causes.recognition import recognise, told_rules
from tfdiff.causes.rules import Rule, clipped, run
from tfdiff.causes.scene import joined, same
from tfdiff.causes.words import argument, creator, number, optimizer_name, plain
from tfdiff.pairing.distance import relative_error

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tfdiff.causes.recognition import Fit
    from tfdiff.causes.rules import Moment
    from tfdiff.causes.scene import Scene, Side, Update

GROUPS: dict[str, tuple[str, ...]] = {
    "optimizer-kind": ("family",),
    "optimizer-nesterov": ("nesterov",),
    "optimizer-momentum": ("momentum",),
    "optimizer-betas": ("beta_1", "beta_2", "rho"),
    "optimizer-epsilon": ("epsilon", "place"),
    "optimizer-bias-correction": ("corrected",),
    "optimizer-amsgrad": ("amsgrad",),
    "optimizer-centered": ("centered",),
    "optimizer-accumulator": ("initial",),
    "optimizer-sparse-duplicates": ("rows", "lazy"),
    "weight-decay": ("decay", "decay_kind"),
}
"""What a difference of these settings is called."""
NOISE = 5e-4
"""Relative error of an update by the float32 in which betas, their powers and what they lack to one are kept."""
ALIKE = 1e-3
"""Relative difference up to which two constants are one."""
ARGUMENTS = frozenset({"nesterov", "momentum", "beta_1", "beta_2", "rho", "epsilon", "amsgrad", "centered"})
"""Settings that optimizers of the library take by that name."""
PLACES = {
    "outside": "epsilon behind the root",
    "inside": "epsilon inside the root",
    "hat": "epsilon behind the root of the corrected squares",
}
DECAYS = {
    "": "",
    "coupled": "added to the gradient (g + decay * w, L2)",
    "decoupled": "taken off the weights (learning rate * decay * w, as AdamW does)",
}
NAMES = {"sgd": "SGD", "adam": "Adam", "rmsprop": "RMSprop", "adagrad": "Adagrad"}


@dataclass(frozen=True)
class Rules:
    """What both sides do."""

    a: Fit
    b: Fit
    moments: tuple[list[Moment], list[Moment]]
    codes: tuple[str, ...]
    """What differs, by code."""
    updates: tuple[Update, ...]
    """What the rules were told from."""
    alike: bool = True
    """Whether both work on the same gradient: else clipping differs."""


def other_optimizer(scene: Scene) -> Proposal | None:
    """B's rule with one setting of A's updates as A does; with all that differ, where several do."""
    found = rules_of(scene)
    if found is None or not found.codes:
        return None
    a, b = found.a, found.b
    if found.codes == ("optimizer-kind",):
        return proposal(scene, found, a.rule, a.rates, _words(scene, found.codes[0], found))
    tries = [proposal(scene, found, _with(a.rule, b.rule, c), b.rates, _words(scene, c, found)) for c in found.codes]
    best = min(tries, key=lambda proposal: proposal.after)
    if len(tries) == 1 or best.after <= best.noise:
        return best
    # None alone is all of it: the one that matters most stands for all of them.
    rest = [code for code in found.codes if code != best.code]
    also = "; ".join(difference(code, a.rule, b.rule) for code in rest)
    all_of_it = proposal(scene, found, a.rule, b.rates, _words(scene, best.code or "", found))
    return replace(all_of_it, summary=f"{best.summary}; and {also}", doubt=0.02 * len(rest))


@dataclass(frozen=True)
class Words:
    """A code and how it reads."""

    code: str
    summary: str
    fix: str
    constants: dict[str, Any]


def proposal(scene: Scene, found: Rules, rule: Rule, rates: Sequence[float], words: Words) -> Proposal:
    """What the rule with the rates of each step makes of the gradients, against A's update."""
    moments = _seen(scene, found)
    mine = found.moments[0][scene.step]
    source = (found.a if scene.lockstep else found.b).rule  # the gradients' own side knows how they are clipped
    rule = replace(rule, clip_kind=source.clip_kind, clip=source.clip)
    after = run(rule, moments, rates[: scene.step + 1])[-1]
    return Proposal(
        relative_error(mine.update, moments[-1].update),
        relative_error(mine.update, after),
        words.summary,
        f"{plain(words.fix)}{creator(scene, scene.b)}",
        words.constants,
        2 - found.a.told - found.b.told,
        words.code,
        NOISE + 4.0 * mine.rounding,
    )


def _with(a: Rule, b: Rule, code: str) -> Rule:
    """B's rule with what the code stands for as in A's."""
    if code == "optimizer-kind":
        return a
    changed = replace(b, **{name: getattr(a, name) for name in GROUPS[code]})
    if code == "optimizer-bias-correction" and "inside" not in (a.place, b.place):
        changed = replace(changed, place=a.place)
    return changed if b.momentum else replace(changed, within=a.within, nesterov=a.nesterov)


def rules_of(scene: Scene) -> Rules | None:
    """Both sides' rules, of those that fit the two that differ least; None where a side has none or nothing decides."""
    key = ("rules", scene.step, scene.concerned)
    if key not in scene.a.memo:
        scene.a.memo[key] = _rules_of(scene)
    found: Rules | None = scene.a.memo[key]
    return found if found is not None and found.alike else None


def clipping_of(scene: Scene) -> Rules | None:
    """Both sides' rules where clipping is all that differs, not even the rate: else None."""
    rules_of(scene)
    found: Rules | None = scene.a.memo["rules", scene.step, scene.concerned]
    if found is None or found.alike or found.codes:
        return None
    return found if all(same(x, y, ALIKE) for x, y in zip(found.a.rates, found.b.rates, strict=False)) else None


def _rules_of(scene: Scene) -> Rules | None:
    whole = usable(scene, scene.updates(scene.concerned))
    # Rows that are looked up may have a way of their own: once for each look-up, or only where there is one.
    dense = [update for update in whole if not looked_up(scene, update)]
    among = [updates for updates in ((whole, dense) if len(dense) < len(whole) else (whole,)) if updates]
    # What optimizers say of themselves first: where it does not hold, every rule is tried.
    clipped_otherwise: Rules | None = None
    for doubted in (False, True) if any(told_rules(side) for side in scene.sides) else (True,):
        for updates in among:
            found = _told_apart(scene, updates, doubted=doubted)
            if found is not None and found.alike:
                return found
            clipped_otherwise = clipped_otherwise or found
    return clipped_otherwise


def _told_apart(scene: Scene, updates: list[Update], *, doubted: bool) -> Rules | None:
    sides, moments = [], []
    for side in scene.sides:
        steps = history(scene, side, updates)
        seen = settings(side, updates, of_a=side is scene.a) if steps else []
        fits = recognise(side, steps, seen, doubted=doubted) if steps else []
        if not fits:
            return None
        sides.append(fits)
        moments.append(steps)
    pairs = [(a, b, differing(a.rule, b.rule)) for a in sides[0] for b in sides[1]]
    few = min(_cost(pair) for pair in pairs)
    best = [pair for pair in pairs if _cost(pair) == few]
    if len({codes for *_, codes in best}) > 1:
        return None
    codes = best[0][2]
    a, b, _ = min((pair for pair in pairs if pair[2] == codes), key=lambda pair: max(pair[0].error, pair[1].error))
    alike = _clipped_alike(scene, (a, b), moments)
    return Rules(a, b, (moments[0], moments[1]), codes, tuple(updates), alike)


def _clipped_alike(scene: Scene, fits: tuple[Fit, Fit], moments: list[list[Moment]]) -> bool:
    """Whether both rules work on the same gradient, wherever it was clipped: else clipping is what differs."""
    mine = moments[0][scene.step]
    other = mine if scene.lockstep else moments[1][scene.step]
    a, b = (clipped(replace(fit.rule, rows="summed"), moment) for fit, moment in zip(fits, (mine, other), strict=True))
    return relative_error(a, b) <= ALIKE


def _cost(pair: tuple[Fit, Fit, tuple[str, ...]]) -> tuple[int, int]:
    """How much differs; then how much the rules do that simple ones do not."""
    a, b, codes = pair
    also = "optimizer-kind" in codes and (a.rule.rows, a.rule.lazy) != (b.rule.rows, b.rule.lazy)
    return len(codes) + also, a.rule.complexity + b.rule.complexity


def differing(a: Rule, b: Rule) -> tuple[str, ...]:
    """Codes of what differs between two rules."""
    if a.family != b.family:
        return ("optimizer-kind",)
    found = []
    if a.corrected != b.corrected:  # nothing is corrected on one side, so that epsilon can only stand behind the root
        a, b = (replace(rule, place="outside") if rule.place == "hat" else rule for rule in (a, b))
    for code, names in GROUPS.items():
        values = [(getattr(a, name), getattr(b, name)) for name in names]
        if not all(same(x, y, ALIKE) if isinstance(x, float) else x == y for x, y in values):
            found.append(code)
    return tuple(found)


def _seen(scene: Scene, found: Rules) -> list[Moment]:
    """B's steps up to this one as the comparison saw them: in lockstep its optimizer was handed A's gradients."""
    steps = found.moments[1 - scene.lockstep][: scene.step + 1]
    if not scene.lockstep:
        return steps
    return [
        *steps[:-1],
        replace(steps[-1], update=joined(update.u_b.reshape(-1)[elements(scene, update)] for update in found.updates)),
    ]


def _words(scene: Scene, code: str, found: Rules) -> Words:
    a, b = found.a.rule, found.b.rule
    if code == "optimizer-kind":
        names = [_name(side, rule) for side, rule in zip(scene.sides, (a, b), strict=True)]
        return Words(
            code,
            f"B's optimizer is {names[1]}, A's is {names[0]}: equal gradients, other updates",
            f"{names[0]} as in A",
            {"a": names[0], "b": names[1]},
        )
    names = _names(code, a, b)
    values = [[_constant(getattr(rule, name)) for name in _telling(names, a, b)] for rule in (a, b)]
    constants = {side: one[0] if len(one) == 1 else one for side, one in zip("ab", values, strict=True)}
    told = [(argument(optimizer_name(scene.b), name), getattr(a, name)) for name in names if name in ARGUMENTS]
    if code == "optimizer-sparse-duplicates":
        fix = repeats.fix(a, names)
    elif scene.b.optimizer() and told:
        fix = f"{optimizer_name(scene.b)}({', '.join(f'{name}={_value(value)}' for name, value in told)})"
    else:
        fix = f"{_phrase(a, names)}, as in A, instead of {_phrase(b, names)}"
    return Words(code, f"{difference(code, a, b)}: equal gradients, other updates", fix, constants)


def difference(code: str, a: Rule, b: Rule) -> str:
    """`the optimizer has beta_1 0.9 in B, beta_1 0.8 in A`."""
    names = _names(code, a, b)
    if code == "optimizer-sparse-duplicates":
        return repeats.difference(a, b, names)
    return f"the optimizer has {_phrase(b, names)} in B, {_phrase(a, names)} in A"


def _names(code: str, a: Rule, b: Rule) -> list[str]:
    """The settings behind a code that are not the same."""
    names = [name for name in GROUPS[code] if getattr(a, name) != getattr(b, name)]
    return ["decay", "decay_kind"] if "decay_kind" in names else names


def _telling(names: Sequence[str], a: Rule, b: Rule) -> Sequence[str]:
    """Those that say it all as constants: a decay of nothing is of no kind."""
    if "decay_kind" in names:
        return ["decay_kind"] if a.decay and b.decay else ["decay"]
    return names


def _phrase(rule: Rule, names: Sequence[str]) -> str:
    """Settings as one says them."""
    said = {
        "place": PLACES[rule.place],
        "corrected": f"moments {'' if rule.corrected else 'not '}corrected for their start",
        "initial": f"squares that start from {number(rule.initial)}",
        "decay": f"weight decay {number(rule.decay)}" if rule.decay else "no weight decay",
        "decay_kind": DECAYS[rule.decay_kind],
    }
    parts = [said.get(name, f"{name} {_value(getattr(rule, name))}") for name in names]
    return ", ".join(part for part in parts if part)


def _value(value: Any) -> str:
    return number(value) if isinstance(value, float) else str(value)


def _constant(value: Any) -> Any:
    return value if isinstance(value, str) else float(value)


def _name(side: Side, rule: Rule) -> str:
    told = optimizer_name(side) if side.optimizer() else ""
    return told or NAMES[rule.family]
