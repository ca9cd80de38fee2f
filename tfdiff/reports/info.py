"""What a trace holds, as a document and as text (`tfdiff info`)."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from tfdiff.reports.facts import recorded_weights
from tfdiff.reports.json import finite
from tfdiff.reports.words import assumptions, count, plain, sharing

if TYPE_CHECKING:
    from tfdiff.trace.reader import Trace


LISTED = 20
"""Evaluations shown of a list that may be long."""


def document(trace: Trace) -> dict[str, Any]:
    """Return what the trace says of itself, as plain JSON values."""
    from tfdiff.trace.schema import SCHEMA

    header = trace.header
    return {
        "format": SCHEMA.format,
        "version": SCHEMA.version,
        "file": trace.path.name,
        "bytes": trace.path.stat().st_size,
        "script": header.script,
        "arguments": list(header.arguments),
        "versions": dict(header.versions),
        "numerics": dict(header.numerics),
        "switches": dict(header.switches),
        "options": dict(header.options),
        "reference": header.reference,
        "assumed": finite(list(header.assumed)),
        "shared": dict(header.shared),
        "steps": trace.steps,
        "forward_only": bool(trace.steps) and trace.step(0).info.forward_only,
        "evaluations": [_evaluation(trace, number) for number in range(trace.evals)],
        "sites": len(trace.sites),
        "sites_by_role": dict(Counter(site.role for site in trace.sites.values())),
        "variables": dict(Counter(variable.kind for variable in trace.variables.values())),
        "rows": [
            {
                "name": source.name,
                "source": source.source,
                "rows": source.rows,
                "parts": list(source.parts),
                "transformed": source.transformed,
            }
            for source, _ in trace.row_sources
        ],
        "configurations": [finite(asdict(one)) for one in trace.configurations],
        "ended": _ended(trace),
        "noise": {"steps": trace.calibrated, "why": trace.not_calibrated},
        "observer": None if trace.observed is None else finite(asdict(trace.observed)),
        "not_shared": [dict(entry) for entry in header.not_shared],
        "not_recorded": [dict(entry) for entry in header.not_recorded],
        "switched_off": [dict(entry) for entry in header.switched_off],
    }


def render(document: dict[str, Any]) -> str:
    """Return the document as text for people."""
    command = " ".join([document["script"], *document["arguments"]])
    lines = [
        f"{plain(document['file'])}: {document['format']} version {document['version']}, {size(document['bytes'])}",
        f"  script     {plain(command)}",
        f"  versions   {_pairs(document['versions'])}",
        *([f"  numerics   {_pairs(document['numerics'])}"] if document["numerics"] else []),
        *([f"  switches   {_pairs(document['switches'])}"] if document["switches"] else []),
        f"  options    {_pairs(document['options'])}",
        f"  steps      {document['steps']:,} complete{_forward(document)}; {plain(document['ended'])}",
        f"  sites      {document['sites']:,} ({_counts(document['sites_by_role'])})",
        f"  variables  {_counts(document['variables'])}",
    ]
    if document["configurations"]:
        lines.append(f"  configured {_configured(document['configurations'])}")
    if document["reference"]:
        shared = sharing(recorded_weights(document["shared"]), document["shared"])
        lines.append(f"  reference  {plain(document['reference'])}; shared: {shared}")
    lines += [f"  assumed    {said}" for said in assumptions(document["assumed"])]
    lines += [f"  noise      {_noise(document)}", f"  observer   {_observer(document['observer'])}"]
    lines += [f"  rows       {_rows(entry)}" for entry in document["rows"]]
    passes = document["evaluations"]
    lines += [f"  evaluation {_pass(entry)}" for entry in passes[:LISTED]]
    if len(passes) > LISTED:
        lines.append(f"  evaluation and {len(passes) - LISTED:,} more")
    for key, title in (("not_shared", "not shared"), ("not_recorded", "not recorded"), ("switched_off", "changed")):
        lines += [
            f"  {title}: {plain(entry.get('what', '?'))}: {plain(entry.get('why', '?'))}" for entry in document[key]
        ]
    return "\n".join(lines)


def _configured(found: list[dict[str, Any]]) -> str:
    """`1 loss, 2 layer, 1 optimizer; too large to keep: vocabulary of text`."""
    cut = [f"{key} of {one['path'] or one['class_name']}" for one in found for key in one["cut"]]
    more = f" and {len(cut) - LISTED:,} more" if len(cut) > LISTED else ""
    said = f"; too large to keep: {', '.join(map(plain, cut[:LISTED]))}{more}" if cut else ""
    return f"{_counts(dict(Counter(one['kind'] for one in found)))}{said}"


def _noise(document: dict[str, Any]) -> str:
    found = document["noise"]
    if found["why"] is None:
        return "not measured"
    why = f"; {plain(found['why'])}" if found["why"] else ""
    return f"measured for {found['steps']:,} of {count(document['steps'], 'step')}{why}"


def _observer(found: dict[str, Any] | None) -> str:
    """What a run without recording showed."""
    if found is None:
        return "no run without recording was made"
    if found["ok"] is None:
        return f"a run without recording shows nothing: {plain(found['why'])}"
    if found["ok"]:
        return f"a run without recording ends alike (relative error {_metric(found['error'])})"
    return (
        f"a run without recording ends otherwise in {plain(found['where'])} (relative error {_metric(found['error'])}, "
        f"noise {_metric(found['noise'])}): a fault of tfdiff"
    )


def _evaluation(trace: Trace, number: int) -> dict[str, Any]:
    """A pass as plain values."""
    info = trace.eval(number).evaluation
    if info is None:
        return {}
    return {
        "kind": info.kind,
        "after": info.after,
        "batches": info.batches,
        "rows": info.rows,
        "called": info.called,
        "metrics": {name: finite(value) for name, value in info.metrics.items()},
    }


def _forward(document: dict[str, Any]) -> str:
    return " (forward passes: nothing trains)" if document["forward_only"] else ""


def _pass(entry: dict[str, Any]) -> str:
    """`evaluate (a.py:9) after 10 steps: 100 rows in 4 batches; loss 1.134, accuracy 0.29`."""
    where = f" ({plain(entry['called'])})" if entry["called"] else ""
    size_of = f"{count(entry['rows'], 'row')} in {count(entry['batches'], 'batch')}"
    metrics = ", ".join(f"{plain(name)} {_metric(value)}" for name, value in entry["metrics"].items())
    told = f"; {metrics}" if metrics else ""
    return f"{plain(entry['kind'])}{where} after {count(entry['after'], 'step')}: {size_of}{told}"


def _metric(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else plain(value)


def size(amount: int) -> str:
    """Return a number of bytes with its unit (`812 B`, `1.4 MB`)."""
    value, unit = float(amount), "B"
    for larger in ("KB", "MB", "GB", "TB"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"


def _ended(trace: Trace) -> str:
    if trace.end is None:
        return "early: the recording process was ended from outside"
    return "complete" if trace.end.complete else f"early: {trace.end.why}"


def _pairs(values: dict[str, Any]) -> str:
    return ", ".join(f"{plain(name)} {_value(value)}" for name, value in values.items()) or "none"


def _value(value: Any) -> str:
    return plain("+".join(map(str, value)) or "nothing") if isinstance(value, list) else plain(value)


def _counts(values: dict[str, int]) -> str:
    return ", ".join(f"{amount:,} {plain(name)}" for name, amount in sorted(values.items())) or "none"


def _rows(entry: dict[str, Any]) -> str:
    where = f", {plain(entry['source'])}" if entry["source"] else ""
    if entry["transformed"] is not None and not entry["rows"]:
        return f"{plain(entry['name'])}: draws random numbers ({', '.join(map(plain, entry['parts']))}){where}"
    if entry["transformed"] is not None:
        made = f"{count(entry['rows'], 'row')} made, {entry['transformed']:,} of them changed"
        return f"{plain(entry['name'])}: {made}{where}"
    return f"{plain(entry['name'])}: {count(entry['rows'], 'row')} of {', '.join(map(plain, entry['parts']))}{where}"
