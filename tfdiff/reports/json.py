"""A result as `tfdiff diff --json` writes it (CONTRACT.md): plain JSON values, every float finite."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from tfdiff.reports.facts import shared_weights, unpaired
from tfdiff.reports.words import would_pass

if TYPE_CHECKING:
    from tfdiff.model import Cause, Divergence, Header, Place, Result
    from tfdiff.orders import Isolated

FORMAT = "tfdiff.diff"
VERSION = 1


def render(result: Result) -> str:
    """Return the document as text; characters beyond ASCII are escaped, so nothing in it can steer a terminal."""
    return json.dumps(document(result), indent=2, allow_nan=False)


def document(result: Result) -> dict[str, Any]:
    """Return the result as CONTRACT.md has it."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "verdict": result.verdict,
        "a": _side(result.a_trace, result.a_header),
        "b": {**_side(result.b_trace, result.b_header), "assumed": finite(list(result.b_header.assumed))},
        "steps": {"a": result.a_steps, "b": result.b_steps, "compared": result.compared, "horizon": result.horizon},
        "judged": result.compared if result.judged is None else result.judged,
        "evaluations": {key: result.evaluations.get(key, 0) for key in ("a", "b", "compared")},
        "shared": {
            "weights": shared_weights(result),
            "batches": result.shared.get("batches", False),
            "noise": result.shared.get("noise", False),
            **({"slots": result.shared["slots"]} if "slots" in result.shared else {}),
        },
        "first": None if result.first is None else _divergence(result.first),
        "causes": [_cause(cause) for cause in result.causes],
        "own": [_divergence(divergence) for divergence in result.own],
        "divergences": [_divergence(divergence) for divergence in result.divergences],
        "isolation": _isolation(result.isolation),
        "tolerance": {"source": result.tolerance_source, "observer": _observer(result)},
        "not_shared": [dict(entry) for entry in result.not_shared],
        "not_recorded": [dict(entry) for entry in result.not_recorded],
        "pairs": [
            {"phase": row.phase, "a": row.a_name, "b": row.b_name, "evidence": row.evidence}
            for row in result.rows
            if row.a is not None and row.b is not None
        ],
        "unpaired": dict(zip("ab", unpaired(result), strict=True)),
        "notes": list(result.notes),
    }


def finite(value: Any) -> Any:
    """Return `value` as plain JSON: NumPy's as Python's, NaN and Infinity as the strings nan, inf, -inf."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, dict):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)


def _observer(result: Result) -> dict[str, Any] | None:
    """Return whether recording changed what a computes; None where that was not (or could not be) looked at."""
    found = result.observer
    if found is None or found.ok is None:
        return None
    return {"ok": found.ok, "error": finite(found.error), "loss": finite(found.loss), "where": found.where}


def _side(trace: str, header: Header) -> dict[str, Any]:
    return {
        "trace": trace,
        "script": header.script,
        "versions": dict(header.versions),
        "numerics": dict(header.numerics),
        "switches": dict(header.switches),
    }


def _isolation(done: Isolated | None) -> dict[str, Any] | None:
    if done is None:
        return None
    missed = sum(steps >= done.steps for _, steps in done.missed)
    return {
        "steps": done.steps - len(done.unset),
        "joints": len(done.joints) - missed,
        "left": [dict(entry) for entry in done.left],
    }


def _place(place: Place | None) -> dict[str, Any] | None:
    if place is None:
        return None
    return {"layer": place.layer, "site": place.site, "source": place.source, "called": place.called, "op": place.op}


def _divergence(divergence: Divergence) -> dict[str, Any]:
    return {
        "step": divergence.step,
        "phase": divergence.phase,
        "a": _place(divergence.a),
        "b": _place(divergence.b),
        "error": finite(divergence.error),
        "tolerance": finite(divergence.tolerance),
        "noise": finite(divergence.noise),
        "multiple": finite(divergence.multiple),
        "would_pass": finite(would_pass(divergence.error)),
        "introduced": divergence.introduced,
        "summary": divergence.summary,
    }


def _cause(cause: Cause) -> dict[str, Any]:
    return {
        "code": cause.code,
        "phase": cause.phase,
        "step": cause.step,
        "confidence": finite(cause.confidence),
        "a": _place(cause.a),
        "b": _place(cause.b),
        "summary": cause.summary,
        "fix": cause.fix,
        "constants": finite(cause.constants),
        "error_before": finite(cause.error_before),
        "error_after": finite(cause.error_after),
        **({"evidence": finite(cause.evidence)} if cause.evidence else {}),
        "assume": cause.assume,
    }
