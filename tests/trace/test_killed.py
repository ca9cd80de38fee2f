"""A writer that is killed, interrupted, forked or out of disk leaves every step it completed."""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys
import threading
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from tfdiff.errors import TraceError
from tfdiff.model import End, Header, Site, StepInfo
from tfdiff.trace.reader import open_trace
from tfdiff.trace.records import Record, WriteError
from tfdiff.trace.writer import TraceWriter

ROOT = Path(__file__).resolve().parents[2]
SITES = [Site(i, "activation", "forward", "MatMul", occurrence=i) for i in range(5)]
HEADER = Header("a.py", (), {}, {})

CHILD = """
import resource, sys
from pathlib import Path
import numpy as np
from tfdiff.model import End, Header, Site, StepInfo
from tfdiff.trace.records import Record, WriteError
from tfdiff.trace.writer import TraceWriter

if len(sys.argv) > 2:
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
sites = [Site(i, "activation", "forward", "MatMul", occurrence=i) for i in range(5)]
writer = TraceWriter(Path(sys.argv[1]))
try:
    writer.header(Header("a.py", (), {}, {}))
    for step in range(100_000):
        writer.step(StepInfo(step), [Record(s, np.full(10 + 700 * s.id, step, np.float32)) for s in sites])
        print(step + 1, flush=True)
except WriteError as error:
    print(error)
    try:
        writer.end(End(False, "full"))
    except WriteError:
        print("still")
    writer.close()
"""


def check(path, acknowledged, look=1):
    """At least the acknowledged steps are there, the last one and another one with their own numbers."""
    with open_trace(path) as trace:
        assert trace.steps >= acknowledged
        assert trace.end is None
        for step in {look % trace.steps, trace.steps - 1} if trace.steps else ():
            block = trace.step(step)
            for seen in block.observations:
                assert (block.array(seen.index) == step).all()
        return trace.steps


def start(path, *arguments):
    """A child that writes until it is stopped, and says each step it has completed."""
    command = [sys.executable, "-c", CHILD, str(path), *arguments]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("wait", [0.0, 0.013, 0.031, 0.07, 0.15])
def test_sigkill(tmp_path, wait):
    """After SIGKILL at any moment the file opens plainly, with every acknowledged step right."""
    with start(tmp_path / "t.h5") as child:
        child.stdout.readline()
        time.sleep(wait)
        child.kill()
        acknowledged = [1, *map(int, child.stdout.read().split())][-1]
    check(tmp_path / "t.h5", acknowledged)


class Disk(io.BytesIO):
    """A file that remembers each change of it."""

    def __init__(self):
        super().__init__()
        self.changes = []

    def write(self, data):
        """Notes where and what."""
        self.changes.append((self.tell(), bytes(data)))
        return super().write(data)

    def truncate(self, size=None):
        """Notes the new length; unlike BytesIO it can grow, as a file can."""
        self.changes.append((size, None))
        if size > len(self.getbuffer()):
            self.seek(size - 1)
            return super().write(b"\0")
        return super().truncate(size)

    def states(self, before=b""):
        """The file's content after each change of what it was before, with the number of changes up to there."""
        content = bytearray(before)
        for count, (offset, data) in enumerate(self.changes, 1):
            end = offset + len(data or b"")
            content.extend(bytes(max(0, end - len(content))))
            if data is None:
                del content[offset:]
            else:
                content[offset:end] = data
            yield count, content


class SlowMotionWriter(TraceWriter):
    """Writes to a `Disk`, the same things in the same order."""

    def _open(self, path, mode):
        self.disk = Disk()
        if mode == "r+":
            self.disk.write(path.read_bytes())
            self.disk.changes.clear()
        return h5py.File(self.disk, mode, libver=("v108", "v108")), -1

    def _put(self, offset, data):
        self.disk.seek(offset)
        self.disk.write(data)


def test_killed_at_every_write(tmp_path):
    """Whichever write of the file was the last one, it opens, with every step that was acknowledged before it."""
    path = tmp_path / "t.h5"
    with SlowMotionWriter(tmp_path / "disk") as writer:
        writer.header(HEADER)
        acknowledged = [(len(writer.disk.changes), 0)]
        for step in range(18):
            sites = SITES if step % 6 == 5 else SITES[:2]
            writer.step(StepInfo(step), [Record(site, np.full(3 + 300 * site.id, step, np.float32)) for site in sites])
            acknowledged.append((len(writer.disk.changes), step + 1))
    for count, content in writer.disk.states():
        if count >= acknowledged[0][0]:
            path.write_bytes(content)
            check(path, max(step for changes, step in acknowledged if changes <= count), look=count)
    assert check(path, 18) == 18
    assert len(writer.disk.changes) > 300


def test_step_that_is_not_counted(tmp_path, monkeypatch):
    """A step whose count was never written is not seen, although all of its data is in the file."""
    path = tmp_path / "t.h5"
    writer = TraceWriter(path)
    writer.header(HEADER)
    writer.step(StepInfo(0), [Record(SITES[0], np.zeros(3))])
    monkeypatch.setattr(writer, "_put_counts", lambda: None)
    writer.step(StepInfo(1), [Record(SITES[1], np.ones(3))])
    writer.close()
    assert check(path, 1) == 1


def test_full_disk(tmp_path):
    """When the disk takes no more, one clear error comes at each call; what was complete stays readable."""
    pytest.importorskip("resource")
    for limit in (60_000, 200_000, 201_234):
        path = tmp_path / f"{limit}.h5"
        with start(path, str(limit)) as child:
            output, errors = child.communicate(timeout=60)
        *steps, message, still = output.splitlines()
        assert errors == ""
        assert child.returncode == 0
        assert "could" not in message
        assert "complete steps stay readable" in message
        assert still == "still"
        assert check(path, int(steps[-1])) == int(steps[-1])


def test_interrupted_step_is_written_anew(tmp_path, monkeypatch):
    """Ctrl-C inside a step leaves the trace as before the step; the next step and the end take its place."""
    path = tmp_path / "t.h5"

    def interrupt(*_):
        raise KeyboardInterrupt

    with TraceWriter(path) as writer:
        writer.header(HEADER)
        writer.step(StepInfo(0), [Record(SITES[0], np.zeros(3))])
        for name in ("_dataset", "_commit_counts"):
            with monkeypatch.context() as patch:
                patch.setattr(writer, name, interrupt)
                with pytest.raises(KeyboardInterrupt):
                    writer.step(StepInfo(1), [Record(SITES[1], np.full(3, 7.0))])
        writer.step(StepInfo(1), [Record(SITES[1], np.full(4, 8.0))])
        writer.end(End(complete=False, why="interrupted"))
    with open_trace(path) as trace:
        assert trace.steps == 2
        assert trace.step(1).array(0).tolist() == [8.0] * 4
        assert trace.end.why == "interrupted"


def test_forked_child_writes_nothing(tmp_path):
    """A child that the script forks leaves its parent's trace alone, also when another thread was writing."""
    path = tmp_path / "t.h5"
    program = f"""
import os, sys, threading
sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
import numpy as np
from tfdiff.model import Header, Site, StepInfo
from tfdiff.trace.records import Record
from tfdiff.trace.writer import TraceWriter
site = Site(0, "loss", "loss", "")
writer = TraceWriter(Path({str(path)!r}))
writer.header(Header("a.py", (), {{}}, {{}}))
writer.step(StepInfo(0), [Record(site, np.array(0.0))])
before = writer.path.read_bytes()
writing, done = threading.Event(), threading.Event()
def hold():
    with writer._lock:
        writing.set()
        done.wait()
thread = threading.Thread(target=hold)
thread.start()
writing.wait()
if not (pid := os.fork()):
    writer.step(StepInfo(1), [Record(site, np.array(99.0))])
    writer.close()
    sys.exit(0)
os.waitpid(pid, 0)
done.set()
thread.join()
assert writer.path.read_bytes() == before
writer.step(StepInfo(1), [Record(site, np.array(1.0))])
writer.close()
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
    with open_trace(path) as trace:
        assert [float(trace.step(step).array(0)) for step in range(trace.steps)] == [0.0, 1.0]


def test_sites_of_two_threads(tmp_path, monkeypatch):
    """Of two threads that give one number to different sites, the second one is refused, however close they come."""
    path, meet, refused = tmp_path / "t.h5", threading.Barrier(2), []
    sites = [Site(0, "loss", "loss", op) for op in ("Sum", "Mean")]
    with TraceWriter(path) as writer:
        writer.header(HEADER)
        unknown = writer._unknown

        def slow(sites):
            new = unknown(sites)
            with contextlib.suppress(threading.BrokenBarrierError):
                meet.wait(0.2)  # as long as the other one would need to look for itself
            return new

        def add(number):
            try:
                writer.step(StepInfo(number), [Record(sites[number], np.zeros(3))])
            except ValueError as error:
                refused.append(error)

        monkeypatch.setattr(writer, "_unknown", slow)
        threads = [threading.Thread(target=add, args=(number,)) for number in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(refused) == 1
    assert "site 0" in str(refused[0])
    with open_trace(path) as trace:
        assert trace.steps == 1


def test_reading_while_writing(tmp_path):
    """Another process may read what is complete while the writer goes on."""
    with start(tmp_path / "t.h5") as child:
        for _ in range(3):
            acknowledged = int(child.stdout.readline())
        try:
            seen = check(tmp_path / "t.h5", acknowledged)
        finally:
            child.kill()
            child.stdout.read()
    assert seen >= 3


def test_unsupported_dtype_spoils_nothing(tmp_path):
    """A tensor that a trace cannot hold is refused before anything is written; the writer goes on."""
    path = tmp_path / "t.h5"
    with TraceWriter(path) as writer:
        writer.header(HEADER)
        with pytest.raises(TraceError, match="dtype"):
            writer.step(StepInfo(0), [Record(SITES[0], np.array(["text"]))])
        writer.step(StepInfo(0), [Record(SITES[0], np.zeros(3))])
    assert check(path, 1) == 1


def test_after_close(tmp_path):
    """Writing to a closed trace is one clear error; closing it twice is none."""
    writer = TraceWriter(tmp_path / "t.h5")
    writer.header(HEADER)
    writer.close()
    writer.close()
    with pytest.raises(WriteError, match="closed"):
        writer.step(StepInfo(0), [])
    assert check(tmp_path / "t.h5", 0) == 0
