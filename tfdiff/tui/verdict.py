"""The pane on top: verdict, first divergence, its cause and the fix; and the same in full for its own screen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.content import Content
from textual.widgets import Static

from tfdiff.tui.words import number, plain, times

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tfdiff.model import Cause, Divergence, Header, Place, Result
    from tfdiff.tui.data import ViewData

Part = tuple[str, str]
"""Text and the style it is shown in."""
STYLES = {
    "diverged": "bold white on #B34700",
    "equivalent": "bold white on #00664D",
    "incomparable": "bold black on #E69F00",
}


class Verdict(Static):
    """Says in at most a few lines how the comparison ended."""

    def waiting(self, text: str) -> None:
        """Show what is going on until there is a verdict."""
        self.update(Content.assemble((f" {plain(text)} ", "bold reverse")))

    def show(self, data: ViewData) -> None:
        """Show the verdict on `data`, or what the one trace holds."""
        parts = list(_single(data) if data.result is None else _short(data.result))
        self.update(Content.assemble(*parts))


def place_text(place: Place | None) -> str:
    """`dropout (a.py:14)`; `nothing` where a side has nothing there."""
    if place is None:
        return "nothing"
    line = place.source or place.called
    return plain(place.layer or place.site) + (f" ({plain(line)})" if line else "")


def divergence_text(divergence: Divergence) -> str:
    """Step, phase, both places, error; what differed before sharing (data, init) has no step and no tolerance."""
    own = divergence.phase in ("data", "init")
    ratio = "" if own else times(divergence.error, divergence.tolerance)
    when = divergence.phase if own else f"step {divergence.step}, {divergence.phase}"
    places = f"{place_text(divergence.a)} against {place_text(divergence.b)}"
    return f"{when}: {places}, error {number(divergence.error, 2)}" + (f", {ratio}" if ratio else "")


def shared_text(result: Result) -> str:
    """`shared: weights 8/8, batches, no noise`."""
    if not result.shared:
        return "nothing shared"
    return "shared: " + ", ".join(
        _part(plain(what), how) for what, how in result.shared.items() if not isinstance(how, str)
    )


def _part(what: str, how: object) -> str:
    if isinstance(how, dict):
        return f"{what} {plain(how.get('shared', '?'))}/{plain(how.get('b', how.get('a', '?')))}"
    if isinstance(how, bool):
        return what if how else f"no {what}"
    return f"{what} {plain(how)}"


def _short(result: Result) -> Iterator[Part]:
    yield f" {result.verdict.upper()} ", STYLES[result.verdict]
    yield f" {plain(result.a_header.script)} | {plain(result.b_header.script)}", "bold"
    yield f"  {_steps(result)} · {shared_text(result)}", ""
    main = result.first or (result.own[0] if result.own else None)
    if main is None:
        yield "\n" + (plain(result.notes[0]) if result.notes else _nothing(result)), ""
        return
    yield "\nfirst " if result.first else "\nown   ", "dim"
    yield divergence_text(main) + _more(result), ""
    if result.causes:
        cause = result.causes[0]
        yield "\ncause ", "dim"
        yield f"{plain(cause.code)}: {plain(cause.summary)}", "bold"
        if cause.fix:
            yield "\nfix   ", "dim"
            yield plain(cause.fix), ""
    elif main.summary:
        yield "\nthere ", "dim"
        yield plain(main.summary), ""


def _steps(result: Result) -> str:
    return f"{result.compared} of {max(result.a_steps, result.b_steps)} steps"


def _nothing(result: Result) -> str:
    if result.verdict == "incomparable":
        return "nothing could be paired"
    return f"no divergence above the {result.tolerance_source} tolerance"


def _more(result: Result) -> str:
    """All findings but the one shown."""
    others = len(result.own) + len(result.divergences) - 1
    return f"  (+{others} more: v)" if others > 0 else ""


def _single(data: ViewData) -> Iterator[Part]:
    header = data.header_a
    yield " TRACE ", "bold reverse"
    yield f" {plain(header.script)}", "bold"
    yield f"  {data.steps} steps · {len(data.rows)} sites · {plain(data.end)}", ""
    yield "\n" + _versions(header), "dim"


def _versions(header: Header) -> str:
    return ", ".join(f"{plain(name)} {plain(version)}" for name, version in header.versions.items())


def in_full(data: ViewData) -> Content:
    """Everything the result says in words, for the screen behind `v`."""
    if data.result is None:
        parts = [*_single(data), *_listed("not recorded", [_reason(item) for item in data.header_a.not_recorded])]
        return Content.assemble(*parts)
    result = data.result
    parts = [
        (f" {result.verdict.upper()} ", STYLES[result.verdict]),
        (f" {_steps(result)} compared, tolerance {plain(result.tolerance_source)}\n", ""),
        *_side("A", result.a_trace, result.a_header),
        *_side("B", result.b_trace, result.b_header),
        ("\n" + shared_text(result), ""),
        *_listed("own (before sharing)", [_told(divergence) for divergence in result.own]),
        *_listed("divergences", [_told(divergence) for divergence in result.divergences or _first(result)]),
        *_listed("causes", [_proof(cause) for cause in result.causes]),
        *_listed("notes", [plain(note) for note in result.notes]),
        *_listed("not shared", [_reason(item) for item in result.not_shared]),
        *_listed("not recorded", [_reason(item) for item in result.not_recorded]),
    ]
    return Content.assemble(*parts)


def _side(side: str, trace: str, header: Header) -> Iterator[Part]:
    yield f"\n{side} ", "bold"
    yield f"{plain(header.script)} in {plain(trace)} ", ""
    yield _versions(header), "dim"


def _first(result: Result) -> tuple[Divergence, ...]:
    return (result.first,) if result.first else ()


def _told(divergence: Divergence) -> str:
    return divergence_text(divergence) + (f"\n  {plain(divergence.summary)}" if divergence.summary else "")


def _proof(cause: Cause) -> str:
    errors = f"error {number(cause.error_before, 2)} -> {number(cause.error_after, 2)}"
    fix = f"\n  fix: {plain(cause.fix)}" if cause.fix else ""
    title = f"{plain(cause.code)} (step {cause.step}, {cause.phase}): {plain(cause.summary)}"
    return f"{title}{fix}\n  {errors}, confidence {cause.confidence:.2f}"


def _reason(item: dict[str, str]) -> str:
    return f"{plain(item.get('what', ''))}: {plain(item.get('why', ''))}"


def _listed(title: str, entries: list[str]) -> Iterator[Part]:
    if entries:
        yield f"\n\n{title}", "bold"
        for entry in entries:
            yield f"\n· {entry}", ""
