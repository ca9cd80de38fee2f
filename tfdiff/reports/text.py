"""A result as text for people: the verdict first, the next command last."""

from __future__ import annotations

import shlex
import textwrap
from typing import TYPE_CHECKING, Any

from tfdiff.reports.facts import evidences, shared_weights, unpaired
from tfdiff.reports.words import assumptions, constant, count, number, plain, sharing, would_pass

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tfdiff.model import Cause, Divergence, Header, Place, Result

WIDTH = 110
LISTED = 8  # names shown of a list that may be long


def render(result: Result, paths: tuple[str, str] | None = None, script: str | None = None) -> str:
    """Return the text; `paths` are the traces as the reader can type them (default: as the result names them), `script`
    is b's program (default: its name, for a trace keeps no folders).
    """
    a, b = paths or (result.a_trace, result.b_trace)
    sections = (
        [headline(result)],
        _basis(result),
        _first(result),
        _causes(result, a, b, script),
        _own(result.own),
        _further(result),
        _reasons("Not shared", result.not_shared),
        _reasons("Not recorded", result.not_recorded),
        _reasons("Changed while recording", (*result.a_header.switched_off, *result.b_header.switched_off)),
        _unpaired(result),
        _list("Notes", map(plain, result.notes)),
        _observer(result),
        _tolerance(result),
        _next(result, a, b),
    )
    return "\n\n".join("\n".join(section) for section in sections if section)


def headline(result: Result) -> str:
    """Return the verdict in one line."""
    if result.verdict == "incomparable":
        return f"NOT COMPARABLE: {_why_incomparable(result)}"
    if result.verdict == "equivalent":
        return f"EQUIVALENT within noise: {_compared(result)} compared"
    first = result.first
    if first is not None:
        return f"DIVERGED at step {first.step}, {first.phase}: {_short(first.a)} against {_short(first.b)}"
    phases = " and ".join(dict.fromkeys(own.phase for own in result.own))
    weights = shared_weights(result)
    equal = result.shared.get("batches") is True and weights["shared"] >= weights["b"]
    agree = "; from an equal start the two agree" if equal else ""
    if result.judged is not None and result.judged < result.compared:
        agree = (
            f"{agree} in {result.judged:,} of {count(result.compared, _step(result))}"
            if agree and result.judged
            else ""
        )
    return f"DIVERGED in what b had of its own ({phases}){agree}"


def _compared(result: Result) -> str:
    steps, evaluations = count(result.compared, _step(result)), result.evaluations.get("compared", 0)
    if result.judged is not None and result.judged < result.compared:
        steps = f"{result.judged:,} of {steps}"
    return f"{steps} and {count(evaluations, 'evaluation')}" if evaluations else steps


def _evaluated(result: Result) -> str:
    """`, 1 evaluation (a recorded 1, b 2)`; nothing where nothing trains, since the passes are the steps then."""
    if result.forward_only:
        return ""
    passes = [result.evaluations.get(side, 0) for side in "ab"]
    of = f" (a recorded {passes[0]:,}, b {passes[1]:,})" if any(passes) else ""
    return f", {count(result.evaluations.get('compared', 0), 'evaluation')}{of}"


def _step(result: Result) -> str:
    """What a step is called: where nothing trains it is a forward pass."""
    return "forward pass" if result.forward_only else "training step"


def _why_incomparable(result: Result) -> str:
    if any(row.a and row.b for row in result.rows):
        return "the notes below say why"
    return "nothing in the two traces could be paired"


def _basis(result: Result) -> list[str]:
    weights = shared_weights(result)
    versions = [_versions(header) for header in (result.a_header, result.b_header)]
    if versions[0] == versions[1]:
        versions[1] = "the same versions"
    shared = "nothing, b started on its own (record it with --reference)"
    if result.shared:
        shared = sharing(weights, result.shared)
    recorded = f"a recorded {result.a_steps:,}, b {result.b_steps:,}"
    lines = [
        f"  a         {plain(result.a_header.script)} ({versions[0]})",
        f"  b         {plain(result.b_header.script)} ({versions[1]})",
        *(
            line
            for said in assumptions(result.b_header.assumed)
            for line in _wrapped(f"assumed   {said}", "  ", hang=10)
        ),
        *_numerics(result),
        *_switches(result),
        f"  shared    {shared}",
        f"  compared  {count(result.compared, _step(result))} ({recorded}){_evaluated(result)}",
    ]
    paired = ", ".join(f"{pairs:,} by {kind}" for kind, pairs in evidences(result).items())
    if paired:
        lines.append(f"  paired    {paired}")
    hiding = any(one.phase in ("forward", "loss", "backward", "update") for one in result.divergences)
    if result.isolation is not None or (hiding and not result.forward_only):
        lines.append(f"  isolated  {_isolated(result)}")
    if result.horizon is not None:
        lines.append(f"  horizon   step {result.horizon}: from here on even a differs from itself")
    return lines


def _numerics(result: Result) -> list[str]:
    """What rounding depends on: a's, and what is otherwise in b."""
    a, b = result.a_header.numerics, result.b_header.numerics
    if not a or not b:
        return []
    other = [f"{plain(name)} {plain(b[name])}" for name in a if name in b and a[name] != b[name]]
    same = ", ".join(f"{plain(name)} {plain(value)}" for name, value in a.items())
    told = f"b otherwise: {', '.join(other)}" if other else "b alike"
    return _wrapped(f"numerics  {same}; {told}", "  ", hang=10)


def _switches(result: Result) -> list[str]:
    """How the two are run, where that is not the same."""
    a, b = result.a_header.switches, result.b_header.switches
    other = [
        f"{plain(name)} {plain(a[name])} in a, {plain(b[name])} in b" for name in a if name in b and a[name] != b[name]
    ]
    return _wrapped(f"switches  {'; '.join(other)}", "  ", hang=10) if other else []


def _isolated(result: Result) -> str:
    """Whether what lies behind the first divergence was judged too."""
    done = result.isolation
    if done is None or done.steps <= len(done.unset):
        why = f" ({plain(done.left[-1].get('why', '?'))})" if done is not None and done.left and not done.steps else ""
        return f"no{why}: what lies behind the first divergence was judged only where it does not hang on it"
    left = f"; {count(len(done.left), 'thing')} stayed b's own" if done.left else ""
    return f"{count(done.steps - len(done.unset), 'step')} of b, each layer judged on a's inputs and weights{left}"


def _versions(header: Header) -> str:
    return (
        ", ".join(f"{plain(name)} {plain(version)}" for name, version in header.versions.items()) or "versions unknown"
    )


def _first(result: Result) -> list[str]:
    first = result.first
    if first is None:
        return []
    return [f"First divergence: step {first.step}, phase {first.phase}", *_divergence(first)]


def _divergence(divergence: Divergence) -> list[str]:
    lines = [f"  a  {_long(divergence.a)}", f"  b  {_long(divergence.b)}"]
    if divergence.summary:
        lines += _wrapped(divergence.summary, "  ")
    return [*lines, *_wrapped(_errors(divergence), "  ")]


def _errors(divergence: Divergence) -> str:
    """`error 0.93, tolerance 1.1e-06 (0.94 would have passed), 3.1e+06 times what noise does here (3e-07)`."""
    passes = would_pass(divergence.error)
    passed = "none" if passes == float("inf") else number(passes)
    words = f"error {number(divergence.error)}, tolerance {number(divergence.tolerance)} ({passed} would have passed)"
    if divergence.noise is None or divergence.multiple is None:
        return words
    return f"{words}, {number(divergence.multiple)} times what noise does to a here ({number(divergence.noise)})"


def _causes(result: Result, a: str, b: str, script: str | None) -> list[str]:
    causes = result.causes
    if not causes:
        return []
    lines = ["Causes, in the order in which to mend them"]
    for index, cause in enumerate(causes, 1):
        lines.append(
            f"  {index}. {plain(cause.code)}: {_when(cause.phase, cause.step)}, confidence {cause.confidence:.2f}"
        )
        lines += _wrapped(cause.summary, "     ")
        lines.append(f"     proof  {_proof(cause)}")
        if cause.evidence and cause.code != "unexplained":  # the summary of that one says it
            lines += _wrapped(f"config {_evidence(cause)}", "     ", hang=7)
        if cause.fix:
            lines += _wrapped(f"fix    {cause.fix}", "     ", hang=7)
        if cause.assume:
            lines.append(f"     try    {_try(result, cause.assume, a, b, script)}")
    return lines


def _try(result: Result, assume: str, a: str, b: str, script: str | None) -> str:
    """The command that runs b without a cause, and without those that its run was without already; in one line."""
    header = result.b_header
    taken = [str(one.get("assume", "")) for one in header.assumed if one.get("taken")]
    steps = header.options.get("steps", 10)
    words = ["tfdiff", "record", "--reference", a, "-o", f"{b.removesuffix('.h5')}-assumed.h5"]
    words += ["--steps", str(steps)] if steps != 10 else []
    words += [word for text in (*taken, assume) for word in ("--assume", text)]
    return plain(shlex.join([*words, script or header.script, *header.arguments]))


def _proof(cause: Cause) -> str:
    constants = ", ".join(f"{plain(side)} {_constant(value)}" for side, value in cause.constants.items())
    fitted = f" with {constants}" if constants else ""
    if cause.code == "unexplained":
        return f"none: no known cause removes the error of {number(cause.error_before)}{fitted}"
    return f"error {number(cause.error_before)} before, {number(cause.error_after)} after{fitted}"


def _evidence(cause: Cause) -> str:
    """`rate 0.2 in a, 0.8 in b`: the settings that agree with the constants."""
    return "; ".join(
        f"{plain(one.get('key', '?'))} {_constant(one.get('a'))} in a, {_constant(one.get('b'))} in b"
        for one in cause.evidence
    )


def _constant(value: Any) -> str:
    if isinstance(value, dict):
        return " ".join(f"{plain(str(name))} {_constant(item)}" for name, item in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(_constant(item) for item in value)
    return constant(value)


def _own(own: Sequence[Divergence]) -> list[str]:
    lines: list[str] = []
    for divergence in own:
        lines += [f"What b had of its own before sharing: {divergence.phase}", *_divergence(divergence)]
    return lines


def _further(result: Result) -> list[str]:
    others = [divergence for divergence in result.divergences if divergence != result.first]
    if not others:
        return []
    lines = ["Further divergences, independent of the first"]
    for divergence in others:
        lines.append(
            f"  {_when(divergence.phase, divergence.step)}: {_short(divergence.a)} against {_short(divergence.b)}"
        )
        detail = (
            f"{divergence.summary}; error {number(divergence.error)}"
            if divergence.summary
            else f"error {number(divergence.error)}"
        )
        lines += _wrapped(detail, "    ")
    return lines


def _reasons(title: str, entries: Iterable[dict[str, str]]) -> list[str]:
    return _list(
        title, dict.fromkeys(f"{plain(entry.get('what', '?'))}: {plain(entry.get('why', '?'))}" for entry in entries)
    )


def _list(title: str, items: Iterable[str]) -> list[str]:
    lines = [line for item in items for line in _wrapped(item, "  ", hang=2)]
    return [title, *lines] if lines else []


def _unpaired(result: Result) -> list[str]:
    sides = [f"  {side}  {_names(names)}" for side, names in zip("ab", unpaired(result), strict=True) if names]
    return ["Without a counterpart", *sides] if sides else []


def _names(names: Sequence[str]) -> str:
    shown = ", ".join(plain(name) for name in names[:LISTED])
    return f"{shown} and {len(names) - LISTED:,} more" if len(names) > LISTED else shown


def _observer(result: Result) -> list[str]:
    """Only what is not as it should be."""
    found = result.observer
    if found is None or found.ok is not False:
        return []
    words = (
        f"Recording changes a: without it {plain(found.where)} ends otherwise (relative error {number(found.error)}, "
        f"noise {number(found.noise)}). That is a fault of tfdiff, please report it"
    )
    return _wrapped(words, "")


def _tolerance(result: Result) -> list[str]:
    why = f"; {plain(result.not_calibrated)}" if result.not_calibrated else ""
    if result.tolerance_source == "calibrated":
        measured = "calibrated by a second run of a with its weights moved by one unit in the last place"
        return _wrapped(f"Tolerance: {measured}{why}", "")
    return _wrapped(f"Tolerance: {plain(result.tolerance_source)}, from the rounding of the arithmetic{why}", "")


def _next(result: Result, a: str, b: str) -> list[str]:
    a, b = plain(a), plain(b)
    if result.verdict == "incomparable":
        return [f"Next: tfdiff info {a}; tfdiff info {b}"]
    codes = [cause.code for cause in result.causes if cause.code != "unexplained"]
    lines = [f"Next: tfdiff view {a} {b}"]
    return [*lines, f"      tfdiff explain {plain(codes[0])}"] if codes else lines


def _when(phase: str, step: int) -> str:
    return phase if phase in ("data", "init") else f"step {step}, {phase}"


def _short(place: Place | None) -> str:
    if place is None:
        return "nothing there"
    line = place.source or place.called
    return f"{plain(place.site)} ({plain(line)})" if line else plain(place.site)


def _long(place: Place | None) -> str:
    if place is None:
        return "nothing there"
    parts = [plain(place.site)]
    if place.op and place.op != place.site:
        parts.append(f"op {plain(place.op)}")
    if place.layer and place.layer != place.site:
        parts.append(f"layer {plain(place.layer)}")
    if place.source:
        parts.append(plain(place.source))
    if place.called and place.called != place.source:
        parts.append(f"run by {plain(place.called)}")
    return "  ".join(parts)


def _wrapped(text: str, indent: str, hang: int = 0) -> list[str]:
    return textwrap.wrap(
        plain(text),
        WIDTH,
        initial_indent=indent,
        subsequent_indent=indent + " " * hang,
        break_long_words=False,
        break_on_hyphens=False,
    )
