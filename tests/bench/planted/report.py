"""Tables of how the trials went: places, phases, codes, constants."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .trial import Outcome

VERDICTS = ("right", "wrong step", "wrong phase", "wrong site", "not found", "other")
WANTED = {False: 0.95, True: 0.85}
"""Share of places: of single faults, of pairs of faults."""
CODES_RIGHT, CODES_WRONG, NEAR = 0.90, 0.03, 0.02
"""Least share of right codes, largest of wrong ones, relative error of a constant."""


def report(outcomes: list[Outcome], *, two: bool) -> list[str]:
    """The tables, and each miss in a line."""
    lines = verdicts(outcomes)
    if not two:
        lines += ["", "phase of the fault (down), phase that was said (across)"]
        lines += confusion(
            [(" or ".join(one.trial.faults[0].phases), one.phase) for one in outcomes if one.trial.faults]
        )
        lines += ["", "codes: of the fault (down), first cause", *codes(outcomes), "", *code_lines(outcomes)]
    misses = [one for one in outcomes if one.verdict != "right"]
    lines += ["", f"{len(misses)} misses"]
    lines += [f"- {one.verdict}: {one.trial}: {one.said}" for one in misses]
    extra = [one for one in outcomes if one.extra and one.verdict == "right"]
    lines += ["", f"{len(extra)} trials that went right name further places"]
    lines += [f"- {one.trial}: {'; '.join(one.extra[:3])}" for one in extra]
    right, wanted = len(outcomes) - len(misses), WANTED[two]
    what = "both faults found" if two else "right step, phase and site"
    share = 100 * right / max(len(outcomes), 1)
    return [*lines, "", f"{what}: {right} of {len(outcomes)} ({share:.1f} %, wanted {100 * wanted:.0f} %)"]


def verdicts(outcomes: list[Outcome]) -> list[str]:
    """How the trials of each kind went."""
    cells = Counter((kind, one.verdict) for one in outcomes for kind in one.trial.kinds or ("none",))
    kinds = sorted({kind for kind, _ in cells})
    width = max(map(len, kinds), default=4)
    lines = [f"{'':{width}} " + " ".join(f"{verdict:>11}" for verdict in VERDICTS)]
    for kind in kinds:
        row = (f"{cells[kind, verdict] or '.':>11}" for verdict in VERDICTS)
        lines.append(f"{kind:{width}} {' '.join(row)}")
    return lines


def confusion(pairs: list[tuple[str, str]]) -> list[str]:
    """Counts of what was against what was said."""
    cells = Counter(pairs)
    rows, columns = sorted({true for true, _ in pairs}), sorted({said for _, said in pairs})
    lines = [f"{'':18}" + "".join(f"{column:>10}" for column in columns)]
    return lines + [f"{row:18}" + "".join(f"{cells[row, one] or '.':>10}" for one in columns) for row in rows]


def codes(outcomes: list[Outcome]) -> list[str]:
    """Per true code, how often it was the first cause, what was said instead, and how many constants are right."""
    tally: dict[str, list[Outcome]] = {}
    for one in outcomes:
        for fault in one.trial.faults:
            tally.setdefault(fault.codes[0] if fault.codes else "(none)", []).append(one)
    lines = [f"{'':28} trials  right  constants   said instead"]
    for true, group in sorted(tally.items()):
        told = Counter(one.code for one in group if not _named(one))
        checked = [near for one in group if (near := constants_near(one)) is not None]
        numbers = f"{sum(checked)} of {len(checked)}" if checked else "."
        instead = ", ".join(f"{n} {code}" for code, n in told.most_common())
        lines.append(f"{true:28} {len(group):6} {len(group) - sum(told.values()):6} {numbers:>10}   {instead}".rstrip())
    return lines


def _named(one: Outcome) -> bool:
    """Whether the first cause is the fault's: one without a code is to stay unexplained."""
    return one.code in (one.trial.faults[0].codes or ("unexplained",))


def _misnamed(one: Outcome) -> bool:
    """Whether any cause names what was not planted."""
    return bool({*one.codes} - {*one.trial.faults[0].codes, "unexplained"})


def constants_near(one: Outcome) -> bool | None:
    """Whether the first cause has the planted numbers; None where the code is another or no number was planted."""
    truth = one.trial.faults[0].constants
    if truth is None or not one.trial.faults[0].codes or not _named(one):
        return None
    return all(_is_near(known, said) for known, said in zip(truth, one.constants, strict=True))


def _is_near(truth: float | None, said: Iterable[float]) -> bool:
    found = list(said)
    if truth is None or truth == 0:
        return not found or 0.0 in found
    return any(abs(number - truth) <= NEAR * abs(truth) for number in found)


def _counts(outcomes: list[Outcome]) -> tuple[int, int, int, int, int]:
    """Faults with a code, right ones among them; trials with a wrong code; constants, right ones among them."""
    coded = [one for one in outcomes if one.trial.faults and one.trial.faults[0].codes]
    near = [found for one in outcomes if one.trial.faults and (found := constants_near(one)) is not None]
    wrong = [one for one in outcomes if one.trial.faults and _misnamed(one)]
    return len(coded), sum(map(_named, coded)), len(wrong), len(near), sum(near)


def code_goals(outcomes: list[Outcome]) -> bool:
    """Whether enough codes are right, few enough wrong, and the constants what they are."""
    coded, right, wrong, constants, near = _counts(outcomes)
    return right >= CODES_RIGHT * coded and wrong <= CODES_WRONG * len(outcomes) and near == constants


def code_lines(outcomes: list[Outcome]) -> list[str]:
    """The counts in words, and each trial whose code or constant is wrong."""
    coded, right, wrong, constants, near = _counts(outcomes)
    misnamed = [one for one in outcomes if one.trial.faults and _misnamed(one)]
    far = [one for one in outcomes if one.trial.faults and constants_near(one) is False]
    shares = 100 * right / max(coded, 1), 100 * wrong / max(len(outcomes), 1)
    return [
        f"right code first: {right} of {coded} ({shares[0]:.1f} %, wanted {100 * CODES_RIGHT:.0f} %)",
        f"a wrong code: {wrong} of {len(outcomes)} ({shares[1]:.1f} %, at most {100 * CODES_WRONG:.0f} %)",
        *(f"- {', '.join(one.codes)}: {one.trial}" for one in misnamed),
        f"fitted constants within {100 * NEAR:.0f} %: {near} of {constants}",
        *(f"- {one.trial.faults[0].constants} against {one.constants}: {one.trial}" for one in far),
    ]
