"""The isolated pass of a recording against a reference: a further run, whose steps are added to the trace."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tfdiff.errors import TfdiffError
from tfdiff.orders import Isolated, Isolation
from tfdiff.recorder import children
from tfdiff.recorder.around import CannotKeepError
from tfdiff.trace.adopt import adopt, same_variables
from tfdiff.trace.codec import build, from_json, to_json
from tfdiff.trace.reader import open_trace

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tfdiff.orders import RecordOptions
    from tfdiff.recorder.around import Around
    from tfdiff.trace.reader import Trace

    Plan = Callable[[Trace, Trace], Isolation | None]
    """What to isolate, from the reference and the run that was just recorded; None where that shows everything."""


_NONE_MADE = "no isolated pass"


@dataclass(frozen=True)
class Further:
    """What a further run needs of those before it."""

    scout: Path
    """The trace of the scouting run; the isolated pass's own is written beside it."""
    seed: int
    around: Around


def isolate(options: RecordOptions, plan: Plan, further: Further) -> None:
    """Run the script once more and add its steps to the trace; what goes wrong is said and leaves the trace good."""
    output = further.around.folder / options.output
    try:
        isolation = _planned(options, output, further, plan)
        if isolation is not None:
            _run(options, output, isolation, further)
    except TfdiffError as error:
        _say(f"{_NONE_MADE}: {error}")
    except KeyboardInterrupt:
        _say(f"{_NONE_MADE}: interrupted")
    except Exception as error:  # noqa: BLE001 - a mistake of ours, which must not spoil what was recorded
        _say(f"{_NONE_MADE}: tfdiff failed: {type(error).__name__}: {error}; please report it")


def order(isolation: Isolation) -> dict[str, Any]:
    """The isolation as JSON values."""
    return from_json(to_json({"isolation": isolation}))


def from_order(data: dict[str, Any]) -> Isolation:
    """The isolation that `order` has written."""
    return build(Isolation, data["isolation"])


def _planned(options: RecordOptions, output: Path, further: Further, plan: Plan) -> Isolation | None:
    if options.reference is None or not (options.isolate or options.lockstep):
        return None
    with open_trace(further.around.folder / options.reference) as reference, open_trace(output) as free:
        if not free.steps or free.step(0).info.forward_only:
            return None  # nothing trains: there is no step that something could be carried into
        found = plan(reference, free) if options.isolate else None
        return found or (Isolation() if options.lockstep else None)


def _run(options: RecordOptions, output: Path, isolation: Isolation, further: Further) -> None:
    if not options.quiet:
        words = "with a's values written over its own, to judge each layer by itself"
        _say(f"a further run of {options.script} {words}")
    with open_trace(output) as free:
        steps, variables = free.steps, list(free.variables.values())
    nothing = Isolated(0, isolation.joints, lockstep=False)
    path = further.scout.with_name("isolated.h5")
    again = replace(options, output=path, quiet=True, keep_running=False, force=True, steps=steps)
    more = {"scout": str(further.scout), "seed": further.seed, "free": str(output.resolve()), **order(isolation)}
    more["reference"] = str((further.around.folder / (options.reference or "")).resolve())
    try:
        with further.around.likeness() as place:
            code = children.run_child("isolate", again, place=place, **more)
    except (CannotKeepError, OSError) as error:
        adopt(output, None, _without(nothing, str(error)))
        return
    if not path.exists():
        adopt(output, None, _without(nothing, f"it ended with exit code {code} before its first step"))
        return
    with open_trace(path) as trace:
        if same_variables(variables, trace.variables.values()):
            adopt(output, trace, _done(trace, trace.isolation or nothing, code))
        else:
            adopt(output, None, _without(nothing, "the script made other variables than in its run before"))


def _say(words: str) -> None:
    print(f"tfdiff: {words}", file=sys.stderr)


def _done(trace: Trace, done: Isolated, code: int) -> Isolated:
    """What the pass did, as far as it came."""
    done = replace(done, steps=trace.steps)
    if trace.end is None:
        return _without(done, f"it was ended by force (exit code {code})")
    return done if trace.end.complete else _without(done, trace.end.why)


def _without(done: Isolated, why: str) -> Isolated:
    """What a pass did that was cut short, which is said."""
    ended = f"the isolated pass ended after {done.steps} step{'s' * (done.steps > 1)}" if done.steps else _NONE_MADE
    _say(f"{ended}: {why}")
    return replace(done, left=(*done.left, {"what": "the rest of the isolated pass", "why": why}))
