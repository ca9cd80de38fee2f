"""A process that has imported TensorFlow and forks one fresh process per recording: importing takes nine seconds.

Reads one JSON line per job from stdin (`{"cwd", "arguments", "out", "err"}`) and answers with the exit code. A forked
child has TensorFlow and Keras imported and nothing else done with them; the script's own import then finds them there.
Further runs of a script (`--reference` scouts first) are forked in the same way, by a process that was forked before
the script ran; `test_style_one_real_process` goes without any of this. Noise is only measured with `--calibrate`.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
import traceback
from ast import literal_eval
from pathlib import Path
from typing import TextIO

import keras
import tensorflow as tf

from tfdiff.cli import main
from tfdiff.recorder import children, launch

assert keras.backend.backend() == "tensorflow"
assert tf.__version__


def forked(action) -> int:
    """Run `action()` in a child and return its exit code."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    code = 70
    try:
        code = int(action() or 0)
    except SystemExit as stop:  # argparse
        code = int(stop.code or 0)
    except BaseException:  # noqa: BLE001 - shown, and the child must never return into the loop below
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def child(
    command: list[str], stdin: TextIO, cwd: Path | None = None, env: dict[str, str] | None = None, **_: object
) -> subprocess.CompletedProcess[str]:
    """The process that launch starts for a further run of the script, forked: same entry, same options, silent."""
    order = {"command": command, "text": stdin.read(), "cwd": str(cwd or Path.cwd()), "env": env or dict(os.environ)}
    print(json.dumps(order), file=HELPER["orders"], flush=True)
    return subprocess.CompletedProcess(command, int(HELPER["answers"].readline()))


HELPER: dict[str, TextIO] = {}
"""How a job reaches the process that forks its further runs."""


def start_helper() -> None:
    """Fork a process that has seen nothing of the job's script and forks its further runs."""
    (orders, ours), (theirs, answers) = os.pipe(), os.pipe()
    if os.fork():
        os.close(orders)
        os.close(answers)
        HELPER.update(orders=os.fdopen(ours, "w"), answers=os.fdopen(theirs))
        return
    os.close(ours)
    os.close(theirs)
    with os.fdopen(orders) as wanted, os.fdopen(answers, "w") as said:
        for line in wanted:
            order = json.loads(line)
            print(forked(lambda order=order: further(**order)), file=said, flush=True)
    os._exit(0)


def further(command: list[str], text: str, cwd: str, env: dict[str, str]) -> int:
    """A further run in this (forked) process."""
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    silent = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(silent, stream)
    sys.path[0] = literal_eval(command[2].split("sys.path[0] = ")[1].split(";")[0])
    return launch.child_main(text)


def chosen(arguments: list[str]) -> list[str]:
    """The arguments as given; a recording of a reference does without measuring noise where nothing is said of it."""
    said = {"--calibrate", "--no-calibrate", "--passes", "--reference"}
    plain = arguments[:1] == ["record"] and not said & set(arguments)
    return [*arguments[:1], "--no-calibrate", *arguments[1:]] if plain else arguments


def job(cwd: str, arguments: list[str], out: str, err: str) -> int:
    """One `tfdiff` command in this (forked) process."""
    os.chdir(cwd)
    for stream, path in ((0, os.devnull), (1, out), (2, err)):
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, stream)
    start_helper()
    return main(chosen(arguments))


def serve() -> None:
    """Answer jobs until stdin ends."""
    children.subprocess.run = child
    gc.collect()
    gc.freeze()  # or each fork would copy all of TensorFlow's objects when it first collects
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        print(forked(lambda order=order: job(**order)), file=answers, flush=True)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.path[0] = str(Path(sys.executable).parent)
    serve()
