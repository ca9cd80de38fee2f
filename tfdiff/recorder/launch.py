"""Record one script: the scouting run where a reference is given, then the run that counts."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfdiff.errors import NoStepsError, NotBuiltError, TfdiffError, UsageError
from tfdiff.pairing.given import check_names
from tfdiff.recorder import assumed, children, generator_hooks, isolated_pass
from tfdiff.recorder.again import plan_again
from tfdiff.recorder.around import Around, CannotKeepError
from tfdiff.recorder.assuming import Assuming
from tfdiff.recorder.frames import Frames
from tfdiff.recorder.imports import PostImport
from tfdiff.recorder.isolation import Isolating
from tfdiff.recorder.measure import Measurement
from tfdiff.recorder.observer import observe
from tfdiff.recorder.output import Output
from tfdiff.recorder.parts import Parts
from tfdiff.recorder.patching import Patches
from tfdiff.recorder.plan import Planned, make_plan
from tfdiff.recorder.recording import Recording
from tfdiff.recorder.rowsource import RowSources
from tfdiff.recorder.script import StopRecording, run_script
from tfdiff.recorder.seeds import seed_draws, seed_libraries
from tfdiff.recorder.share import Share
from tfdiff.trace.reader import open_trace

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tfdiff.orders import RecordOptions
    from tfdiff.trace.reader import Trace


def record(options: RecordOptions, plan_isolation: isolated_pass.Plan | None = None) -> int:
    """Run the script in this process and write its trace; returns the exit code for the process.

    With a reference the script first runs in a process of its own, silently, to learn its structure; and once more
    afterwards, where `plan_isolation` wants to see more than the free run shows.
    Raises TfdiffError for what cannot be recorded; the script's own failures are shown as python shows them.
    """
    if options.reference is None:
        return _measured(options) if options.calibrate else _main_pass(options, None, None)
    with open_trace(options.reference) as reference:
        if not reference.steps:
            message = f"expected a reference with at least one step, {options.reference} has none; record it again"
            raise TfdiffError(message)
        if options.pairs is not None:
            check_names(options.pairs, reference, "a")
        seed = _seed()
        with tempfile.TemporaryDirectory(prefix="tfdiff-") as folder:
            scout = Path(folder) / "scout.h5"
            around = Around.look(options)
            planned = _plan(options, reference, scout, seed, around)
            code = _main_pass(options, planned, seed)
            if code == 0 and planned is not None and plan_isolation is not None:
                isolated_pass.isolate(options, plan_isolation, isolated_pass.Further(scout, seed, around))
        return code


def _measured(options: RecordOptions) -> int:
    """The run that counts, then those that measure what noise does to it."""
    around, seed, beats = Around.look(options), _seed(), list[int]()
    code = _main_pass(options, None, seed, beats)
    if code == 0:
        Measurement(options, seed, beats[0], around).make()
    return code


def _seed() -> int:
    return int.from_bytes(os.urandom(4), "little")


def _plan(options: RecordOptions, reference: Trace, path: Path, seed: int, around: Around) -> Planned | None:
    """Scout and plan; None when the scouting run recorded nothing (the run that counts will show why)."""
    if not options.quiet:
        print("tfdiff: a first run to learn the structure, its output is not shown", file=sys.stderr)
    scouted = replace(options, output=path, reference=None, quiet=True, keep_running=False)
    try:
        with around.likeness() as place:
            children.run_child("scout", scouted, place=place, seed=seed)
    except (CannotKeepError, OSError):  # the run that counts writes everything once more
        children.run_child("scout", scouted, seed=seed)
    try:
        with open_trace(path) as scout:
            return make_plan(reference, scout, options.share, options.pairs) if scout.steps else None
    except UsageError:  # what the user's map says of b
        raise
    except TfdiffError:
        return None


def child_main(text: str) -> int:
    """Entry of the processes that `children.run_child` starts.

    scout: the script with nothing shared, to learn its structure.
    calibrate: the script with what a recorded run of it was given, its weights moved by one ulp.
    observe: the script with nothing recorded, for the values of its variables in the end.
    isolate: the script with the reference's values over its own, see `isolated_pass`.
    """
    children.end_with_parent()
    order = json.loads(text)
    try:
        return _further(order)
    except TfdiffError:
        return 2


def _further(order: dict[str, Any]) -> int:
    options, seed = children.from_json(order["options"]), order["seed"]
    if order["kind"] == "scout":
        return _main_pass(options, None, seed)
    if order["kind"] == "observe":
        return observe(options, seed, order["beats"])
    if order["kind"] == "isolate":
        return _isolated(options, order)
    with open_trace(order["trace"]) as trace:
        return _main_pass(options, plan_again(trace, move=True), seed, [])


def _isolated(options: RecordOptions, order: dict[str, Any]) -> int:
    with open_trace(order["reference"]) as reference, open_trace(order["free"]) as free:
        with open_trace(order["scout"]) as scout:
            planned = make_plan(reference, scout, options.share, options.pairs)
        isolating = Isolating(reference, free, isolated_pass.from_order(order))
        return _main_pass(options, planned, order["seed"], isolating=isolating)


def _main_pass(
    options: RecordOptions,
    planned: Planned | None,
    seed: int | None,
    beats: list[int] | None = None,
    isolating: Isolating | None = None,
) -> int:
    """One run of the script. `beats` asks for what its last step is counted by (see `observer`), and for draws that a
    further run can repeat.
    """
    folder = Path.cwd() if options.module else Path(options.script).resolve().parent
    session = _Session(options, folder, planned, None if beats is None else seed, isolating)
    if seed is not None:  # the same for every pass of this script, for scripts that set no seed themselves
        seed_libraries(seed)
    complete, why, code = False, "the script was interrupted", 1
    try:
        code = run_script(options.script, options.arguments, module=options.module)
        complete, why = code == 0, "script ended" if code == 0 else f"script failed with exit code {code}"
    except StopRecording:
        complete, why, code = True, "steps recorded", 0
    finally:
        session.close(complete=complete, why=why, exit_code=code)
    if not session.recording.output.steps and isolating is None:
        error = session.no_steps()
        if code == 0:
            raise error
        return code
    if beats is not None:
        beats.append(session.recording.output.beats)
    session.tell()
    return code


@contextlib.contextmanager
def recording(options: RecordOptions) -> Iterator[None]:
    """Record what runs inside the `with` block (`tfdiff.record`)."""
    if options.reference is not None:
        message = (
            "not built yet: a reference for `with tfdiff.record(...)` needs a scouting run of the block; "
            "use `tfdiff record --reference` on a script"
        )
        raise NotBuiltError(message)
    folder = Path(options.script).resolve().parent if Path(options.script).exists() else Path.cwd()
    session = _Session(options, folder, None)
    complete, why = False, "the block raised an exception"
    try:
        yield
        complete, why = True, "block ended"
    finally:
        session.close(complete=complete, why=why, exit_code=0 if complete else 1)
    if not session.recording.output.steps:
        raise session.no_steps()
    session.tell()


class _Session:
    """Everything that is set up for one pass and taken down after it."""

    def __init__(
        self,
        options: RecordOptions,
        folder: Path,
        planned: Planned | None,
        seed: int | None = None,
        isolating: Isolating | None = None,
    ) -> None:
        self._options = options
        self._planned = planned
        self._seed = seed
        """Of draws without a seed; None leaves them to TensorFlow."""
        output = Output(options, options.output, quiet=options.quiet)
        self.recording = Recording(
            Frames(folder), output, Share(planned.plan if planned is not None else None), RowSources()
        )
        self.recording.isolating = isolating
        self._parts = Parts(self.recording)
        if planned is not None:
            output.update(
                reference=options.reference.name if options.reference else None,
                shared=planned.shared,
                variable_pairs=planned.pairs,
                not_shared=tuple({"what": what, "why": why} for what, why in planned.not_shared),
            )
        self._patches = Patches()
        self._assuming = Assuming(options.assume, folder)
        generators = dict.fromkeys(generator_hooks.MODULES, self._on_generators)
        hooks = {"tensorflow": self._on_tensorflow, "keras": self._on_keras, "tf_keras": self._on_tf_keras}
        self._imports = PostImport({**hooks, **generators})
        self._tensorflow = False
        self._imports.install()

    def _on_tensorflow(self, module: Any) -> None:
        from tfdiff.recorder import tf_hooks

        self._tensorflow = True
        if self._seed is not None:
            seed_draws(self._seed, self._patches)
        tf_hooks.install(self._parts, self._patches)
        assumed.on_tensorflow(self._assuming, self._patches)

    def _on_keras(self, module: Any) -> None:
        from tfdiff.recorder import keras_hooks

        keras_hooks.install(self._parts, self._patches, module)
        assumed.on_keras(self._assuming, self._patches)

    def _on_tf_keras(self, module: Any) -> None:
        from tfdiff.recorder import tf_keras_hooks

        tf_keras_hooks.install(self._parts, self._patches, module)
        assumed.on_tf_keras(self._assuming, self._patches)

    def _on_generators(self, module: Any) -> None:
        generator_hooks.install(self.recording, self._patches, module)

    def close(self, *, complete: bool, why: str, exit_code: int) -> None:
        """Take the hooks back and close the trace."""
        self._imports.remove()
        recording = self.recording
        if recording.failed:
            complete, why = False, recording.failed
        try:
            recording.finish(complete=complete)
        finally:
            recording.output.done = True
            self._patches.undo()
            if self._planned is not None:
                recording.output.update(shared={**self._planned.shared, **recording.share.verdict()})
                unequal = recording.share.unequal()
                if unequal is not None and all(n["what"] != "batches" for n in recording.output.header.not_shared):
                    recording.output.not_shared("batches", unequal)
            if self._options.assume:
                recording.output.update(assumed=self._assuming.described())
            if recording.isolating is not None:
                recording.output.isolation(recording.isolating.described())
            recording.output.close(recording.variables, recording.rows, complete=complete, why=why, exit_code=exit_code)

    def no_steps(self) -> NoStepsError:
        """The error for a run in which nothing trained; the useless trace is removed."""
        self._options.output.unlink(missing_ok=True)
        if self.recording.failed:
            return NoStepsError(f"{self.recording.failed}; no trace was written, please report it")
        seen = "; ".join(f"{n['what']}: {n['why']}" for n in self.recording.output.header.not_recorded[:3])
        if not self._tensorflow:
            found = "it ended without importing TensorFlow"
        elif seen:
            found = f"none was seen ({seen})"
        else:
            found = "it ended without one (no gradient of a variable was asked for, no network was run on a batch)"
        return NoStepsError(f"expected {self._options.script} to run a training step, {found}; no trace was written")

    def tell(self) -> None:
        """Closing lines on stderr: what was assumed, what recording had to change or leave out, where the trace is."""
        for said, taken in self._assuming.report():
            if not (self._options.quiet and taken):
                print(f"tfdiff: {said}", file=sys.stderr)
        if self._options.quiet:
            return
        output = self.recording.output
        for words, notes in (
            ("switched off while recording", output.header.switched_off),
            ("not recorded", output.header.not_recorded),
        ):
            for note in notes:
                print(f"tfdiff: {words}: {note['what']}: {note['why']}", file=sys.stderr)
        print(f"tfdiff: {output.steps} steps in {self._options.output}", file=sys.stderr)
