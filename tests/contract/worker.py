"""A process that has TensorFlow imported and forks a fresh one per recording, as `tests/recorder/zygote.py` does.

Here a scouting run (`record --reference`) may be taken from an earlier recording of the same script and arguments: it
is the script run with nothing of the reference in it, so that it is the same run whatever the reference is.
"""

from __future__ import annotations

import functools
import gc
import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TextIO

from tfdiff.recorder import children

sys.path[0] = str(Path(__file__).resolve().parents[1] / "recorder")
zygote = importlib.import_module("zygote")
if os.environ.get("TF_USE_LEGACY_KERAS") == "1":
    import tf_keras

    assert tf_keras.__version__


def child(command: list[str], *, stdin: TextIO, kept: Path, **place: object) -> subprocess.CompletedProcess[str]:
    """A further run; of a scouting one its trace from before, if there is one."""
    order = json.load(stdin)
    stdin.seek(0)
    if order["kind"] != "scout":
        return zygote.child(command, stdin, **place)
    output = Path(order["options"]["output"])
    if kept.exists():
        shutil.copyfile(kept, output)
        return subprocess.CompletedProcess(command, 0)
    done = zygote.child(command, stdin, **place)
    if output.exists():
        unfinished = kept.with_suffix(f".{os.getpid()}")
        shutil.copyfile(output, unfinished)
        unfinished.rename(kept)
    return done


def serve() -> None:
    """Answer jobs until stdin ends."""
    gc.collect()
    gc.freeze()  # or each fork would copy all of TensorFlow's objects when it first collects
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        kept = order.pop("scout")
        children.subprocess.run = zygote.child if kept is None else functools.partial(child, kept=Path(kept))
        print(zygote.forked(lambda order=order: zygote.job(**order)), file=answers, flush=True)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.path[0] = str(Path(sys.executable).parent)
    serve()
